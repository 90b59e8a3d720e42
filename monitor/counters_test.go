// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/enforce/enforcetest"
)

const start = int64(1_790_000_000_000)

func open(t testing.TB, c Config) *Counters {
	t.Helper()
	m, err := NewCounters(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func query(id, agent string, at int64) *action.Query {
	q := action.NewQuery(action.Before)
	q.ID, q.Subject.ID, q.Context.Session.ID = id, agent, "s-"+agent
	q.Context.Time.UnixMilli = at
	return q
}

func payment(id, agent string, at, minor int64, currency string) *action.Query {
	q := query(id, agent, at)
	q.Action.Effect = action.EffectSpend
	q.Action.Amounts = []action.Amount{{Minor: minor, Exponent: 2, Currency: currency, Overflow: action.No}}
	return q
}

func inform(t testing.TB, m *Counters, q *action.Query) map[string]action.Counter {
	t.Helper()
	p, err := m.Inform(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	if err := action.ValidatePart(p); err != nil {
		t.Fatal(err)
	}
	p.Put(q)
	out := map[string]action.Counter{}
	for _, c := range q.Context.History.Counters {
		out[c.Name] = c
	}
	return out
}

func reserve(t testing.TB, m *Counters, q *action.Query) {
	t.Helper()
	inform(t, m, q)
	if err := m.Reserve(context.Background(), q); err != nil {
		t.Fatal(err)
	}
}

func TestCountersNeverPassACap(t *testing.T) {
	m := open(t, Config{Fresh: true, Counters: []Counter{{Name: "spend", Key: PerAgent, Window: Day, What: "amount:EUR"}}})
	const limit, price = 100_00, 10_00
	var passed, stale atomic.Int64
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			q := payment(fmt.Sprint("p", i), "a", start+int64(i), price, "EUR")
			for {
				if v := inform(t, m, q)["spend"]; v.State != action.StateKnown || v.Value+price > limit {
					return
				}
				switch err := m.Reserve(context.Background(), q); {
				case err == nil:
					passed.Add(1)
					m.Settle(context.Background(), q, action.StatusDone)
					return
				case !errors.Is(err, enforce.ErrStale):
					t.Error(err)
					return
				}
				stale.Add(1)
			}
		})
	}
	wg.Wait()
	if passed.Load() != limit/price {
		t.Errorf("%d payments passed, the cap allows %d", passed.Load(), limit/price)
	}
	t.Logf("%d tries were stale", stale.Load())
}

func TestReserveRefusesFactsThatChanged(t *testing.T) {
	m := open(t, Config{Fresh: true})
	a, b := query("a", "agent", start), query("b", "agent", start)
	inform(t, m, a)
	inform(t, m, b)
	if err := m.Reserve(context.Background(), a); err != nil {
		t.Fatal(err)
	}
	if err := m.Reserve(context.Background(), b); !errors.Is(err, enforce.ErrStale) {
		t.Fatalf("second reserve on old facts: %v", err)
	}
	inform(t, m, b)
	if err := m.Reserve(context.Background(), b); err != nil {
		t.Fatalf("reserve on fresh facts: %v", err)
	}
	if err := m.Reserve(context.Background(), query("c", "agent", start)); !errors.Is(err, enforce.ErrStale) {
		t.Fatalf("reserve without facts: %v", err)
	}
}

func TestSettleKeepsOrFrees(t *testing.T) {
	for _, c := range []struct {
		name         string
		phase        action.Phase
		observed     action.Tri
		status       action.Status
		spend, calls int64
	}{
		{"done keeps", action.After, action.Yes, action.StatusDone, 500, 1},
		{"unknown keeps", action.Before, action.Yes, action.StatusUnknown, 500, 1},
		{"failed before it ran frees", action.Before, action.Yes, action.StatusFailed, 0, 0},
		{"a failure we saw gives the money back and stays a call", action.After, action.Yes, action.StatusFailed, 0, 1},
		{"a failure that is only claimed keeps", action.After, action.No, action.StatusFailed, 500, 1},
		{"a refusal frees", action.Before, action.Yes, action.StatusRefused, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := open(t, Config{Fresh: true})
			q := payment("x", "a", start, 500, "EUR")
			reserve(t, m, q)
			if v := inform(t, m, query("y", "a", start)); v["spend_day"].Value != 500 || v["calls_hour"].Value != 1 {
				t.Fatalf("while open: %v", v)
			}
			if v := inform(t, m, q); v["spend_day"].Value != 0 {
				t.Fatalf("own booking is counted: %v", v["spend_day"])
			}
			q.Phase, q.Context.Enforcement.Observed = c.phase, c.observed
			m.Settle(context.Background(), q, c.status)
			m.Settle(context.Background(), q, action.StatusFailed) // a second one changes nothing
			v := inform(t, m, query("y", "a", start))
			if v["spend_day"].Value != c.spend || v["calls_hour"].Value != c.calls {
				t.Errorf("spend %d, calls %d", v["spend_day"].Value, v["calls_hour"].Value)
			}
		})
	}
}

