// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/cedar"
	"github.com/sallyport/sallyport/policy/rego"
	"github.com/sallyport/sallyport/policy/rego/opa"
)

// Lints are all lints by name, with what each looks for.
var Lints = map[string]string{
	"may-not-fire":      "a refusal that fails silently if data is absent or of another type, or a permission that then passes",
	"impossible-value":  "a comparison of a fact with a word that it can never be",
	"contradictory":     "a condition that cannot hold together with an earlier one",
	"shadowed":          "a rule that only holds where another holds as well that forbids as much or more",
	"always-true":       "a rule without a condition",
	"unanchored-regex":  "a regular expression that permits by a part of the text",
	"host-suffix":       "a host told by the end of its name",
	"path-form":         "a path told by its beginning, or before its dots and links were removed",
	"secret-in-policy":  "a text that looks like a credential",
	"wider-than-parent": "a rule that lets pass what another bundle denied",
	"unused":            "a rule that nothing that decides uses",
	"missing-case":      "a rule that fires in none of the bundle's cases, or too few cases",
	"slow-path":         "a rule that is not compiled, or that no scope finds",
	"no-owner":          "a bundle of which nobody is said to be the owner",
	"unused-waiver":     "a waiver of something that is not found",
	"cross-type":        "an order comparison that permits and that another type passes, too",
	"impossible-field":  "a fact that there is none of; the bundle does not load",
	"pack-behind":       "a folder that was copied from a pack whose rules are others in this build",
	"does-not-load":     "anything else for which the bundle does not load",
	"default-allow":     "an OPA policy that permits what no rule of it is about",
}

// LintReport is what Lint found.
type LintReport struct {
	Bundle   string         `json:"bundle"`
	Coverage rego.Coverage  `json:"coverage"` // of compiled Rego
	Findings []rego.Finding `json:"findings"`
}

// Errors counts the findings that are neither advice nor waived.
func (r *LintReport) Errors() int {
	n := 0
	for _, f := range r.Findings {
		if f.Error && f.Waived == "" {
			n++
		}
	}
	return n
}

// LintDir loads the bundle in dir and lints it. A bundle that does not load for another reason than a finding is an error;
// the report then says the same in findings.
func LintDir(ctx context.Context, dir string) (LintReport, error) {
	return LintWith(ctx, Config{Dir: dir}, "")
}

// LintWith is LintDir for a bundle that is loaded as cfg says, with what Wider finds against the bundle in parent; "" is none.
func LintWith(ctx context.Context, cfg Config, parent string) (LintReport, error) {
	cfg.linting = true
	var old *Compiled
	var err error
	if parent != "" {
		if old, err = Load(Config{Dir: parent}); err != nil {
			return LintReport{}, err
		}
	}
	c, err := Load(cfg)
	if err != nil {
		return LintReport{Findings: misfits(err)}, err
	}
	if old == nil {
		return c.Lint(ctx)
	}
	wider, err := c.Wider(ctx, old, 0)
	if err != nil {
		return LintReport{}, err
	}
	return c.lint(ctx, wider)
}

// Lint looks for what is probably not meant.
func (c *Compiled) Lint(ctx context.Context) (LintReport, error) { return c.lint(ctx, nil) }

func (c *Compiled) lint(ctx context.Context, more []rego.Finding) (LintReport, error) {
	r := LintReport{Bundle: c.bundle.Name, Coverage: c.Coverage(), Findings: append([]rego.Finding{}, more...)}
	add := func(lint, file, text, safe string) {
		r.Findings = append(r.Findings, rego.Finding{Lint: lint, File: file, Line: 1, Text: text, Safe: safe})
	}
	if c.source.Manifest.Owner == "" {
		add("no-owner", bundle.ManifestFile, "nobody is named who answers for this bundle", "owner: a team or a person")
	}
	r.Findings = append(r.Findings, c.behind()...)
	for _, e := range c.evaluators {
		switch e := e.(type) {
		case *rego.Evaluator:
			r.Findings = append(r.Findings, e.Lint()...)
		case *cedar.Evaluator:
			for _, f := range e.Lint() {
				r.Findings = append(r.Findings, rego.Finding(f))
			}
		case *opa.Evaluator:
			r.Findings = append(r.Findings, e.Findings()...)
		}
	}
	if why := r.Coverage.Why; why != "" {
		add("slow-path", bundle.ManifestFile, "no Rego is compiled: "+why, "")
	}
	for _, s := range r.Coverage.Slow {
		r.Findings = append(r.Findings, rego.Finding{Lint: "slow-path", File: s.File, Line: s.Line, Rule: s.Rule, Text: "left to OPA's evaluator: " + s.Why})
	}
	cases, err := c.Test(ctx)
	if err != nil && !errors.Is(err, ErrOneSided) {
		return r, err
	}
	if err != nil {
		add("missing-case", bundle.ManifestFile, ErrOneSided.Error(), "")
	}
	for _, id := range cases.Uncovered {
		file, line := c.where(id)
		r.Findings = append(r.Findings, rego.Finding{Lint: "missing-case", File: file, Line: line, Rule: id, Text: "no case fires the rule"})
	}
	c.waiveFindings(&r)
	slices.SortStableFunc(r.Findings, func(a, b rego.Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Lint, b.Lint))
	})
	return r, nil
}

