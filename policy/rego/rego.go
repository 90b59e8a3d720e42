// SPDX-License-Identifier: Apache-2.0

// Package rego evaluates policies written in Rego under the profile agent.v1, compiled or with OPA's own evaluator.
//
// # The profile agent.v1
//
// A pack is the Rego package sallyport.<pack>, in one or more files, each with `import rego.v2`. Its input
// is the document agent.v1 (action.Query), whose fields are always all present; data.params holds the
// bundle's parameters. A pack states partial sets of objects:
//
//	deny        {id, code, reason}  and optionally  hint, severity, always
//	quarantine  as deny; also stops the session
//	ask         as deny; also approver {channel, quorum, ttl_s, group}
//	allow       {id}  and optionally  code, reason, severity
//	oblige      {id, type}  and optionally  params (an object of strings)
//
// All other names are the pack's own. The objects are constants: a rule cannot fail to fire because its
// text could not be built, and every rule's name is known when the bundle is loaded. In reason and hint
// the placeholders {tool}, {server} and {root} are filled in from the query.
//
// The verdict is the most restrictive of what fired: quarantine, deny, ask, allow; if nothing fired,
// deny. An ask needs no allow beside it: it says that the action may go on if somebody agrees. Rules
// simply ask; they need not look at input.context.approval. The enforcement point compares a grant's
// rules and channel with the rules that ask, so an ask by another rule is a new ask.
//
// # Compiled rules
//
// New turns the rules, as OPA's compiler leaves them, into closures over the typed query: no maps, no JSON, and the
// rules found by what they compare with constants, so that rules for other tools cost nothing. Nothing is expanded:
// helpers stay functions, compiled once for each row of argument types, and their values are remembered for the
// length of a decision, as OPA does. (Partial evaluation into a disjunction of conjunctions would multiply helpers
// that have several definitions, and makes rules of its own of every "not" and "every".)
//
// An expression outside the compiled part leaves its rule to OPA's evaluator (topdown): what comes before that
// expression is still compiled and decides whether topdown has to be asked at all. Outside are: with, else, walk,
// partial objects, object comprehensions, the whole input, and computed names of facts. Coverage lists each such rule.
//
// Compiled rules never report an error. Where topdown might, the whole decision is topdown's; a body in which
// that may happen is run to its end, so that everything topdown may stumble over is met.
//
// Compiled rules decide only after Prove compared them with topdown. Later, one decision in Config.Shadow is taken
// by both. A difference, and a panic, make topdown decide for ever and call Config.Alarm.
//
// # What fails closed
//
// Any evaluation error (a conflict, a built-in's error, cancellation) denies with the rule's name.
// Built-ins are an allowlist without the network, time, randomness, environment or anything else that
// could answer differently tomorrow. Paths into input that agent.v1 does not have are refused at load,
// so a misspelt fact is no rule that never fires. Packages document.<name> are evaluated by Document
// only, over any input, and take part in no decision.
//
// Raw arguments (input.action.arguments, input.context.result.content) are typed by nobody: a comparison
// with one that is absent or of another type does not fire. Refuse on typed facts, or put "not" around
// the good case, which fires also when nothing is there.
package rego

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/sallyport/sallyport/action"
)

// Version is the exact version of OPA; it counts in the digest of each bundle that holds Rego.
const Version = "1.22.2"

// DefaultLimit bounds one evaluation.
const DefaultLimit = time.Second

// File is one Rego source.
type File struct {
	Name string
	Data []byte
}

// Config is what an Evaluator is made of.
type Config struct {
	Files  []File
	Params any           // becomes data.params; encodes as a JSON object
	Roots  []string      // of the bundle, for {root}
	Limit  time.Duration // 0 means DefaultLimit

	// Shadow is the number of decisions by compiled rules of which topdown takes one as well; 0 means
	// DefaultShadow, less than 0 none.
	Shadow int
	// Alarm is told why compiled rules are given up; nil tells nobody. It is called at most once by each
	// decision under way and must not block.
	Alarm func(why string)
}