func TestYieldedBookingIsGoneForGood(t *testing.T) {
	m := open(t, Config{Fresh: true})
	q := payment("x", "a", start, 500, "EUR")
	reserve(t, m, q)
	m.Yield("x")
	m.Yield("x")
	m.Yield("never booked")
	m.Settle(context.Background(), q, action.StatusDone)
	if v := inform(t, m, query("y", "a", start)); v["spend_day"].Value != 0 || v["calls_hour"].Value != 0 {
		t.Errorf("still counted: %v", v)
	}
}

func TestCounterIsUnknownWhenItCannotTell(t *testing.T) {
	fresh := Config{Fresh: true}
	for _, c := range []struct {
		name  string
		conf  Config
		q     *action.Query
		known bool
	}{
		{"a plain payment", fresh, payment("x", "a", start, 1, "EUR"), true},
		{"a payment in no currency counts everywhere", fresh, payment("x", "a", start, 1, ""), true},
		{"a payment in a currency nobody counts", fresh, payment("x", "a", start, 1, "XAU"), false},
		{"a payment without an amount", fresh, func() *action.Query {
			q := query("x", "a", start)
			q.Action.Effect = action.EffectSpend
			return q
		}(), false},
		{"an amount that overflowed", fresh, func() *action.Query {
			q := payment("x", "a", start, action.MaxNumber, "EUR")
			q.Action.Amounts[0].Overflow = action.Yes
			return q
		}(), false},
		{"an amount too large to scale", fresh, func() *action.Query {
			q := payment("x", "a", start, action.MaxNumber, "EUR")
			q.Action.Amounts[0].Exponent = 0
			return q
		}(), false},
		{"nobody said that the past was fed in", Config{}, payment("x", "a", start, 1, "EUR"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := inform(t, open(t, c.conf), c.q)["spend_day"]
			if known := v.State == action.StateKnown; known != c.known {
				t.Fatalf("state %q", v.State)
			}
			if !c.known && v.Value != action.MaxNumber {
				t.Errorf("an unknown counter reads %d", v.Value)
			}
		})
	}
}

func TestNegativeAmountMakesNoRoom(t *testing.T) {
	m := open(t, Config{Fresh: true})
	reserve(t, m, payment("x", "a", start, 700, "EUR"))
	reserve(t, m, payment("y", "a", start, -700, "EUR"))
	if v := inform(t, m, query("z", "a", start))["spend_day"].Value; v != 1400 {
		t.Errorf("spend %d, want 1400", v)
	}
}

func TestWindowSlides(t *testing.T) {
	m := open(t, Config{Fresh: true})
	at := start
	for i := range 10 {
		reserve(t, m, query(fmt.Sprint(i), "a", at))
	}
	for _, c := range []struct {
		after time.Duration
		want  int64
	}{{0, 10}, {59 * time.Second, 10}, {60 * time.Second, 10}, {66 * time.Second, 0}} {
		if v := inform(t, m, query("q", "a", at+c.after.Milliseconds()))["calls_minute"].Value; v != c.want {
			t.Errorf("after %s: %d, want %d", c.after, v, c.want)
		}
	}
	if v := inform(t, m, query("q", "a", at))["calls_minute"].Value; v != 0 {
		t.Errorf("time went back and brought %d calls with it", v)
	}
	if v := inform(t, m, query("q", "a", at))["calls_hour"].Value; v != 10 {
		t.Errorf("hour: %d", v)
	}
}

func TestEvictedKeyReadsUnknownUntilItsWindowIsOver(t *testing.T) {
	m := open(t, Config{Fresh: true, MaxKeys: 4, Counters: []Counter{{Name: "calls", Key: PerAgent, Window: Minute, What: "calls"}}})
	for i := range 5 {
		q := query(fmt.Sprint(i), fmt.Sprint("agent", i), start)
		reserve(t, m, q)
		m.Settle(context.Background(), q, action.StatusDone)
	}
	if v := inform(t, m, query("q", "agent0", start))["calls"]; v.State != action.StateUnknown {
		t.Errorf("evicted key reads %v", v)
	}
	if v := inform(t, m, query("q", "agent4", start))["calls"]; v.Value != 1 {
		t.Errorf("kept key reads %v", v)
	}
	if v := inform(t, m, query("q", "agent0", start+70_000))["calls"]; v.State != action.StateKnown || v.Value != 0 {
		t.Errorf("after the window: %v", v)
	}
}

