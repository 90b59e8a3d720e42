// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/monitor"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/source"
	"github.com/sallyport/sallyport/store"
)

// The codes of policy records.
const (
	codeInForce   = "policy.in_force"  // at the owner's start
	codeActivated = "policy.activated" // while it runs
	codeRefused   = "policy.refused"   // with a second one that says why
	codeSettings  = "policy.settings_changed"
	codeUnfit     = "policy.unfit" // an alarm: a rule errs on the arguments of an approved tool
)

// maxCached bounds the old bundles that are held compiled.
const maxCached = 16

// bundles is what the owner knows of bundles beside the ones in force.
type bundles struct {
	folder   string        // DATA/bundles: every bundle that was ever in force
	settings string        // digest of the settings at the start
	changed  bool          // they were others at the start before
	root     *bundle.Trust // of the configuration; nil asks for no signatures

	mu    sync.Mutex       // one activation at a time
	mark  policy.Mark      // guarded by mu
	first *policy.Findings // of the bundle that was examined at the start

	source *source.Source // nil without policy.source; Run's once the owner is open

	cacheMu sync.Mutex
	cache   map[string]*policy.Compiled // guarded by cacheMu; by digest, for replay
}

// openPolicy takes the bundle that decides from now on. Without policy.trust that is policy.dir or the embedded
// baseline. With it, it is the newest one that was ever in force, from the owner's own copy; only an owner that has
// none examines policy.dir here, and does not start if that is refused.
func (s *Sallyport) openPolicy(ctx context.Context) (*policy.PDP, error) {
	b := &s.bundles
	b.folder = layout(s.Config.Data).bundles
	var err error
	if b.settings, err = s.Config.SettingsDigest(); err != nil {
		return nil, err
	}
	c := &s.Config.Policy
	if c.Trust == "" && c.Source != "" {
		return nil, errors.New("policy.source: wants policy.trust; what comes from elsewhere must be signed")
	}
	if c.Trust == "" {
		cfg := s.policyConfig()
		cfg.Dir, cfg.Now = c.Dir, s.Ledger.Now
		if c.Params != "" {
			if cfg.Params, err = os.ReadFile(c.Params); err != nil {
				return nil, fmt.Errorf("policy: params: %w", err)
			}
		}
		p, err := policy.Open(cfg)
		if err == nil {
			err = s.readable(p.Active().Source())
		}
		return p, err
	}
	if err := s.Config.loose(); err != nil {
		return nil, err
	}
	if c.Params != "" {
		return nil, errors.New("policy.trust: policy.params would replace a signed file; put params.yaml into the bundle and sign it")
	}
	data, err := os.ReadFile(c.Trust)
	if err != nil {
		return nil, fmt.Errorf("policy.trust: %w", err)
	}
	if b.root, err = bundle.ReadTrust(c.Trust, data); err != nil {
		return nil, fmt.Errorf("policy.trust: %w", err)
	}
	if b.source, err = s.policySource(); err != nil {
		return nil, err
	}
	if b.mark, err = s.newestBundle(ctx, b.root.Bundle); err != nil {
		return nil, fmt.Errorf("policy.trust: %w", err)
	}
	var lost error
	if b.mark.Digest != "" {
		last, err := s.keptBundle(b.mark.Digest)
		if err == nil {
			err = s.approvedFor(last)
		}
		if err == nil {
			return policy.New(last), nil
		}
		lost = fmt.Errorf("the bundle that was in force (%s@%d) is not usable: %w", b.root.Bundle, b.mark.Sequence, err)
	}
	first, err := s.firstBundle(ctx)
	if err != nil {
		return nil, errors.Join(lost, err)
	}
	return policy.New(first), nil
}

// approvedFor refuses a bundle that was put in force under other settings than those of this start, if it names some: who may change
// the configuration would otherwise change alone what two have signed.
func (s *Sallyport) approvedFor(c *policy.Compiled) error {
	want, is := c.Manifest().Settings, s.bundles.settings
	if want != "" && want != is {
		return fmt.Errorf("%w: %s, and now they are %s; put them back, or put a newer bundle into policy.dir that is signed for these", policy.ErrSettings, want, is)
	}
	return s.readable(c.Source())
}

func (s *Sallyport) policyConfig() policy.Config { return policy.Config{Alarm: s.policyAlarm} }

