// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/modelsig"
	"github.com/sallyport/sallyport/attest/provenance"
	"github.com/sallyport/sallyport/attest/tpm"
)

// Claim is evidence with all that it is bound to. Whoever hands it in has checked that the caller holds the
// session key.
type Claim struct {
	Subject    action.Subject // the caller, by its credential
	Until      time.Time      // when that credential ends; zero: not before the lease
	Challenge  Challenge      // taken
	Key        string         // thumbprint of the session key
	Exporter   []byte         // of the TLS connection; nil without TLS
	Lease      string         // to renew; "" asks for a new one
	Kind       string         // "tpm", "sgx", "tdx", "supervisor" or "software"
	Evidence   []byte         // for "supervisor" and "software": empty
	Log        []attest.Event
	Signature  []byte // bundle of a model signature; may be empty
	Provenance []byte // bundle about the program's build; may be empty
	Supervised bool   // the kernel says that the caller is a supervisor of ours
}

// Appraisal is a claim as it was weighed, which is what the record holds.
type Appraisal struct {
	Format   int    `json:"format"`
	Agent    string `json:"agent"`
	Lease    string `json:"lease"`
	TimeMs   int64  `json:"time_ms"`
	Bind     string `json:"bind"` // hex of what the evidence is bound to
	Kind     string `json:"kind"`
	Evidence []byte `json:"evidence"` // base64
	Sig      []byte `json:"model_signature"`
	Built    []byte `json:"provenance"`
	Input    *Input `json:"input"`
	Result   Result `json:"result"`
	Error    string `json:"error"` // why the evidence was refused before it could be weighed
}

// Grant verifies and appraises a claim. It returns the new or renewed lease, once that is on record. ErrRefused
// says that there is none; a lease that was to be renewed has ended then.
func (b *Book) Grant(ctx context.Context, c Claim) (Lease, error) {
	if err := b.room(&c); err != nil {
		return Lease{}, err
	}
	checked := b.rechecks.Load()
	a, facts, err := b.weigh(ctx, &c)
	if err != nil {
		return Lease{}, err
	}
	p, _ := b.c.Profile(c.Subject.Tenant, c.Subject.ID)
	now := b.c.Now()
	l := &Lease{ID: c.Lease, Tenant: c.Subject.Tenant, Agent: c.Subject.ID, SPIFFE: p.ID, Key: c.Key, Subject: c.Subject, Kind: c.Kind,
		Vector: a.Result.Vector, Status: a.Result.Status(), Why: a.Result.Why, Component: a.Result.Component, Granted: now, Renewed: now, Evidence: attest.Digest(c.Evidence),
		proof: keepProof(&c, a)}
	if a.Input != nil {
		l.Assurance, l.Model = a.Input.Assurance, a.Input.Model
		_, l.Weights = modelLevel(4, a.Input.Measured, nil)
	}
	if facts != nil {
		l.Test, l.Debug, l.TCB = facts.Test, facts.Debug, Unknown
		if facts.TCB != nil {
			l.TCB, l.Advisory = facts.TCB.Status, facts.TCB.Advisories
		}
		l.Ends = ends(now, a.Result.LeaseS, facts.Until, c.Until)
	}
	granted := a.Error == "" && a.Result.LeaseS > 0 && now.Before(l.Ends)
	if l.ID == "" {
		id, err := b.random(16)
		if err != nil {
			return Lease{}, err
		}
		l.ID = hex.EncodeToString(id)
	}
	a.Lease = l.ID
	if !granted {
		return Lease{}, b.refuse(ctx, &c, l, a)
	}
	if err := b.seen(ctx, &c, facts); err != nil {
		return Lease{}, err
	}
	out, err := b.enter(ctx, &c, l, a)
	if err != nil || l.proof == nil || b.rechecks.Load() == checked {
		return out, err
	}
	// Collateral changed after the evidence was held against it, and before Recheck could see this lease.
	if _, err := b.recheck(ctx, l); err != nil {
		return Lease{}, err
	}
	if out, err = b.Lease(l.ID); err != nil {
		return Lease{}, fmt.Errorf("%w: by the collateral that has just come", ErrRefused)
	}
	return out, nil
}

// ends is when a lease ends: the first of what the policy gives, the collateral and the credential.
func ends(now time.Time, seconds int64, bounds ...time.Time) time.Time {
	out := now.Add(time.Duration(min(max(seconds, 0), int64(MaxLease/time.Second))) * time.Second)
	for _, t := range bounds {
		if !t.IsZero() && t.Before(out) {
			out = now.Add(t.Sub(now))
		}
	}
	return out
}

