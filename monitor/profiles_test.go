// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce/enforcetest"
)

var testKey = bytes.Repeat([]byte{7}, 16)

func profiles(t testing.TB, c ProfilesConfig) *Profiles {
	t.Helper()
	c.Key, c.Fresh = testKey, true
	m, err := NewProfiles(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var ids int

// call is a call of a tool of the form server/name in a session of the agent's own.
func call(agent, tool, to string, at int64) *action.Query {
	ids++
	q := query(fmt.Sprint("q", ids), agent, at)
	q.Resource.ID = tool
	q.Resource.Server, q.Resource.Name = action.SplitToolKey(tool)
	q.Action.Typed, q.Action.Bytes, q.Action.Effect = action.StateKnown, 200, action.EffectRead
	q.Context.Session.ID = "of-" + agent
	if to != "" {
		q.Action.Recipients = []action.Recipient{{Kind: "email", Value: to, Outside: action.Yes}}
	}
	return q
}

// do passes q through both gates and returns what was stated at the first.
func do(t testing.TB, m *Profiles, q *action.Query) action.Monitor {
	t.Helper()
	p, err := m.Inform(context.Background(), q)
	if err != nil || action.ValidatePart(p) != nil {
		t.Fatal(err, action.ValidatePart(p))
	}
	p.Put(q)
	if err := m.Reserve(context.Background(), q); err != nil {
		t.Fatal(err)
	}
	m.Settle(context.Background(), q, action.StatusDone)
	return q.Context.Monitor
}

// routine lets agent do n calls of a clerk's day, a few minutes apart.
func routine(t testing.TB, m *Profiles, r *rand.Rand, agent string, n int, at *int64, more ...string) (alarms int) {
	tools := append([]string{"crm/search", "crm/search", "crm/get", "crm/get", "mail/list", "mail/send", "crm/update"}, more...)
	for range n {
		*at += 60_000 + r.Int64N(240_000)
		tool, to := tools[r.IntN(len(tools))], ""
		if tool == "mail/send" {
			to = fmt.Sprintf("colleague%d@example.org", r.IntN(5))
		}
		q := call(agent, tool, to, *at)
		q.Action.Bytes = 100 + r.Int64N(400)
		if slices.Contains(do(t, m, q).Alerts, Unusual) {
			alarms++
		}
	}
	return alarms
}

func TestFirstPayrollExportRaisesAnAlarmBeforeItRuns(t *testing.T) {
	m := profiles(t, ProfilesConfig{})
	r, at := rand.New(rand.NewPCG(1, 2)), int64(start)
	routine(t, m, r, "bookkeeper", 500, &at, "hr/payroll_export")
	routine(t, m, r, "clerk", 500, &at)

	q := call("clerk", "hr/payroll_export", "", at+60_000)
	p, err := m.Inform(context.Background(), q) // gate one: nothing has run
	if err != nil {
		t.Fatal(err)
	}
	got := p.(action.Monitor)
	if !slices.Contains(got.Alerts, Unusual) || got.FirstTool != action.Yes || got.P > 10 || got.Risk < 500 || got.State != action.StateKnown ||
		got.PeerShare != 1000 || !strings.Contains(strings.Join(got.Reasons, "\n"), "first use of hr/payroll_export by this agent, after 500 actions in 1 days; 1 of 1 peers use it") {
		t.Errorf("the clerk's first export: %+v", got)
	}
	colleague := do(t, m, call("bookkeeper", "hr/payroll_export", "", at+60_000))
	if len(colleague.Alerts) > 0 || colleague.FirstTool != action.No || colleague.Risk > 300 {
		t.Errorf("the bookkeeper's routine export: %+v", colleague)
	}
}

func TestAddressOfSomebodyWhomTheUserNamedIsLessOdd(t *testing.T) {
	value := func(pointer string, origins ...action.Origin) action.Value {
		return action.Value{Pointer: pointer, Sink: action.SinkDestination, Origin: origins[0], Origins: origins}
	}
	score := func(url bool, name ...action.Origin) (bits float64) {
		m := profiles(t, ProfilesConfig{})
		at := int64(start)
		routine(t, m, rand.New(rand.NewPCG(1, 2)), "clerk", 300, &at)
		q := call("clerk", "crm/invite", "dora@out.example", at+60_000)
		if q.Action.Recipients[0].Pointer = "/mail"; url {
			q.Action.Recipients, q.Action.URLs = nil, []action.URL{{Host: "out.example", Pointer: "/mail"}}
		}
		q.Action.Effect = action.EffectSend
		q.Context.Flow.State = action.StateKnown
		q.Context.Flow.Arguments = []action.Value{value("/name", name...), value("/mail", action.OriginUntrusted)}
		_, bits, err := m.Follow(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return bits
	}
	strange, linked := score(false, action.OriginUntrusted), score(false, action.OriginUser)
	if linked <= 0 || linked > 0.8*strange {
		t.Errorf("%.1f bits with a name of the user's, %.1f without", linked, strange)
	}
	if url := score(true, action.OriginUser); url <= linked {
		t.Errorf("a host beside the name: %.1f bits, a recipient %.1f", url, linked)
	}
}

func TestProfilesLearnOnlyWhatWasPermittedAndDone(t *testing.T) {
	ctx := context.Background()
	for name, end := range map[string]func(m *Profiles, q *action.Query){
		"a failed action":            func(m *Profiles, q *action.Query) { _ = m.Reserve(ctx, q); m.Settle(ctx, q, action.StatusFailed) },
		"one of unknown end":         func(m *Profiles, q *action.Query) { _ = m.Reserve(ctx, q); m.Settle(ctx, q, action.StatusUnknown) },
		"one that was refused":       func(m *Profiles, q *action.Query) { m.Denied(q) },
		"one that was given back":    func(m *Profiles, q *action.Query) { _ = m.Reserve(ctx, q); m.Settle(ctx, q, action.StatusRefused) },
		"one that waits for a grant": func(m *Profiles, q *action.Query) { m.Asked(q) },
	} {
		m := profiles(t, ProfilesConfig{})
		for i := range 300 {
			end(m, call("a", "bank/pay", "eve@out.example", start+int64(i)*60_000))
		}
		p, _ := m.Inform(ctx, call("a", "bank/pay", "eve@out.example", start+400*60_000))
		if got := p.(action.Monitor); got.FirstTool != action.Yes || got.FirstDest != action.Yes || got.Learning != action.Yes || got.State != action.StateUnknown {
			t.Errorf("%s was learnt: %+v", name, got)
		}
	}
}

// TestFalseAlarmBudgetIsKept on stationary traffic of agents that begin from nothing, some of them beside peers that are
// long at work, from the first action on: no more than 1.2 times the budget over the first 4,000, and within 20 % after.
func TestFalseAlarmBudgetIsKept(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and nothing in it is concurrent")
	}
	for _, c := range []struct {
		budget float64
		peers  int
	}{{1, 0}, {1, 3}, {4, 0}} {
		m := profiles(t, ProfilesConfig{AlarmsPerDay: c.budget})
		for i := range c.peers {
			at := int64(start)
			routine(t, m, rand.New(rand.NewPCG(uint64(i), 77)), fmt.Sprint("peer", i), 3000, &at)
		}
		var alarms [2]int
		var spent [2]float64 // days
		for agent := range 8 {
			r, at := rand.New(rand.NewPCG(uint64(agent), 9)), int64(start)
			for part, n := range [2]int{4000, 8000} {
				from := at
				alarms[part] += routine(t, m, r, fmt.Sprint("agent", agent), n, &at)
				spent[part] += float64(at-from) / dayMs
			}
		}
		first, later := float64(alarms[0])/spent[0]/c.budget, float64(alarms[1])/spent[1]/c.budget
		t.Logf("budget %.0f, %d peers: %.2f of it over the first 4,000 actions (%d in %.0f days), %.2f after", c.budget, c.peers, first, alarms[0], spent[0], later)
		if first > 1.2 || later < 0.8 || later > 1.2 {
			t.Errorf("budget %.0f, %d peers: %.2f and %.2f of it", c.budget, c.peers, first, later)
		}
	}
}

func TestSnapshotAndReplayGiveTheSameScore(t *testing.T) {
	ctx := context.Background()
	rules, err := DefaultRules()
	if err != nil {
		t.Fatal(err)
	}
	seal := func(b []byte) string { return fmt.Sprint(keyFrom(testKey).text(string(b))) }
	open := func() *Profiles { return profiles(t, ProfilesConfig{Rules: rules}) }
	r, at := rand.New(rand.NewPCG(5, 6)), int64(start)
	var log []*action.Query // the ledger: intents, and outcomes in their order
	live := open()
	var taken []byte
	for i := range 900 {
		at += 1000 + r.Int64N(100_000)
		q := call(fmt.Sprint("agent", r.IntN(3)), fmt.Sprint("s/t", r.IntN(12)), fmt.Sprintf("p%d@example.org", r.IntN(40)), at)
		p, _ := live.Inform(ctx, q)
		p.Put(q)
		if i == 450 { // taken while an action is on its way: its intent is in the ledger, its outcome is not
			_ = live.Reserve(ctx, q)
			log = append(log, q)
			taken = live.Snapshot(func() uint64 { return uint64(len(log)) }, seal)
			live.Settle(ctx, q, action.StatusDone)
			continue
		}
		if r.IntN(10) == 0 {
			live.Denied(q)
			q.Phase = action.PhaseUnknown // stands for a refusal in this log
		} else {
			_ = live.Reserve(ctx, q)
			live.Settle(ctx, q, action.StatusDone)
		}
		log = append(log, q)
	}
	replay := func(m *Profiles, from uint64) {
		for i, q := range log {
			if uint64(i) >= from && q.Phase == action.PhaseUnknown {
				m.Denied(q)
			} else if q.Phase != action.PhaseUnknown {
				if uint64(i) >= from {
					_ = m.Restore(ctx, q)
				}
				m.Settle(ctx, q, action.StatusDone)
			}
		}
	}
	restored := open()
	from, err := restored.Load(taken, uint64(len(log)), seal)
	if err != nil || from != 451 {
		t.Fatal(from, err)
	}
	short := open()
	if _, err := short.Load(taken, from-1, seal); err == nil || len(short.agents) != 0 {
		t.Errorf("a snapshot of a longer log was taken: %v, %d profiles", err, len(short.agents))
	}
	replay(restored, from)
	whole := open()
	replay(whole, 0)
	end := func(m *Profiles) string { return string(m.Snapshot(func() uint64 { return 0 }, seal)) }
	if end(restored) != end(live) || end(whole) != end(live) {
		t.Error("the profiles differ from those of the process that lived on")
	}
	for i := range 20 {
		q := call(fmt.Sprint("agent", i%3), fmt.Sprint("s/t", i), fmt.Sprintf("p%d@example.org", i*3), at+int64(i))
		a, _ := live.Inform(ctx, q)
		b, _ := restored.Inform(ctx, q)
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("after a restart:\n%v\nwithout:\n%v", b, a)
		}
	}
	for i := range 200 { // any change is noticed
		bad := bytes.Clone(taken)
		bad[r.IntN(len(bad))] ^= 1 << (i % 8)
		if _, err := open().Load(bad, 1<<40, seal); err == nil {
			t.Fatal("a damaged snapshot was taken")
		}
	}
}

func FuzzSnapshot(f *testing.F) {
	m := profiles(f, ProfilesConfig{})
	do(f, m, call("a", "s/t", "x@example.org", start))
	seal := func([]byte) string { return "s" }
	f.Add(m.Snapshot(func() uint64 { return 1 }, seal))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := profiles(t, ProfilesConfig{})
		if _, err := n.Load(data, 1<<40, seal); err == nil { // ours by its seal: it must be usable
			_, _ = n.Inform(context.Background(), call("a", "s/t", "x@example.org", start))
		}
	})
}

