// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// look finds what reaches commands from elsewhere in the text: variables, functions, and arithmetic, in
// which bash runs the substitutions that stand in a variable's value. It comes before the commands,
// because a variable that is set anywhere is known nowhere.
func (w *walker) look(file *syntax.File) {
	if w.names == nil {
		w.names = map[string]bool{}
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Assign:
			w.assign(n)
		case *syntax.DeclClause:
			for _, a := range n.Args {
				w.tainted = w.tainted || a.Name == nil
			}
			w.tainted = w.tainted || len(n.Args) == 0 // prints variables
		case *syntax.FuncDecl, *syntax.CoprocClause:
			w.assigned = true
		case *syntax.ArithmExp, *syntax.ArithmCmd, *syntax.LetClause, *syntax.CStyleLoop:
			w.assigned = true
			w.tainted = w.tainted || !numeric(n)
		case *syntax.BinaryTest:
			switch n.Op {
			case syntax.TsEql, syntax.TsNeq, syntax.TsLeq, syntax.TsGeq, syntax.TsLss, syntax.TsGtr:
				w.tainted = w.tainted || !numeric(n)
			}
		case *syntax.UnaryTest:
			w.tainted = w.tainted || n.Op == syntax.TsVarSet || n.Op == syntax.TsRefVar
		case *syntax.WordIter:
			w.assigned = true
			if n.Name != nil {
				w.names[n.Name.Value] = true
				w.tainted = w.tainted || !harmlessVariable(n.Name.Value) && !lower(n.Name.Value)
			}
		case *syntax.ParamExp:
			w.assigned = w.assigned || n.Exp != nil && (n.Exp.Op == syntax.AssignUnset || n.Exp.Op == syntax.AssignUnsetOrNull)
			w.tainted = w.tainted || n.Index != nil || n.Slice != nil
		}
		return true
	})
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Assign:
			w.tainted = w.tainted || n.Value != nil && w.word(n.Value).env || n.Array != nil
		case *syntax.WordIter:
			for _, i := range n.Items {
				w.tainted = w.tainted || w.word(i).env
			}
		}
		return true
	})
}

// numeric reports whether n holds nothing but numbers and operators.
func numeric(n syntax.Node) bool {
	ok := true
	syntax.Walk(n, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Lit:
			ok = ok && strings.Trim(n.Value, "0123456789") == ""
		case *syntax.ParamExp, *syntax.SglQuoted, *syntax.DblQuoted, *syntax.CmdSubst:
			ok = false
		}
		return ok
	})
	return ok
}

// assign notes that a variable is set. Those that programs are known to ignore, and the script's own in
// lower letters, leave the reviewed commands what they are.
func (w *walker) assign(a *syntax.Assign) {
	if a.Name == nil {
		w.tainted = true
		return
	}
	w.names[a.Name.Value] = true
	w.tainted = w.tainted || a.Index != nil
	if a.Naked && a.Value == nil && a.Array == nil && (a.Name.Value == "HOME" || a.Name.Value == "PATH") {
		return // export of what is set already
	}
	w.assigned = true
	if !harmlessVariable(a.Name.Value) && !lower(a.Name.Value) {
		w.tainted = true
	}
}

func lower(s string) bool {
	return strings.ToLower(s) == s && !strings.HasPrefix(s, "npm_") && !strings.HasSuffix(s, "_proxy") && !zshNames[s]
}

// zshNames are lower-case variables that zsh ties to what it runs.
var zshNames = set(`path fpath cdpath mailpath manpath module_path precmd preexec chpwd periodic prompt psvar functions aliases
	galiases saliases commands builtins options hooks nameddirs`)

var harmless = set(`CI NODE_ENV RUST_BACKTRACE RUST_LOG GOOS GOARCH CGO_ENABLED LANG LC_ALL TERM NO_COLOR FORCE_COLOR TZ COLUMNS
	PYTHONDONTWRITEBYTECODE PYTHONUNBUFFERED VERBOSE DEBUG LOG_LEVEL GOMAXPROCS CARGO_TERM_COLOR SKIP UPDATE_SNAPSHOTS`)

func harmlessVariable(name string) bool { return harmless[name] }
