// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/rego"
	"github.com/sallyport/sallyport/policy/rego/opa"
)

// foreign makes the evaluator of the profile opa, nil if the bundle does not use it.
func (c *Compiled) foreign() (*opa.Evaluator, error) {
	b, m := c.source, &c.source.Manifest.OPA
	files := slices.Concat(b.Files(bundle.OPAFolder, ".rego"), b.Files(bundle.OPAFolder, ".json"), b.Files(bundle.OPAFolder, ".yaml"))
	switch {
	case !m.Decides() && len(files) > 0:
		return nil, fmt.Errorf("%s/ holds policies, but the manifest has no opa.entrypoint", bundle.OPAFolder)
	case !m.Decides():
		return nil, nil
	}
	cfg := opa.Config{Entrypoint: m.Entrypoint, Refusals: m.Refusals, V0: m.Rego == "v0", Lenient: m.Lenient, Limit: c.with.Limit, Accepted: c.accepted}
	for _, f := range files {
		name := strings.TrimPrefix(f.Name, bundle.OPAFolder+"/")
		switch {
		case strings.HasSuffix(name, "_test.rego"):
		case strings.HasSuffix(name, ".rego"):
			cfg.Files = append(cfg.Files, rego.File{Name: f.Name, Data: f.Data})
		case strings.HasSuffix(name, ".json"), strings.HasSuffix(name, ".yaml"):
			cfg.Data = append(cfg.Data, rego.File{Name: name, Data: f.Data})
		}
	}
	for i := range m.Inputs {
		var input any
		if err := m.Inputs[i].Input.Decode(&input); err != nil {
			return nil, fmt.Errorf("opa: input %d: %w", i+1, err)
		}
		if input == nil {
			return nil, fmt.Errorf("opa: input %d: %w", i+1, errors.New("input is required"))
		}
		cfg.Mappings = append(cfg.Mappings, opa.Mapping{Tool: m.Inputs[i].Tool, Input: input})
	}
	return opa.New(cfg)
}

// accepted reports whether the manifest waives a finding, and why. A waiver that ended waives nothing under a clock
// (Config.Now), which whoever puts a bundle in force has. Without one every waiver holds: what was in force must
// decide again as it did, whatever the day.
func (c *Compiled) accepted(f rego.Finding) (why string, ok bool) {
	w, ok := c.source.Manifest.Waived(f.Lint, f.Rule)
	if ok && c.with.Now != nil && !c.with.Now().Before(w.Until) {
		c.ended, ok = &w, false
	}
	return w.Reason, ok || c.with.linting
}

// afterWaiver adds to a refusal that a waiver ended.
func (c *Compiled) afterWaiver(err error) error {
	if c.ended == nil || !errors.Is(err, ErrRisk) && !errors.Is(err, opa.ErrRisk) {
		return err
	}
	return fmt.Errorf("%w (the waiver of %s for %s by %s ended on %s)", err, c.ended.Lint, c.ended.Rule, c.ended.Owner, c.ended.Until.Format(time.DateOnly))
}

// ErrRisk means that a rule would fail silently on data that is absent or of another type, and let pass what it is
// there to stop.
var ErrRisk = errors.New("the rule fails open")

// refuse errs with the first rule of e that fails open and is not waived.
func (c *Compiled) refuse(e *rego.Evaluator) error {
	if c.with.linting {
		return nil
	}
	for _, f := range e.Risks() {
		if _, ok := c.accepted(f); !ok && f.Waived == "" {
			return fmt.Errorf("rego: %s:%d: rule %s: %s: %s: %w; safe form: %s", f.File, f.Line, f.Rule, f.Lint, f.Text, ErrRisk, f.Safe)
		}
	}
	return nil
}