func TestProfilesAreBounded(t *testing.T) {
	if n := unsafe.Sizeof(profile{}); n > 8<<10 {
		t.Errorf("a profile takes %d bytes", n)
	}
	m := profiles(t, ProfilesConfig{MaxAgents: 3, MaxSessions: 3})
	for i := range 50 {
		q := call(fmt.Sprint("agent", i), fmt.Sprint("s/t", i), "", start+int64(i))
		q.Subject.Identity.Roles = []string{fmt.Sprint("role", i)}
		do(t, m, q)
	}
	if len(m.agents) > 3 || len(m.sessions) > 3 || len(m.groups) > 3 || len(m.latest) > 6 || len(m.open) > 0 {
		t.Errorf("%d profiles, %d sessions, %d groups, %d versions, %d open", len(m.agents), len(m.sessions), len(m.groups), len(m.latest), len(m.open))
	}
}

func TestNewVersionStartsFromTheOneBefore(t *testing.T) {
	m := profiles(t, ProfilesConfig{})
	r, at := rand.New(rand.NewPCG(1, 2)), int64(start)
	routine(t, m, r, "clerk", 300, &at)
	q := call("clerk", "crm/get", "", at+60_000)
	q.Subject.Attested.State, q.Subject.Attested.Weights = action.StateKnown, "sha256:new"
	if got := do(t, m, q); got.FirstTool != action.No || got.State != action.StateKnown {
		t.Errorf("the first action of a new version: %+v", got)
	}
	if len(m.agents) != 2 {
		t.Errorf("%d profiles", len(m.agents))
	}
}

