// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"context"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/detect/learn"
)

func eachRow[T any](path string, fn func(T)) error {
	return learn.Lines(path, func(line []byte) error {
		var r T
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		fn(r)
		return nil
	})
}

// caseRow is a tool with its description, or a message with the verdict on it.
type caseRow struct {
	Kind        string         `json:"kind"`
	Description string         `json:"description"`
	Category    string         `json:"category"`
	Verdict     string         `json:"expected_verdict"`
	Payload     jsontext.Value `json:"payload"`
}

// leaks measures secrets by kind, with and without the forms of issuers.
func (b *bench) leaks(ctx context.Context) {
	if len(b.secrets) == 0 {
		return
	}
	b.res.Secrets = b.secretKinds(ctx, false)
	b.res.SecretsUnknown = b.secretKinds(ctx, true)
}

func (b *bench) secretKinds(ctx context.Context, formless bool) *KindsBench {
	type count struct{ found, of, alarms int }
	by := map[string]*count{}
	var all count
	clean := 0
	for _, r := range b.secrets {
		if ctx.Err() != nil {
			break
		}
		c := by[r.Rule]
		if c == nil {
			c = &count{}
			by[r.Rule] = c
		}
		s := scanner{secrets: true, formless: formless, room: roomFor(len(r.Text))}
		found := slices.ContainsFunc(s.text(r.Text, ""), func(h hit) bool { return h.class == classSecret })
		switch {
		case r.Label != 1:
			if clean++; found {
				c.alarms++
				all.alarms++
			}
		case found:
			c.found++
			all.found++
			fallthrough
		default:
			c.of++
			all.of++
		}
	}
	out := &KindsBench{Recall: rateOf(all.found, all.of), Precision: rateOf(all.found, all.found+all.alarms), HardAlarms: rateOf(all.alarms, clean), Kinds: map[string]KindBench{}}
	for k, c := range by {
		out.Kinds[k] = KindBench{rateOf(c.found, c.of), rateOf(c.found, c.found+c.alarms)}
	}
	return out
}

// labels are the kinds of personal data by the labels of a set. What stands in none is not looked for in
// free text: names, places, ages, dates.
var labels = map[string]string{"CREDIT_CARD": "card", "IBAN_CODE": "iban", "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "IP_ADDRESS": "ip", "US_SSN": "ssn",
	"US_DRIVER_LICENSE": "document-id", "US_PASSPORT": "document-id", "PASSPORT": "document-id", "NATIONAL_ID": "national-id"}

// personal measures personal data by kind, a text at a time.
func (b *bench) personal(ctx context.Context) {
	if len(b.pii) == 0 {
		return
	}
	type count struct{ found, of, right, told int }
	by := map[string]*count{}
	for _, k := range labels {
		by[k] = &count{}
	}
	var all count
	for _, r := range b.pii {
		if ctx.Err() != nil {
			return
		}
		want, got := map[string]bool{}, map[string]bool{}
		for _, x := range r.Spans {
			want[labels[x.Type]] = true
		}
		s := scanner{secrets: true, personal: true, room: roomFor(len(r.Text))}
		for _, h := range s.text(r.Text, "") {
			if h.class == classPII {
				got[h.kind] = true
			}
		}
		for k, c := range by {
			if want[k] {
				c.of++
				all.of++
			}
			if got[k] {
				c.told++
				all.told++
			}
			if want[k] && got[k] {
				c.found++
				all.found++
			}
		}
	}
	out := &KindsBench{Recall: rateOf(all.found, all.of), Precision: rateOf(all.found, all.told), Kinds: map[string]KindBench{}}
	for k, c := range by {
		if c.of+c.told > 0 {
			out.Kinds[k] = KindBench{rateOf(c.found, c.of), rateOf(c.found, c.told)}
		}
	}
	b.res.PII = out
}

// rest measures descriptions of tools, and messages on their way out or in.
func (b *bench) rest(ctx context.Context) {
	tools, egress := &ToolsBench{}, &EgressBench{Categories: map[string]Rate{}}
	for _, c := range b.cases {
		if ctx.Err() != nil {
			return
		}
		switch {
		case c.Kind == "attack_tool" || c.Kind == "normal_tool":
			poisoned := b.poisoned(c.Description)
			if c.Kind == "attack_tool" {
				count(&tools.Attack, poisoned)
			} else {
				count(&tools.Normal, poisoned)
			}
		case c.Verdict != "":
			found := b.anything(c.Payload)
			if c.Verdict == "block" {
				count(&egress.Blocked, found)
				r := egress.Categories[c.Category]
				count(&r, found)
				egress.Categories[c.Category] = r
			} else {
				count(&egress.Allowed, found)
			}
		}
	}
	if tools.Attack.Of+tools.Normal.Of > 0 {
		b.res.Tools = tools
	}
	if egress.Blocked.Of+egress.Allowed.Of > 0 {
		b.res.Egress = egress
	}
}

func count(r *Rate, hit bool) {
	n := r.N
	if hit {
		n++
	}
	*r = rateOf(n, r.Of+1)
}

func (b *bench) poisoned(text string) bool {
	s := scanner{injection: true, description: true, room: roomFor(len(text))}
	s.text(text, "")
	return s.worst >= poisonedAt
}

// anything reports a secret, a card or account, or instructions in the texts of a payload, one by one and
// strings within strings.
func (b *bench) anything(payload []byte) bool {
	found := false
	var visit func(v []byte, depth int)
	visit = func(v []byte, depth int) {
		_, err := walk(v, func(sp spot) {
			s := b.full(sp.text)
			for _, h := range s.text(sp.text, sp.name) {
				found = found || h.class <= classLeak && h.score >= Threshold || h.class == classPII && h.score >= scoreIBAN
			}
			found = found || s.worst >= Threshold
			if t := strings.TrimSpace(sp.text); depth < 2 && len(t) > 1 && (t[0] == '{' || t[0] == '[') {
				visit([]byte(t), depth+1)
			}
		})
		_ = err // what is no JSON was looked at as text
	}
	visit(payload, 0)
	return found
}