// Evaluator decides under the profile. It is immutable and safe for concurrent use.
type Evaluator struct {
	packs     []*pack
	compiler  *ast.Compiler
	documents *ast.Compiler
	store     storage.Store
	txn       storage.Transaction
	query     ast.Body
	plan      *plan
	roots     []string
	limit     time.Duration
	ranked    []*rule // all rules, sorted by name

	fast    *compiled // nil if it could not be made
	trust   atomic.Int32
	why     atomic.Pointer[string] // the compiled rules do not decide
	proved  atomic.Int64
	decided atomic.Uint64
	shadow  uint64 // 0 means never
	alarm   func(string)
	notes   []note
	outlook atomic.Pointer[outlook] // made by the first Never
}

// New compiles the files. It returns an error that names file and line for anything outside the profile.
func New(cfg Config) (*Evaluator, error) {
	e := &Evaluator{limit: cfg.Limit, roots: cfg.Roots, alarm: cfg.Alarm}
	if e.shadow = uint64(max(cfg.Shadow, 0)); cfg.Shadow == 0 {
		e.shadow = DefaultShadow
	}
	if e.limit == 0 {
		e.limit = DefaultLimit
	}
	decide, document, err := parse(cfg.Files)
	if err != nil {
		return nil, err
	}
	if e.packs, err = profile(decide); err != nil {
		return nil, err
	}
	schemas := ast.NewSchemaSet()
	schemas.Put(ast.SchemaRootRef, inputSchema())
	if e.compiler, err = compile(decide, schemas); err != nil {
		return nil, err
	}
	if e.documents, err = compile(document, nil); err != nil {
		return nil, err
	}
	if err := e.load(cfg.Params); err != nil {
		return nil, err
	}
	seen := used(e.compiler)
	e.plan = newPlan(seen)
	e.ranked = ranked(e.packs)
	if len(e.packs) == 0 {
		return e, nil
	}
	parsed, err := ast.ParseBodyWithOpts(source(e.packs), ast.ParserOptions{Capabilities: capabilities()})
	if err != nil {
		return nil, fmt.Errorf("rego: query: %w", err)
	}
	if e.query, err = e.compiler.QueryCompiler().Compile(parsed); err != nil {
		return nil, fmt.Errorf("rego: query: %w", err)
	}
	if e.fast, err = e.compileRules(decide, seen); err != nil {
		e.reject(err.Error())
	}
	return e, nil
}

// ranked numbers all rules in the order in which a decision lists them.
func ranked(packs []*pack) []*rule {
	var out []*rule
	for _, p := range packs {
		for _, r := range p.rules {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *rule) int { return strings.Compare(a.match.ID, b.match.ID) })
	for i, r := range out {
		r.rank = i
	}
	return out
}

func compile(modules map[string]*ast.Module, schemas *ast.SchemaSet) (*ast.Compiler, error) {
	c := ast.NewCompiler().WithCapabilities(capabilities()).WithStrict(true)
	if schemas != nil {
		c = c.WithSchemas(schemas)
	}
	c.Compile(modules)
	if c.Failed() {
		return nil, fmt.Errorf("rego: %w", c.Errors)
	}
	return c, nil
}

func (e *Evaluator) load(params any) error {
	data, err := action.Canonical(struct {
		Params any `json:"params"`
	}{params})
	if err != nil {
		return err
	}
	if e.store, e.txn, err = NewStore(data); err != nil {
		return fmt.Errorf("rego: params: %w", err)
	}
	return nil
}

// NewStore holds data, a JSON object, for any number of readers of the one transaction: nobody ever writes.
func NewStore(data []byte) (storage.Store, storage.Transaction, error) {
	v, err := ast.ValueFromReader(bytes.NewReader(data))
	if err != nil {
		return nil, nil, err
	}
	obj, err := ast.JSON(v)
	if err != nil {
		return nil, nil, err
	}
	m, ok := obj.(map[string]any)
	if !ok {
		return nil, nil, errors.New("an object is wanted")
	}
	store := inmem.NewFromObjectWithOpts(m, inmem.OptRoundTripOnWrite(false), inmem.OptReturnASTValuesOnRead(true))
	txn, err := store.NewTransaction(context.Background())
	return store, txn, err
}

// source is the one query: only the sets, so that nothing is evaluated that no set needs.
func source(packs []*pack) string {
	var b strings.Builder
	b.WriteString("answer = [")
	for i, p := range packs {
		for j, set := range sets {
			if i+j > 0 {
				b.WriteString(", ")
			}
			if p.has[set] {
				fmt.Fprintf(&b, "data.sallyport[%q].%s", p.name, set)
			} else {
				b.WriteString("set()")
			}
		}
	}
	b.WriteString("]")
	return b.String()
}

