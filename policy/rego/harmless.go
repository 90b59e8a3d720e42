// SPDX-License-Identifier: Apache-2.0

package rego

import "bytes"

// harmless reports whether raw is surely JSON that everybody reads alike, without the cost of a full check. It
// knows a flat object of plain names with plain texts, whole numbers, true, false and null, as most arguments are, and
// says no to everything else.
func harmless(raw []byte) bool {
	if string(raw) == "{}" || string(raw) == "null" {
		return true
	}
	if len(raw) < 2 || len(raw) > 1<<16 || raw[0] != '{' {
		return false
	}
	var names [16][]byte
	rest := raw[1:]
	for n := 0; n < len(names); n++ {
		name, after, ok := plainText(rest)
		if !ok || !plainName(name) || len(after) == 0 || after[0] != ':' {
			return false
		}
		for _, old := range names[:n] {
			if bytes.Equal(old, name) {
				return false
			}
		}
		names[n] = name
		if rest, ok = plainValue(after[1:]); !ok || len(rest) == 0 {
			return false
		}
		switch rest[0] {
		case ',':
			rest = rest[1:]
		case '}':
			return len(rest) == 1
		default:
			return false
		}
	}
	return false
}

// plainName takes lower-case names only, so that no two differ in case.
func plainName(name []byte) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return len(name) > 0
}

// plainText reads a text of printable ASCII without escapes.
func plainText(s []byte) (text, rest []byte, ok bool) {
	if len(s) == 0 || s[0] != '"' {
		return nil, nil, false
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[1:i], s[i+1:], true
		case c < ' ' || c > '~' || c == '\\':
			return nil, nil, false
		}
	}
	return nil, nil, false
}

func plainValue(s []byte) (rest []byte, ok bool) {
	if len(s) == 0 {
		return nil, false
	}
	if s[0] == '"' {
		_, rest, ok = plainText(s)
		return rest, ok
	}
	for _, word := range []string{"true", "false", "null"} {
		if len(s) >= len(word) && string(s[:len(word)]) == word {
			return s[len(word):], true
		}
	}
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[i:], i > 0 && i <= 15 && (i == 1 || s[0] != '0')
}
