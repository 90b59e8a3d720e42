// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"mvdan.cc/sh/v3/syntax"
)

func realBash(t *testing.T) string {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash to compare with")
	}
	return bash
}

// TestWordsAreWhatBashReads compares random quoting with bash itself. The alphabet holds nothing that runs
// or writes.
func TestWordsAreWhatBashReads(t *testing.T) {
	bash, r := realBash(t), open(t, testConfig())
	rng := rand.New(rand.NewPCG(1, 2))
	alphabet := strings.Split(`a b \ ' " $' * { } , é \101 $" = # \x41 \u0041 \c - . \' \" \\ ! ^ % [ ]`, " ")
	compared := 0
	for range 600 {
		var b strings.Builder
		for range 1 + rng.IntN(7) {
			b.WriteString(alphabet[rng.IntN(len(alphabet))])
		}
		text := "p " + b.String()
		f, err := syntax.NewParser().Parse(strings.NewReader(text), "")
		if err != nil || len(f.Stmts) != 1 {
			continue
		}
		x, ok := f.Stmts[0].Cmd.(*syntax.CallExpr)
		if !ok || len(x.Args) < 2 {
			continue
		}
		w := walker{c: &call{r: r}, src: text, cwd: []string{"/x"}}
		want, static := "", true
		for _, one := range w.words(x.Args[1:]) {
			static = static && one.static
			want += "<" + one.text + ">"
		}
		got, err := exec.Command(bash, "--norc", "-fc", "printf '<%s>' "+b.String()).Output()
		if err != nil || !static {
			continue
		}
		if compared++; string(got) != want {
			t.Errorf("%q: %q, bash reads %q", b.String(), want, got)
		}
	}
	if compared < 100 {
		t.Errorf("only %d words were compared", compared)
	}
}

// script writes a random script of the programs a to e, which are stubs, in every construct that runs one.
func script(rng *rand.Rand, depth int) string {
	name := string(rune('a' + rng.IntN(5)))
	if depth == 0 {
		return name
	}
	s := func() string { return script(rng, depth-1) }
	q := func(x string) string { return "'" + strings.ReplaceAll(x, "'", `'\''`) + "'" }
	forms := []func() string{
		func() string { return s() + "; " + s() }, func() string { return s() + " && " + s() }, func() string { return s() + " || " + s() },
		func() string { return s() + " | " + s() }, func() string { return "( " + s() + " )" }, func() string { return "{ " + s() + "; }" },
		func() string { return name + " $( " + s() + " )" }, func() string { return name + ` "$( ` + s() + ` )"` }, func() string { return "! { " + s() + "; }" },
		func() string { return "if " + s() + "; then " + s() + "; else " + s() + "; fi" }, func() string { return "for x in 1 2; do " + s() + "; done" },
		func() string { return "case $( " + s() + " ) in *) " + s() + ";; esac" }, func() string { return "f() { " + s() + "; }; f" },
		func() string { return "eval " + q(s()) }, func() string { return name + " <( " + s() + " )" }, func() string { return "x=$( " + s() + " )" },
		func() string { return "y=" + name + "; $y" }, func() string { return name + " ${z:-$( " + s() + " )}" }, func() string { return "[[ -z $( " + s() + " ) ]]" },
		func() string { return name + " <<E\n$( " + s() + " )\nE\n" + s() }, func() string { return name + " <<< $( " + s() + " )" }, func() string { return "trap " + q(s()) + " EXIT" },
		func() string { return "(( 1 + $( " + s() + " ; echo 1 ) ))" }, func() string { return "command " + name }, func() string { return "exec " + name },
		func() string { return "coproc { " + s() + "; }; wait" }, func() string { return "until " + s() + "; do break; done" }, func() string { return `\` + name + `'' ""` + ` ; ` + s() },
		func() string { return "export v=$( " + s() + " )" }, func() string { return "a=( $( " + s() + " ) )" }, func() string { return "time " + name }, func() string { return name + " & wait" },
		func() string { return "builtin eval " + q(s()) }, func() string { return "{" + name + ",q}" }, func() string { return "$'" + fmt.Sprintf(`\x%x`, name[0]) + "'" },
	}
	return forms[rng.IntN(len(forms))]()
}

// TestWhatBashRunsIsStated runs random scripts under bash, where every program is a stub that logs its
// name, and checks that each program that ran is among the commands stated, or that one is dynamic.
func TestWhatBashRunsIsStated(t *testing.T) {
	shell, r := realBash(t), open(t, testConfig())
	dir, err := os.MkdirTemp("", "stubs") // not t.TempDir: a coprocess may still write when it is removed
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		stub := fmt.Sprintf("#!%s\necho %s >> \"$LOG\"\n[ %s != b ]\n", shell, n, n)
		if err := os.WriteFile(filepath.Join(dir, n), []byte(stub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	ran := 0
	for i := range 120 {
		text := script(rng, 3)
		log := filepath.Join(dir, fmt.Sprint("log", i)) // one each: a coprocess may outlive its script
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		cmd := exec.CommandContext(ctx, shell, "--norc", "-c", text)
		cmd.Env, cmd.Dir, cmd.WaitDelay = []string{"PATH=" + dir, "LOG=" + log}, dir, time.Second
		_ = cmd.Run() // exit codes and complaints are the script's own
		cancel()
		out, _ := os.ReadFile(log)
		f := bash(t, r, text)
		stated, dynamic := map[string]bool{}, false
		for _, c := range f.Commands {
			stated[c.Name] = true
			dynamic = dynamic || c.Dynamic == action.Yes
		}
		for _, n := range strings.Fields(string(out)) {
			if ran++; !stated[n] && !dynamic {
				t.Errorf("%q ran %s\n%s", text, n, show(f))
			}
		}
	}
	if ran < 100 {
		t.Errorf("only %d programs ran", ran)
	}
	t.Logf("%d programs ran", ran)
}
