// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// A call that passes gets a word of ours behind the provider's id: 130 random bits of one answer. Agents carry ids
// of calls from door to door and back, so the word tells this call from others whose provider counts from 0, and a
// result of it from one of a call that was never here, also after a restart. On the way back to the provider it is
// taken off again. Whoever makes one up gains nothing: it names no action.
const (
	mintMark  = "_sp"
	mintBytes = 26
)

// minted is the id under which the agent meets a call.
func minted(id, nonce string) string { return id + mintMark + nonce }

// original returns the provider's id, and whether id had a word of ours behind it.
func original(id string) (string, bool) {
	n := len(id) - mintBytes - len(mintMark)
	if n <= 0 || id[n:n+len(mintMark)] != mintMark ||
		strings.Trim(id[n+len(mintMark):], "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return id, false
	}
	return id[:n], true
}

// own takes our word off an id at a place of the request.
func (a *asked) own(place jsontext.Pointer, v jsontext.Value) {
	id, ok := text(v)
	if !ok {
		return
	}
	if id, ok = original(id); ok {
		if a.ids == nil {
			a.ids = edits{}
		}
		a.ids[place] = quote(id)
	}
}

// renamed puts the minted ids of calls into a frame, at the places where the provider has its own.
func renamed(f *frame, ids map[jsontext.Pointer]string) (*frame, error) {
	if len(ids) == 0 {
		return f, nil
	}
	e := edits{}
	for place, id := range ids {
		e[place] = quote(id)
	}
	data, err := edit(f.data, e)
	if err != nil {
		return nil, err
	}
	return f.with(data), nil
}
