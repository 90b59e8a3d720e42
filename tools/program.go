// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"path"
	"regexp"
	"strings"

	"github.com/sallyport/sallyport/action"
	"mvdan.cc/sh/v3/syntax"
)

// call follows a simple command of the grammar.
func (w *walker) call(x *syntax.CallExpr, writes []string) {
	for _, a := range x.Assigns {
		w.inner(a)
		if a.Name != nil && strings.HasPrefix(strings.ToUpper(a.Name.Value), "SALLYPORT_") {
			w.emit(action.Command{Pointer: w.pointer, Dynamic: action.No, Reviewed: action.No, Self: action.Yes})
		}
	}
	for _, a := range x.Args {
		w.inner(a)
	}
	if len(x.Args) > 0 {
		w.simple(w.words(x.Args), writes, true)
	}
}

func (w *walker) emit(cmd action.Command) int {
	if w.root {
		cmd.Reviewed = action.No
	}
	return w.c.addCommand(cmd)
}

// simple states one command line. reviewable is false for what runs under other rights, in another place
// or with words that are not all known.
func (w *walker) simple(ws []word, writes []string, reviewable bool) {
	if w.c.over[2] {
		return
	}
	if w.depth++; w.depth > 4*maxShellDepth {
		w.unreadable()
		w.depth--
		return
	}
	defer func() { w.depth-- }()
	if len(ws) == 0 || !ws[0].static || (ws[0].glob && ws[0].text != "[") || ws[0].text == "" || strings.HasPrefix(ws[0].text, "=") {
		w.c.typed = false
		cmd := unreadable(w.pointer, action.TriUnknown)
		cmd.Args, cmd.Writes = texts(ws), writes
		if w.own {
			cmd.Self, w.own = action.Yes, false
		}
		w.emit(cmd)
		return
	}
	name, standard := w.program(ws[0].text)
	args := ws[1:]
	cmd := action.Command{Pointer: w.pointer, Name: name, Args: texts(args), Verb: verbWord(args), Dynamic: action.No, Writes: writes,
		Reviewed: action.No, Self: w.self(ws[0].text, name, args)}
	if cmd.Self == action.Yes {
		w.emit(cmd)
		w.own = false
		return
	}
	at := w.emit(cmd)
	var ok bool
	if run, is := nesting[name]; is {
		before := len(w.c.facts.Commands)
		ok = run(w, name, args, reviewable)
		for i := before; ok && i < len(w.c.facts.Commands); i++ {
			ok = w.c.facts.Commands[i].Reviewed == action.Yes
		}
	} else {
		ok = w.known(at, name, args)
	}
	if at < 0 {
		return
	}
	got := &w.c.facts.Commands[at]
	if w.own {
		got.Self, w.own, ok = action.Yes, false, false
	}
	if ok && reviewable && standard && !w.root && !w.controls(writes) {
		got.Reviewed = action.Yes
	}
}

// program returns the base name of what runs. standard is false for a path outside the system's folders.
// A link is followed: what runs is what it leads to.
func (w *walker) program(text string) (name string, standard bool) {
	name = strings.TrimSuffix(path.Base(text), ".exe")
	if !strings.Contains(text, "/") {
		return name, true
	}
	for _, dir := range w.cwd {
		s, ok := w.c.r.spelling(text)
		if !ok {
			return name, false
		}
		if !path.IsAbs(s) {
			s = dir + "/" + s
		}
		pl, ok := w.c.r.fsys.resolve(s)
		if !ok || !path.IsAbs(s) {
			return name, false
		}
		if w.c.r.ownPlace(pl.physical) {
			return "sallyport", false
		}
	}
	switch path.Dir(text) {
	case "/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin", "/opt/homebrew/bin", "/usr/local/go/bin":
		return name, true
	}
	return name, false
}

func texts(ws []word) []string {
	out := make([]string, len(ws))
	for i, w := range ws {
		out[i] = action.Clip(w.text, maxPathBytes)
	}
	return out
}

// verbWord is the first word that is no flag, if it looks like a subcommand.
func verbWord(args []word) string {
	for _, a := range args {
		if !strings.HasPrefix(a.text, "-") {
			if a.static && len(a.text) <= 64 {
				return a.text
			}
			return ""
		}
	}
	return ""
}

// self reports whether a command calls sallyport: by name in any case, by a link, as the argument of a
// program that runs its arguments, or by touching its socket, folder or listeners. It is unknown where
// code that is not read names it.
func (w *walker) self(text, name string, args []word) action.Tri {
	r := w.c.r
	if ourName(name) || ourName(path.Base(text)) || (r.cfg.Executable != "" && name == path.Base(r.cfg.Executable)) {
		return action.Yes
	}
	s, known := programs[name]
	out := action.No
	reaches := !known || s.runs || s.kind == "url"
	if reaches && r.dials(args) {
		return action.Yes
	}
	for _, a := range args {
		low := strings.ToLower(a.text)
		for _, o := range r.own {
			if strings.Contains(low, o) {
				return action.Yes
			}
		}
		base, _, _ := strings.Cut(path.Base(a.text), "@")
		if ourName(base) && (!known || s.runs) && nesting[name] == nil {
			return action.Yes
		}
		if _, v, ok := strings.Cut(a.text, "="); reaches && (r.listener(canonicalURL(a.text)) || ok && r.listener(canonicalURL(v))) {
			return action.Yes
		}
		if (!known || s.runs) && strings.Contains(low, "sallyport") {
			out = action.TriUnknown
		}
	}
	return out
}

