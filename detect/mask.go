// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// The kinds of personal data, as findings and the obligation to mask name them.
var personalKinds = []string{"birth-date", "card", "document-id", "email", "iban", "ip", "name", "national-id", "phone", "postal-address", "ssn"}

// AnyPersonal stands for every kind of personal data.
const AnyPersonal = "pii"

// masked begins what was masked. It is not personal data any more, whatever the member is called.
const masked = "***"

// Mask returns the JSON value content with the personal data of some kinds masked: all of it but the last keep
// characters, and never less than half of it, becomes asterisks. kinds are joined by commas; "pii" is all of
// them. A number that is masked becomes a string, everything else keeps its form, and content itself comes back
// if it holds none. It errs for a kind that is not known, for what is not JSON, and for what encodes more than
// can be looked through: then something may stand there that nobody saw. What names, numbers and addresses it
// knows is in docs/detection.md.
func (d *Detector) Mask(content []byte, kinds string, keep int) ([]byte, error) {
	if keep < 0 {
		return nil, fmt.Errorf("detect: keep %d is negative", keep)
	}
	if !jsontext.Value(content).IsValid() {
		return nil, errors.New("detect: not JSON")
	}
	want := strings.Split(kinds, ",")
	for i, k := range want {
		if want[i] = strings.TrimSpace(k); want[i] != AnyPersonal && !slices.Contains(personalKinds, want[i]) {
			return nil, fmt.Errorf("detect: kind %q is not %q nor one of %v", want[i], AnyPersonal, personalKinds)
		}
	}
	out := content
	for range maxPasses {
		by, err := d.findPersonal(out, want, keep)
		if err != nil {
			return nil, err
		}
		if len(by) == 0 {
			return out, nil
		}
		if out, err = replace(out, by); err != nil {
			return nil, err
		}
		keep = 0 // what is found again is what was kept
	}
	return nil, errors.New("detect: masking personal data keeps uncovering more")
}

// findPersonal returns the personal data in v by pointer, each with what it is to become.
func (d *Detector) findPersonal(v []byte, kinds []string, keep int) (map[string][]replacement, error) {
	s := scanner{personal: true, only: kinds, room: roomFor(len(v))}
	out := map[string][]replacement{}
	_, err := walk(v, func(sp spot) {
		for _, h := range s.text(sp.text, sp.name) {
			if h.class != classPII {
				continue
			}
			r := replacement{marker: veil(h.value, keep), isName: sp.isName, start: h.start, end: h.end}
			if h.value != sp.text[h.start:h.end] { // it was decoded, and stands among other things
				r.marker = veil(h.value, 0)
			}
			out[sp.pointer] = append(out[sp.pointer], r)
		}
	})
	if err == nil && s.truncated {
		err = errors.New("detect: the content encodes too much to be searched for personal data")
	}
	return out, err
}

// wanted leaves those of hits that are personal data of kinds (nil: of any), or none at all.
func wanted(hits []hit, kinds []string) []hit {
	if kinds == nil || slices.Contains(kinds, AnyPersonal) {
		return hits
	}
	return slices.DeleteFunc(hits, func(h hit) bool { return h.class == classPII && !slices.Contains(kinds, h.kind) })
}

// veil is s with asterisks in the place of all but its last characters.
func veil(s string, keep int) string {
	n := utf8.RuneCountInString(s)
	keep = min(keep, n/2)
	at := len(s)
	for range keep {
		_, size := utf8.DecodeLastRuneInString(s[:at])
		at -= size
	}
	return strings.Repeat("*", max(n-keep, len(masked))) + s[at:]
}
