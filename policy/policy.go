// SPDX-License-Identifier: Apache-2.0

// Package policy is the decision point: it answers queries from an immutable bundle of Rego and Cedar
// policies.
//
// Every engine of the active bundle is asked and the most restrictive answer wins; an allow needs the
// consent of each. A decision depends on nothing but the query and the bundle, whose digest it carries,
// so re-deciding a recorded query under the same digest gives the same decision.
//
// # What is trusted
//
// The bundle's author is trusted to mean what the rules say, not to write rules that cannot fail: any
// error while deciding denies. A bundle loads whole or not at all, and a refused bundle leaves the
// active one in place. Nothing changes a bundle after it was loaded.
package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/cedar"
	"github.com/sallyport/sallyport/policy/rego"
)

// Evaluator is one engine with the policies of one bundle. Decide returns a decision with a verdict in
// every case; it errs only if ctx ended or there is no query. It is safe for concurrent use.
type Evaluator interface {
	Decide(ctx context.Context, q *action.Query) (action.Decision, error)
	Engine() action.Engine
	Rules() []string // names of all rules, sorted
}

// Config is where the policy comes from. Its zero value is the embedded baseline.
type Config struct {
	Dir    string        // folder of the bundle; "" means the embedded pack Pack
	Pack   string        // name of an embedded pack when Dir is ""; "" means "baseline"
	Params []byte        // YAML in place of the bundle's params.yaml; nil keeps it. It counts in the digest
	Limit  time.Duration // bound of one evaluation; 0 means rego.DefaultLimit

	// Trust, if set, refuses a bundle without enough valid signatures; the bundle must come from Dir, without
	// Params. Now is its clock, required with it. With Now, waivers that have ended waive nothing, so that a bundle
	// whose risks were accepted until then is refused; without, every waiver holds, as for what was in force once.
	// Lint always counts ended waivers as ended; its clock is time.Now if Now is nil.
	Trust *bundle.Trust
	Now   func() time.Time

	// Shadow is the number of decisions by compiled Rego of which OPA's evaluator takes one as well, to
	// compare; 0 means rego.DefaultShadow, less than 0 none.
	Shadow int
	// Alarm is told that compiled Rego was given up, and why; nil tells nobody. It must not block.
	Alarm func(why string)

	// Tools returns the JSON Schemas of the arguments of known tools, by "server/name", against which Cedar policies that
	// read raw arguments are checked when the bundle is loaded; nil checks none.
	Tools func() map[string][]byte

	// Check looks at what other parts of an owner read from the bundle, when Load has read it; nil takes it unseen.
	Check func(b *bundle.Bundle) error

	linting  bool // what Lint reports as an error refuses nothing
	unproved bool // compiled Rego is not compared and does not decide: for tests that load hundreds of packs
}

// How much is compared before compiled Rego decides.
const (
	proofDocuments = 200
	proofLimit     = 300 * time.Millisecond
)

// PDP is the policy decision point. It is safe for concurrent use.
type PDP struct{ active atomic.Pointer[Compiled] }

var _ enforce.Decider = (*PDP)(nil)

// Open loads the configured bundle and makes it active.
func Open(cfg Config) (*PDP, error) {
	c, err := Load(cfg)
	if err != nil {
		return nil, err
	}
	return New(c), nil
}

// New returns a decision point with c active.
func New(c *Compiled) *PDP {
	p := &PDP{}
	p.active.Store(c)
	return p
}

// ErrRollback is returned by Activate for a bundle of an older sequence.
var ErrRollback = errors.New("bundle is older than the active one")

// Activate replaces the active bundle at once; decisions under way finish under the one they began with.
// A bundle of the same name with a lower sequence is refused with ErrRollback, and the active one stays.
func (p *PDP) Activate(c *Compiled) error {
	if c == nil {
		return errors.New("policy: no bundle")
	}
	for {
		old := p.active.Load()
		if old.bundle.Name == c.bundle.Name && c.bundle.Sequence < old.bundle.Sequence {
			return fmt.Errorf("policy: bundle %q: sequence %d after %d: %w", c.bundle.Name, c.bundle.Sequence, old.bundle.Sequence, ErrRollback)
		}
		if p.active.CompareAndSwap(old, c) {
			return nil
		}
	}
}

// Active returns the active bundle.
func (p *PDP) Active() *Compiled { return p.active.Load() }

// Decide answers q under the active bundle.
func (p *PDP) Decide(ctx context.Context, q *action.Query) (action.Decision, error) {
	return p.active.Load().Decide(ctx, q)
}

// Explain is Compiled.Explain of the active bundle.
func (p *PDP) Explain(ctx context.Context, q *action.Query) (Explanation, error) {
	return p.active.Load().Explain(ctx, q)
}

// EvaluateDocument is Compiled.EvaluateDocument of the active bundle.
func (p *PDP) EvaluateDocument(ctx context.Context, name string, input any) ([]byte, error) {
	return p.active.Load().EvaluateDocument(ctx, name, input)
}