// room refuses a claim that could not be kept, and a renewal of what is not the caller's or has ended.
func (b *Book) room(c *Claim) error {
	if c.Key == "" || c.Subject.ID == "" || c.Subject.Tenant == "" || len(c.Challenge.Nonce) == 0 {
		return fmt.Errorf("%w claim: no key, subject or challenge", ErrMalformed)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.c.Now()
	if c.Lease != "" {
		l, ok := b.leases[c.Lease]
		if !ok || !l.live(now) || l.Key != c.Key || l.Tenant != c.Subject.Tenant || l.Agent != c.Subject.ID {
			return fmt.Errorf("%w: %q", ErrNotFound, action.Clip(c.Lease, 64))
		}
		return nil
	}
	b.sweep(now)
	own := 0
	for _, l := range b.leases {
		if l.Tenant == c.Subject.Tenant && l.Agent == c.Subject.ID && l.live(now) {
			own++
		}
	}
	if own >= maxPerAgent || len(b.leases) >= maxLeases {
		return fmt.Errorf("%w leases", ErrBusy)
	}
	return nil
}

// weigh verifies the evidence and asks the policy. Evidence that is refused is no error: the appraisal says so.
func (b *Book) weigh(ctx context.Context, c *Claim) (*Appraisal, *attest.Facts, error) {
	bind, err := attest.Bind(c.Challenge.Nonce, c.Key, c.Exporter, c.Log, c.Challenge.Head)
	if err != nil {
		return nil, nil, err
	}
	a := &Appraisal{Format: 1, Agent: c.Subject.ID, TimeMs: b.c.Now().UnixMilli(), Bind: hex.EncodeToString(bind), Kind: c.Kind,
		Evidence: c.Evidence, Sig: c.Signature, Built: c.Provenance, Result: Result{Vector: Vector{Executables: 97, Instance: 97}}}
	facts, chip, err := b.verify(ctx, c, bind)
	if err != nil {
		a.Error = err.Error()
		a.Result.Why = []string{action.Clip(err.Error(), 256)}
		return a, nil, nil
	}
	in := b.input(c, facts, chip)
	a.Input = &in
	if len(c.Signature) > 0 {
		if in.Statement, err = modelsig.Statement(b.c.Model, c.Signature, b.c.Now()); err != nil {
			a.Error = err.Error()
			a.Result.Why = []string{action.Clip(err.Error(), 256)}
			return a, facts, nil
		}
		in.Model, _ = modelLevel(in.Assurance, in.Measured, in.Statement)
	}
	if len(c.Provenance) > 0 {
		if in.Provenance, err = b.built(c.Provenance, b.c.Now()); err != nil {
			a.Error = err.Error()
			a.Result.Why = []string{action.Clip(err.Error(), 256)}
			return a, facts, nil
		}
	}
	r, err := b.ask(ctx, in)
	if err != nil {
		a.Error = "appraisal: " + err.Error()
		a.Result.Why = []string{"the policy could not appraise the evidence"}
		return a, facts, nil
	}
	a.Result = r
	return a, facts, nil
}

// ask is the policy's answer, with its reasons bounded.
func (b *Book) ask(ctx context.Context, in Input) (Result, error) {
	r, err := b.c.Appraise(ctx, in)
	if err != nil {
		return Result{Vector: Vector{Executables: 97, Instance: 97}}, err
	}
	r.Why = slices.Clone(r.Why[:min(len(r.Why), maxWhy)])
	for i := range r.Why {
		r.Why[i] = action.Clip(r.Why[i], 256)
	}
	r.Component = action.Clip(r.Component, 64)
	return r, nil
}

// built verifies where a build comes from, by the signers whose models count.
func (b *Book) built(bundle []byte, now time.Time) (*attest.Provenance, error) {
	f, err := (&provenance.Verifier{Signers: b.c.Model}).Verify(context.Background(), bundle, attest.Options{Now: func() time.Time { return now }})
	if err != nil {
		return nil, err
	}
	return f.Provenance, nil
}

func (b *Book) input(c *Claim, facts *attest.Facts, chip keyRow) Input {
	p, _ := b.c.Profile(c.Subject.Tenant, c.Subject.ID)
	in := Input{Facts: facts, Supervised: action.TriOf(c.Supervised), Measured: run(facts.Measured), Known: chip.Known, Enrolled: chip.EK,
		Agent: p, Assurance: facts.Assurance(), CollateralAgeS: collateralAge(facts, b.c.Now())}
	in.Model, _ = modelLevel(in.Assurance, in.Measured, nil)
	return in
}

// verify checks the evidence of a claim by its kind.
func (b *Book) verify(ctx context.Context, c *Claim, bind []byte) (*attest.Facts, keyRow, error) {
	o := attest.Options{Now: b.c.Now, Nonce: bind}
	switch c.Kind {
	case "tpm":
		return b.quote(ctx, c, o)
	case "sgx", "tdx", "snp", "nitro":
		f, err := b.enclave(ctx, c.Kind, c.Evidence, bind)
		if err != nil {
			return nil, keyRow{}, err
		}
		f.Measured = c.Log // bound by the report data: the enclave's own word on what it loaded
		return f, keyRow{}, nil
	case "supervisor":
		if !c.Supervised {
			return nil, keyRow{}, attest.Refuse(attest.Unproved, "evidence: the caller is no supervisor of ours")
		}
	case "software":
	default:
		return nil, keyRow{}, attest.Refuse(attest.Unsupported, "evidence: kind %q", action.Clip(c.Kind, 32))
	}
	if len(c.Evidence) > 0 {
		return nil, keyRow{}, attest.Refuse(attest.Malformed, "evidence: the kind %q has none but its log", c.Kind)
	}
	if err := tpm.CheckLog(c.Log); err != nil {
		return nil, keyRow{}, err
	}
	return &attest.Facts{Kind: c.Kind, Evidence: attest.Digest(bind), Checked: b.c.Now(), Fresh: action.Yes, Debug: action.TriUnknown,
		Test: action.TriUnknown, Measured: c.Log}, keyRow{}, nil
}

// enclave verifies evidence of an enclave or trust domain, by the collateral at hand.
func (b *Book) enclave(ctx context.Context, kind string, evidence, bind []byte) (*attest.Facts, error) {
	v := b.c.Enclaves[kind]
	if v == nil {
		return nil, attest.Refuse(attest.Unsupported, "evidence: there is no collateral for %s", kind)
	}
	f, err := v.Verify(ctx, evidence, attest.Options{Now: b.c.Now, Nonce: reportData(kind, bind)})
	if err == nil && f.Kind != kind {
		err = attest.Refuse(attest.Mismatch, "evidence: of kind %q, not %q", f.Kind, kind)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// reportData is what evidence of a kind must carry of bind: report data has 64 bytes, a Nitro document takes it as it is.
func reportData(kind string, bind []byte) []byte {
	if kind == "nitro" {
		return bind
	}
	return append(slices.Clone(bind), make([]byte, 32)...)
}

// quote verifies a TPM's quote by a key that the agent has enrolled.
func (b *Book) quote(ctx context.Context, c *Claim, o attest.Options) (*attest.Facts, keyRow, error) {
	p, _ := b.c.Profile(c.Subject.Tenant, c.Subject.ID)
	var row keyRow
	v, err := tpm.New(tpm.Config{PCRs: p.Registers, Roots: b.c.Roots, Enrolled: func(key string) (string, bool) {
		b.mu.Lock()
		defer b.mu.Unlock()
		r, ok := b.keys[rowKey(c.Subject.Tenant, key)]
		if !ok || r.Agent != c.Subject.ID {
			return "", false
		}
		row = r
		return r.EK, true
	}})
	if err != nil {
		return nil, row, attest.RefuseFor(err, attest.Unsupported, "agent's registers")
	}
	f, err := v.Verify(ctx, c.Evidence, o)
	if err != nil {
		return nil, row, err
	}
	want, err := action.Canonical(c.Log)
	if err != nil {
		return nil, row, err
	}
	have, err := action.Canonical(f.Platform.Log)
	if err != nil || !bytes.Equal(want, have) {
		return nil, row, attest.Refuse(attest.Mismatch, "log: not the one that the evidence is bound to")
	}
	f.Measured = f.Platform.Log
	return f, row, nil
}

// enter puts a lease on record and into force. While the record was made another renewal, or an end, may have
// come: an ended lease stays ended.
func (b *Book) enter(ctx context.Context, c *Claim, l *Lease, a *Appraisal) (Lease, error) {
	code := CodeGranted
	if c.Lease != "" {
		code = CodeRenewed
	}
	if err := b.record(ctx, l, code, a); err != nil {
		return Lease{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.Lease != "" {
		old, ok := b.leases[l.ID]
		if !ok || old.Ended != "" {
			return Lease{}, fmt.Errorf("%w: %q has ended", ErrNotFound, l.ID)
		}
		l.Granted = old.Granted
	}
	b.leases[l.ID] = l
	return *l, nil
}

// refuse records a refusal and ends what was to be renewed.
func (b *Book) refuse(ctx context.Context, c *Claim, l *Lease, a *Appraisal) error {
	b.mu.Lock()
	if old, ok := b.leases[c.Lease]; ok && c.Lease != "" {
		ended := *l
		ended.Ended, ended.Granted, ended.Ends = CodeRefused, old.Granted, b.c.Now()
		b.leases[l.ID] = &ended
	}
	b.mu.Unlock()
	why := ErrRefused
	for _, w := range a.Result.Why {
		why = fmt.Errorf("%w: %s", why, w)
	}
	return errors.Join(why, b.record(ctx, l, CodeRefused, a))
}
