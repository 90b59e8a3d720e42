// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// readNumbered reads a constitution in Markdown: a heading names it, "N. text" begins a rule, an indented line goes on
// with it, and other lines before the first rule are for people. Anything else is refused, so that no rule is lost to
// a slip of the pen.
func readNumbered(file string, data []byte) (Constitution, error) {
	c := Constitution{Version: 1}
	if !utf8.Valid(data) {
		return c, fmt.Errorf("judge: %s: it is no UTF-8", file)
	}
	for i, raw := range bytes.Split(data, []byte("\n")) {
		line := strings.TrimRight(string(raw), " \t\r")
		trimmed := strings.TrimLeft(line, " \t")
		n, text, numbered := strings.Cut(line, ". ")
		id, err := strconv.Atoi(n)
		switch {
		case line == "":
		case c.Name == "" && strings.HasPrefix(line, "# "):
			c.Name = strings.TrimSpace(line[2:])
		case numbered && err == nil:
			c.Rules = append(c.Rules, Rule{ID: id, Text: strings.TrimSpace(text)})
		case len(c.Rules) > 0 && trimmed != line:
			last := &c.Rules[len(c.Rules)-1]
			last.Text += " " + trimmed
		case len(c.Rules) == 0 && (line[0] < '0' || line[0] > '9'):
		default:
			return c, fmt.Errorf("judge: %s:%d: it is neither \"N. rule\" nor an indented line that goes on with one", file, i+1)
		}
	}
	return c, nil
}
