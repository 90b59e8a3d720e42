// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/action"
)

func TestSwitchWithoutARefreshedLeaseDenies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := d.switchConfig()
		var cut atomic.Bool // off from whoever orders kills
		var slow atomic.Bool
		c.Lease = time.Second
		c.Refresh = func(ctx context.Context) error {
			if slow.Load() {
				<-ctx.Done()
				return ctx.Err()
			}
			if cut.Load() {
				return errors.New("no answer")
			}
			return nil
		}
		s := d.openSwitch(t, c)
		sub := d.subject(t)
		owned := func(when string, want action.Tri) {
			t.Helper()
			if k := s.Standing(t.Context(), sub, "s1"); k.Owned != want {
				t.Errorf("%s the cell is owned: %q", when, k.Owned)
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		owned("after the first refresh", action.Yes)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		owned("while it is refreshed", action.Yes)
		cut.Store(true)
		time.Sleep(850 * time.Millisecond)
		synctest.Wait()
		owned("just after it was cut off", action.Yes)
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		owned("a second after it was cut off", action.No)
		cut.Store(false)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		owned("once it is heard again", action.Yes)
		slow.Store(true)
		time.Sleep(1200 * time.Millisecond)
		synctest.Wait()
		owned("while no answer comes", action.No)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestLeaseThatWasNeverGrantedDenies(t *testing.T) {
	d := newDesk(t)
	c := d.switchConfig()
	c.Lease, c.Refresh = time.Second, func(context.Context) error { return errors.New("no answer") }
	s := d.openSwitch(t, c)
	s.refresh(t.Context())
	if k := s.Standing(t.Context(), d.subject(t), "s1"); k.Owned != action.No {
		t.Errorf("the cell is owned: %q", k.Owned)
	}
}

// TestPausedOwnerDenies lets time pass in which the loop does not come round, as in a stopped process.
func TestPausedOwnerDenies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		c := d.switchConfig()
		c.Lease = time.Second
		s := d.openSwitch(t, c)
		sub := d.subject(t)
		s.refresh(t.Context())
		time.Sleep(2 * time.Second)
		if k := s.Standing(t.Context(), sub, "s1"); k.Owned != action.No {
			t.Errorf("after a pause the cell is owned: %q", k.Owned)
		}
		s.refresh(t.Context())
		if k := s.Standing(t.Context(), sub, "s1"); k.Owned != action.Yes {
			t.Errorf("after the loop came round it is owned: %q", k.Owned)
		}
	})
}

func TestEverythingIsStoppedAndReleasedWithAFactor(t *testing.T) {
	all := Target{Scope: KillAll}
	passkey, sshKey := &Signed{Passkey: true}, &Signed{}
	d := newDesk(t)
	c := d.switchConfig()
	c.Factor = func() bool { return true }
	s := d.openSwitch(t, c)
	if _, err := s.Kill(t.Context(), ada, all, ""); !errors.Is(err, ErrFactor) {
		t.Fatalf("without a factor: %v", err)
	}
	if k := s.Standing(t.Context(), d.subject(t), "s1"); k.Killed != action.No {
		t.Fatalf("without a factor: %+v", k)
	}
	if _, err := s.Kill(t.Context(), ada, Target{Scope: KillTenant}, ""); err != nil {
		t.Fatalf("a tenant: %v", err)
	}
	signed := func(a Actor, s *Signed) Actor { a.Signed = s; return a }
	if _, err := s.Kill(t.Context(), signed(ada, sshKey), all, ""); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		by   Actor
		want error
	}{
		{"without a factor", ada, ErrFactor},
		{"the first", signed(ada, sshKey), ErrSecond},
		{"the second without a factor", bob, ErrFactor},
		{"the second", signed(bob, sshKey), nil},
	} {
		if err := s.Release(t.Context(), c.by, all, ""); !errors.Is(err, c.want) {
			t.Fatalf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	t.Run("a single operator", func(t *testing.T) {
		d := newDesk(t)
		c := d.switchConfig()
		now := time.UnixMilli(1_790_000_000_000)
		c.Factor, c.SingleOperator, c.Now = func() bool { return true }, true, func() time.Time { return now }
		s := d.openSwitch(t, c)
		if _, err := s.Kill(t.Context(), signed(ada, passkey), all, ""); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name  string
			after time.Duration
			by    Actor
			want  error
		}{
			{"with an SSH key", 0, signed(ada, sshKey), ErrFactor},
			{"for the first time", 0, signed(ada, passkey), ErrWait},
			{"too early", 30 * time.Second, signed(ada, passkey), ErrWait},
			{"too late, which begins anew", time.Hour, signed(ada, passkey), ErrWait},
			{"in time", time.Minute, signed(ada, passkey), nil},
		} {
			now = now.Add(c.after)
			if err := s.Release(t.Context(), c.by, all, ""); !errors.Is(err, c.want) {
				t.Fatalf("%s: %v, want %v", c.name, err, c.want)
			}
		}
	})
}
