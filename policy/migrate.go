// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/rego"
	"github.com/sallyport/sallyport/policy/rego/opa"
)

// Migration is a bundle made of policies that were written for OPA.
type Migration struct {
	Files map[string]string `json:"-"`     // of the bundle
	V0    bool              `json:"v0"`    // the policies stay in the older language
	Notes []rego.Finding    `json:"notes"` // what a person has to look at: withheld, not-rewritten, and each waived finding
}

// Ready reports whether the bundle loads: nothing in it needs what is withheld.
func (m *Migration) Ready() bool {
	return !slices.ContainsFunc(m.Notes, func(f rego.Finding) bool { return f.Error && f.Waived == "" })
}

// MigrateConfig says what of the policies decides.
type MigrateConfig struct {
	Name, Owner          string    // of the bundle; both required
	Entrypoint, Refusals string    // one is required
	Until                time.Time // end of the waivers; required
}

// Migrate makes a bundle of the OPA policies and data at the top of fsys. Rego of the older language is rewritten as far
// as that provably changes nothing. Each place that fails open becomes a waiver, to be looked at until its end.
func Migrate(fsys fs.FS, cfg MigrateConfig) (*Migration, error) {
	var files, data []rego.File
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		base := path.Base(name)
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(base, ".") && name != ".":
			return fs.SkipDir
		case d.IsDir() || strings.HasSuffix(base, "_test.rego"):
			return nil
		case path.Ext(base) != ".rego" && base != "data.json" && base != "data.yaml":
			return nil
		case len(files)+len(data) >= bundle.MaxFiles:
			return fmt.Errorf("more than %d files", bundle.MaxFiles)
		}
		text, err := fs.ReadFile(fsys, name)
		if path.Ext(base) == ".rego" {
			files = append(files, rego.File{Name: name, Data: text})
			return err
		}
		data = append(data, rego.File{Name: name, Data: text})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("policy: migrate: %w", err)
	}
	moved, err := opa.Migrate(files)
	if err != nil {
		return nil, fmt.Errorf("policy: migrate: %w", err)
	}
	out := &Migration{Files: map[string]string{}, V0: moved.V0, Notes: moved.Notes}
	for _, f := range slices.Concat(moved.Files, data) {
		out.Files[path.Join(bundle.OPAFolder, f.Name)] = string(f.Data)
	}
	var waivers []bundle.Waiver
	if out.Ready() {
		waive := func(f rego.Finding) (string, bool) {
			f.Waived = "not looked at since it was moved here: " + f.Text
			out.Notes = append(out.Notes, f)
			if !slices.ContainsFunc(waivers, func(w bundle.Waiver) bool { return w.Lint == f.Lint && w.Rule == f.Rule }) {
				waivers = append(waivers, bundle.Waiver{Lint: f.Lint, Rule: f.Rule, Reason: f.Waived, Owner: cfg.Owner, Until: cfg.Until})
			}
			return f.Waived, true
		}
		if _, err := opa.New(opa.Config{Files: moved.Files, Data: data, Entrypoint: cfg.Entrypoint, Refusals: cfg.Refusals, V0: moved.V0, Accepted: waive}); err != nil {
			return nil, fmt.Errorf("policy: migrate: %w", err)
		}
	}
	out.Files[bundle.ManifestFile], err = migratedManifest(cfg, moved.V0, waivers)
	return out, err
}

func migratedManifest(cfg MigrateConfig, v0 bool, waivers []bundle.Waiver) (string, error) {
	type section struct {
		Entrypoint string `yaml:"entrypoint,omitempty"`
		Refusals   string `yaml:"refusals,omitempty"`
		Rego       string `yaml:"rego,omitempty"`
	}
	m := struct {
		Version     int             `yaml:"version"`
		Name        string          `yaml:"name"`
		Sequence    int             `yaml:"sequence"`
		Description string          `yaml:"description"`
		Owner       string          `yaml:"owner"`
		OPA         section         `yaml:"opa"`
		Waivers     []bundle.Waiver `yaml:"waivers,omitempty"`
	}{1, cfg.Name, 1, "Policies that were written for OPA.", cfg.Owner, section{Entrypoint: cfg.Entrypoint, Refusals: cfg.Refusals}, waivers}
	if v0 {
		m.OPA.Rego = "v0"
	}
	text, err := yaml.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("policy: migrate: %w", err)
	}
	_, err = bundle.ReadManifest(text)
	return string(text), err
}
