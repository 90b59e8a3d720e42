// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/store/memory"
)

// desk is a book over a store in memory, with a clock that stands until it is moved.
type desk struct {
	*Book
	now     time.Time
	records []action.Record
	answer  func(in Input) (Result, error)
	fail    error
}

func open(t testing.TB, change func(*Config)) *desk {
	t.Helper()
	d := &desk{now: time.Unix(1_800_000_000, 0), answer: func(Input) (Result, error) {
		return Result{Vector: Vector{Executables: 2, Instance: 2}, LeaseS: 60}, nil
	}}
	var mu sync.Mutex
	c := Config{Store: memory.Open(memory.Config{}), Key: make([]byte, 32), Now: func() time.Time { return d.now },
		Record: func(_ context.Context, r *action.Record) (action.Receipt, error) {
			mu.Lock()
			defer mu.Unlock()
			d.records = append(d.records, *r)
			return action.Receipt{}, d.fail
		},
		Appraise: func(_ context.Context, in Input) (Result, error) { return d.answer(in) },
		Profile: func(_, agent string) (Profile, bool) {
			return Profile{ID: "spiffe://e/" + agent, Kinds: []string{"software"}, LeaseS: 60}, agent != "free"
		},
		Fingerprint: func(string, ...[]byte) string { return "print" }}
	if change != nil {
		change(&c)
	}
	b, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	d.Book = b
	return d
}

func subject(agent string) *action.Subject {
	s := action.NewQuery(action.Before).Subject
	s.ID, s.Tenant = agent, "default"
	s.Channel.Credential, s.Channel.CredID = action.CredentialToken, "token-of-"+agent
	return &s
}

var aLog = []attest.Event{{PCR: 13, Kind: "executable", Digest: strings.Repeat("ab", 32)}}

func (d *desk) grant(t testing.TB, agent, held string) (Lease, error) {
	t.Helper()
	ch, err := d.Challenge(subject(agent))
	if err != nil {
		t.Fatal(err)
	}
	if ch, err = d.Take(subject(agent), ch.ID); err != nil {
		t.Fatal(err)
	}
	return d.Grant(context.Background(), Claim{Subject: *subject(agent), Challenge: ch, Key: "key-of-" + agent, Lease: held, Kind: "software", Log: aLog})
}

