// SPDX-License-Identifier: Apache-2.0

package auditor

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/ledger"
)

// TestAGrantNeedsTheAnswersThatItsRulesDemand tells an auditor of an owner that grants more than it may.
func TestAGrantNeedsTheAnswersThatItsRulesDemand(t *testing.T) {
	olga := approval.Given{Approver: "olga", Channel: action.RankOperator, Approve: true, UID: -1, TimeMs: 61_000, SeenMs: -1}
	strong := olga
	strong.ACR, strong.AMR, strong.AuthnMs = "phr", []string{"hwk", "user"}, 30_000
	paul := olga
	paul.Approver = "paul"
	for _, c := range []struct {
		name    string
		need    approval.Need
		answers []approval.Given
		fails   bool
	}{
		{"one operator where one is needed", approval.Need{Channel: action.RankOperator, Quorum: 1}, []approval.Given{olga}, false},
		{"one where two are needed", approval.Need{Channel: action.RankOperator, Quorum: 2}, []approval.Given{olga}, true},
		{"two where two are needed", approval.Need{Channel: action.RankOperator, Quorum: 2}, []approval.Given{olga, paul}, false},
		{"an operator where a passkey is needed", approval.Need{Channel: action.RankPasskey, Quorum: 1}, []approval.Given{olga}, true},
		{"somebody of no group", approval.Need{Channel: action.RankOperator, Quorum: 1, Group: "treasury"}, []approval.Given{olga}, true},
		{"a sign-in of no level", approval.Need{Channel: action.RankOperator, Quorum: 1, ACR: "phr phrh"}, []approval.Given{olga}, true},
		{"a sign-in of the level", approval.Need{Channel: action.RankOperator, Quorum: 1, ACR: "phr phrh", AMR: "hwk", MaxAgeS: 60}, []approval.Given{strong}, false},
		{"a sign-in that was too old", approval.Need{Channel: action.RankOperator, Quorum: 1, MaxAgeS: 30}, []approval.Given{strong}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e ApprovalProofs
			found := ""
			told := func(index uint64, l *ledger.Leaf, parts map[action.PartName][]byte) {
				for _, name := range []action.PartName{"", action.PartShown, action.PartDetail} {
					if data, ok := parts[name]; name == "" || ok {
						if what := e.Inspect(index, l, name, data); what != "" {
							found = what
						}
					}
				}
			}
			canonical := func(v any) []byte {
				b, err := action.Canonical(v)
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			shown := canonical(approval.Shown{Format: "approval.v1", ID: "ap_1"})
			detail := canonical(struct {
				Binding   string          `json:"binding"`
				ID        string          `json:"id"`
				Session   string          `json:"session"`
				Agent     string          `json:"agent"`
				User      string          `json:"user"`
				UID       int64           `json:"uid"`
				Needs     []approval.Need `json:"needs"`
				OpenedMs  int64           `json:"opened_ms"`
				ExpiresMs int64           `json:"expires_ms"`
				GrantMs   int64           `json:"grant_ms"`
				Shown     *approval.Shown `json:"shown"`
				Judge     string          `json:"judge"`
			}{ID: "ap_1", UID: -1, Needs: []approval.Need{c.need}, OpenedMs: 60_000, ExpiresMs: 90_000})
			sum, err := approval.Terms(detail, shown)
			if err != nil {
				t.Fatal(err)
			}
			leaf := func(code, subject string, rank action.Rank) *ledger.Leaf {
				return &ledger.Leaf{Kind: action.KindApproval, Grant: "ap_1", Binding: sum, Codes: []string{code}, Subject: subject, Channel: rank,
					Parts: []ledger.PartRef{{Name: action.PartShown}, {Name: action.PartDetail}}}
			}
			told(1, leaf(approval.CodeOpened, "", action.RankUnknown), map[action.PartName][]byte{action.PartShown: shown, action.PartDetail: detail})
			for i, g := range c.answers {
				code := "approved.more"
				if i == len(c.answers)-1 {
					code = approval.CodeApproved
				}
				proof, err := approval.Proof(sum, c.answers[:i+1])
				if err != nil {
					t.Fatal(err)
				}
				told(uint64(2+i), leaf(code, proof, g.Channel), map[action.PartName][]byte{action.PartDetail: canonical(g)})
			}
			if c.fails != strings.Contains(found, "demanded") || !c.fails && found != "" {
				t.Errorf("said is %q", found)
			}
		})
	}
}