// firstBundle examines policy.dir for an owner that has no bundle of this name.
func (s *Sallyport) firstBundle(ctx context.Context) (*policy.Compiled, error) {
	dir := s.Config.Policy.Dir
	var read *bundle.Bundle
	var err error
	from := "policy.dir"
	switch {
	case dir != "":
		read, err = bundle.Open(dir, nil)
	case s.bundles.source != nil:
		var f source.Fetched
		f, err = s.bundles.source.Fetch(ctx)
		read, from = f.Bundle, f.From
	default:
		return nil, errors.New("policy.trust: wants policy.dir, the folder of a signed bundle, or policy.source")
	}
	var c *policy.Compiled
	var f policy.Findings
	if err == nil {
		c, f, err = policy.Examine(ctx, read, s.gate(nil))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", from, err), s.recordRefusal(ctx, f, from, "", err))
	}
	s.bundles.first = &f
	return c, nil
}

// gate is what a bundle is measured by now. The trust is that of the bundle in force, if it has one.
func (s *Sallyport) gate(active *policy.Compiled) policy.Gate {
	trust := s.bundles.root
	if active != nil && active.Source().Next != nil {
		trust = active.Source().Next
	}
	load := s.policyConfig()
	load.Now, load.Tools = s.Ledger.Now, s.toolArguments
	return policy.Gate{Trust: trust, Now: s.Ledger.Now, Mark: s.bundles.mark, Settings: s.bundles.settings, Active: active,
		Load: load, Check: s.readable, Kept: func(digest string) (*bundle.Bundle, error) {
			c, err := s.keptBundle(digest)
			if err != nil {
				return nil, err
			}
			return c.Source(), nil
		}}
}

// keptBundle loads a bundle that was in force from the owner's own copy. It is one only if it has that digest
// still, under the engines of this build.
func (s *Sallyport) keptBundle(digest string) (*policy.Compiled, error) {
	b := &s.bundles
	b.cacheMu.Lock()
	defer b.cacheMu.Unlock()
	if c, ok := b.cache[digest]; ok {
		return c, nil
	}
	read, err := bundle.OpenKept(b.folder, digest)
	if err != nil {
		return nil, err
	}
	c, err := policy.Compile(read, s.policyConfig())
	if err != nil {
		return nil, err
	}
	if is := c.Bundle().Digest; is != digest {
		return nil, fmt.Errorf("the copy of bundle %s is %s under this build's engines: it was changed, or they were", digest, is)
	}
	if len(b.cache) >= maxCached {
		clear(b.cache)
	}
	if b.cache == nil {
		b.cache = map[string]*policy.Compiled{}
	}
	b.cache[digest] = c
	return c, nil
}

// recordedPolicy is the bundle that a record names: one in force, or one that was.
func (s *Sallyport) recordedPolicy(under action.Bundle) (*policy.Compiled, error) {
	for _, p := range s.inForce() {
		if c := p.Active(); c.Bundle().Digest == under.Digest {
			return c, nil
		}
	}
	return s.keptBundle(under.Digest)
}

// redecideAsRecorded answers a recorded query under the very bundle that answered it.
func (s *Sallyport) redecideAsRecorded(ctx context.Context, q *action.Query, under action.Bundle) (action.Decision, error) {
	c, err := s.recordedPolicy(under)
	if err != nil {
		return action.Decision{Verdict: action.Deny}, err
	}
	return c.Redecide(ctx, q)
}

// redecideUnder answers every recorded query under one bundle.
func redecideUnder(c *policy.Compiled) index.Redecide {
	return func(ctx context.Context, q *action.Query, _ action.Bundle) (action.Decision, error) {
		return c.Redecide(ctx, q)
	}
}

// inForce are the decision points of this owner.
func (s *Sallyport) inForce() []*policy.PDP {
	out := []*policy.PDP{s.Policy}
	if s.egressPolicy != nil && s.Config.Egress.Listen != "" && s.Config.Egress.Listen != "none" {
		out = append(out, s.egressPolicy) // else it decides on nothing
	}
	if s.databasePolicy != nil {
		out = append(out, s.databasePolicy)
	}
	return out
}

// A mark stands in the store; the log's records say it as well. The higher of both holds, so that neither alone
// can be set back.
func markKey(name string) string { return "default/policy/mark/" + name }

const settingsKey = "default/policy/settings"

// newestBundle is the newest bundle of a name that was ever in force.
func (s *Sallyport) newestBundle(ctx context.Context, name string) (mark policy.Mark, err error) {
	if _, err := s.stored(ctx, markKey(name), &mark); err != nil {
		return mark, err
	}
	err = s.Ledger.Select(ctx, 0, []string{string(action.KindPolicy)}, func(e ledger.Entry) error {
		if b := e.Leaf.Bundle; e.Leaf.Kind == action.KindPolicy && b.Name == name && b.Sequence >= mark.Sequence {
			mark = policy.Mark{Sequence: b.Sequence, Digest: b.Digest}
		}
		return nil
	})
	return mark, err
}

// stored reads a row of ours; a missing one changes nothing.
func (s *Sallyport) stored(ctx context.Context, key string, v any) (revision uint64, err error) {
	e, err := s.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err == nil {
		err = action.Read(e.Value, v, action.Limits{})
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", key, err)
	}
	return e.Revision, nil
}

