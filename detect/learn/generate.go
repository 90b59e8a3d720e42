// SPDX-License-Identifier: Apache-2.0

package learn

import (
	"math/rand/v2"
	"strings"
)

// Generated returns n texts of the source "generated", half of them attacks, most of these planted in
// ordinary text. Everything is made from the grammar below; the same n and seed give the same texts.
func Generated(n int, seed uint64) []Sample {
	g := grammar{rand.New(rand.NewPCG(seed, 11))}
	out := make([]Sample, 0, n)
	for i := range n {
		s := Sample{Source: "generated", Attack: i%2 == 0}
		switch {
		case !s.Attack && i%8 == 1:
			s.Text = g.say("{triggered}")
		case !s.Attack && i%8 == 3:
			s.Text = g.say("{request}")
		case !s.Attack:
			s.Text = g.document()
		case i%6 == 0:
			s.Text = g.attack()
		default:
			s.Text = Plant(g.document(), g.attack(), g.r.IntN(3))
		}
		out = append(out, s)
	}
	return out
}

// Attacks returns n generated attacks by themselves.
func Attacks(n int, seed uint64) (out []string) {
	g := grammar{rand.New(rand.NewPCG(seed, 12))}
	for range n {
		out = append(out, g.attack())
	}
	return out
}

// Plant puts attack into text: before it (0), in it (1) or after it (2).
func Plant(text, attack string, where int) string {
	switch where {
	case 0:
		return attack + "\n" + text
	case 1:
		if i := strings.IndexAny(text[len(text)/2:], ".\n"); i >= 0 {
			i += len(text)/2 + 1
			return text[:i] + " " + attack + " " + text[i:]
		}
	}
	return text + "\n" + attack
}

type grammar struct{ r *rand.Rand }

func (g *grammar) attack() string {
	s := g.say("{attack}")
	if g.r.IntN(3) == 0 {
		s += " " + g.say("{attack}")
	}
	switch g.r.IntN(10) {
	case 0:
		s = strings.ToUpper(s)
	case 1:
		s = g.say("{frame}") + s
	}
	return s
}

func (g *grammar) document() string {
	var b strings.Builder
	kind := g.r.IntN(9)
	for range 2 + g.r.IntN(7) {
		switch kind {
		case 0:
			b.WriteString(g.say("{mail}") + " ")
		case 1:
			b.WriteString(g.say("{record}") + "\n")
		case 2:
			b.WriteString(g.say("{manual}") + " ")
		case 3:
			b.WriteString(g.say("{news}") + " ")
		case 4:
			b.WriteString(g.say("{code}") + "\n")
		case 5:
			b.WriteString(g.say("{forum}") + "\n")
		case 6:
			b.WriteString(g.say("{notice}") + " ")
		case 7:
			b.WriteString(g.say("{row}") + "\n")
		default:
			b.WriteString(g.say([]string{"{news}", "{mail}", "{manual}", "{review}", "{chat}"}[g.r.IntN(5)]) + "\n")
		}
	}
	return strings.TrimSpace(b.String())
}

// say expands the slots of s. A brace that opens no slot stands for itself.
func (g *grammar) say(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '{')
		j := i + max(0, strings.IndexByte(s[max(i, 0):], '}'))
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		forms, ok := phrases[s[i+1:max(i+1, j)]]
		if !ok {
			b.WriteString(s[:i+1])
			s = s[i+1:]
			continue
		}
		b.WriteString(s[:i])
		if form := forms[g.r.IntN(len(forms))]; form != "~" {
			b.WriteString(g.say(form))
		}
		s = s[j+1:]
	}
}
