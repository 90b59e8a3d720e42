// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/rego"
)

// Report is what the cases of a bundle showed.
type Report struct {
	Bundle    action.Bundle `json:"bundle"`
	Cases     int           `json:"cases"`
	Allowing  int           `json:"allowing"` // cases that expect allow
	Refusing  int           `json:"refusing"` // cases that expect anything else
	Failures  []Failure     `json:"failures"`
	Uncovered []string      `json:"uncovered"`  // rules that fired in no case, sorted
	RegoTests int           `json:"rego_tests"` // of Rego's own (test_*) that were run; those that failed stand in failures

	answers []shownAnswer
	rules   int
}

// shownAnswer is what one case came to.
type shownAnswer struct {
	File        string         `json:"file"`
	Case        string         `json:"case"`
	Verdict     action.Verdict `json:"verdict"`
	Rules       []string       `json:"rules"`
	Obligations []string       `json:"obligations"`
	Errors      int            `json:"errors"`
}

// Results are what a signed manifest says of the cases.
func (r *Report) Results() (bundle.Results, error) {
	data, err := action.Canonical(r.answers)
	return bundle.Results{Cases: r.Cases, Failed: len(r.Failures), Rules: r.rules, Untested: len(r.Uncovered), Answers: bundle.Sum(data)}, err
}

// Failure is one case that got another answer than it expects.
type Failure struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Case string `json:"case"`
	Want string `json:"want"`
	Got  string `json:"got"`
	Text string `json:"text"` // the explanation
}

// Passed reports whether every case got its answer.
func (r *Report) Passed() bool { return len(r.Failures) == 0 }

// ErrOneSided means that a bundle has no case that must be allowed, or none that must not.
var ErrOneSided = errors.New("cases of both kinds are wanted: some that must be allowed, some that must not")

// TestDir loads the bundle in dir and runs its cases. A bundle that does not load is an error, and so is
// one without cases of both kinds (ErrOneSided); cases that fail stand in the report.
func TestDir(ctx context.Context, dir string) (Report, error) {
	return TestWith(ctx, Config{Dir: dir, Now: time.Now})
}

// TestWith is TestDir for a bundle that is loaded as cfg says.
func TestWith(ctx context.Context, cfg Config) (Report, error) {
	c, err := Load(cfg)
	if err != nil {
		return Report{}, err
	}
	return c.Test(ctx)
}

// TestFS is TestDir for the bundle at the top of fsys.
func TestFS(ctx context.Context, fsys fs.FS) (Report, error) {
	c, err := LoadFS(fsys)
	if err != nil {
		return Report{}, err
	}
	return c.Test(ctx)
}

// Test runs the cases of the bundle.
func (c *Compiled) Test(ctx context.Context) (Report, error) {
	suites, err := c.source.Suites()
	if err != nil {
		return Report{Bundle: c.bundle}, fmt.Errorf("policy: bundle %q: %w", c.bundle.Name, err)
	}
	r, err := c.run(ctx, suites)
	if err != nil {
		return r, err
	}
	r.rules = c.allRules()
	if err := c.regoTests(ctx, &r); err != nil {
		return r, err
	}
	return r, c.testDoors(ctx, &r)
}

// regoTests runs the tests in files that end in _test.rego.
func (c *Compiled) regoTests(ctx context.Context, r *Report) error {
	cfg := rego.Config{Params: c.source.Params}
	for _, f := range c.source.Policies(".rego") {
		cfg.Files = append(cfg.Files, rego.File(f))
	}
	var tests []rego.File
	for _, name := range c.source.Names() {
		if data, ok := c.source.File(name); ok && strings.HasSuffix(name, "_test.rego") &&
			!strings.HasPrefix(name, bundle.DoorsFolder+"/") && !strings.HasPrefix(name, bundle.OPAFolder+"/") {
			tests = append(tests, rego.File{Name: name, Data: data})
		}
	}
	if len(tests) == 0 {
		return nil
	}
	results, err := rego.RunTests(ctx, cfg, tests)
	if err != nil {
		return fmt.Errorf("policy: bundle %q: %w", c.bundle.Name, err)
	}
	for _, t := range results {
		r.RegoTests++
		if t.Why != "" {
			r.Failures = append(r.Failures, Failure{File: t.File, Line: t.Line, Case: t.Name, Want: "true", Got: "undefined", Text: t.Why})
		}
	}
	if len(results) == 0 {
		return fmt.Errorf("policy: bundle %q: no rule in %s begins with test_", c.bundle.Name, tests[0].Name)
	}
	return nil
}

