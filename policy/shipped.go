// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/rego"
)

// shipped names a pack of this build by what decides in it. Its cases, parameters and text do not count.
func shipped(pack string) (bundle.Copied, error) {
	fsys, err := policies.Pack(pack)
	if err != nil {
		return bundle.Copied{}, err
	}
	b, err := bundle.Read(fsys, nil)
	if err != nil {
		return bundle.Copied{}, fmt.Errorf("pack %q: %w", pack, err)
	}
	type file struct {
		Name   string `json:"name"`
		Digest string `json:"digest"`
	}
	list := []file{}
	for _, f := range slices.Concat(b.Policies(".rego"), b.Policies(".cedar")) {
		list = append(list, file{f.Name, bundle.Sum(f.Data)})
	}
	text, err := action.Canonical(list)
	return bundle.Copied{Pack: pack, Sequence: b.Manifest.Sequence, Rules: bundle.Sum(text)}, err
}

// behind finds folders that were copied from packs whose rules are others in this build.
func (c *Compiled) behind() (out []rego.Finding) {
	for _, was := range c.source.Manifest.Packs {
		f := rego.Finding{Lint: "pack-behind", File: bundle.ManifestFile, Line: 1, Rule: was.Pack}
		is, err := shipped(was.Pack)
		switch {
		case err != nil:
			f.Text, f.Safe = "this build has no such pack any more; the copy is yours alone", "remove it from packs"
		case is.Rules == was.Rules:
			continue
		default:
			f.Text = fmt.Sprintf("the folder was copied from the pack at sequence %d; this build has sequence %d, with other rules", was.Sequence, is.Sequence)
			f.Safe = fmt.Sprintf("compare with a copy of now (sallyport policy new FRESH --owner YOU --without-baseline --pack %s), take over what you want, and its entry in packs", was.Pack)
		}
		out = append(out, f)
	}
	return out
}
