// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/rego"
)

// LintFiles lints the bundle in dir with the files of overlay, by their names in the bundle, in place of its own. It is
// for editors: a bundle that does not load is no error but its findings, each with the place that the error names.
// An error is for a folder that cannot be read and for a context that ended.
func LintFiles(ctx context.Context, dir string, overlay map[string][]byte) (LintReport, error) {
	b, err := bundle.Open(dir, overlay)
	if err != nil {
		return LintReport{Findings: misfits(err)}, ctx.Err()
	}
	c, err := compile(b, Config{linting: true})
	if err != nil {
		return LintReport{Bundle: b.Manifest.Name, Findings: misfits(err)}, ctx.Err()
	}
	r, err := c.Lint(ctx)
	if err != nil && ctx.Err() == nil {
		r.Findings = append(r.Findings, misfits(err)...)
		err = nil
	}
	return r, err
}

var (
	// placed is how every part of a bundle says where something is wrong.
	placed = regexp.MustCompile(`([A-Za-z0-9_./-]+\.(?:rego|cedar|yaml|json)):(\d+)(?::\d+)?: (.*)`)
	// nowhere are facts that agent.v1 does not have, as both engines say it.
	nowhere = regexp.MustCompile(`undefined ref: input\.|context\.\S+ (?:does not exist|has no attributes)`)
)

// misfits turns an error of loading into findings. One that names no place stands at the manifest.
func misfits(err error) []rego.Finding {
	var out []rego.Finding
	text := err.Error()
	for line := range strings.Lines(text) {
		m := placed.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		row, err := strconv.Atoi(m[2])
		if err != nil {
			continue
		}
		out = append(out, misfit(m[1], row, m[3]))
	}
	if out == nil {
		out = append(out, misfit(bundle.ManifestFile, 1, text))
	}
	return out
}

func misfit(file string, line int, text string) rego.Finding {
	f := rego.Finding{Lint: "does-not-load", Error: true, File: file, Line: line, Text: text}
	if nowhere.MatchString(text) {
		f.Lint, f.Safe = "impossible-field", fmt.Sprintf("a fact of %s", factsPage)
	}
	return f
}

// factsPage lists every fact.
const factsPage = "docs/reference/facts.md"
