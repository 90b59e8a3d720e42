// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/policy/bundle"
)

// blocks parts a source at empty lines into what stands at the top level; each block is one rule.
func blocks(src string) []string { return strings.Split(strings.TrimSpace(src), "\n\n") }

// isRule tells a rule from the head of the file.
func isRule(block string) bool {
	for line := range strings.Lines(block) {
		switch {
		case strings.HasPrefix(line, "#"), strings.HasPrefix(line, "//"):
		case strings.HasPrefix(line, "package "), strings.HasPrefix(line, "import "):
			return false
		default:
			return true
		}
	}
	return false
}

// sampled is one in how many of the many smaller broken forms a run without SALLYPORT_SOAK tries.
const sampled = 16

// decides tells a rule that decides from what it is made of.
var decides = regexp.MustCompile(`(?m)^(permit|forbid)\b|^(deny|ask|allow|quarantine|oblige) contains`)

// survivors breaks each rule of each policy in turn, and of what they are made of every so many broken forms one (with sampled, of the
// rules, too); it returns those that noticed nothing.
func survivors(t *testing.T, pack string, every int, broken func(block string) []string, same func(*Compiled) bool) []string {
	t.Helper()
	if soak() {
		every = 1
	}
	fsys, err := policies.Pack(pack)
	if err != nil {
		t.Fatal(err)
	}
	rego, _ := fs.Glob(fsys, "*.rego")
	cedar, _ := fs.Glob(fsys, "*.cedar")
	var out []string
	count := 0
	for _, name := range append(rego, cedar...) {
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			t.Fatal(err)
		}
		all := blocks(string(src))
		for i, block := range all {
			if !isRule(block) {
				continue
			}
			for _, mutant := range broken(block) {
				if count++; count%every != 0 && (every == sampled || !decides.MatchString(block)) {
					continue
				}
				changed := strings.Join(slices.Concat(all[:i], []string{mutant}, all[i+1:]), "\n\n")
				b, err := bundle.Read(fsys, map[string][]byte{name: []byte(changed)})
				if err != nil {
					t.Fatal(err)
				}
				if c, err := compile(b, Config{unproved: true, Shadow: -1}); err == nil && same(c) {
					out = append(out, name+":\n"+block+"\n-- became --\n"+mutant)
				}
			}
		}
	}
	return out
}

func TestDeletingAnyRuleFailsACase(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and nothing in it is concurrent")
	}
	for _, pack := range policies.Names() {
		t.Run(pack, func(t *testing.T) {
			t.Parallel()
			tr := trialsOf(t, pack)
			passes := func(c *Compiled) bool { return tr.pass(t, c) }
			for _, s := range survivors(t, pack, 1, func(string) []string { return []string{""} }, passes) {
				t.Errorf("no case notices the loss of a rule in %s", s)
			}
		})
	}
}

// trials are the cases of a pack in an order that finds a broken form soon: what found the last one is tried first.
type trials struct {
	suites []bundle.Suite
	order  []trial
}

type trial struct {
	suite int
	each  bundle.Case
}

func trialsOf(t *testing.T, pack string) *trials {
	t.Helper()
	tr := &trials{suites: suitesOf(t, pack)}
	for i, s := range tr.suites {
		for _, k := range s.Cases {
			tr.order = append(tr.order, trial{i, k})
		}
	}
	return tr
}

// pass reports whether every case gets its answer, and stops at the first that does not.
func (tr *trials) pass(t *testing.T, c *Compiled) bool {
	t.Helper()
	under := map[int]*Compiled{}
	for at, k := range tr.order {
		with, ok := under[k.suite]
		if !ok {
			var err error
			if with, err = c.under(tr.suites[k.suite]); err != nil {
				return false
			}
			under[k.suite] = with
		}
		r := Report{}
		if err := with.try(context.Background(), &r, tr.suites[k.suite].File, k.each, map[string]bool{}); err != nil {
			t.Fatal(err)
		}
		if !r.Passed() {
			copy(tr.order[1:at+1], tr.order[:at])
			tr.order[0] = k
			return false
		}
	}
	return true
}