// raiseMark notes the newest bundle. Its record stands in the log by then.
func (s *Sallyport) raiseMark(ctx context.Context, b action.Bundle) error {
	var was policy.Mark
	revision, err := s.stored(ctx, markKey(b.Name), &was)
	if err != nil {
		return err
	}
	s.bundles.mark = policy.Mark{Sequence: b.Sequence, Digest: b.Digest}
	value, err := action.Canonical(s.bundles.mark)
	if err != nil {
		return err
	}
	_, err = s.Store.Put(ctx, markKey(b.Name), value, revision)
	return err
}

// recordStart keeps and records the bundles in force and this owner's settings.
func (s *Sallyport) recordStart(ctx context.Context) error {
	if err := s.recordSelf(ctx); err != nil {
		return err
	}
	b := &s.bundles
	var was string
	revision, err := s.stored(ctx, settingsKey, &was)
	if err != nil {
		return err
	}
	b.changed = was != "" && was != b.settings
	for i, p := range s.inForce() {
		report := policyReport{Settings: b.settings, Before: was}
		if i == 0 {
			report.Findings = b.first
		}
		if _, err := s.recordPolicy(ctx, p.Active(), codeInForce, "", report); err != nil {
			return fmt.Errorf("record of the policy in force: %w", err)
		}
	}
	if was != b.settings {
		value, err := action.Canonical(b.settings)
		if err != nil {
			return err
		}
		if _, err := s.Store.Put(ctx, settingsKey, value, revision); err != nil {
			return err
		}
	}
	if b.root == nil {
		return nil
	}
	return s.raiseMark(ctx, s.Policy.Active().Bundle())
}

// policyReport is what is sealed with a policy record.
type policyReport struct {
	Settings   string           `json:"settings"`
	Before     string           `json:"settings_before"` // "" at the first start
	From       string           `json:"from"`            // where it came from
	Replaced   action.Bundle    `json:"replaced"`
	Findings   *policy.Findings `json:"findings"`
	Difference *PolicyDiff      `json:"difference"` // what it changes about recorded decisions
	Problem    string           `json:"problem"`    // why it was refused

	Chains *monitor.Replaced `json:"chains"` // what becomes of chains of actions under way
}

// recordPolicy keeps a bundle for replay and records that it is in force.
func (s *Sallyport) recordPolicy(ctx context.Context, c *policy.Compiled, code, actor string, report policyReport) (uint64, error) {
	b := c.Bundle()
	if err := c.Source().Keep(s.bundles.folder, b.Digest); err != nil {
		return 0, err
	}
	detail, err := action.Canonical(report)
	if err != nil {
		return 0, err
	}
	codes := []string{code}
	if s.bundles.changed && code == codeInForce {
		codes = append(codes, codeSettings)
	}
	r, err := s.Ledger.Append(ctx, &action.Record{Kind: action.KindPolicy, Tenant: "default", TimeMs: s.Ledger.Now().UnixMilli(), Actor: actor,
		Bundle: b, Subject: b.Digest, Status: action.StatusNone, Codes: codes,
		Parts: []action.PayloadPart{{Name: action.PartDetail, Owner: "policy", Data: detail}}})
	return r.Index, err
}

// recordRefusal records a bundle that was not put in force. Its record names no bundle in force, so that it raises
// no mark.
func (s *Sallyport) recordRefusal(ctx context.Context, f policy.Findings, from, actor string, why error) error {
	detail, err := action.Canonical(policyReport{Settings: s.bundles.settings, From: from, Findings: &f, Problem: action.Clip(why.Error(), 2000)})
	if err != nil {
		return err
	}
	_, err = s.Ledger.Append(ctx, &action.Record{Kind: action.KindPolicy, Tenant: "default", TimeMs: s.Ledger.Now().UnixMilli(), Actor: actor,
		Subject: f.Bundle.Digest, Status: action.StatusRefused, Codes: []string{codeRefused, codeRefused + "." + refusal(why)},
		Parts: []action.PayloadPart{{Name: action.PartDetail, Owner: "policy", Data: detail}}})
	return err
}

// refusal is the word for why a bundle was refused.
func refusal(err error) string {
	for _, r := range []struct {
		err  error
		word string
	}{
		{bundle.ErrRefused, "form"}, {bundle.ErrTooFew, "signatures"}, {bundle.ErrUntrusted, "untrusted"}, {policy.ErrRollback, "older"},
		{policy.ErrUntested, "tests"}, {policy.ErrSettings, "settings"}, {errNoDifference, "difference"},
	} {
		if errors.Is(err, r.err) {
			return r.word
		}
	}
	return "unusable"
}
