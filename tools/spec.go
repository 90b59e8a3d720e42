// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"path"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/action"
)

func itoa(n int) string { return strconv.Itoa(n) }

// spec says how a program reads its words. A flag that is not listed makes a command one that was not
// reviewed, so lists hold only flags that neither run nor write anything beyond the stated paths.
type spec struct {
	reviewed bool
	runs     bool // runs what its arguments name, or code of the project
	// short lists letters: "v" is a plain flag, "n:" takes a word, "C/" takes a folder or file that is
	// read, "o>" one that is written; "#" allows a number as flag ("-5").
	short string
	// long lists names without dashes: "all", "count=", "chdir/", "output>".
	long   string
	dash   bool   // long names may have one dash, as Go's do, and short ones do not cluster
	any    bool   // any flag is accepted, and read as a path if it has the shape of one
	kind   string // of the operands, see operands
	max    int    // of operands; 0 means any number
	first  string // what the first operand is, if it is not one of kind: "word", "sed", "awk"
	choose string // for kind "choice": the words that are allowed
	inRoot bool   // reviewed only where every folder it may run in is inside a root
	verbs  map[string]spec
}

type flagKind int

const (
	flagUnknown flagKind = iota
	flagPlain
	valueWord
	valueRead
	valueWrite
	flagAttached // the value is in the flag already
)

// flag classifies one flag, which begins with a dash.
func (s *spec) flag(text string) flagKind {
	if long, ok := strings.CutPrefix(text, "--"); ok || s.dash {
		if !ok {
			long = text[1:]
		}
		name, _, attached := strings.Cut(long, "=")
		k := s.longFlag(name)
		if attached && k != flagUnknown {
			return flagAttached
		}
		return k
	}
	if strings.Contains(s.short, "#") && isIndex(text[1:]) {
		return flagPlain
	}
	for i := 1; i < len(text); i++ {
		k := s.shortFlag(text[i])
		switch k {
		case flagPlain:
			continue
		case flagUnknown:
			return flagUnknown
		}
		if i < len(text)-1 {
			return flagAttached
		}
		return k
	}
	return flagPlain
}

func kindOf(mark byte) flagKind {
	switch mark {
	case ':', '=':
		return valueWord
	case '/':
		return valueRead
	case '>':
		return valueWrite
	}
	return flagPlain
}

func (s *spec) shortFlag(c byte) flagKind {
	for i := range len(s.short) {
		if s.short[i] == c && !strings.ContainsRune(":/>#", rune(c)) {
			if i+1 < len(s.short) {
				return kindOf(s.short[i+1])
			}
			return flagPlain
		}
	}
	return flagUnknown
}

func (s *spec) longFlag(name string) flagKind {
	for f := range strings.FieldsSeq(s.long) {
		if strings.TrimRight(f, "=/>") == name && name != "" {
			return kindOf(f[len(f)-1])
		}
	}
	return flagUnknown
}

// attached parts a flag with its value in it.
func (s *spec) attached(text string) (kind flagKind, value string) {
	if strings.HasPrefix(text, "--") || s.dash {
		name, v, _ := strings.Cut(strings.TrimLeft(text, "-"), "=")
		return s.longFlag(name), v
	}
	for i := 1; i < len(text); i++ {
		if k := s.shortFlag(text[i]); k != flagPlain {
			return k, strings.TrimPrefix(text[i+1:], "=")
		}
	}
	return flagPlain, ""
}

// operands reads the flags and words of a command and states their paths. It reports whether the command
// is reviewed: everything is on the lists and every word is known.
func (w *walker) operands(name string, s spec, args []word) bool {
	ok := s.reviewed || s.kind == "none"
	var ops []word
	for i := 0; i < len(args); i++ {
		a := args[i]
		if !a.static && (s.kind != "print" || a.env) || s.any && (a.text == "-v" || a.text == "-R") && s.kind == "words" {
			ok = false
		}
		if a.text == "--" && a.static {
			ops = append(ops, args[i+1:]...)
			break
		}
		if !a.static || len(a.text) < 2 || a.text[0] != '-' {
			ops = append(ops, a)
			continue
		}
		kind, value := s.flag(a.text), word{}
		switch kind {
		case flagAttached:
			var v string
			kind, v = s.attached(a.text)
			value = word{text: v, static: true, glob: a.glob}
		case valueWord, valueRead, valueWrite:
			if i+1 == len(args) {
				ok = false
				continue
			}
			i++
			value = args[i]
			ok = ok && value.static
		}
		ok = w.flagValue(&s, kind, a, value) && ok
	}
	return w.operandsOf(&s, ops, len(args)-len(ops)) && ok
}

func (w *walker) flagValue(s *spec, kind flagKind, flag, value word) bool {
	switch kind {
	case valueRead:
		w.path(value, action.EffectRead, false)
	case valueWrite:
		if harmlessDevice(value.text) || value.text == "-" {
			return true
		}
		w.path(value, action.EffectWrite, false)
		return !control(value.text)
	case flagUnknown:
		if s.any {
			access := action.EffectUnknown
			w.guess([]word{flag}, access)
			return true
		}
		w.guess([]word{flag}, action.EffectUnknown)
		return false
	}
	return true
}