// negated returns a block whose rule fires where block's own does not, nil for what has no condition.
func negated(block string) []string {
	if strings.HasPrefix(regoHeads.FindString(block), "permit") || strings.HasPrefix(regoHeads.FindString(block), "forbid") {
		for a, b := range map[string]string{"\nwhen {": "\nunless {", "\nunless {": "\nwhen {"} {
			if strings.Contains(block, a) {
				return []string{strings.Replace(block, a, b, 1)}
			}
		}
		return nil
	}
	m := regoRule.FindStringSubmatch(block)
	if m == nil {
		return nil
	}
	notes, head, args, body := m[1], m[2], m[3], m[4]
	return []string{notes + head + args + " if not negated_rule" + args + "\n\nnegated_rule" + args + " if " + body}
}

var (
	regoHeads = regexp.MustCompile(`(?m)^(permit|forbid)\b`)
	regoRule  = regexp.MustCompile(`(?s)^((?:#[^\n]*\n)*)((?:[a-z]+ contains \{.*?\})|[a-z_]+)(\([a-z_, ]+\))? if (.*)$`)
)

func TestNegatingAnyRuleFailsACase(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and nothing in it is concurrent")
	}
	for _, pack := range policies.Names() {
		t.Run(pack, func(t *testing.T) {
			t.Parallel()
			tr := trialsOf(t, pack)
			tried := 0
			passes := func(c *Compiled) bool {
				tried++
				return tr.pass(t, c)
			}
			every := 1
			if pack == "baseline" {
				every = 4
			}
			for _, s := range survivors(t, pack, every, negated, passes) {
				t.Errorf("no case notices that a rule says the opposite in %s", s)
			}
			if tried < 5 {
				t.Errorf("only %d rules were negated", tried)
			}
		})
	}
}

// TestCasesTellEachConditionApart removes single lines of rule bodies. A condition without which the same
// rules fire in every case is either untested or superfluous.
func TestCasesTellEachConditionApart(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and nothing in it is concurrent")
	}
	whole, err := Load(Config{unproved: true})
	if err != nil {
		t.Fatal(err)
	}
	suites := suitesOf(t, "baseline")
	want := answersOf(t, whole, suites, nil)
	broken := func(block string) []string {
		lines := strings.Split(block, "\n")
		var out []string
		for i, line := range lines {
			if strings.HasPrefix(line, "\t") && !strings.HasPrefix(line, "\t\"") && !strings.HasPrefix(line, "\tsome ") {
				out = append(out, strings.Join(slices.Concat(lines[:i], lines[i+1:]), "\n"))
			}
		}
		return out
	}
	for _, s := range survivors(t, "baseline", sampled, broken, func(c *Compiled) bool { return len(answersOf(t, c, suites, want)) == len(want) }) {
		t.Errorf("no case tells apart a condition in %s", s)
	}
}

// answersOf lists what fires in each case. With want it stops at the first case that differs.
func answersOf(t *testing.T, c *Compiled, suites []bundle.Suite, want []string) []string {
	t.Helper()
	var out []string
	for _, s := range suites {
		under, err := c.under(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range s.Cases {
			d, err := under.Decide(context.Background(), k.Query)
			if err != nil {
				t.Fatal(err)
			}
			fired := k.Name
			for _, m := range d.Matches {
				fired += " " + m.ID
			}
			for _, o := range d.Obligations {
				fired += " " + o.Rule
			}
			if want != nil && want[len(out)] != fired {
				return out
			}
			out = append(out, fired)
		}
	}
	return out
}

func suitesOf(t *testing.T, pack string) []bundle.Suite {
	t.Helper()
	c, err := Load(Config{Pack: pack})
	if err != nil {
		t.Fatal(err)
	}
	suites, err := c.source.Suites()
	if err != nil {
		t.Fatal(err)
	}
	return suites
}
