// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/monitor"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/tools"
)

// readDeclared is what a bundle says of tools: its packs, tools/*.yaml, and tools of its manifest.
func readDeclared(b *bundle.Bundle) (*tools.Declared, error) {
	var files []tools.File
	for _, f := range b.Files(bundle.ToolsFolder, ".yaml") {
		files = append(files, tools.File(f))
	}
	var single []tools.Declaration
	for _, t := range b.Manifest.Tools {
		server, name := action.SplitToolKey(t.Tool)
		single = append(single, tools.Declaration{Server: server, Tool: name, Digest: t.Digest, Effect: t.Effect,
			Reversible: t.Reversible, Idempotent: t.Idempotent, Zone: t.Zone})
	}
	return tools.ReadDeclared(files, single)
}

// openTools opens the registry under what the bundle in force says of tools.
func (s *Sallyport) openTools(ctx context.Context) (err error) {
	cfg := s.toolsConfig()
	if cfg.Declared, err = readDeclared(s.Policy.Active().Source()); err == nil {
		s.Tools, err = tools.Open(ctx, cfg)
	}
	if err != nil {
		return err
	}
	return s.policyFits()
}

// policyFits holds the policy of this start against the registry, which was not open when it was read. One that was in force before,
// and fits no longer because of what was approved since, goes on with an alarm: what errs denies.
func (s *Sallyport) policyFits() error {
	err := s.Policy.Active().Fits(s.toolArguments())
	if err != nil && s.bundles.root != nil && s.bundles.first == nil {
		s.alarm(codeUnfit, err.Error())
		return nil
	}
	return err
}

// beside is what a bundle brings beside its policies, read, so that it can be put in force without an error of form.
type beside struct {
	tools  *tools.Declared
	chains *monitor.Rules
}

func readBeside(c *policy.Compiled) (b beside, err error) {
	if b.tools, err = readDeclared(c.Source()); err == nil {
		b.chains, err = chainsOf(c.Source())
	}
	return b, err
}

// useBeside puts b in force. A tool whose new standing cannot be recorded is not approved by it.
func (s *Sallyport) useBeside(ctx context.Context, b beside, actor string) error {
	s.Profiles.ReplaceRules(b.chains)
	return s.Tools.Declare(ctx, b.tools, actor)
}
