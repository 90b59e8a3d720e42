// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"strings"
	"unicode/utf8"

	"github.com/sallyport/sallyport/detect/learn"
)

// lexicon is common English, and words that orders to a model are made of. It tells whether a text that was
// turned around became language; it says nothing about intent.
var lexicon = strings.Fields(`
the and you that was for are with his they this have from one had word but not what all were when your can said there use each which she
how their will other about out many then them these some her would make like him into time has look two more write see number way could
people than first water been call who oil its now find long down day did get come made may part over new sound take only little work know
place year live back give most very after thing our just name good sentence man think say great where help through much before line right
too mean old any same tell boy follow came want show also around form three small set put end does another well large must big even such
because turn here why ask went men read need land different home move try kind hand picture again change off play spell air away animal
house point page letter mother answer found study still learn should world
ignore disregard forget override bypass previous prior above earlier preceding instruction instructions instructed command commands order
orders rule rules guideline guidelines directive directives prompt system developer admin administrator assistant agent model language user
users human message messages email emails mail address password passwords secret secrets token tokens key keys credential credentials api
file files folder contents content document data database send forward upload post transfer transmit delete remove execute run open click
link website page visit download install call function tool tools argument arguments parameter output print reveal show display repeat
respond response reply answer say tell inform mention notify without silently immediately urgent important attention warning note now
instead following task tasks new real next step steps begin start stop pretend act role mode unrestricted restrictions limits safety
policy filter filters allowed never always must account bank money payment pay amount iban transaction invoice contact contacts calendar
conversation history private confidential access server code script shell curl http https com org net please do not is it in to of as at
be by my me we us on or so if up no go he an`)

// folded is what a word's bytes count as, for the lexicon as for the model.
var folded = &learn.Folded

// What a word is in the lexicon, as it stands or turned around.
const (
	isKnown = 1 << iota
	isRotated
	isReversed
	isBoth
)

// entries is a hash table of words, by the low bits of their hash; the rest of it is kept to compare.
const entryBits = 12

var entries = func() (t [1 << entryBits]struct {
	hash uint32
	kind uint8
}) {
	add := func(w string, kind uint8) {
		h := learn.Hash(w)
		for i := h & (1<<entryBits - 1); ; i = (i + 1) & (1<<entryBits - 1) {
			if t[i].hash == 0 || t[i].hash == h {
				t[i].hash, t[i].kind = h, t[i].kind|kind
				return
			}
		}
	}
	for _, w := range lexicon {
		add(w, isKnown)
		if len(w) > 2 {
			add(rotate(w), isRotated)
			add(backwards(w), isReversed)
			add(backwards(rotate(w)), isBoth)
		}
	}
	return t
}()

func lookup(h uint32) uint8 {
	for i := h & (1<<entryBits - 1); entries[i].hash != 0; i = (i + 1) & (1<<entryBits - 1) {
		if entries[i].hash == h {
			return entries[i].kind
		}
	}
	return 0
}

func inLexicon(w string) bool { return lookup(learn.Hash(w))&isKnown != 0 }

// rotate turns letters by 13 places.
func rotate(s string) string {
	b := []byte(s)
	for i, c := range b {
		switch {
		case c >= 'a' && c <= 'z':
			b[i] = 'a' + (c-'a'+13)%26
		case c >= 'A' && c <= 'Z':
			b[i] = 'A' + (c-'A'+13)%26
		}
	}
	return string(b)
}

// backwards turns the characters of s around. The character at byte i of s ends at byte len(s)-i.
func backwards(s string) string {
	b := make([]byte, len(s))
	at := len(s)
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			at--
			b[at] = s[i]
			i++
			continue
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		at -= n
		copy(b[at:], s[i:i+n])
		i += n
	}
	return string(b)
}