func TestDeniedAndRestoreRebuildThePast(t *testing.T) {
	m := open(t, Config{})
	ctx := context.Background()
	for i := range 3 {
		m.Denied(query(fmt.Sprint("d", i), "a", start))
	}
	done, lost := payment("x", "a", start, 500, "EUR"), payment("y", "a", start, 200, "EUR")
	for _, q := range []*action.Query{done, lost} {
		if err := m.Restore(ctx, q); err != nil {
			t.Fatal(err)
		}
	}
	m.Settle(ctx, done, action.StatusDone)
	m.Ready()
	v := inform(t, m, query("z", "a", start))
	if v["denied_hour"].Value != 3 || v["spend_day"].Value != 700 || v["calls_hour"].Value != 2 {
		t.Errorf("%v", v)
	}
}

func TestNewCountersRefusesBadDeclarations(t *testing.T) {
	for name, c := range map[string]Counter{
		"no name":           {Key: PerAgent, Window: Day, What: "calls"},
		"a key of its own":  {Name: "x", Key: "planet", Window: Day, What: "calls"},
		"no window":         {Name: "x", Key: PerAgent, What: "calls"},
		"nothing to count":  {Name: "x", Key: PerAgent, Window: Day},
		"a small currency":  {Name: "x", Key: PerAgent, Window: Day, What: "amount:eur"},
		"a foreign effect":  {Name: "x", Key: PerAgent, Window: Day, What: "calls", Effects: []action.Effect{"fly"}},
		"a large exponent":  {Name: "x", Key: PerAgent, Window: Day, What: "amount:EUR", Exponent: 12},
		"a negative places": {Name: "x", Key: PerAgent, Window: Day, What: "amount:EUR", Exponent: -1},
	} {
		if _, err := NewCounters(Config{Counters: []Counter{c}}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := NewCounters(Config{Counters: append(Defaults(), Defaults()[0])}); err == nil {
		t.Error("a name declared twice: accepted")
	}
}

func BenchmarkInformReserveSettle(b *testing.B) {
	m := open(b, Config{Fresh: true})
	ctx := context.Background()
	q := payment("x", "a", start, 500, "EUR")
	b.ReportAllocs()
	for b.Loop() {
		p, _ := m.Inform(ctx, q)
		p.Put(q)
		if err := m.Reserve(ctx, q); err != nil {
			b.Fatal(err)
		}
		m.Settle(ctx, q, action.StatusFailed)
	}
}

func TestCountersConform(t *testing.T) {
	m := open(t, Config{Fresh: true})
	enforcetest.TestInformer(t, m, payment("x", "a", start, 500, "EUR"))
	enforcetest.TestReserver(t, open(t, Config{Fresh: true}), func(i int) *action.Query {
		return payment(fmt.Sprint("p", i), "a", start, 10_00, "EUR")
	}, func(q *action.Query) bool {
		for _, c := range q.Context.History.Counters {
			if c.Name == "spend_day" {
				return c.State == action.StateKnown && c.Value+10_00 <= 100_00
			}
		}
		return false
	}, 50, 10)
}

func TestCountersPerRecipientStateTheHighest(t *testing.T) {
	m := open(t, Config{Fresh: true, Counters: []Counter{{Name: "to_one", Key: PerRecipient, Window: Day, What: "amount:EUR"}}})
	ctx := context.Background()
	pay := func(id string, to ...string) *action.Query {
		q := payment(id, "a", start, 10_00, "EUR")
		for _, r := range to {
			q.Action.Recipients = append(q.Action.Recipients, action.Recipient{Kind: "iban", Value: r})
		}
		return q
	}
	for i, to := range [][]string{{"X"}, {"x"}, {"y"}, {"x", "X"}, nil} { // the same payee twice in one call is one
		q := pay(fmt.Sprint("p", i), to...)
		inform(t, m, q)
		if err := m.Reserve(ctx, q); err != nil {
			t.Fatal(err)
		}
		m.Settle(ctx, q, action.StatusDone)
	}
	for name, c := range map[string]struct {
		to   []string
		want int64
	}{
		"a payee":                 {[]string{"x"}, 30_00},
		"another":                 {[]string{"y"}, 10_00},
		"both":                    {[]string{"y", "x"}, 30_00},
		"a new one":               {[]string{"z"}, 0},
		"one that nobody can see": {nil, 10_00},
	} {
		if got := inform(t, m, pay("probe", c.to...))["to_one"]; got.Value != c.want || got.State != action.StateKnown {
			t.Errorf("%s: %+v, want %d", name, got, c.want)
		}
	}
	own := pay("own", "x")
	inform(t, m, own)
	if err := m.Reserve(ctx, own); err != nil {
		t.Fatal(err)
	}
	if got := inform(t, m, own)["to_one"]; got.Value != 30_00 {
		t.Errorf("with its own booking: %+v", got)
	}
	m.Settle(ctx, own, action.StatusRefused)
	if got := inform(t, m, pay("after", "x"))["to_one"]; got.Value != 30_00 {
		t.Errorf("after it was given back: %+v", got)
	}
}