func ourName(s string) bool {
	s = strings.ToLower(s)
	return s == "sallyport" || strings.HasPrefix(s, "sallyport-") || strings.HasPrefix(s, "sallyport_") || s == "sallyport.exe"
}

// listener reports whether c addresses one of our own listeners on this machine.
func (r *Registry) listener(c canonical) bool {
	if !c.ok || privateHost(c) == action.No {
		return false
	}
	for _, l := range r.cfg.Listeners {
		if i := strings.LastIndexByte(l, ':'); i >= 0 && l[i+1:] == itoa(c.port) {
			return true
		}
	}
	return false
}

// dials reports whether the words together name this machine and the port of one of our listeners, in
// whatever form a program takes them: "nc 127.0.0.1 7118", "TCP:localhost:7118", code in quotes.
func (r *Registry) dials(args []word) bool {
	line := strings.ToLower(strings.Join(texts(args), " "))
	here := false
	for _, h := range []string{"127.", "localhost", "::1", "0.0.0.0", "2130706433", "0x7f"} {
		here = here || strings.Contains(line, h)
	}
	if !here {
		return false
	}
	for _, l := range r.cfg.Listeners {
		port := l[strings.LastIndexByte(l, ':')+1:]
		if port != "" && containsWord(strings.FieldsFunc(line, func(c rune) bool { return c < '0' || c > '9' }), port) {
			return true
		}
	}
	return false
}

// controlFiles within a root decide what runs later: hooks, settings of agents and editors.
var controlFiles = set(`.git .husky .hg .claude .codex .cursor .vscode .idea .devcontainer .mcp.json .envrc .gitmodules
	.gitattributes .pre-commit-config.yaml .npmrc .yarnrc .yarnrc.yml .bazelrc`)

// control reports whether writing p changes what runs later without anybody calling it.
func control(p string) bool {
	for _, c := range split(strings.ToLower(p)) {
		if controlFiles[c] {
			return true
		}
	}
	return false
}

func (w *walker) controls(writes []string) bool {
	for _, p := range writes {
		if control(p) {
			return true
		}
		for _, dir := range w.cwd {
			if control(dir) && !path.IsAbs(p) {
				return true
			}
		}
	}
	return false
}

var (
	harmlessSed = regexp.MustCompile(`^(\d+|\$)(,(\d+|\$|\+\d+))?[pdq]$`)
	harmfulJQ   = regexp.MustCompile(`(?i)env|import|include|input|getpath|@sh|debug|halt`)
	harmlessAwk = regexp.MustCompile(`^\{ *print( *\$(\d+|NF) *,?)* *\}$`)
)

// known states the paths and URLs of a command by what the table says of the program, and reports whether
// the command only builds, tests or looks: every flag is on the program's list and every word is known.
func (w *walker) known(at int, name string, args []word) bool {
	s, listed := programs[name]
	if !listed {
		w.guess(args, action.EffectUnknown)
		return false
	}
	if s.verbs != nil {
		global, verb, rest := splitVerb(s, args)
		if !w.operands(name, spec{short: s.short, long: s.long, dash: s.dash, kind: "none"}, global) {
			w.guess(rest, action.EffectUnknown)
			return false
		}
		if at >= 0 && verb != "" {
			w.c.facts.Commands[at].Verb = verb
		}
		v, ok := s.verbs[verb]
		if !ok {
			w.guess(rest, action.EffectUnknown)
			return false
		}
		v.runs, s = v.runs || s.runs, v
		args = rest
	}
	return w.operands(name, s, args)
}

// splitVerb parts the flags before a subcommand from it and what follows.
func splitVerb(s spec, args []word) (global []word, verb string, rest []word) {
	for i := 0; i < len(args); i++ {
		a := args[i].text
		if !args[i].static {
			return args, "", nil
		}
		if !strings.HasPrefix(a, "-") {
			return args[:i], a, args[i+1:]
		}
		if k := s.flag(a); k == valueWord || k == valueRead || k == valueWrite {
			i++
		}
	}
	return args, "", nil
}

// guess looks for paths and URLs among the words of a program that nobody described.
func (w *walker) guess(args []word, access action.Effect) {
	for _, a := range args {
		t := a
		if strings.HasPrefix(t.text, "-") {
			_, v, ok := strings.Cut(t.text, "=")
			switch {
			case ok:
				t.text = v
			case len(t.text) > 2 && t.text[1] != '-' && strings.ContainsAny(t.text, "/~"):
				t.text = t.text[2:]
			default:
				continue
			}
		}
		w.maybePath(t, access)
	}
}

// maybePath adds a word as URL or path if it has the shape of one.
func (w *walker) maybePath(t word, access action.Effect) {
	switch s := t.text; {
	case !t.static:
		w.c.typed = false
	case strings.Contains(s, "://") && !strings.HasPrefix(s, "file:"):
		w.c.addURL(w.pointer, s)
	case remoteLike(s):
		host, _, _ := strings.Cut(s[strings.IndexByte(s, '@')+1:], ":")
		w.c.addURL(w.pointer, "ssh://"+host)
	case strings.Contains(s, "/") || strings.HasPrefix(s, "~") || s == ".." || s == "." || t.glob || strings.HasPrefix(s, "file:"):
		t.text = strings.TrimSuffix(strings.TrimPrefix(s, "@"), "...")
		if t.text != "" {
			w.path(t, access, false)
		}
	}
}

// remoteLike reports whether s is "user@host:path", as scp, rsync and git take it.
func remoteLike(s string) bool {
	user, rest, ok := strings.Cut(s, "@")
	host, _, colon := strings.Cut(rest, ":")
	return ok && colon && user != "" && host != "" && !strings.ContainsAny(user+host, "/ ")
}