// where is the place of a rule, or the manifest if its engine does not say.
func (c *Compiled) where(rule string) (file string, line int) {
	for _, e := range c.evaluators {
		if e, ok := e.(interface {
			Where(string) (string, int, bool)
		}); ok {
			if file, line, ok := e.Where(rule); ok {
				return file, line
			}
		}
	}
	return bundle.ManifestFile, 1
}

// waive applies the manifest's waivers. One that ended no longer counts, and one that waives nothing is a finding.
func (c *Compiled) waiveFindings(r *LintReport) {
	now := time.Now
	if c.with.Now != nil {
		now = c.with.Now
	}
	used := map[bundle.Waiver]bool{}
	for i := range r.Findings {
		f := &r.Findings[i]
		w, ok := c.source.Manifest.Waived(f.Lint, f.Rule)
		if !ok {
			continue
		}
		used[w] = true
		if f.Waived = w.Reason; !now().Before(w.Until) {
			f.Waived = ""
			f.Text += fmt.Sprintf(" (waived by %s until %s)", w.Owner, w.Until.Format(time.DateOnly))
		}
	}
	for _, w := range c.source.Manifest.Waivers {
		if w.Lint == "" {
			if !now().Before(w.Until) {
				r.Findings = append(r.Findings, rego.Finding{Lint: "unused-waiver", File: bundle.ManifestFile, Line: 1, Rule: w.Rule,
					Text: fmt.Sprintf("the waiver for %s has ended on %s", w.Agent, w.Until.Format(time.DateOnly)), Safe: "remove it"})
			}
			continue
		}
		if !used[w] {
			r.Findings = append(r.Findings, rego.Finding{Lint: "unused-waiver", File: bundle.ManifestFile, Line: 1, Rule: w.Rule,
				Text: fmt.Sprintf("the waiver of %s waives nothing", w.Lint), Safe: "remove it"})
		}
	}
}

// SARIF returns the report in the form SARIF 2.1.0, which code hosts and editors read. Files are relative to the
// bundle's folder.
func (r *LintReport) SARIF() ([]byte, error) {
	type object = map[string]any
	var rules, results []any
	for _, name := range sortedLints() {
		rules = append(rules, object{"id": name, "shortDescription": object{"text": Lints[name]}})
	}
	for _, f := range r.Findings {
		level, text := "warning", f.Text
		if f.Error {
			level = "error"
		}
		if f.Rule != "" {
			text = f.Rule + ": " + text
		}
		if f.Safe != "" {
			text += ". Safe form: " + f.Safe
		}
		result := object{"ruleId": f.Lint, "level": level, "message": object{"text": text},
			"locations": []any{object{"physicalLocation": object{"artifactLocation": object{"uri": f.File}, "region": object{"startLine": max(f.Line, 1)}}}}}
		if f.Waived != "" {
			result["suppressions"] = []any{object{"kind": "inSource", "justification": f.Waived}}
		}
		results = append(results, result)
	}
	if results == nil {
		results = []any{}
	}
	return json.Marshal(object{"version": "2.1.0", "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
		"runs": []any{object{"tool": object{"driver": object{"name": "sallyport policy lint", "rules": rules}}, "results": results}}},
		json.Deterministic(true), jsontext.WithIndent("  "))
}

func sortedLints() []string {
	out := make([]string, 0, len(Lints))
	for name := range Lints {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
