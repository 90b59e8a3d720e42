// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// edits are new values by the JSON pointer of the old ones.
type edits map[jsontext.Pointer][]byte

// edit returns data with the values at the pointers replaced and every other byte as it was. A pointer that
// data lacks is an error, so that nothing that should change stays unchanged.
func edit(data []byte, e edits) ([]byte, error) {
	if len(e) == 0 {
		return data, nil
	}
	var out []byte
	last, done := 0, 0
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	for {
		before := int(dec.InputOffset())
		kind := dec.PeekKind()
		_, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: not JSON", errStream)
		}
		depth := dec.StackDepth()
		open := kind == '{' || kind == '['
		if open {
			depth--
		}
		if above, n := dec.StackIndex(depth); kind == '}' || kind == ']' || above == '{' && n%2 == 1 && depth > 0 {
			continue // the end of something, or a name
		}
		value, ok := e[dec.StackPointer()]
		if !ok {
			continue
		}
		start := before + skip(data[before:])
		if open {
			for inner := dec.StackDepth(); dec.StackDepth() >= inner; {
				if _, err := dec.ReadToken(); err != nil {
					return nil, fmt.Errorf("%w: not JSON", errStream)
				}
			}
		}
		out = append(append(out, data[last:start]...), value...)
		last = int(dec.InputOffset())
		done++
	}
	if done != len(e) {
		return nil, fmt.Errorf("%w: a place that must change is not there", errStream)
	}
	return append(out, data[last:]...), nil
}

// skip returns how many bytes stand before the next value.
func skip(b []byte) int {
	for i, c := range b {
		switch c {
		case ' ', '\t', '\r', '\n', ':', ',':
		default:
			return i
		}
	}
	return len(b)
}

// at builds a pointer; numbers are indices.
func at(base jsontext.Pointer, parts ...any) jsontext.Pointer {
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			base = base.AppendToken(strconv.Itoa(p))
		case string:
			base = base.AppendToken(p)
		}
	}
	return base
}

// read decodes what an upstream sent. Names match in any case and spelling, so that a call which some
// client would find is found here too; a name that stands twice in any of them is refused.
func read(data []byte, v any) error {
	if err := json.Unmarshal(data, v, json.MatchCaseInsensitiveNames(true)); err != nil {
		return fmt.Errorf("%w: JSON of another shape", errStream)
	}
	return nil
}

// quote encodes a string.
func quote(s string) []byte {
	b, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		b, _ = jsontext.AppendQuote(nil, string(bytes.ToValidUTF8([]byte(s), []byte("?"))))
	}
	return b
}

// encode encodes a value of ours.
func encode(v any) []byte {
	b, err := json.Marshal(v, json.Deterministic(true), jsontext.PreserveRawStrings(true))
	if err != nil {
		return []byte("null") // cannot happen: strings were checked before
	}
	return b
}

// text returns the string that v holds, and whether it holds one.
func text(v jsontext.Value) (string, bool) {
	if v.Kind() != '"' {
		return "", false
	}
	b, err := jsontext.AppendUnquote(nil, v)
	return string(b), err == nil
}