// Engine names the engine as it stands in each decision.
func (e *Evaluator) Engine() action.Engine { return action.Engine{Name: "rego", Version: Version} }

// Decides reports whether there is any pack.
func (e *Evaluator) Decides() bool { return len(e.packs) > 0 }

// Rules returns the names of all rules, sorted.
func (e *Evaluator) Rules() []string {
	var out []string
	for _, p := range e.packs {
		for id := range p.rules {
			out = append(out, p.name+"."+id)
		}
	}
	slices.Sort(out)
	return out
}

var errNoQuery = errors.New("rego: no query")

// topdown answers q by OPA's own evaluator.
func (e *Evaluator) topdown(ctx context.Context, q *action.Query) (action.Decision, error) {
	d := action.Decision{Verdict: action.Deny, Engines: []action.Engine{e.Engine()}}
	input, err := e.plan.term(q)
	if err != nil {
		fail(&d, "rego.input", err)
		return d, nil
	}
	answer, err := e.eval(ctx, e.compiler, e.query, input, nil)
	if err != nil {
		if ctx.Err() != nil {
			return d, fmt.Errorf("rego: %w", context.Cause(ctx))
		}
		fail(&d, e.ruleAt(err), err)
		return d, nil
	}
	e.fold(&d, q, answer)
	return d, nil
}

var noMetrics = metrics.NoOp()

// eval runs body and returns the value of its variable answer, nil if it is undefined. to, if not nil, sees each rule tried.
func (e *Evaluator) eval(ctx context.Context, c *ast.Compiler, body ast.Body, input *ast.Term, to topdown.QueryTracer) (*ast.Term, error) {
	cancel := topdown.NewCancel()
	// A cancel of our own needs no goroutine, unlike one that watches the context.
	timer := time.AfterFunc(e.limit, cancel.Cancel)
	defer timer.Stop()
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, cancel.Cancel)()
	}
	var out *ast.Term
	results := 0
	query := topdown.NewQuery(body)
	if to != nil {
		query = query.WithQueryTracer(to).WithIndexing(false) // the index passes rules over unseen
	}
	err := query.WithCompiler(c).WithStore(e.store).WithTransaction(e.txn).WithInput(input).
		WithCancel(cancel).WithMetrics(noMetrics).WithStrictBuiltinErrors(true).
		WithSeed(constant{}).WithTime(epoch).
		Iter(ctx, func(r topdown.QueryResult) error {
			out, results = r[answerVar], results+1
			return nil
		})
	switch {
	case err != nil:
		return nil, err
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case results > 1:
		return nil, fmt.Errorf("rego: %d answers", results)
	}
	return out, nil
}

const answerVar = ast.Var("answer")

// epoch and constant stand in for the clock and randomness. No allowed built-in reads them; if one ever
// did, it would at least always read the same.
var epoch = time.Unix(1, 0)

type constant struct{}

func (constant) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// fail turns an evaluation error into a deny match. The text of an error may quote the input; it goes
// to the sealed explanation only.
func fail(d *action.Decision, rule string, err error) {
	d.Verdict = action.Deny
	d.Errors = append(d.Errors, rule+": "+action.Clip(err.Error(), 500))
	d.Matches = append(d.Matches, action.Match{ID: rule, Verdict: action.Deny, Code: "evaluation-error",
		Reason: "The rule could not be evaluated, so it denies.", Severity: "high", Always: true})
}

// ruleAt names the rule in which an evaluation error arose, "rego.evaluation" if that is unknown.
func (e *Evaluator) ruleAt(err error) string {
	var t *topdown.Error
	if !errors.As(err, &t) || t.Location == nil {
		return "rego.evaluation"
	}
	for _, p := range e.packs {
		if name := p.ruleAt(t.Location.File, t.Location.Row); name != "" {
			return p.name + "." + name
		}
	}
	return "rego.evaluation"
}

var capabilitiesOnce = sync.OnceValue(restrict)

func capabilities() *ast.Capabilities { return capabilitiesOnce() }
