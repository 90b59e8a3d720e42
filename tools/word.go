// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// word is one word of a command line after quoting is undone.
type word struct {
	text   string // what the program gets; the source text if that is not known
	static bool   // text is exactly what the program gets, but for wildcards
	glob   bool   // unquoted wildcards stand in text
	env    bool   // holds a variable that the text itself does not set: what it prints was not in the text
}

// maxBraces bounds what one brace expansion may grow to.
const maxBraces = 64

// words undoes the quoting of ws.
func (w *walker) words(ws []*syntax.Word) []word {
	out := make([]word, 0, len(ws))
	for _, sw := range ws {
		if many, ok := w.braces(sw); !ok {
			out = append(out, word{text: w.source(sw)})
		} else {
			for _, one := range many {
				out = append(out, w.word(one))
			}
		}
	}
	return out
}

// braces expands "{a,b}". It fails on sequences and on what grows too large.
func (w *walker) braces(sw *syntax.Word) ([]*syntax.Word, bool) {
	has := false
	for _, p := range sw.Parts {
		if l, ok := p.(*syntax.Lit); ok && strings.Contains(l.Value, "{") {
			has = true
		}
	}
	if !has || !syntax.SplitBraces(sw) {
		return []*syntax.Word{sw}, true
	}
	if braceCount(sw, 0) > maxBraces {
		return nil, false
	}
	var out []*syntax.Word
	for one, err := range expand.BracesSeq(&expand.Config{}, sw) {
		if err != nil || len(out) > maxBraces {
			return nil, false
		}
		out = append(out, one)
	}
	return out, true
}

// braceCount is how many words sw expands to, or a large number for a sequence or deep nesting.
func braceCount(sw *syntax.Word, depth int) int {
	n := 1
	for _, p := range sw.Parts {
		b, ok := p.(*syntax.BraceExp)
		if !ok {
			continue
		}
		if b.Sequence || depth > 4 {
			return maxBraces + 1
		}
		sum := 0
		for _, e := range b.Elems {
			if sum += braceCount(e, depth+1); sum > maxBraces {
				return sum
			}
		}
		if n *= sum; n > maxBraces {
			return n
		}
	}
	return n
}

func (w *walker) word(sw *syntax.Word) word {
	out := word{static: true}
	var b strings.Builder
	for _, p := range sw.Parts {
		w.part(&b, &out, p, false)
	}
	out.text = b.String()
	if !out.static {
		out.text = w.source(sw)
	}
	return out
}

func (w *walker) part(b *strings.Builder, out *word, p syntax.WordPart, quoted bool) {
	switch p := p.(type) {
	case *syntax.Lit:
		literal(b, out, p.Value, quoted)
	case *syntax.SglQuoted:
		if !p.Dollar {
			b.WriteString(p.Value)
			return
		}
		s, err := expand.Literal(&expand.Config{}, &syntax.Word{Parts: []syntax.WordPart{p}})
		if err != nil || strings.ContainsRune(s, 0) || strings.Contains(p.Value, `\c`) { // control characters: bash and the library differ
			out.static = false
			return
		}
		b.WriteString(s)
	case *syntax.DblQuoted:
		for _, q := range p.Parts {
			w.part(b, out, q, true)
		}
	case *syntax.ParamExp:
		s, ok := w.param(p)
		out.env = out.env || !ok && w.foreign(p)
		if !ok || (!quoted && strings.ContainsAny(s, " \t\n*?[")) {
			out.static = false
			return
		}
		b.WriteString(s)
	default:
		out.static = false
	}
}

// literal appends s without its backslashes: outside quotes each one protects the next character, inside
// double quotes only some.
func literal(b *strings.Builder, out *word, s string, quoted bool) {
	for i := 0; i < len(s); i++ {
		ch := s[i]
		switch {
		case ch == '\\' && i+1 < len(s):
			next := s[i+1]
			if quoted && !strings.ContainsRune("$`\"\\\n", rune(next)) {
				b.WriteByte(ch)
				continue
			}
			if i++; next != '\n' {
				b.WriteByte(next)
			}
			continue
		case !quoted && (ch == '*' || ch == '?' || ch == '['):
			out.glob = true
		}
		b.WriteByte(ch)
	}
}

// param knows two variables, unless the script sets them: the home and the working directory.
func (w *walker) param(p *syntax.ParamExp) (string, bool) {
	if p.Param == nil || p.Excl || p.Length || p.Width || p.IsSet || p.Flags != nil || p.NestedParam != nil || p.Index != nil ||
		p.Slice != nil || p.Repl != nil || p.Exp != nil || p.Names != 0 || len(p.Modifiers) > 0 || w.assigned {
		return "", false
	}
	switch p.Param.Value {
	case "HOME":
		return w.c.r.cfg.Home, w.c.r.cfg.Home != ""
	case "PWD":
		if len(w.cwd) == 1 && w.cwd[0] != "" {
			return w.cwd[0], true
		}
	}
	return "", false
}

// foreign reports whether p may print a variable of the environment.
func (w *walker) foreign(p *syntax.ParamExp) bool {
	if p.Param == nil || p.Excl || p.Names != 0 || p.NestedParam != nil || p.Exp != nil && p.Exp.Word != nil && len(p.Exp.Word.Parts) > 0 {
		return true
	}
	name := p.Param.Value
	return !w.names[name] && strings.Trim(name, "0123456789?#$!@*-") != "" && name != "HOME" && name != "PWD" && name != "RANDOM" && name != "SECONDS"
}

// source is the text of n as it was written.
func (w *walker) source(n syntax.Node) string {
	from, to := n.Pos().Offset(), n.End().Offset()
	if from > to || int(to) > len(w.src) {
		return ""
	}
	return w.src[from:to]
}
