// SPDX-License-Identifier: Apache-2.0

package action

import (
	"strings"
	"unicode"
)

// Inert returns s as at most n bytes of valid UTF-8 without characters that control anything, fit for a file and a
// screen: neither a terminal nor a reader is led astray.
func Inert(s string, n int) string {
	s = Clip(s, n)
	if !strings.ContainsFunc(s, func(r rune) bool { return r == unicode.ReplacementChar || steers(r) }) {
		return s
	}
	s = strings.Map(func(r rune) rune {
		if steers(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
	return Clip(s, n)
}

// steers reports whether r is a control or format character: escapes, line breaks, bidi, zero width.
func steers(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}
