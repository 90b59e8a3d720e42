// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"slices"
	"strings"
)

// A description may bend the use of another server's tool without its name: "before any mail is sent, this must
// be asked". It counts as naming the tool if one sentence makes a demand, says when, and holds the words of the
// tool's name. A sentence that only says what its own tool is good for demands nothing of others.

const (
	maxDemands  = 16 // sentences of one definition
	maxSentence = 48 // words of one sentence
)

// demand are the stems of the words of a sentence that says what has to be done and when.
type demand map[string]bool

// Words that say when, by their stems, and words that say that something has to be done.
var (
	timely  = stems("before prior instead whenever always never after once")
	binding = stems("must always never have need require shall should call use invoke run consult ask add set copy include put replace " +
		"change route redirect pass not stop don mandatory")
	little = stems("a an the of to in on for by with and or all new my from get is it as at")
)

func stems(s string) map[string]bool {
	out := map[string]bool{}
	for w := range strings.FieldsSeq(s) {
		out[stem(w)] = true
	}
	return out
}

// demands are the demanding sentences of a definition's text.
func demands(d *Definition) (out []demand) {
	for sentence := range strings.FieldsFuncSeq(d.text(), func(c rune) bool { return c == '.' || c == '!' || c == ';' || c == '\n' || c == '?' }) {
		said, when, bound := demand{}, false, false
		last := ""
		for _, w := range sentenceWords(sentence) {
			s := stem(w)
			when = when || timely[s] || s == "tim" && (last == "every" || last == "each" || last == "any")
			bound, last = bound || binding[s], w
			said[s] = true
		}
		if when && bound {
			if out = append(out, said); len(out) == maxDemands {
				return out
			}
		}
	}
	return out
}

// sentenceWords are the first words of a sentence, names taken apart.
func sentenceWords(s string) (out []string) {
	for f := range strings.FieldsSeq(s) {
		if out = append(out, words(f)...); len(out) >= maxSentence {
			return out[:maxSentence]
		}
	}
	return out
}

// stem is a word without the endings that tell "sends" and "sending" from "send"; two words for one thing are one.
func stem(w string) string {
	for _, end := range [...]string{"ing", "ies", "ed", "es", "s", "e"} {
		if rest, ok := strings.CutSuffix(w, end); ok && len(rest) >= 3 {
			w = rest
			break
		}
	}
	if n := len(w); n >= 4 && w[n-1] == w[n-2] { // submitted
		w = w[:n-1]
	}
	switch w {
	case "sent":
		return "send"
	case "mail", "e-mail":
		return "email"
	case "paid", "payment":
		return "pay"
	case "written", "wrote":
		return "writ"
	}
	return w
}

// subject are the stems of a tool's name that say what it does to what, without the name of its server.
func subject(server, name string) (out []string) {
	of := words(server)
	for _, w := range words(name) {
		if s := stem(w); !slices.Contains(of, w) && !little[w] && len(s) > 1 {
			out = append(out, s)
		}
	}
	return out
}

// about reports whether the sentence holds what a tool's name says: two words of two, two of three.
func (d demand) about(subject []string) bool {
	n := 0
	for _, s := range subject {
		if d[s] {
			n++
		}
	}
	return len(subject) >= 2 && n >= 2 && n*3 >= len(subject)*2
}

// bends reports whether e demands something of how a tool of another server is used, in plain words. What a
// tool of its own server is called as well is its own business.
func (e *entry) bends(tools []*entry) bool {
	for _, d := range e.demands {
		others, own := false, false
		for _, o := range tools {
			if d.about(o.subject) {
				own = own || o.pin.Server == e.pin.Server
				others = others || o.pin.Server != e.pin.Server
			}
		}
		if others && !own {
			return true
		}
	}
	return false
}