func (c *Compiled) run(ctx context.Context, suites []bundle.Suite) (Report, error) {
	r := Report{Bundle: c.bundle}
	fired := map[string]bool{}
	for _, s := range suites {
		under, err := c.under(s)
		if err != nil {
			return r, err
		}
		for _, k := range s.Cases {
			if err := under.try(ctx, &r, s.File, k, fired); err != nil {
				return r, err
			}
		}
	}
	for _, id := range c.Rules() {
		if !fired[id] {
			r.Uncovered = append(r.Uncovered, id)
		}
	}
	if r.Allowing == 0 || r.Refusing == 0 {
		return r, fmt.Errorf("policy: bundle %q: %d allowing and %d refusing: %w", c.bundle.Name, r.Allowing, r.Refusing, ErrOneSided)
	}
	return r, nil
}

// under returns the bundle with the parameters and the pack of s.
func (c *Compiled) under(s bundle.Suite) (*Compiled, error) {
	if s.Params == nil && s.Pack == "" {
		return c, nil
	}
	b, err := c.source, error(nil)
	if s.Params != nil {
		b, err = b.WithParams(s.Params)
	}
	if err == nil && s.Pack != "" {
		b, err = b.WithPack(s.Pack)
	}
	if err != nil {
		return nil, fmt.Errorf("policy: bundle %q: %s: %w", c.bundle.Name, s.File, err)
	}
	return compile(b, c.with)
}

func (c *Compiled) try(ctx context.Context, r *Report, file string, k bundle.Case, fired map[string]bool) error {
	r.Cases++
	if k.Expect == action.Allow {
		r.Allowing++
	} else {
		r.Refusing++
	}
	d, err := c.Decide(ctx, k.Query)
	if err != nil {
		return err
	}
	was := shownAnswer{File: file, Case: k.Name, Verdict: d.Verdict, Errors: len(d.Errors)}
	for _, m := range d.Matches {
		fired[m.ID] = true
		was.Rules = append(was.Rules, m.ID)
	}
	for _, o := range d.Obligations {
		fired[o.Rule] = true
		was.Obligations = append(was.Obligations, o.Rule+" "+string(o.Type))
	}
	r.answers = append(r.answers, was)
	want, got := answers(k, &d)
	if want != got || len(d.Errors) > 0 {
		r.Failures = append(r.Failures, Failure{File: file, Line: k.Line, Case: k.Name, Want: want, Got: got, Text: Text(k.Query, &d)})
	}
	return nil
}

// answers renders what k compares, as it is wanted and as it came out.
func answers(k bundle.Case, d *action.Decision) (want, got string) {
	want, got = string(k.Expect), string(d.Verdict)
	if k.Rules != nil {
		var ids []string
		for _, m := range d.Deciding() {
			_, id, _ := strings.Cut(m.ID, ".")
			ids = append(ids, id)
		}
		rules := slices.Clone(k.Rules)
		slices.Sort(rules)
		slices.Sort(ids)
		want, got = want+" by "+strings.Join(rules, " "), got+" by "+strings.Join(ids, " ")
	}
	if k.Channel != "" {
		need := action.RankUnknown
		for _, m := range d.Deciding() {
			if m.Approver.Need().AtLeast(need) || need == action.RankUnknown {
				need = m.Approver.Need()
			}
		}
		want, got = want+" through "+string(k.Channel), got+" through "+string(need)
	}
	if k.Obligations != nil {
		var types []string
		for _, o := range d.Obligations {
			types = append(types, string(o.Type))
		}
		slices.Sort(types)
		want, got = want+" with "+strings.Join(k.Obligations, " "), got+" with "+strings.Join(types, " ")
	}
	return want, got
}
