// SPDX-License-Identifier: Apache-2.0

package learn

import (
	_ "embed"
	"strings"
)

// phrases is the grammar, written for this program: slots and what may stand there, one form a line; ~ is
// nothing.
var phrases = func() map[string][]string {
	m := map[string][]string{}
	for _, block := range strings.Split(grammarText, "\n\n") {
		name, forms, ok := strings.Cut(strings.Trim(block, "\n"), "\n")
		if ok {
			m[name] = strings.Split(forms, "\n")
		}
	}
	return m
}()

//go:embed phrases.txt
var grammarText string
