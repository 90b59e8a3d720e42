// SPDX-License-Identifier: Apache-2.0

package enforce

import (
	"bytes"
	"context"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// overlapBytes is how much of what went before is judged again together with a chunk, so that something
// split over two chunks is seen whole.
const overlapBytes = 512

// spans judges the end of what was released before together with the beginning of text. It reports
// whether something stands across the border that the policy denies or would have changed: the first
// half is out already, so the second one must not follow. x.mu is held.
func (e *Enforcer) spans(ctx context.Context, x *entry, o Outcome, text string) (bool, error) {
	if x.tail == "" || text == "" {
		return false, nil
	}
	joined, err := jsontext.AppendQuote(nil, x.tail+text[:min(len(text), overlapBytes)])
	if err != nil { // cut within a character: the other characters are what counts
		joined, _ = jsontext.AppendQuote(nil, string(bytes.ToValidUTF8([]byte(x.tail+text[:min(len(text), overlapBytes)]), nil)))
	}
	j, content, err := e.gateTwo(ctx, x, Outcome{Status: o.Status, Kind: o.Kind, Content: joined}, x.chunks)
	if err != nil {
		return true, fmt.Errorf("enforce: action %s: %w", x.id, err)
	}
	return !j.goesOn() || !bytes.Equal(content, joined), nil
}

// textOf returns the strings of a JSON value, member names left out, one after the other.
func textOf(content []byte) string {
	var b []byte
	dec := action.Decode(content)
	defer dec.Release()
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			return string(b)
		}
		if kind, n := dec.StackIndex(dec.StackDepth()); tok.Kind() == '"' && !(kind == '{' && n%2 == 1) {
			b = append(b, tok.String()...)
		}
	}
}

// tailOf returns the last overlapBytes of text.
func tailOf(text string) string { return text[max(0, len(text)-overlapBytes):] }