// facts are what a decision sees of an agent that acts under a lease.
func (d *desk) facts(t testing.TB, agent, id string) action.Attestation {
	t.Helper()
	q := action.NewQuery(action.Before)
	q.Subject = *subject(agent)
	if id != "" {
		q.Subject.Channel.Credential, q.Subject.Channel.CredID = action.CredentialDPoP, CredentialPrefix+id
	}
	p, err := d.Inform(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	return p.(action.Attestation)
}

func TestLeasesLapseByThemselves(t *testing.T) {
	d := open(t, nil)
	l, err := d.grant(t, "payer", "")
	if err != nil {
		t.Fatal(err)
	}
	if f := d.facts(t, "payer", l.ID); f.Needed != action.Yes || f.LeaseS != 60 || f.Assurance != 1 || f.Executable != Affirming || !d.Held(CredentialPrefix+l.ID) {
		t.Errorf("%+v", f)
	}
	d.now = d.now.Add(59 * time.Second)
	if f := d.facts(t, "payer", l.ID); f.LeaseS != 1 {
		t.Errorf("a second before: %d s", f.LeaseS)
	}
	d.now = d.now.Add(time.Second)
	if f := d.facts(t, "payer", l.ID); f.LeaseS != 0 || f.Assurance != 0 || f.Needed != action.Yes || d.Held(CredentialPrefix+l.ID) {
		t.Errorf("lapsed: %+v", f)
	}
	if _, err := d.grant(t, "payer", l.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("a lapsed lease is renewed: %v", err)
	}
	for _, f := range []action.Attestation{d.facts(t, "payer", ""), d.facts(t, "payer", "00"), d.facts(t, "other", l.ID)} {
		if f.Needed != action.Yes || f.LeaseS != 0 || f.Assurance != 0 || f.State != action.StateKnown {
			t.Errorf("without a lease of its own: %+v", f)
		}
	}
	if f := d.facts(t, "free", ""); f.Needed != action.No {
		t.Errorf("an agent without reference values: %+v", f)
	}
}

func TestRenewalNeedsFreshEvidenceOfTheSameKey(t *testing.T) {
	d := open(t, nil)
	l, err := d.grant(t, "payer", "")
	if err != nil {
		t.Fatal(err)
	}
	d.now = d.now.Add(40 * time.Second)
	again, err := d.grant(t, "payer", l.ID)
	if err != nil || again.ID != l.ID || again.Ends.Sub(d.now) != time.Minute || !again.Granted.Equal(l.Granted) {
		t.Fatalf("%+v %v", again, err)
	}
	if _, err := d.grant(t, "other", l.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("another agent renews it: %v", err)
	}
	ch, err := d.Challenge(subject("payer"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Grant(t.Context(), Claim{Subject: *subject("payer"), Challenge: ch, Key: "another", Lease: l.ID, Kind: "software", Log: aLog}); !errors.Is(err, ErrNotFound) {
		t.Errorf("another key renews it: %v", err)
	}
	d.answer = func(Input) (Result, error) {
		return Result{Vector: Vector{Executables: 96}, Why: []string{"the program was swapped"}}, nil
	}
	if _, err := d.grant(t, "payer", l.ID); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "swapped") {
		t.Fatal(err)
	}
	if f := d.facts(t, "payer", l.ID); f.LeaseS != 0 || f.Executable != Contraindicated {
		t.Errorf("after a refused renewal: %+v", f)
	}
	last := d.records[len(d.records)-1]
	if !slices.Contains(last.Codes, CodeRefused) || last.Status != action.StatusRefused || !strings.Contains(string(last.Part(action.PartDetail)), "swapped") {
		t.Errorf("the record: %+v", last)
	}
}

func TestNoLeaseOutlivesWhatItRestsOn(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		name       string
		seconds    int64
		collateral time.Time
		credential time.Time
		want       time.Duration
	}{
		{"the policy's word", 60, time.Time{}, time.Time{}, time.Minute},
		{"never longer than the bound", 1 << 40, time.Time{}, time.Time{}, MaxLease},
		{"the collateral ends first", 60, now.Add(20 * time.Second), time.Time{}, 20 * time.Second},
		{"the user's token ends first", 60, now.Add(20 * time.Second), now.Add(10 * time.Second), 10 * time.Second},
		{"it has ended", 60, time.Time{}, now.Add(-time.Second), -time.Second},
		{"nothing is given", 0, time.Time{}, time.Time{}, 0},
		{"less than nothing", -5, time.Time{}, time.Time{}, 0},
	} {
		if got := ends(now, c.seconds, c.collateral, c.credential).Sub(now); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestWhatThePolicyDoesNotGiveIsNotGiven(t *testing.T) {
	for name, answer := range map[string]func(Input) (Result, error){
		"it fails":             func(Input) (Result, error) { return Result{LeaseS: 60}, errors.New("broken") },
		"it gives no lease":    func(Input) (Result, error) { return Result{Vector: Vector{Executables: 2}}, nil },
		"it gives one of less": func(Input) (Result, error) { return Result{LeaseS: -1}, nil },
	} {
		d := open(t, nil)
		d.answer = answer
		if l, err := d.grant(t, "payer", ""); err == nil {
			t.Errorf("%s: %+v", name, l)
		}
		if len(d.Leases("default")) != 0 || len(d.records) != 1 {
			t.Errorf("%s: %d leases, %d records", name, len(d.Leases("default")), len(d.records))
		}
	}
	d := open(t, nil)
	d.fail = errors.New("disk full")
	if _, err := d.grant(t, "payer", ""); err == nil || len(d.Leases("default")) != 0 {
		t.Errorf("a lease that is not on record: %v", err)
	}
}

func TestEndingALeaseIsAtOnce(t *testing.T) {
	d := open(t, nil)
	l, err := d.grant(t, "payer", "")
	if err != nil {
		t.Fatal(err)
	}
	d.fail = errors.New("disk full")
	if n, err := d.End(t.Context(), func(x *Lease) bool { return x.Agent == "payer" }, CodeEnded, "ops", "drill"); n != 1 || err == nil {
		t.Errorf("%d %v", n, err)
	}
	if d.Held(CredentialPrefix+l.ID) || d.facts(t, "payer", l.ID).LeaseS != 0 {
		t.Error("it holds because its end could not be recorded")
	}
	if _, err := d.grant(t, "payer", l.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("an ended lease is renewed: %v", err)
	}
}

// TestChallengesServeOnceUnderConcurrency races for one nonce.
func TestChallengesServeOnceUnderConcurrency(t *testing.T) {
	d := open(t, nil)
	for range 50 {
		ch, err := d.Challenge(subject("payer"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Take(subject("other"), ch.ID); !errors.Is(err, ErrChallenge) {
			t.Fatal("another agent takes it")
		}
		var taken atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := d.Take(subject("payer"), ch.ID); err == nil {
					taken.Add(1)
				}
			})
		}
		wg.Wait()
		if taken.Load() != 1 {
			t.Fatalf("taken %d times", taken.Load())
		}
	}
	ch, err := d.Challenge(subject("payer"))
	if err != nil {
		t.Fatal(err)
	}
	d.now = d.now.Add(ChallengeFor)
	if _, err := d.Take(subject("payer"), ch.ID); !errors.Is(err, ErrChallenge) {
		t.Error("an expired challenge is taken")
	}
}

func TestOneAgentCannotFillTheBook(t *testing.T) {
	d := open(t, nil)
	for range 4 * maxPerAgent {
		if _, err := d.Challenge(subject("greedy")); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.challenges) != maxPerAgent {
		t.Errorf("%d challenges are open", len(d.challenges))
	}
	for i := range maxPerAgent {
		if _, err := d.grant(t, "greedy", ""); err != nil {
			t.Fatal(i, err)
		}
	}
	if _, err := d.grant(t, "greedy", ""); !errors.Is(err, ErrBusy) {
		t.Errorf("more leases than the bound: %v", err)
	}
	if _, err := d.grant(t, "payer", ""); err != nil {
		t.Errorf("another agent: %v", err)
	}
	d.now = d.now.Add(time.Minute + remembered + time.Second)
	if _, err := d.grant(t, "greedy", ""); err != nil || len(d.Leases("default")) != 1 {
		t.Errorf("what is over is remembered for ever: %d, %v", len(d.Leases("default")), err)
	}
}

func TestKindsWithoutProofAreToldApart(t *testing.T) {
	d := open(t, nil)
	var seen Input
	d.answer = func(in Input) (Result, error) { seen = in; return Result{LeaseS: 60}, nil }
	model := append(slices.Clone(aLog), attest.Event{PCR: 13, Kind: "model", Digest: strings.Repeat("cd", 32)})
	for _, c := range []struct {
		name      string
		claim     Claim
		assurance int
		model     int
		refused   bool
	}{
		{"the agent's word", Claim{Kind: "software", Log: model}, 1, 0, false},
		{"our supervisor", Claim{Kind: "supervisor", Log: model, Supervised: true}, 2, 1, false},
		{"somebody who says that he is our supervisor", Claim{Kind: "supervisor", Log: model}, 0, 0, true},
		{"a supervisor that measured nothing", Claim{Kind: "supervisor", Supervised: true}, 1, 0, false},
		{"a chip that is not there", Claim{Kind: "tpm", Log: model, Evidence: []byte("{}")}, 0, 0, true},
		{"an enclave without collateral", Claim{Kind: "sgx", Evidence: []byte("x")}, 0, 0, true},
		{"an unknown kind", Claim{Kind: "word of honour"}, 0, 0, true},
		{"evidence where there is none", Claim{Kind: "software", Evidence: []byte("x")}, 0, 0, true},
		{"a log that no register takes", Claim{Kind: "software", Log: []attest.Event{{PCR: 23, Kind: "executable", Digest: strings.Repeat("ab", 32)}}}, 0, 0, true},
		{"a model signature of nobody", Claim{Kind: "supervisor", Log: model, Supervised: true, Signature: []byte("{}")}, 0, 0, true},
	} {
		seen = Input{}
		ch, err := d.Challenge(subject("payer"))
		if err != nil {
			t.Fatal(err)
		}
		c.claim.Subject, c.claim.Challenge, c.claim.Key = *subject("payer"), ch, "k"
		l, err := d.Grant(t.Context(), c.claim)
		if (err != nil) != c.refused || l.Assurance != c.assurance || l.Model != c.model {
			t.Errorf("%s: A%d M%d, %v", c.name, l.Assurance, l.Model, err)
		}
		if c.refused && seen.Facts != nil {
			t.Errorf("%s: the policy was asked", c.name)
		}
	}
}

func TestOnlyTheLastRunCounts(t *testing.T) {
	e := func(kind string) attest.Event { return attest.Event{Kind: kind} }
	for _, c := range []struct{ log, want []attest.Event }{
		{nil, nil},
		{[]attest.Event{e("a"), e("b")}, []attest.Event{e("a"), e("b")}},
		{[]attest.Event{e("run"), e("a"), e("run"), e("b"), e("c")}, []attest.Event{e("b"), e("c")}},
		{[]attest.Event{e("a"), e("run")}, nil},
	} {
		if got := run(c.log); !slices.Equal(got, c.want) {
			t.Errorf("%v of %v", got, c.log)
		}
	}
}

func TestTiersOfUndefinedValuesAreTheWorst(t *testing.T) {
	for v := -300; v <= 300; v++ {
		got := Tier(v)
		if (v < 0 || v > 95) && got != Contraindicated {
			t.Errorf("%d is %s", v, got)
		}
	}
	for v, want := range map[int]string{0: Unknown, 1: Unknown, 2: Affirming, 31: Affirming, 32: Warning, 95: Warning, 96: Contraindicated, 127: Contraindicated} {
		if Tier(v) != want {
			t.Errorf("%d is %s", v, Tier(v))
		}
	}
	if s := (Vector{Executables: 2, Hardware: 33, Instance: 2}).Status(); s != Warning {
		t.Errorf("the worst claim does not make the status: %s", s)
	}
}

// TestAForeignRowStopsTheStart changes what the store holds.
func TestAForeignRowStopsTheStart(t *testing.T) {
	st := memory.Open(memory.Config{})
	row := keyRow{Tenant: "default", Agent: "payer", Key: "aa", EK: "sha256:x"}
	d := open(t, func(c *Config) { c.Store = st })
	if err := d.put(t.Context(), &row); err != nil {
		t.Fatal(err)
	}
	again := func(past func(context.Context, func(*action.Record) error) error) (*Book, error) {
		c := d.c
		c.Past = past
		return Open(t.Context(), c)
	}
	if b, err := again(nil); err != nil || len(b.Keys("default")) != 1 {
		t.Fatalf("%v", err)
	}
	nothing := func(context.Context, func(*action.Record) error) error { return nil }
	if b, err := again(nothing); err != nil || len(b.Keys("default")) != 0 {
		t.Errorf("a key that the ledger does not know: %v", err)
	}
	known := func(_ context.Context, fn func(*action.Record) error) error {
		return fn(&action.Record{Kind: action.KindAttestation, Tenant: "default", Subject: "aa", Codes: []string{CodeEnrolled},
			Binding: d.mac("enrolled", rowKey("default", "aa"), "payer", "sha256:x")})
	}
	if b, err := again(known); err != nil || len(b.Keys("default")) != 1 {
		t.Errorf("a key that the ledger knows: %v", err)
	}
	e, err := st.Get(t.Context(), rowKey("default", "aa"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Put(t.Context(), e.Key, []byte(strings.Replace(string(e.Value), "payer", "thief", 1)), e.Revision); err != nil {
		t.Fatal(err)
	}
	if _, err := again(nil); err == nil {
		t.Error("a changed row is read")
	}
}

func BenchmarkGrant(b *testing.B) {
	d := open(b, nil)
	for b.Loop() {
		l, err := d.grant(b, "payer", "")
		if err != nil {
			b.Fatal(err)
		}
		delete(d.leases, l.ID)
	}
}

func ExampleVector_Status() {
	fmt.Println(Vector{Executables: 96}.Status())
	// Output: contraindicated
}