func TestScoringAllocatesNothing(t *testing.T) {
	m, q := scored(t)
	if n := testing.AllocsPerRun(100, func() {
		a := m.key.look(q)
		m.judge(&a, true)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func scored(t testing.TB) (*Profiles, *action.Query) {
	rules, err := DefaultRules()
	if err != nil {
		t.Fatal(err)
	}
	m := profiles(t, ProfilesConfig{Rules: rules})
	r, at := rand.New(rand.NewPCG(1, 2)), int64(start)
	routine(t, m, r, "clerk", 500, &at)
	q := call("clerk", "mail/send", "colleague1@example.org", at+60_000)
	q.Context.Flow.State = action.StateKnown
	for range 6 {
		q.Context.Flow.Arguments = append(q.Context.Flow.Arguments, action.Value{Sink: action.SinkDestination, Origin: action.OriginUser})
	}
	return m, q
}

func BenchmarkScore(b *testing.B) {
	m, q := scored(b)
	b.ReportAllocs()
	b.ReportMetric(float64(unsafe.Sizeof(profile{})), "B/profile")
	for b.Loop() {
		a := m.key.look(q)
		a.Matches = m.cfg.Rules.matches(q, false, false)
		m.judge(&a, true)
	}
}

func TestProfilesConform(t *testing.T) {
	enforcetest.TestInformer(t, profiles(t, ProfilesConfig{}), call("a", "mail/send", "bob@example.org", start))
}

func TestDriftIsSeenAlthoughItIsLearnt(t *testing.T) {
	m := profiles(t, ProfilesConfig{})
	r, at := rand.New(rand.NewPCG(1, 2)), int64(start)
	routine(t, m, r, "clerk", 900, &at)
	drifted := func(n int) (at0 int) {
		for i := range n {
			at += 180_000
			if slices.Contains(do(t, m, call("clerk", fmt.Sprint("bank/", i%4), "", at)).Alerts, Drift) {
				return i
			}
		}
		return -1
	}
	if n := drifted(1500); n < 100 {
		t.Errorf("drift was seen after %d other calls", n)
	}
	m.Refreeze("default", "clerk", at) // a person called it wrong
	if n := drifted(100); n >= 0 {
		t.Errorf("drift from the new reference after %d calls", n)
	}
}
