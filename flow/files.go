// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"context"
	"path"
	"slices"

	"github.com/sallyport/sallyport/action"
)

// A file into which an action put what strangers wrote is theirs, and so is a command that runs it. It is
// marked by its place and by its name, for the tenant and as long as other stains: what is put there later may
// leave the strangers' part standing. What a person has approved is not marked.

// The least part of a text that must stand, word beside word, in what came from outside, and of how many
// pairs of words.
const (
	copiedShare = 60 // percent
	copiedPairs = 6
)

// buildFiles are what commands run that name no file.
var buildFiles = map[string][]string{
	"make": {"Makefile", "makefile", "GNUmakefile"}, "gmake": {"Makefile", "GNUmakefile"}, "npm": {"package.json"}, "npx": {"package.json"},
	"yarn": {"package.json"}, "pnpm": {"package.json"}, "cargo": {"build.rs"}, "just": {"justfile"}, "task": {"Taskfile.yml"},
	"gradle": {"build.gradle", "build.gradle.kts"}, "mvn": {"pom.xml"}, "ant": {"build.xml"}, "pytest": {"conftest.py"}, "tox": {"tox.ini"},
}

// stainFiles marks the files that q is about to write what strangers wrote into.
func (f *Flow) stainFiles(ctx context.Context, s *session, q *action.Query) error {
	writes := func(p action.Path) bool { return p.Access == action.EffectWrite }
	if q.Context.Approval.Status == action.ApprovalGranted || !slices.ContainsFunc(q.Action.Paths, writes) || !s.takesIn(f, q) {
		return nil
	}
	for _, p := range q.Action.Paths {
		if !writes(p) || p.Resolved == "" {
			continue
		}
		for _, print := range []string{f.stainPrint(q.Subject.Tenant, "file", p.Resolved), f.stainPrint(q.Subject.Tenant, "file name", path.Base(p.Resolved))} {
			if s.stains.has(print) {
				continue
			}
			if err := f.putStain(ctx, s.stains, q, print); err != nil {
				return err
			}
		}
	}
	return nil
}

// fromOutside reports whether strangers outside may have written what q brings back: it is no file that lies
// here, nor what a command printed that asked nobody.
func fromOutside(q *action.Query) bool {
	return len(q.Action.URLs) > 0 || len(q.Action.Paths)+len(q.Action.Commands) == 0
}

// takesIn reports whether q takes along what strangers outside wrote: it fetches it, or an argument copies it.
func (s *session) takesIn(f *Flow, q *action.Query) bool {
	if slices.ContainsFunc(q.Action.URLs, func(u action.URL) bool { return u.Private != action.Yes }) {
		return true
	}
	for i := range q.Context.Flow.Arguments {
		v := &q.Context.Flow.Arguments[i]
		if v.Kind == "path" {
			continue
		}
		for _, e := range v.Evidence {
			if e.Origin == action.OriginUntrusted && s.outside[e.Source] {
				return true
			}
		}
	}
	found := false
	leaves(q.Action.Arguments, maxLeaves, func(l leaf) { found = found || l.kind == '"' && s.copied(f, l.text) })
	return found
}

// copied reports whether most of a text stands in what came from outside.
func (s *session) copied(f *Flow, text string) bool {
	all, theirs, last := 0, 0, uint64(0)
	for w := range words(text) {
		h := f.word(w)
		if last != 0 {
			all++
			if m, ok := s.index[pair(last, h)]; ok && s.outside[s.toolName(m.tool)] {
				theirs++
			}
		}
		last = h
	}
	return all >= copiedPairs && theirs*100 >= all*copiedShare
}

// runsStrangers reports whether a command at pointer runs a file that strangers' text was put into.
func (a *asking) runsStrangers(pointer string) bool {
	t, q := a.s.stains, a.q
	if t == nil || t.empty() || !q.Action.Effect.SideEffect() {
		return false
	}
	has := func(kind, canon string) bool { return t.has(a.f.stainPrint(q.Subject.Tenant, kind, canon)) }
	placed := map[string]bool{} // names of files whose place is known: another file of the name is not meant
	for _, p := range q.Action.Paths {
		if p.Pointer != pointer || p.Resolved == "" {
			continue
		}
		placed[path.Base(p.Resolved)] = true
		if p.Access != action.EffectWrite && has("file", p.Resolved) {
			return true
		}
	}
	for _, c := range q.Action.Commands {
		if c.Pointer != pointer {
			continue
		}
		files := append([]string{c.Name}, buildFiles[c.Name]...)
		for _, w := range c.Args[:min(len(c.Args), 64)] {
			files = append(files, path.Base(w))
		}
		if slices.ContainsFunc(files, func(name string) bool { return name != "" && !placed[name] && has("file name", name) }) {
			return true
		}
	}
	return false
}
