// SPDX-License-Identifier: Apache-2.0

package tools

import "strings"

// What a server says of its own tools and arguments is read where their names say nothing. A description
// may make an effect graver than the name does, never milder.

// telling are verbs that say in a description what comes back. In a name they are something else:
// "return_order" sends goods back.
var telling = set(`returns provides outputs yields reads lists shows gets`)

// endings close the phrase that says what a verb is done to, or what an argument is.
var endings = set(`of to for in on at with without using by from into as that which whose where when if and or given based via per such containing matching associated must should`)

// leading words say nothing of what follows.
var leading = set(`the a an this that its their your our given specified new existing current optional required specific particular provided desired full exact unique`)

// vessels are nouns that stand for what comes after "of", "with" or "for".
var vessels = set(`list array set name names title value string text identifier number type kind one object sequence collection`)

// done is what the first sentence of a description says: the verb, and the words of what it is done to.
func done(description string) (v verb, object []string) {
	ws := words(firstSentence(description))
	at := -1
	for i, w := range ws {
		if fillers[w] {
			continue
		}
		v, at = verbOf(w), i
		if telling[w] {
			v = verbRead
		}
		break
	}
	if v == verbNone {
		return v, nil
	}
	for _, w := range ws[at+1:] {
		if endings[w] && !leading[w] {
			break
		}
		if !leading[w] {
			object = append(object, w)
		}
	}
	return v, object
}

// described is the class that a description alone would give a tool.
func described(d *Definition) verb {
	v, object := done(d.Description)
	if v == verbNone {
		return verbNone
	}
	head := ""
	for _, w := range words(firstSentence(d.Description)) {
		if !fillers[w] {
			head = w
			break
		}
	}
	if _, ok := verbs[head]; !ok { // "Adds" is "add"
		for _, suffix := range []string{"s", "es"} {
			if cut, had := strings.CutSuffix(head, suffix); had && verbs[cut] != verbNone {
				head = cut
				break
			}
		}
	}
	for _, w := range words(d.Name) { // "Clear all items" of a cart
		if draftNouns[w] {
			object = append(object, w)
		}
	}
	return correct(v, 0, append([]string{head}, object...), d)
}

// graver returns the one of two classes whose effect is worse, the first of equals; none counts as milder.
func graver(a, b verb) verb {
	if a == verbNone || b != verbNone && b.effect().Severity() > a.effect().Severity() {
		return b
	}
	return a
}

// roleSaid reads the description of an argument as if its first noun were the name: "IBAN of the
// recipient", "The path to the file".
func roleSaid(description string, v verb) role {
	ws := words(firstSentence(description))
	var phrase []string
	for i, w := range ws {
		switch {
		case leading[w] && len(phrase) == 0:
		case endings[w]:
			if len(phrase) == 0 {
				return roleNone
			}
			if vessels[phrase[len(phrase)-1]] && i+1 < len(ws) && (w == "of" || w == "with") {
				last := phrase[len(phrase)-1]
				phrase = nil
				if last == "name" || last == "title" || last == "number" {
					return roleOf(strings.Join(append(nounAfter(ws[i+1:]), last), "_"), v)
				}
				continue
			}
			return roleOf(strings.Join(phrase, "_"), v)
		default:
			if phrase = append(phrase, w); len(phrase) > 4 {
				return roleNone
			}
		}
	}
	if len(phrase) == 0 {
		return roleNone
	}
	return roleOf(strings.Join(phrase, "_"), v)
}

// nounAfter is the phrase that ws begins with.
func nounAfter(ws []string) (phrase []string) {
	for _, w := range ws {
		if endings[w] || len(phrase) > 3 {
			break
		}
		if !leading[w] {
			phrase = append(phrase, w)
		}
	}
	return phrase
}
