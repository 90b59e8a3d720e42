// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/cedar"
	"github.com/sallyport/sallyport/policy/rego"
)

// untight returns "" if it is proved that c permits nothing that old does not: equal queries get an equal answer
// or a stricter one, for no longer, and observed is no more. Otherwise it returns the first thing that is not
// proved. The proof looks at the form of the change, not at what rules mean, so that much of what is tighter
// in truth is not proved:
//
//   - every policy of old is there unchanged, and what was added only refuses (rego.OnlyRefuses,
//     cedar.OnlyForbids);
//   - parameters are the same, or every policy is one of an embedded pack, for which a test holds that less in
//     its lists permits less, and the lists shrink;
//   - the end is no later, the settings that it asks for are the same, and each entry of observe is within one of old;
//   - everything else is the same but for tests and texts, which decide nothing.
func untight(old, c *Compiled) string {
	a, b := old.source, c.source
	for _, step := range []func() string{
		func() string { return untightManifest(&a.Manifest, &b.Manifest) },
		func() string { return untightFiles(a, b) },
		func() string { return untightParams(a, b) },
	} {
		if why := step(); why != "" {
			return why
		}
	}
	return ""
}

func untightManifest(a, b *bundle.Manifest) string {
	switch {
	case a.Name != b.Name:
		return "it has another name"
	case !bundle.SameDeclarations(*a, *b):
		return "its manifest declares something otherwise"
	case a.Settings != "" && a.Settings != b.Settings:
		return "it asks for other settings"
	case !a.Expires.IsZero() && (b.Expires.IsZero() || b.Expires.After(a.Expires)):
		return "it ends later"
	}
	for i := range b.Observe {
		o := &b.Observe[i]
		within := slices.ContainsFunc(a.Observe, func(was bundle.Observe) bool {
			return was.Tenant == o.Tenant && was.Agent == o.Agent && was.Tool == o.Tool && !o.Until.After(was.Until)
		})
		if !within {
			return fmt.Sprintf("entry %d of observe is new or longer", i+1)
		}
	}
	return ""
}

func sameFile(a, b *bundle.Bundle, name string) string {
	x, inA := a.File(name)
	y, inB := b.File(name)
	if inA != inB || !bytes.Equal(x, y) {
		return fmt.Sprintf("%q differs", name)
	}
	return ""
}

// untightFiles takes only what is known to decide nothing, and new policies that only refuse.
func untightFiles(a, b *bundle.Bundle) string {
	decides := map[string]bool{}
	added := map[string][]bundle.File{}
	for _, ext := range []string{".rego", ".cedar"} {
		for _, f := range b.Policies(ext) {
			decides[f.Name] = true
			if _, old := a.File(f.Name); !old {
				added[ext] = append(added[ext], f)
			}
		}
		for _, f := range a.Policies(ext) {
			decides[f.Name] = true
		}
	}
	for _, name := range slices.Concat(a.Names(), b.Names()) {
		_, old := a.File(name)
		harmless := name == bundle.ManifestFile || name == bundle.ParamsFile || !decides[name] && aside(name) || decides[name] && !old
		if why := sameFile(a, b, name); why != "" && !harmless {
			return why
		}
	}
	if list := added[".rego"]; len(list) > 0 {
		if why := rego.OnlyRefuses(regoFiles(list), regoFiles(a.Policies(".rego"))); why != "" {
			return why
		}
	}
	if list := added[".cedar"]; len(list) > 0 {
		var files []cedar.File
		for _, f := range list {
			files = append(files, cedar.File(f))
		}
		return cedar.OnlyForbids(files)
	}
	return ""
}

// aside reports whether a file of this name only stands beside the policies: text and tests.
func aside(name string) bool {
	return strings.HasPrefix(name, "tests/") || strings.HasSuffix(name, "_test.rego") || !strings.Contains(name, "/") &&
		(path.Ext(name) == ".md" || path.Ext(name) == ".txt" || name == "LICENSE")
}

func regoFiles(list []bundle.File) []rego.File {
	var out []rego.File
	for _, f := range list {
		out = append(out, rego.File(f))
	}
	return out
}

func untightParams(a, b *bundle.Bundle) string {
	if sameFile(a, b, bundle.ParamsFile) == "" {
		return ""
	}
	if !embedded(b) {
		return "parameters differ, and what they do in its own policies is not known"
	}
	old, now := a.Params, b.Params
	grown := func(name string, old, now []string) string {
		for _, v := range now {
			if !slices.Contains(old, v) {
				return fmt.Sprintf("%s permits more with %q", name, v)
			}
		}
		return ""
	}
	x, y := reflect.ValueOf(&old).Elem(), reflect.ValueOf(&now).Elem()
	for i := range x.NumField() {
		name := x.Type().Field(i).Tag.Get("yaml")
		was, is := x.Field(i).Interface(), y.Field(i).Interface()
		why := ""
		switch {
		case permitting[name]:
			why = grown(name, was.([]string), is.([]string))
		case refusing[name]:
			why = grown(name, is.([]string), was.([]string))
		case name == "require_separation":
			if was.(bool) && !is.(bool) {
				why = "separation is no longer required"
			}
		case !reflect.DeepEqual(was, is):
			why = name + " differs"
		}
		if why != "" {
			return why
		}
	}
	if len(old.Roots) > 0 && len(now.Roots) == 0 {
		return "without roots a session that has no folders of its own is bound to none"
	}
	return ""
}

// What the lists of the parameters do in the embedded packs. Of those that are not named here nothing is known.
var (
	permitting = map[string]bool{"roots": true, "hosts": true, "recipients": true, "commands": true, "databases_read": true, "databases_write": true,
		"folders_read": true, "folders_scratch": true, "remotes_push": true, "repositories_read": true, "repositories_write": true,
		"domains_mail": true, "channels": true, "payees": true, "currencies": true, "agents": true}
	refusing = map[string]bool{"hosts_drop": true, "tables_hidden": true, "folders_never": true, "names_never": true, "endings_never": true, "programs_never": true}
)

// embedded reports whether every policy of b is one of some embedded pack, byte for byte.
func embedded(b *bundle.Bundle) bool {
	own := append(b.Policies(".rego"), b.Policies(".cedar")...)
	return slices.ContainsFunc(policies.Names(), func(name string) bool {
		fsys, err := policies.Pack(name)
		if err != nil {
			return false
		}
		return !slices.ContainsFunc(own, func(f bundle.File) bool {
			data, err := fs.ReadFile(fsys, f.Name)
			return err != nil || !bytes.Equal(data, f.Data)
		})
	})
}
