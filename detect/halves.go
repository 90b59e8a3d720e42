// SPDX-License-Identifier: Apache-2.0

package detect

import "strings"

// A canary may leave in two pieces, one in each of two arguments. A piece is a run of hexadecimal digits at
// the beginning or the end of a value.

const (
	maxPieces = 16 // values of one action whose ends are put together
	minPiece  = 6  // digits
)

type piece struct{ pointer, head, tail string }

type pieces []piece

// add notes the ends of a value that are shorter than a canary.
func (p *pieces) add(pointer, text string) {
	if len(*p) >= maxPieces {
		return
	}
	t := strings.TrimSpace(text)
	n, m := 0, len(t)
	for n < len(t) && isHex(t[n]) {
		n++
	}
	for m > 0 && isHex(t[m-1]) {
		m--
	}
	x := piece{pointer: pointer, head: t[:n], tail: t[m:]}
	if len(x.head) < minPiece || len(x.head) >= maxHexRun {
		x.head = ""
	}
	if len(x.tail) < minPiece || len(x.tail) >= maxHexRun {
		x.tail = ""
	}
	if x.head != "" || x.tail != "" {
		*p = append(*p, x)
	}
}

// joined returns where one half of a canary stands whose other half stands in another value.
func (p pieces) joined(c *canary) (pointer string, found bool) {
	for i, a := range p {
		for j, b := range p {
			if i != j && a.tail != "" && b.head != "" && len(a.tail)+len(b.head) >= canaryLen && c.among(a.tail+b.head) {
				return a.pointer, true
			}
		}
	}
	return "", false
}
