// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"path"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"mvdan.cc/sh/v3/syntax"
)

// The bounds of shell text; beyond them it is one command of which nothing is known.
const (
	maxShellBytes = 64 << 10
	maxShellDepth = 8   // of shells started by shells
	maxOpen       = 200 // parentheses and braces open at once: the parser recurses on them
	maxFolders    = 4   // working directories that a statement may run in
)

// unreadable is a command of which nothing is known.
func unreadable(pointer string, self action.Tri) action.Command {
	return action.Command{Pointer: pointer, Dynamic: action.Yes, Reviewed: action.No, Self: self}
}

func (c *call) command(pointer, s string) {
	if i := strings.LastIndexByte(pointer, '/'); i > 0 && isIndex(pointer[i+1:]) {
		at := pointer[:i]
		if n := len(c.vectors); n > 0 && c.vectors[n-1].pointer == at {
			c.vectors[n-1].words = append(c.vectors[n-1].words, s)
			return
		}
		c.vectors = append(c.vectors, vector{at, []string{s}})
		return
	}
	c.texts = append(c.texts, located{pointer, s})
}

func isIndex(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// workdir takes the folder that commands of this call run in.
func (c *call) workdir(pointer, s string) {
	p := c.r.path(pointer, s, action.EffectRead, c.at, true)
	c.addPath(p)
	if c.at.cwd = p.Resolved; p.Resolved == "" {
		c.typed = false
	}
}

// opaque takes code of a language that is not parsed.
func (c *call) opaque(pointer, s string) {
	c.typed = false
	c.addCommand(unreadable(pointer, action.TriUnknown))
}

func (c *call) addCommand(cmd action.Command) int {
	if len(c.facts.Commands) >= maxFacts {
		c.over[2] = true
		return -1
	}
	c.facts.Commands = append(c.facts.Commands, cmd)
	return len(c.facts.Commands) - 1
}

// commands reads what was collected. A text beside an array of words is a program with its arguments,
// unless the text is itself a command line: then servers differ, and nothing is known.
func (c *call) commands() {
	if len(c.texts)+len(c.vectors)+len(c.argv) == 0 && c.plan.runsCommands() {
		c.typed = false
		c.addCommand(unreadable("", action.TriUnknown))
	}
	if len(c.argv) > 0 {
		if len(c.texts) != 1 || len(c.vectors) > 0 || strings.ContainsAny(c.texts[0].text, " \t\n;|&$`<>()\"'\\") {
			c.typed = false
			c.addCommand(unreadable("", action.TriUnknown))
		} else {
			c.vectors = []vector{{c.texts[0].pointer, append([]string{c.texts[0].text}, c.argv...)}}
			c.texts = nil
		}
	}
	for _, t := range c.texts {
		w := walker{c: c, pointer: t.pointer, cwd: []string{c.at.cwd}}
		w.script(t.text)
		w.close()
		if len(c.facts.Commands) == w.first && !c.over[2] { // assignments, tests, a comment: a command that does nothing
			c.addCommand(action.Command{Pointer: t.pointer, Name: ":", Dynamic: action.No, Reviewed: action.TriOf(!w.tainted), Self: action.No})
		}
	}
	for _, v := range c.vectors {
		w := walker{c: c, pointer: v.pointer, cwd: []string{c.at.cwd}}
		ws := make([]word, len(v.words))
		for i, s := range v.words {
			ws[i] = word{text: s, static: true}
		}
		if len(ws) > maxLeaves {
			ws = nil
		}
		w.simple(ws, nil, true)
		w.close()
	}
}

// walker reads one shell text. It follows every branch as if it ran, and every place where the working
// directory may have changed with each folder that it may be.
type walker struct {
	c        *call
	pointer  string
	src      string
	depth    int
	cwd      []string        // the folders a statement may run in; "" is one that is not known
	first    int             // index of the first command of this text
	tainted  bool            // the environment was changed: no command in this text is the reviewed one
	assigned bool            // a variable was set: none is known any more
	root     bool            // runs under sudo or the like
	own      bool            // a path of the command at hand is ours
	stdin    string          // of the command at hand, if it stands in the text
	names    map[string]bool // variables that the text sets
}

// close applies what was learnt at the end to every command of the text: a variable that is set in a loop
// or a function reaches the commands before it, too.
func (w *walker) close() {
	if !w.tainted {
		return
	}
	for i := w.first; i < len(w.c.facts.Commands); i++ {
		w.c.facts.Commands[i].Reviewed = action.No
	}
}

func (w *walker) unreadable() {
	w.c.typed = false
	w.c.addCommand(unreadable(w.pointer, action.TriUnknown))
}

// script parses and follows a shell text.
func (w *walker) script(src string) {
	w.first = len(w.c.facts.Commands)
	if len(src) > maxShellBytes || w.depth > maxShellDepth || tooOpen(src) || strings.ContainsRune(src, 0) || strings.Contains(src, "\r") {
		w.unreadable()
		return
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(src), "")
	if err != nil {
		w.unreadable()
		return
	}
	w.src = src
	w.look(file)
	w.stmts(file.Stmts)
}

// tooOpen reports whether more parentheses and braces are open at one place than any person writes.
func tooOpen(s string) bool {
	open := 0
	for i := range len(s) {
		switch s[i] {
		case '(', '{':
			if open++; open > maxOpen {
				return true
			}
		case ')', '}':
			open = max(open-1, 0)
		}
	}
	return strings.Count(s, "if ")+strings.Count(s, "while ")+strings.Count(s, "until ")+strings.Count(s, "for ") > 4*maxOpen
}

func (w *walker) stmts(list []*syntax.Stmt) {
	for _, s := range list {
		w.stmt(s)
	}
}

// isolated follows a part whose change of folder does not reach what comes after.
func (w *walker) isolated(f func()) {
	was := slices.Clone(w.cwd)
	f()
	w.cwd = was
}

// maybe follows a part that may or may not run: afterwards either folder may be the one.
func (w *walker) maybe(f func()) {
	was := slices.Clone(w.cwd)
	f()
	w.union(was)
}

func (w *walker) union(was []string) {
	for _, d := range was {
		if !slices.Contains(w.cwd, d) {
			w.cwd = append(w.cwd, d)
		}
	}
	if len(w.cwd) > maxFolders {
		w.cwd = []string{""}
	}
}

// repeated follows a body that runs any number of times: if it changes the folder, none is known.
func (w *walker) repeated(f func()) {
	was := slices.Clone(w.cwd)
	f()
	if !slices.Equal(was, w.cwd) {
		w.cwd = []string{""}
		f()
	}
}

func (w *walker) stmt(s *syntax.Stmt) {
	if s == nil || w.c.over[2] {
		return
	}
	writes := w.redirects(s.Redirs)
	if simple, ok := s.Cmd.(*syntax.CallExpr); w.own && (!ok || len(simple.Args) == 0) {
		w.emit(action.Command{Pointer: w.pointer, Writes: writes, Dynamic: action.No, Reviewed: action.No, Self: action.Yes})
		w.own = false
	}
	if s.Background || s.Coprocess || s.Disown {
		w.isolated(func() { w.cmd(s.Cmd, writes) })
		return
	}
	w.cmd(s.Cmd, writes)
}

func (w *walker) cmd(cmd syntax.Command, writes []string) {
	switch x := cmd.(type) {
	case nil:
	case *syntax.CallExpr:
		w.call(x, writes)
	case *syntax.BinaryCmd:
		w.binary(x)
	case *syntax.Subshell:
		w.isolated(func() { w.stmts(x.Stmts) })
	case *syntax.Block:
		w.stmts(x.Stmts)
	case *syntax.IfClause:
		w.ifClause(x)
	case *syntax.WhileClause:
		w.repeated(func() { w.stmts(x.Cond); w.stmts(x.Do) })
	case *syntax.ForClause:
		w.inner(x.Loop)
		w.repeated(func() { w.stmts(x.Do) })
	case *syntax.CaseClause:
		w.inner(x.Word)
		for _, item := range x.Items {
			for _, p := range item.Patterns {
				w.inner(p)
			}
			w.maybe(func() { w.stmts(item.Stmts) })
		}
	case *syntax.FuncDecl:
		// The body runs wherever it is called, in whatever folder that is.
		w.isolated(func() { w.cwd = []string{""}; w.stmt(x.Body) })
		w.tainted = true
	case *syntax.DeclClause:
		w.inner(x)
	case *syntax.TimeClause:
		w.stmt(x.Stmt)
	case *syntax.CoprocClause:
		w.isolated(func() { w.stmt(x.Stmt) })
	case *syntax.TestClause, *syntax.ArithmCmd, *syntax.LetClause:
		w.inner(x)
	default:
		w.unreadable()
	}
}

func (w *walker) binary(x *syntax.BinaryCmd) {
	switch x.Op {
	case syntax.Pipe, syntax.PipeAll:
		w.isolated(func() { w.stmt(x.X) })
		w.isolated(func() { w.stmt(x.Y) })
	case syntax.AndStmt:
		was := slices.Clone(w.cwd)
		w.stmt(x.X)
		w.stmt(x.Y)
		w.union(was)
	default: // ||: the right side runs where the left one failed
		was := slices.Clone(w.cwd)
		w.stmt(x.X)
		w.union(was)
		w.maybe(func() { w.stmt(x.Y) })
	}
}

func (w *walker) ifClause(x *syntax.IfClause) {
	w.stmts(x.Cond)
	w.maybe(func() { w.stmts(x.Then) })
	if x.Else != nil {
		w.maybe(func() { w.ifClause(x.Else) })
	}
}

// inner follows the commands that stand within words: substitutions of every kind.
func (w *walker) inner(n syntax.Node) {
	if n == nil {
		return
	}
	if word, ok := n.(*syntax.Word); ok && word == nil {
		return
	}
	syntax.Walk(n, func(n syntax.Node) bool {
		switch x := n.(type) {
		case *syntax.CmdSubst:
			w.isolated(func() { w.stmts(x.Stmts) })
			return false
		case *syntax.ProcSubst:
			w.isolated(func() { w.stmts(x.Stmts) })
			return false
		}
		return true
	})
}

// redirects turns targets into paths and returns the ones that are written.
func (w *walker) redirects(rs []*syntax.Redirect) []string {
	var writes []string
	w.stdin = ""
	for _, r := range rs {
		w.inner(r.Word)
		w.inner(r.Hdoc)
		for _, text := range []*syntax.Word{r.Hdoc, r.Word} {
			if text != nil && (text == r.Hdoc || r.Op == syntax.WordHdoc) {
				t := w.word(text)
				w.stdin, w.tainted = t.text, w.tainted || t.env
			}
		}
		if r.Word == nil || r.Op == syntax.Hdoc || r.Op == syntax.DashHdoc || r.Op == syntax.WordHdoc {
			continue
		}
		access := action.EffectWrite
		switch r.Op {
		case syntax.RdrIn:
			access = action.EffectRead
		case syntax.DplIn, syntax.DplOut:
			if t := w.word(r.Word); t.static && strings.Trim(t.text, "0123456789-") == "" {
				continue
			}
			if r.Op == syntax.DplIn {
				access = action.EffectRead
			}
		}
		for _, t := range w.words([]*syntax.Word{r.Word}) {
			if t.static && harmlessDevice(t.text) {
				continue
			}
			if access != action.EffectRead {
				writes = append(writes, action.Clip(t.text, maxPathBytes))
			}
			if rest, ok := strings.CutPrefix(t.text, "/dev/tcp/"); ok && t.static {
				u := "tcp://" + strings.Replace(rest, "/", ":", 1)
				w.own = w.own || w.c.r.listener(canonicalURL(u))
				w.c.addURL(w.pointer, u)
			} else if rest, ok := strings.CutPrefix(t.text, "/dev/udp/"); ok && t.static {
				w.c.addURL(w.pointer, "udp://"+strings.Replace(rest, "/", ":", 1))
			} else {
				w.path(t, access, false)
			}
		}
	}
	return writes
}

func harmlessDevice(p string) bool {
	switch p {
	case "/dev/null", "/dev/stdout", "/dev/stderr", "/dev/stdin", "/dev/tty", "/dev/zero":
		return true
	}
	return false
}

// path states the facts of a word that names a file, in every folder it may be relative to, and notes in
// own whether one of them is ours.
func (w *walker) path(t word, access action.Effect, shallow bool) {
	if !t.static {
		w.c.typed = false
		p := w.c.r.path(w.pointer, "", access, around{}, shallow)
		p.Raw = action.Clip(t.text, maxPathBytes)
		w.c.addPath(p)
		return
	}
	folders := w.cwd
	if path.IsAbs(t.text) || strings.HasPrefix(t.text, "~") {
		folders = folders[:1]
	}
	for _, dir := range folders {
		at := around{cwd: dir, roots: w.c.at.roots}
		var p action.Path
		if t.glob {
			root, ok := globRoot(t.text)
			p = w.c.r.path(w.pointer, root, access, at, shallow)
			p.Raw = action.Clip(t.text, maxPathBytes)
			if !ok {
				p.Resolved, p.Root, p.Inside, p.Private, p.Traverse = "", "", action.TriUnknown, action.TriUnknown, action.Yes
			} else if p.Traverse == action.No && !w.c.r.fsys.matchesStay(t.text, p.Resolved) {
				p.Traverse = action.TriUnknown // a link among what matches may lead out
			}
		} else {
			p = w.c.r.path(w.pointer, t.text, access, at, shallow)
		}
		if p.Resolved == "" {
			w.c.typed = false
		}
		w.own = w.own || w.c.r.ownPlace(p.Resolved)
		w.c.addPath(p)
	}
}

// ownPlace reports whether p is our data directory, below it, or our own binary.
func (r *Registry) ownPlace(p string) bool {
	if p == "" {
		return false
	}
	if p == r.cfg.Executable {
		return true
	}
	low := strings.ToLower(p)
	return slices.ContainsFunc(r.own, func(o string) bool { return within(low, o) })
}
