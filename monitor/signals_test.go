// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// TestChangesOfPaceSizeAndRefusalsAreTold lets an agent go on with what it always does, but for one thing.
func TestChangesOfPaceSizeAndRefusalsAreTold(t *testing.T) {
	const volume, refusals = "calls are faster or larger than usual", "refusals have become frequent"
	for name, c := range map[string]struct {
		change func(m *Profiles, at int64)
		want   string
	}{
		"nothing": {func(*Profiles, int64) {}, ""},
		"twenty calls in a second": {func(m *Profiles, at int64) {
			for i := range int64(20) {
				do(t, m, call("clerk", "crm/get", "", at-1000+i*50))
			}
		}, volume},
		"calls that are a thousand times as large": {func(m *Profiles, at int64) {
			for i := range int64(8) {
				q := call("clerk", "crm/get", "", at-(8-i)*120_000)
				q.Action.Bytes = 300_000
				do(t, m, q)
			}
		}, volume},
		"ten refusals": {func(m *Profiles, at int64) {
			for i := range int64(10) {
				q := call("clerk", "crm/update", "", at-(10-i)*60_000)
				p, err := m.Inform(context.Background(), q)
				if err != nil {
					t.Fatal(err)
				}
				p.Put(q)
				m.Denied(q)
			}
		}, refusals},
	} {
		t.Run(name, func(t *testing.T) {
			m := profiles(t, ProfilesConfig{})
			at := int64(start)
			routine(t, m, rand.New(rand.NewPCG(7, 8)), "clerk", 400, &at)
			at += 30 * 60_000
			c.change(m, at)
			got := strings.Join(do(t, m, call("clerk", "crm/get", "", at+1000)).Reasons, "\n")
			for _, reason := range []string{volume, refusals} {
				if strings.Contains(got, reason) != (reason == c.want) {
					t.Errorf("reasons: %q", got)
				}
			}
		})
	}
}

func TestRiskHalvesInAQuarterOfAnHour(t *testing.T) {
	risk := func(minutes int64) float64 {
		m := profiles(t, ProfilesConfig{})
		at := int64(start)
		routine(t, m, rand.New(rand.NewPCG(1, 2)), "clerk", 300, &at)
		odd := call("clerk", "bank/pay", "eve@out.example", at+3_600_000)
		odd.Action.Effect = action.EffectSend
		do(t, m, odd)
		a := m.key.look(odd)
		p := m.profile(&a)
		return p.decayed(odd.Context.Time.UnixMilli + minutes*60_000)
	}
	now, later := risk(0), risk(15)
	if now < 2 || math.Abs(later-now/2) > 0.01*now {
		t.Errorf("risk %.2f, a quarter of an hour later %.2f", now, later)
	}
}

func TestDestinationsAreCountedInLittleSpace(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	for _, n := range []int{0, 1, 10, 100, 1000, 20_000} {
		worst := 0.0
		for range 20 {
			p := &profile{}
			for range n {
				h := r.Uint64()
				p.reach(h)
				p.reach(h) // again is no other
			}
			worst = max(worst, math.Abs(float64(p.reached()-n))/float64(max(n, 1)))
		}
		if worst > 0.45 { // three times the error of 64 registers
			t.Errorf("%d destinations are misjudged by %.0f %%", n, 100*worst)
		}
	}
}

func TestUnweightedSignalsCountTheSame(t *testing.T) {
	added := func(c ProfilesConfig) float64 {
		m := profiles(t, c)
		at := int64(start)
		routine(t, m, rand.New(rand.NewPCG(1, 2)), "clerk", 300, &at)
		q := call("clerk", "crm/get", "", at+60_000)
		q.Context.Flow.State, q.Context.Flow.Session.Untrusted = action.StateKnown, action.Yes // a session as it never was: class
		_, bits, err := m.Follow(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return bits
	}
	if usual, same := added(ProfilesConfig{}), added(ProfilesConfig{Unweighted: true}); same < usual+3 {
		t.Errorf("%.1f bits with weights, %.1f without", usual, same)
	}
}
