// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// The bounds of one answer.
const (
	maxHeld  = 16 << 20 // of frames that wait for a call to be complete, or for the whole answer
	maxText  = 8 << 20  // of the answer's text that gate two is shown
	maxCalls = 256      // in one answer
)

// call is one thing that the model wants to have done.
type call struct {
	id   string // the provider's; "" where it has none
	kind string // "function", "custom", or the type of an item that is a call of its own
	name string
	args []byte // a JSON object, or whatever the model wrote in place of one
}

// ruling is what the path says about a call.
type ruling struct {
	permit bool
	args   []byte // in place of the call's own; nil keeps them
	id     string // under which the agent meets the call; "" keeps the provider's
	text   string // what stands in the answer in place of a refused call
}

type rule func(call) (ruling, error)

// piece is a run of the answer's text. Pieces with one key follow each other, but for those that repeat the
// whole of it.
type piece struct {
	key    string
	place  jsontext.Pointer
	text   string
	repeat bool
}

// step is what a frame does to the stream.
type step int

const (
	pass   step = iota // goes out, behind what is held
	beside             // goes out at once: it belongs to nothing
	hold               // waits for the end of a call
	settle             // ends what is held
	last               // ends the answer
	end                // ends the answer, and settles what it repeats
)

// machine knows one dialect. It is used by one goroutine.
type machine interface {
	// take looks at the next frame.
	take(f *frame) (step, error)
	// settle rules on the calls in what is held, whose last frame it was that settles.
	settle(held []*frame, r rule) ([]*frame, error)
	// pieces finds the text in a frame.
	pieces(f *frame) ([]piece, error)
	// body rules on the calls in a complete answer.
	body(data []byte, r rule) ([]byte, error)
	// bodyPieces finds the text in a complete answer.
	bodyPieces(data []byte) ([]piece, error)
	// asides finds what a frame holds beside text and calls, bodyAsides that of a complete answer.
	asides(f *frame) ([]aside, error)
	bodyAsides(data []byte) ([]aside, error)
}

// answer takes the frames of one stream to the client.
type answer struct {
	m     machine
	rule  rule
	whole bool               // nothing goes out before gate two has seen all of it
	write func([]byte) error // to the client, at once

	held  []*frame
	kept  []*frame // out of the way of calls, but not out yet
	bytes int      // of both
	said  spoken
	muse  musing
}

// run reads src to its end. What is kept then still waits for finish.
func (a *answer) run(src *frames) error {
	for {
		f, err := src.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := a.frame(f); err != nil {
			return err
		}
	}
	if len(a.held) > 0 {
		return fmt.Errorf("%w: it ends within a call", errStream)
	}
	return a.muse.flush()
}

func (a *answer) frame(f *frame) error {
	if f.data == nil {
		return a.out(f, false)
	}
	s, err := a.m.take(f)
	if err != nil {
		return err
	}
	asides, err := a.m.asides(f)
	if err == nil {
		err = a.muse.hear(asides)
	}
	if err != nil {
		return err
	}
	switch {
	case s == beside:
		return a.out(f, false)
	case s == settle || s == end || s == last && len(a.held) > 0:
		return a.settle(f, s == end || s == last)
	case s == hold || len(a.held) > 0:
		a.held = append(a.held, f)
		return a.grow(len(f.raw))
	}
	return a.out(f, s == last)
}

func (a *answer) settle(f *frame, end bool) error {
	held := append(a.held, f)
	for _, h := range a.held {
		a.bytes -= len(h.raw)
	}
	a.held = nil
	if err := a.muse.flush(); err != nil {
		return err
	}
	out, err := a.m.settle(held, a.rule)
	if err != nil {
		return err
	}
	for i, o := range out {
		if err := a.out(o, end && i == len(out)-1); err != nil {
			return err
		}
	}
	return nil
}

// out passes f on, or keeps it: where the whole answer is waited for, and from its last frame on.
func (a *answer) out(f *frame, end bool) error {
	if f.data != nil {
		pieces, err := a.m.pieces(f)
		if err != nil {
			return err
		}
		a.said.hear(pieces)
	}
	if a.whole || end || len(a.kept) > 0 {
		a.kept = append(a.kept, f)
		return a.grow(len(f.raw))
	}
	return a.write(f.raw)
}

func (a *answer) grow(n int) error {
	if a.bytes += n; a.bytes > maxHeld {
		return fmt.Errorf("%w: more than %d bytes of it have to be held", errStream, maxHeld)
	}
	return nil
}

// finish writes what was kept, with the texts replaced where texts is not nil.
func (a *answer) finish(texts map[string]string) error {
	swap := swapper{texts: texts, told: map[string]bool{}}
	for _, f := range a.kept {
		if texts != nil && f.data != nil {
			pieces, err := a.m.pieces(f)
			if err != nil {
				return err
			}
			data, err := edit(f.data, swap.edits(pieces))
			if err != nil {
				return err
			}
			f = f.with(data)
		}
		if err := a.write(f.raw); err != nil {
			return err
		}
	}
	return nil
}

// spoken is the text of an answer, for gate two.
type spoken struct {
	order []string
	texts map[string]*strings.Builder
	bytes int
	cut   bool // there is more than gate two is shown
}

func (s *spoken) hear(pieces []piece) {
	for _, p := range pieces {
		b := s.texts[p.key]
		if p.repeat && b != nil && b.String() == p.text {
			continue
		}
		key := p.key
		if p.repeat && b != nil { // not what was said before: judged beside it
			key += " repeated"
			b = s.texts[key]
		}
		if s.bytes += len(p.text); s.bytes > maxText {
			s.cut = true
			return
		}
		if b == nil {
			if s.texts == nil {
				s.texts = map[string]*strings.Builder{}
			}
			b = &strings.Builder{}
			s.texts[key] = b
			s.order = append(s.order, key)
		}
		b.WriteString(p.text)
	}
}

// list returns the texts in the order in which they began.
func (s *spoken) list() []string {
	out := []string{}
	for _, k := range s.order {
		out = append(out, s.texts[k].String())
	}
	return out
}

// replaced are the texts by key after gate two has changed them.
func (s *spoken) replaced(list []string) map[string]string {
	out := map[string]string{}
	for i, k := range s.order {
		if i < len(list) {
			out[strings.TrimSuffix(k, " repeated")] = list[i]
		}
	}
	return out
}

// swapper puts a text in the place of another one: all of it where that begins, nothing where it goes on.
type swapper struct {
	texts map[string]string
	told  map[string]bool
}

func (s *swapper) edits(pieces []piece) edits {
	e := edits{}
	for _, p := range pieces {
		text := s.texts[p.key]
		if !p.repeat && s.told[p.key] {
			text = ""
		}
		if !p.repeat && text != "" {
			s.told[p.key] = true
		}
		e[p.place] = quote(text)
	}
	return e
}
