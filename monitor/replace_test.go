// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func readRules(t *testing.T, text string) *Rules {
	t.Helper()
	r, err := ReadRules("chains.yaml", []byte("version: 1\nrules:\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const (
	readSend  = "  - {id: chain.read_send, title: T, within: 1h, steps: [{tool: [crm/read]}, {tool: [mail/send]}]}\n"
	readPay   = "  - {id: chain.read_pay, title: T, within: 1h, steps: [{tool: [crm/read]}, {tool: [bank/pay]}]}\n"
	wipeSend  = "  - {id: chain.wipe_send, title: T, within: 1h, steps: [{tool: [crm/wipe]}, {tool: [mail/send]}]}\n"
	otherSend = "  - {id: chain.read_send, title: T, within: 1h, steps: [{tool: [\"crm/*\"]}, {tool: [mail/send]}]}\n"
)

// What a session has begun goes on under the next rules where they look for the same, and begins anew where they do not.
func TestChainsUnderWayGoOnWhereTheirStepsAreTheSame(t *testing.T) {
	for _, c := range []struct {
		name     string
		old, new string
		began    string // tool before the rules are replaced
		ends     string // and after
		want     string // alert
		told     Replaced
	}{
		{"the same rule among others", readSend, wipeSend + readSend, "crm/read", "mail/send", "chain.read_send", Replaced{Carried: []string{"chain.read_send"}, Anew: []string{"chain.wipe_send"}, Ended: []string{}}},
		{"a new rule whose steps were looked for", readSend + "  - {id: chain.pays, title: T, within: 1h, steps: [{tool: [bank/pay]}]}\n", readPay, "crm/read", "bank/pay", "chain.read_pay", Replaced{Carried: []string{"chain.read_pay"}, Anew: []string{}, Ended: []string{"chain.read_send", "chain.pays"}}},
		{"a rule with another step", readSend, otherSend, "crm/read", "mail/send", "", Replaced{Carried: []string{}, Anew: []string{"chain.read_send"}, Ended: []string{}}},
		{"a rule that is new", readSend, wipeSend, "crm/wipe", "mail/send", "", Replaced{Carried: []string{}, Anew: []string{"chain.wipe_send"}, Ended: []string{"chain.read_send"}}},
		{"a rule that is gone", readSend, wipeSend, "crm/read", "mail/send", "", Replaced{Carried: []string{}, Anew: []string{"chain.wipe_send"}, Ended: []string{"chain.read_send"}}},
		{"the same text", readSend, readSend, "crm/read", "mail/send", "chain.read_send", Replaced{Carried: []string{"chain.read_send"}, Anew: []string{}, Ended: []string{}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := profiles(t, ProfilesConfig{Rules: readRules(t, c.old)})
			act := func(tool string, minute int64) []string {
				q := call("a", tool, "", start+minute*60_000)
				q.Action.Effect = action.EffectRead
				p, err := m.Inform(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				p.Put(q)
				if err := m.Reserve(t.Context(), q); err != nil {
					t.Fatal(err)
				}
				return slices.DeleteFunc(q.Context.Monitor.Alerts, func(s string) bool { return s == Unusual })
			}
			act(c.began, 0)
			if got := m.ReplaceRules(readRules(t, c.new)); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.told) {
				t.Errorf("told %q, want %q", got, c.told)
			}
			if got := act(c.ends, 1); fmt.Sprint(got) != fmt.Sprint(slices.DeleteFunc([]string{c.want}, func(s string) bool { return s == "" })) {
				t.Errorf("alerts %q, want %q", got, c.want)
			}
			act(c.began, 2)
			if got := act(c.ends, 3); c.name == "a rule that is new" && !slices.Contains(got, "chain.wipe_send") {
				t.Errorf("begun anew, it is not found: %q", got)
			}
		})
	}
}

func TestRulesAreReplacedWhileActionsAreJudged(t *testing.T) {
	a, b := readRules(t, readSend), readRules(t, wipeSend+readSend)
	m := profiles(t, ProfilesConfig{Rules: a})
	var wg sync.WaitGroup
	for range 2 {
		var asked []*action.Query
		for i := range 200 {
			asked = append(asked, call("a", []string{"crm/read", "mail/send"}[i%2], "", start+int64(i)*1000))
		}
		wg.Go(func() {
			for _, q := range asked {
				p, err := m.Inform(t.Context(), q)
				if err != nil {
					t.Error(err)
					return
				}
				p.Put(q)
				if err := m.Reserve(t.Context(), q); err != nil {
					t.Error(err)
				}
				m.Settle(t.Context(), q, action.StatusDone)
			}
		})
	}
	for i := range 50 {
		m.ReplaceRules([]*Rules{a, b}[i%2])
	}
	wg.Wait()
	if got := m.ReplaceRules(b); len(got.Carried)+len(got.Anew) != 2 {
		t.Errorf("%+v", got)
	}
}
