// SPDX-License-Identifier: Apache-2.0

package replaybench

import (
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
)

// services are kinds of upstream services with the words that speak of them, gravest last: of services
// with as many words the later one wins.
var services = []struct{ name, words string }{
	{"web", "web webpage page website site url browse browser internet html link search"},
	{"weather", "weather forecast temperature"},
	{"contacts", "contact contacts addressbook directory phonebook"},
	{"calendar", "calendar event events appointment appointments meeting schedule agenda reminder"},
	{"files", "file files folder folders document documents drive path directory disk storage attachment note notes"},
	{"chat", "channel channels chat message messages direct slack team thread workspace"},
	{"mail", "mail mails email emails inbox outbox draft drafts mailbox recipient subject"},
	{"code", "repository repositories repo git github gitlab branch commit pull issue issues merge fork star ssh"},
	{"database", "database sql query table row rows"},
	{"shop", "product products cart order orders shopping checkout refund discount coupon store delivery invoice"},
	{"travel", "hotel hotels flight flights restaurant restaurants car rental taxi airline trip travel train cuisine"},
	{"crm", "customer customers ticket tickets lead case support"},
	{"account", "user profile account password login username credential otp"},
	{"bank", "bank money iban transaction transactions payment payments balance transfer funds"},
}

var serviceOf = func() map[string]int {
	m := map[string]int{}
	for i, s := range services {
		for _, w := range strings.Fields(s.words) {
			m[w] = i
		}
	}
	return m
}()

// Service guesses the upstream service of a tool from its name, then its arguments and description, since
// recordings do not tell it. A tool that fits nowhere is one of "tools".
func Service(t *Tool) string {
	var schema struct {
		Properties map[string]struct{} `json:"properties"`
	}
	_ = json.Unmarshal(t.Schema, &schema, lenient)
	score := make([]int, len(services))
	count := func(text string, weight int) {
		for _, w := range nameWords(text) {
			if i, ok := serviceOf[w]; ok {
				score[i] += weight
			}
		}
	}
	count(t.Name, 8)
	if best(score) < 0 {
		for p := range schema.Properties {
			count(p, 2)
		}
		count(t.Description, 1)
	}
	if i := best(score); i >= 0 {
		return services[i].name
	}
	return "tools"
}

func best(score []int) int {
	at, most := -1, 0
	for i, n := range score {
		if n >= most && n > 0 {
			at, most = i, n
		}
	}
	return at
}

// nameWords splits a name or text at signs and changes of case.
func nameWords(s string) []string {
	var b strings.Builder
	rs := []rune(s)
	for i, c := range rs {
		switch {
		case !unicode.IsLetter(c) && !unicode.IsDigit(c):
			b.WriteByte(' ')
			continue
		case i > 0 && unicode.IsUpper(c) && unicode.IsLower(rs[i-1]):
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return strings.Fields(b.String())
}
