// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// platform is a verifier whose collateral can be exchanged.
type platform struct {
	mu     sync.Mutex
	status string
	stated time.Time
	until  time.Time
	err    error
	during func() // while it verifies
	nonces []string
}

func (p *platform) Verify(_ context.Context, _ []byte, o attest.Options) (*attest.Facts, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nonces = append(p.nonces, string(o.Nonce))
	f := &attest.Facts{Kind: "sgx", Checked: o.Time(), Fresh: action.Yes, Debug: action.No, Test: action.No, Stated: p.stated, Until: p.until,
		TCB: &attest.TCB{Status: p.status}, Enclave: &attest.Enclave{MrEnclave: "aa"}}
	if p.during != nil {
		p.during()
	}
	return f, p.err
}

func (p *platform) set(change func(p *platform)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// enclaved is a desk whose agent runs in an enclave. Its policy takes what is UpToDate and at most a day old.
func enclaved(t *testing.T) (*desk, *platform) {
	p := &platform{status: "UpToDate"}
	d := open(t, func(c *Config) { c.Enclaves = map[string]attest.Verifier{"sgx": p} })
	p.stated = d.now.Add(-time.Hour)
	d.answer = func(in Input) (Result, error) {
		r := Result{Vector: Vector{Instance: 2, Hardware: 2}, LeaseS: 60}
		if in.Facts.TCB.Status != "UpToDate" || in.CollateralAgeS < 0 || in.CollateralAgeS > 24*3600 {
			r.Hardware, r.LeaseS, r.Why = 96, 0, []string{"the platform is " + in.Facts.TCB.Status}
		}
		return r, nil
	}
	return d, p
}

func (d *desk) enclave(t testing.TB, held string) (Lease, error) {
	t.Helper()
	ch, err := d.Challenge(subject("payer"))
	if err != nil {
		t.Fatal(err)
	}
	if ch, err = d.Take(subject("payer"), ch.ID); err != nil {
		t.Fatal(err)
	}
	return d.Grant(context.Background(), Claim{Subject: *subject("payer"), Challenge: ch, Key: "key", Lease: held, Kind: "sgx", Evidence: []byte("quote"), Log: aLog})
}

// TestNewCollateralCountsAtOnce gives a lease, and then lets the maker of the platform say something else.
func TestNewCollateralCountsAtOnce(t *testing.T) {
	for _, c := range []struct {
		name  string
		then  func(d *desk, p *platform)
		holds bool
		why   string
	}{
		{"nothing new", func(*desk, *platform) {}, true, ""},
		{"newer, and as good", func(d *desk, p *platform) { p.stated = d.now }, true, ""},
		{"revoked", func(_ *desk, p *platform) {
			p.err = attest.Refuse(attest.Revoked, "platform: Intel revoked its TCB level")
		}, false, "revoked its TCB level"},
		{"out of date", func(_ *desk, p *platform) { p.status = "OutOfDate" }, false, "the platform is OutOfDate"},
		{"gone", func(_ *desk, p *platform) { p.err = attest.Refuse(attest.Missing, "collateral: none") }, false, "collateral: none"},
		{"too old by now", func(d *desk, p *platform) { p.stated = d.now.Add(-25 * time.Hour) }, false, "the platform is UpToDate"},
		{"of unknown age", func(_ *desk, p *platform) { p.stated = time.Time{} }, false, "the platform is UpToDate"},
		{"a policy that fails", func(d *desk, _ *platform) {
			d.answer = func(Input) (Result, error) { return Result{LeaseS: 60}, errors.New("no answer") }
		}, false, "no answer"},
		{"a policy that would give more", func(d *desk, _ *platform) {
			d.answer = func(Input) (Result, error) { return Result{Vector: Vector{Instance: 2, Hardware: 2}, LeaseS: 300}, nil }
		}, true, ""},
	} {
		d, p := enclaved(t)
		l, err := d.enclave(t, "")
		if err != nil {
			t.Fatal(c.name, err)
		}
		c.then(d, p)
		n, err := d.Recheck(t.Context())
		if err != nil || (n == 0) != c.holds || d.Held(CredentialPrefix+l.ID) != c.holds {
			t.Errorf("%s: %d have ended, held %v, %v", c.name, n, d.Held(CredentialPrefix+l.ID), err)
			continue
		}
		if got, _ := d.Known(l.ID); got.Ends.After(l.Ends) {
			t.Errorf("%s: it has got longer: %s, was %s", c.name, got.Ends, l.Ends)
		}
		if p.nonces[0] != p.nonces[1] {
			t.Errorf("%s: it was held against another nonce", c.name)
		}
		if c.holds {
			continue
		}
		last := d.records[len(d.records)-1]
		if !slices.Contains(last.Codes, CodePlatform) || last.Status != action.StatusRefused || last.Assurance != 0 || last.Subject != l.ID {
			t.Errorf("%s: on record as %+v", c.name, last)
		}
		if got, ok := d.Known(l.ID); !ok || got.Ended != CodePlatform || !strings.Contains(strings.Join(got.Why, ";"), c.why) {
			t.Errorf("%s: %+v", c.name, got)
		}
		if f := d.facts(t, "payer", l.ID); f.LeaseS != 0 || f.Assurance != 0 || f.Needed != action.Yes {
			t.Errorf("%s: facts %+v", c.name, f)
		}
		if _, err := d.enclave(t, l.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: it can be renewed: %v", c.name, err)
		}
	}
}

// TestALeaseThatIsBeingGrantedSeesNewCollateral lets the collateral change between the look at the evidence and the lease.
func TestALeaseThatIsBeingGrantedSeesNewCollateral(t *testing.T) {
	d, p := enclaved(t)
	calls := 0
	p.during = func() {
		if calls++; calls == 1 {
			p.err = attest.Refuse(attest.Revoked, "platform: Intel revoked its TCB level")
			if n, err := d.Recheck(context.Background()); n != 0 || err != nil {
				t.Errorf("%d leases ended, %v", n, err)
			}
		}
	}
	ch, err := d.Challenge(subject("payer"))
	if err != nil {
		t.Fatal(err)
	}
	if ch, err = d.Take(subject("payer"), ch.ID); err != nil {
		t.Fatal(err)
	}
	d.c.Enclaves["sgx"] = before{p}
	if l, err := d.Grant(t.Context(), Claim{Subject: *subject("payer"), Challenge: ch, Key: "key", Kind: "sgx", Evidence: []byte("quote"), Log: aLog}); !errors.Is(err, ErrRefused) {
		t.Errorf("granted %+v, %v", l, err)
	}
	for _, l := range d.Leases("default") {
		if l.Live(d.now) {
			t.Errorf("in force: %+v", l)
		}
	}
}

// before answers with what held when it was asked.
type before struct{ p *platform }

func (b before) Verify(ctx context.Context, e []byte, o attest.Options) (*attest.Facts, error) {
	was := b.p.err
	f, _ := b.p.Verify(ctx, e, o)
	return f, was
}

// TestRecheckLeavesRenewedLeasesAlone renews a lease while the old one is looked at again.
func TestRecheckLeavesRenewedLeasesAlone(t *testing.T) {
	d, p := enclaved(t)
	l, err := d.enclave(t, "")
	if err != nil {
		t.Fatal(err)
	}
	old := d.leases[l.ID]
	if _, err := d.enclave(t, l.ID); err != nil {
		t.Fatal(err)
	}
	p.set(func(p *platform) { p.status = "OutOfDate" })
	if gone, err := d.recheck(t.Context(), old); gone || err != nil || !d.Held(CredentialPrefix+l.ID) {
		t.Errorf("ended %v, %v", gone, err)
	}
	if n, err := d.Recheck(t.Context()); n != 1 || err != nil {
		t.Errorf("%d ended, %v", n, err)
	}
}

func TestLeasesEndBeforeTheirCollateralDoes(t *testing.T) {
	d, p := enclaved(t)
	p.until = d.now.Add(7 * time.Second)
	l, err := d.enclave(t, "")
	if err != nil || !l.Ends.Equal(p.until) {
		t.Fatalf("ends %s, the collateral %s, %v", l.Ends, p.until, err)
	}
	p.until = d.now.Add(3 * time.Second)
	if n, err := d.Recheck(t.Context()); n != 0 || err != nil {
		t.Errorf("%d ended, %v", n, err)
	}
	if got, _ := d.Known(l.ID); !got.Ends.Equal(p.until) {
		t.Errorf("ends %s, the collateral %s", got.Ends, p.until)
	}
}
