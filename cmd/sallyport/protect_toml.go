// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// This file changes a server's command in a TOML file line by line. It understands what such files hold in
// practice, and refuses a server that is written in any other way: a wrong guess would start something
// else.

var (
	tomlHeader = regexp.MustCompile(`^[ \t]*\[`)
	tomlServer = regexp.MustCompile(`^[ \t]*\[[ \t]*mcp_servers[ \t]*\.[ \t]*("[^"\\]+"|[A-Za-z0-9_-]+)[ \t]*(\.[ \t]*env[ \t]*)?\][ \t]*(#.*)?\r?$`)
	tomlKey    = regexp.MustCompile(`^[ \t]*("[^"\\]+"|[A-Za-z0-9_-]+)[ \t]*=[ \t]*`)
)

// tomlTable is one server's table: offsets into the file.
type tomlTable struct {
	name    string
	server  server
	command [2]int // of the value
	args    [2]int // of the value; zero if there is none
	refused error
}

// tomlServers finds the MCP servers of a TOML file.
func tomlServers(text string) []*tomlTable {
	var out []*tomlTable
	by := map[string]*tomlTable{}
	var t *tomlTable
	env := false
	for at := 0; at < len(text); {
		end := at + strings.IndexByte(text[at:], '\n') + 1
		if end == at {
			end = len(text)
		}
		line := text[at:end]
		switch m := tomlServer.FindStringSubmatch(strings.TrimSuffix(line, "\n")); {
		case m != nil:
			name := strings.Trim(m[1], `"`)
			if t = by[name]; t == nil {
				t = &tomlTable{name: name}
				by[name] = t
				out = append(out, t)
			}
			env = m[2] != ""
		case tomlHeader.MatchString(line):
			t = nil
		case t != nil:
			end = t.line(text, at, end, env)
		}
		at = end
	}
	return out
}

// line reads one key of a table, whose value may go on over lines, and returns where it ends.
func (t *tomlTable) line(text string, at, end int, env bool) int {
	m := tomlKey.FindStringSubmatchIndex(text[at:end])
	if m == nil {
		return end
	}
	key, from := strings.Trim(text[at+m[2]:at+m[3]], `"`), at+m[1]
	if env {
		t.server.env = append(t.server.env, key)
		return end
	}
	switch key {
	case "url":
		t.server.remote = true
	case "command":
		s, n, err := tomlString(text[from:])
		t.server.command, t.command = s, [2]int{from, from + n}
		t.refuse(key, err)
	case "args", "env_vars":
		list, n, err := tomlList(text[from:])
		t.refuse(key, err)
		if err != nil {
			return end
		}
		if key == "args" {
			t.server.args, t.args = list, [2]int{from, from + n}
		} else {
			t.server.env = append(t.server.env, list...)
		}
		if i := strings.IndexByte(text[from+n:], '\n'); i >= 0 {
			return from + n + i + 1
		}
		return len(text)
	case "env":
		names, err := tomlInline(strings.TrimSpace(text[from:end]))
		t.server.env = append(t.server.env, names...)
		t.refuse(key, err)
	}
	return end
}

func (t *tomlTable) refuse(key string, err error) {
	if err != nil && t.refused == nil {
		t.refused = fmt.Errorf("%s: %w", key, err)
	}
}

var errToml = errors.New("written in a way that is not changed here; do it by hand")

// tomlString reads a one-line string at the beginning of s and returns its length in s.
func tomlString(s string) (string, int, error) {
	switch {
	case strings.HasPrefix(s, `"""`), strings.HasPrefix(s, "'''"):
	case strings.HasPrefix(s, "'"):
		if i := strings.IndexAny(s[1:], "'\n"); i >= 0 && s[1+i] == '\'' {
			return s[1 : 1+i], i + 2, nil
		}
	case strings.HasPrefix(s, `"`):
		for i := 1; i < len(s) && s[i] != '\n'; i++ {
			if s[i] == '\\' {
				i++
				continue
			}
			if s[i] == '"' {
				v, err := strconv.Unquote(s[:i+1])
				if err != nil {
					return "", 0, errToml
				}
				return v, i + 1, nil
			}
		}
	}
	return "", 0, errToml
}

// tomlList reads an array of strings at the beginning of s, over lines and with comments.
func tomlList(s string) ([]string, int, error) {
	if !strings.HasPrefix(s, "[") {
		return nil, 0, errToml
	}
	out := []string{}
	comma := true
	for i := 1; i < len(s); {
		switch s[i] {
		case ' ', '\t', '\r', '\n':
			i++
		case '#':
			n := strings.IndexByte(s[i:], '\n')
			if n < 0 {
				return nil, 0, errToml
			}
			i += n
		case ',':
			if comma {
				return nil, 0, errToml
			}
			comma, i = true, i+1
		case ']':
			return out, i + 1, nil
		default:
			v, n, err := tomlString(s[i:])
			if err != nil || !comma {
				return nil, 0, errToml
			}
			out, comma, i = append(out, v), false, i+n
		}
	}
	return nil, 0, errToml
}

// tomlInline returns the names of a one-line inline table of strings.
func tomlInline(s string) ([]string, error) {
	rest, ok := strings.CutPrefix(s, "{")
	if !ok {
		return nil, errToml
	}
	var names []string
	for {
		rest = strings.TrimLeft(rest, " \t,")
		if strings.HasPrefix(rest, "}") {
			return names, nil
		}
		m := tomlKey.FindStringSubmatchIndex(rest)
		if m == nil {
			return nil, errToml
		}
		names = append(names, strings.Trim(rest[m[2]:m[3]], `"`))
		_, n, err := tomlString(rest[m[1]:])
		if err != nil {
			return nil, err
		}
		rest = rest[m[1]+n:]
	}
}

// tomlWith puts another command and other arguments into the table of a server.
func tomlWith(text string, t *tomlTable, s server) string {
	command, args := tomlText(s.command), tomlTexts(s.args)
	if t.args == [2]int{} {
		if len(s.args) > 0 {
			command += "\nargs = " + args
		}
		return text[:t.command[0]] + command + text[t.command[1]:]
	}
	if t.args[0] < t.command[0] {
		return text[:t.args[0]] + args + text[t.args[1]:t.command[0]] + command + text[t.command[1]:]
	}
	return text[:t.command[0]] + command + text[t.command[1]:t.args[0]] + args + text[t.args[1]:]
}

// tomlText writes a string; JSON's escapes are TOML's, too.
func tomlText(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""` // not UTF-8: a file that was read as TOML cannot hold it
	}
	return string(b)
}

func tomlTexts(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = tomlText(s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}
