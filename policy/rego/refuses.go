// SPDX-License-Identifier: Apache-2.0

package rego

import (
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// OnlyRefuses returns "" if it is proved that adding files to others can change no decision but into deny or
// quarantine; else what stands against it. The added files must be packages of their own that no other file
// could refer to, and state only deny and quarantine. An ask does not pass: where no rule permits anything
// the answer is deny, and an ask in its place is more than that.
func OnlyRefuses(files, others []File) string {
	added, document, err := parse(files)
	if err != nil {
		return err.Error()
	}
	if len(document) > 0 {
		return fmt.Sprintf("%q is a document", sortedKeys(document)[0])
	}
	names := map[string]string{}
	for _, file := range sortedKeys(added) {
		m := added[file]
		names[packagePath(m)[1]] = file
		for _, r := range m.Rules {
			if set := r.Head.Ref()[0].Value.String(); slices.Contains(sets, set) && set != "deny" && set != "quarantine" {
				return fmt.Sprintf("%s:%d: %s", file, r.Location.Row, set)
			}
		}
	}
	old, documents, err := parse(others)
	if err != nil {
		return err.Error()
	}
	for file, m := range documents {
		old[file] = m
	}
	for _, file := range sortedKeys(old) {
		m := old[file]
		if path := packagePath(m); len(path) > 1 && names[path[1]] != "" {
			return fmt.Sprintf("%q adds to the package of %q", names[path[1]], file)
		}
		for _, i := range m.Imports {
			if why := reaches(i, names); why != "" {
				return fmt.Sprintf("%q may refer to what is added: %s", file, why)
			}
		}
		for _, r := range m.Rules {
			if why := reaches(r, names); why != "" {
				return fmt.Sprintf("%s:%d may refer to what is added: %s", file, r.Location.Row, why)
			}
		}
	}
	return ""
}

// reaches finds a reference to data that may lead into one of the packages.
func reaches(x any, names map[string]string) (why string) {
	ast.WalkTerms(x, func(t *ast.Term) bool {
		if t.Value.Compare(ast.DefaultRootDocument.Value) == 0 {
			why = "data as a whole"
		}
		ref, ok := t.Value.(ast.Ref)
		if !ok || len(ref) == 0 || !ref[0].Equal(ast.DefaultRootDocument) {
			return why != ""
		}
		if !elsewhere(ref, names) {
			why = ref.String()
		}
		for _, t := range ref[1:] {
			if why == "" {
				why = reaches(t, names)
			}
		}
		return true // the head, data, is no reference of its own
	})
	return why
}

// elsewhere reports whether a reference into data certainly leads to none of the packages.
func elsewhere(ref ast.Ref, names map[string]string) bool {
	if len(ref) < 2 {
		return false
	}
	first, ok := ref[1].Value.(ast.String)
	if !ok || first != "sallyport" {
		return ok
	}
	if len(ref) < 3 {
		return false
	}
	second, ok := ref[2].Value.(ast.String)
	return ok && names[string(second)] == ""
}