// File returns a file of the active bundle, such as a tool pack. The caller must not change it.
func (p *PDP) File(name string) ([]byte, bool) { return p.active.Load().source.File(name) }

// Files returns the files of the active bundle in folder whose name ends in ext, sorted by name: constitution/*.md for
// whoever judges by one, say. Ask again at each use, since an activation changes them. The caller must not change them.
func (p *PDP) Files(folder, ext string) []bundle.File {
	return p.active.Load().source.Files(folder, ext)
}

// Compiled is a loaded bundle. It is immutable and safe for concurrent use.
type Compiled struct {
	source     *bundle.Bundle
	bundle     action.Bundle
	evaluators []Evaluator
	documents  *rego.Evaluator
	with       Config // what it was compiled with
	settled    map[string]map[string]bool
	waivers    []bundle.Waiver // of rules
	ended      *bundle.Waiver  // the last that would have accepted a risk; only while it is compiled
	doors      map[string]*Compiled
}

// Load reads and compiles the bundle that cfg names, without making it active. An error in any file
// refuses the whole bundle.
func Load(cfg Config) (*Compiled, error) {
	var overlay map[string][]byte
	if cfg.Params != nil {
		overlay = map[string][]byte{bundle.ParamsFile: cfg.Params}
	}
	var b *bundle.Bundle
	var err error
	if cfg.Dir != "" {
		b, err = bundle.Open(cfg.Dir, overlay)
	} else {
		pack := cfg.Pack
		if pack == "" {
			pack = "baseline"
		}
		var fsys fs.FS
		if fsys, err = policies.Pack(pack); err == nil {
			b, err = bundle.Read(fsys, overlay)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if cfg.Check != nil {
		if err := cfg.Check(b); err != nil {
			return nil, fmt.Errorf("policy: bundle %q: %w", b.Manifest.Name, err)
		}
	}
	if cfg.Trust != nil {
		if err := verify(b, cfg); err != nil {
			return nil, fmt.Errorf("policy: bundle %q: %w", b.Manifest.Name, err)
		}
	}
	return compile(b, cfg)
}

// Compile loads a bundle that was read already. Of cfg, where it would come from and whom to trust do not count.
func Compile(b *bundle.Bundle, cfg Config) (*Compiled, error) { return compile(b, cfg) }

// LoadFS loads the bundle at the top of fsys.
func LoadFS(fsys fs.FS) (*Compiled, error) {
	b, err := bundle.Read(fsys, nil)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return compile(b, Config{})
}

func compile(b *bundle.Bundle, with Config) (*Compiled, error) {
	c := &Compiled{source: b, with: with}
	fail := func(err error) (*Compiled, error) {
		return nil, fmt.Errorf("policy: bundle %q: %w", b.Manifest.Name, c.afterWaiver(err))
	}
	engines, err := enginesOf(b)
	if err != nil {
		return fail(err)
	}
	digest, err := b.Digest(action.Version, engines)
	if err != nil {
		return fail(err)
	}
	c.bundle = action.Bundle{Name: b.Manifest.Name, Digest: digest, Sequence: b.Manifest.Sequence}
	if files := b.Policies(".rego"); len(files) > 0 {
		cfg := rego.Config{Params: b.Params, Roots: b.Params.Roots, Limit: with.Limit, Shadow: with.Shadow, Alarm: with.Alarm}
		for _, f := range files {
			cfg.Files = append(cfg.Files, rego.File(f))
		}
		e, err := rego.New(cfg)
		if err != nil {
			return fail(err)
		}
		if err := c.refuse(e); err != nil {
			return fail(err)
		}
		c.documents = e
		if e.Decides() {
			c.evaluators = append(c.evaluators, e)
			if err := c.prove(e); err != nil {
				return fail(err)
			}
		}
	}
	if len(b.Policies(".cedar")) > 0 {
		var known map[string][]byte
		if with.Tools != nil {
			known = with.Tools()
		}
		e, err := c.cedar(known)
		if err != nil {
			return fail(err)
		}
		if e.Decides() {
			c.evaluators = append(c.evaluators, e)
		}
	}
	foreign, err := c.foreign()
	if err != nil {
		return fail(err)
	}
	if foreign != nil {
		c.evaluators = append(c.evaluators, foreign)
	}
	if len(c.evaluators) == 0 {
		return fail(errors.New("no rule in it, so it could only deny"))
	}
	if c.settled, err = settled(c.evaluators, b.Manifest.Settles); err != nil {
		return fail(err)
	}
	if c.waivers, err = waivers(c.evaluators, b.Manifest.Waivers); err != nil {
		return fail(err)
	}
	for _, name := range b.Doors() {
		if err := c.openDoor(name); err != nil {
			return fail(err)
		}
	}
	if !b.Manifest.Expires.IsZero() {
		c.bundle.Expires = b.Manifest.Expires.UnixMilli()
	}
	return c, nil
}

// cedar reads the bundle's Cedar policies and checks them against the tools that are known.
func (c *Compiled) cedar(known map[string][]byte) (*cedar.Evaluator, error) {
	cfg := cedar.Config{Params: c.source.Params, Tools: known}
	for _, f := range c.source.Policies(".cedar") {
		cfg.Files = append(cfg.Files, cedar.File(f))
	}
	return cedar.New(cfg)
}

// Fits reports how a Cedar policy of the bundle, or of one of its doors, errs on the arguments of a tool: known are JSON
// Schemas by "server/name". It is what compiling with Config.Tools refuses, for a bundle that was compiled before tools were known.
func (c *Compiled) Fits(known map[string][]byte) error {
	if len(c.source.Policies(".cedar")) > 0 {
		if _, err := c.cedar(known); err != nil {
			return fmt.Errorf("policy: bundle %q: %w", c.bundle.Name, err)
		}
	}
	for _, name := range c.source.Doors() {
		if err := c.doors[name].Fits(known); err != nil {
			return fmt.Errorf("doors/%s: %w", name, err)
		}
	}
	return nil
}

// Coverage reports how much of the bundle's Rego is compiled, and why the rest is not. Without Rego it is
// zero.
func (c *Compiled) Coverage() rego.Coverage {
	if c.documents == nil {
		return rego.Coverage{}
	}
	return c.documents.Coverage()
}

// Bundle names the bundle as it stands in each of its decisions.
func (c *Compiled) Bundle() action.Bundle { return c.bundle }

// Manifest returns what the manifest says. The caller must not change its lists.
func (c *Compiled) Manifest() bundle.Manifest { return c.source.Manifest }

// Source returns the bundle that was read.
func (c *Compiled) Source() *bundle.Bundle { return c.source }

// Rules returns the names of all rules, sorted.
func (c *Compiled) Rules() []string {
	var out []string
	for _, e := range c.evaluators {
		out = append(out, e.Rules()...)
	}
	slices.Sort(out)
	return out
}

// Decide answers q: the most restrictive answer of all engines, with every rule that fired, sorted by
// name. A rule that cannot be evaluated denies by its name. With an error the decision denies as well;
// errors are only for a context that ended and for a nil query.
func (c *Compiled) Decide(ctx context.Context, q *action.Query) (action.Decision, error) {
	d, err := c.decide(ctx, q)
	d.Bundle, d.Mode = c.bundle, action.Enforce
	if q != nil && err == nil {
		d.Mode = c.source.Manifest.ModeAt(q)
	}
	return d, err
}

func (c *Compiled) decide(ctx context.Context, q *action.Query) (action.Decision, error) {
	var d action.Decision
	for i, e := range c.evaluators {
		answer, err := consult(ctx, e, q)
		if err != nil {
			return action.Decision{Verdict: action.Deny}, fmt.Errorf("policy: bundle %q: %w", c.bundle.Name, err)
		}
		c.waive(q, &answer)
		if i == 0 {
			d = answer
		} else {
			d = d.Meet(answer)
		}
	}
	c.settle(&d)
	slices.SortStableFunc(d.Obligations, func(a, b action.Obligation) int { return strings.Compare(a.Rule, b.Rule) })
	return d, nil
}

// consult asks one engine. A panic, and a verdict that is none, deny.
func consult(ctx context.Context, e Evaluator, q *action.Query) (d action.Decision, err error) {
	defer func() {
		if p := recover(); p != nil {
			id := e.Engine().Name + ".panic"
			d, err = action.Decision{Verdict: action.Deny, Engines: []action.Engine{e.Engine()},
				Errors: []string{id + ": " + action.Clip(fmt.Sprint(p), 500)},
				Matches: []action.Match{{ID: id, Verdict: action.Deny, Code: "evaluation-error",
					Reason: "The engine failed, so it denies.", Severity: "high", Always: true}}}, nil
		}
	}()
	d, err = e.Decide(ctx, q)
	d.Verdict = d.Verdict.Meet(d.Verdict)
	return d, err
}

// Redecide answers a recorded query under this bundle. It is Decide under the name that replay uses; the
// query's version must be one that the engines were compiled for.
func (c *Compiled) Redecide(ctx context.Context, q *action.Query) (action.Decision, error) {
	if q != nil && q.Version != action.Version {
		return action.Decision{Verdict: action.Deny, Bundle: c.bundle, Mode: action.Enforce},
			fmt.Errorf("policy: input version %q is not known", action.Clip(q.Version, 32))
	}
	return c.Decide(ctx, q)
}

// EvaluateDocument evaluates the Rego package document.<name> of the bundle over input, any value that
// encodes as JSON, and returns the package's rules as one RFC 8785 object. It decides nothing; other
// parts use it to keep their own rules in the signed bundle.
func (c *Compiled) EvaluateDocument(ctx context.Context, name string, input any) ([]byte, error) {
	if c.documents == nil {
		return nil, fmt.Errorf("policy: bundle %q: %w: %q", c.bundle.Name, rego.ErrNoDocument, action.Clip(name, 64))
	}
	return c.documents.Document(ctx, name, input)
}
