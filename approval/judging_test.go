// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"math/rand/v2"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// TestMachineNeverGrantsWhatPolicyDidNotGiveIt draws requests and opinions. A grant by a second system's word alone
// exists only where every asking rule names the channel judge or a weaker one with a quorum of one and no group, every
// value's origin is known, and no untrusted source chose where anything goes.
func TestMachineNeverGrantsWhatPolicyDidNotGiveIt(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	granted := 0
	for range 1000 {
		var approvers []action.Approver
		may := true
		for range 1 + r.IntN(2) {
			a := action.Approver{Channel: action.Rank(pick("judge", "judge", "judge", "client", "bearer", "operator", "passkey", "nonsense", "")), Quorum: r.IntN(3) / 2 * 2, Group: pick("", "", "", "treasury"), Apart: r.IntN(8) == 0}
			approvers = append(approvers, a)
			may = may && (a.Channel == action.RankJudge || a.Channel == action.RankClient) && a.Quorum < 2 && a.Group == ""
		}
		phase := action.Before
		q := request("1", demand(approvers...), func(r *enforce.Request) { r.Query.Phase = phase })
		f := &q.Query.Context.Flow
		if r.IntN(5) > 0 {
			f.State = action.StateKnown
		} else {
			may = false
		}
		for range r.IntN(3) {
			v := action.Value{Pointer: "/to", Sink: action.Sink(pick("none", "destination", "command", "unknown")), Origin: action.Origin(pick("user", "agent", "untrusted", "unknown")), Selection: action.Origin(pick("user", "untrusted", "unknown"))}
			f.Arguments = append(f.Arguments, v)
			may = may && (v.Sink == action.SinkNone || v.Origin != action.OriginUntrusted && v.Selection != action.OriginUntrusted)
		}
		b := newBench(t)
		ticket := b.ask(q, action.ApprovalPending).Ticket
		verdict := action.Verdict(pick("allow", "allow", "allow", "deny", "ask", ""))
		_ = b.Opine(t.Context(), ticket, Opinion{By: "j", Verdict: verdict, Detail: []byte(`{}`)})
		v, err := b.Show(t.Context(), ticket)
		if err != nil {
			t.Fatal(err)
		}
		if v.State == Granted {
			granted++
			if !may || verdict != action.Allow {
				t.Fatalf("granted on a machine's word: %+v, flow %+v, verdict %q", approvers, f, verdict)
			}
		}
	}
	if granted == 0 {
		t.Error("nothing was granted, so nothing was tried")
	}
}