func (w *walker) operandsOf(s *spec, ops []word, flags int) bool {
	ok := s.max == 0 || len(ops) <= s.max
	for _, o := range ops {
		if !o.static && s.kind != "print" {
			ok = false
		}
	}
	if s.inRoot && !w.insideRoot() {
		ok = false
	}
	if s.first != "" && len(ops) > 0 {
		switch f := ops[0]; s.first {
		case "sed":
			ok = ok && harmlessSed.MatchString(f.text)
		case "jq":
			ok = ok && !harmfulJQ.MatchString(f.text)
		case "awk":
			ok = ok && harmlessAwk.MatchString(f.text)
		}
		ops = ops[1:]
	}
	return w.operandKind(s, ops, flags) && ok
}

// operandKind states the paths and URLs of the operands, and reports whether they are ones that a reviewed
// command may have.
func (w *walker) operandKind(s *spec, ops []word, flags int) bool {
	ok := true
	switch s.kind {
	case "flags": // at least one flag: without any it prints variables
		w.guess(ops, action.EffectUnknown)
		return ok && flags > 0 && len(ops) == 0
	case "none":
		w.guess(ops, action.EffectUnknown)
		return ok && len(ops) == 0
	case "print":
		return ok
	case "read", "list", "write", "destroy":
		w.each(ops, map[string]action.Effect{"read": action.EffectRead, "list": action.EffectRead,
			"write": action.EffectWrite, "destroy": action.EffectDestroy}[s.kind], s.kind == "list")
		if s.kind == "write" || s.kind == "destroy" {
			for _, o := range ops {
				ok = ok && !control(o.text)
			}
		}
	case "copy": // all but the last are read
		for i, o := range ops {
			if i == len(ops)-1 && len(ops) > 1 {
				w.remoteOr(o, action.EffectWrite)
			} else {
				w.remoteOr(o, action.EffectRead)
			}
		}
	case "words":
		w.guess(ops, action.EffectRead)
	case "choice":
		for _, o := range ops {
			ok = ok && containsWord(strings.Fields(s.choose), o.text)
		}
	case "code": // a file of a language, then its own arguments
		w.guess(ops[:min(1, len(ops))], action.EffectRead)
		w.guess(ops[min(1, len(ops)):], action.EffectUnknown)
		return false
	case "runner":
		w.guess(ops, action.EffectUnknown)
	case "url":
		for _, o := range ops {
			if o.static {
				w.c.addURL(w.pointer, o.text)
			} else {
				w.c.typed = false
			}
		}
	case "cd":
		w.changeDir(ops)
	case "dd":
		w.dd(ops)
	default:
		w.guess(ops, action.EffectUnknown)
		return false
	}
	return ok
}

// dd reads "if=" and "of=": what is written is overwritten without a way back.
func (w *walker) dd(ops []word) {
	for _, o := range ops {
		k, v, _ := strings.Cut(o.text, "=")
		switch {
		case k == "of" && !harmlessDevice(v):
			w.path(word{text: v, static: o.static}, action.EffectDestroy, false)
		case k == "if" && !harmlessDevice(v):
			w.path(word{text: v, static: o.static}, action.EffectRead, false)
		}
	}
}

func (w *walker) each(ops []word, access action.Effect, shallow bool) {
	for _, o := range ops {
		if o.text == "-" || o.static && harmlessDevice(o.text) {
			continue
		}
		w.path(o, access, shallow)
	}
}

// remoteOr adds a word that may name another machine ("host:path").
func (w *walker) remoteOr(o word, access action.Effect) {
	host, _, colon := strings.Cut(o.text, ":")
	if o.static && colon && host != "" && !strings.Contains(host, "/") {
		w.c.addURL(w.pointer, "ssh://"+host[strings.LastIndexByte(host, '@')+1:])
		return
	}
	w.each([]word{o}, access, false)
}

func (w *walker) insideRoot() bool {
	for _, dir := range w.cwd {
		if dir == "" || rootOf(dir, w.c.at.roots) == "" {
			return false
		}
	}
	return true
}

// changeDir follows cd. "-", a search path and more than one operand lead to a folder that is not known.
func (w *walker) changeDir(ops []word) {
	var to word
	switch {
	case len(ops) == 0:
		to = word{text: w.c.r.cfg.Home, static: w.c.r.cfg.Home != ""}
	case len(ops) == 1:
		to = ops[0]
	}
	if !to.static || to.glob || to.text == "" || to.text == "-" {
		if to.text != "-" || len(ops) != 1 {
			w.c.typed = false
		}
		w.cwd = []string{""}
		return
	}
	if len(ops) == 1 {
		w.path(to, action.EffectRead, true)
	}
	next := make([]string, 0, len(w.cwd))
	for _, dir := range w.cwd {
		s, ok := w.c.r.spelling(to.text)
		if ok && !path.IsAbs(s) {
			s, ok = dir+"/"+s, dir != ""
		}
		resolved := ""
		if pl, good := w.c.r.fsys.resolve(s); ok && good {
			resolved = pl.physical
		}
		next = append(next, resolved)
	}
	w.cwd = nil
	w.union(next)
}
