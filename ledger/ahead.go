// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"crypto/sha256"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sallyport/sallyport/action"
)

// checked is what can be said of a leaf and its sealed parts without the log before them: most of the
// work of a verification, and any number of leaves can have it done at once.
type checked struct {
	hash  hash
	leaf  *Leaf
	err   error     // why the bytes are no leaf
	key   uniqueKey // of leaf
	parts int       // payload frames behind the leaf
	count PartCount
	wrong []wrongPart

	opened []openedPart // of the kinds that Options.Inspect looks at

	own Leaf // where leaf points
}

type openedPart struct {
	name action.PartName
	data []byte
}

// inspected reports whether Options.Inspect looks at the parts of a record: those of attestation are large, and only the
// owner's word on itself concerns the log.
func inspected(l *Leaf) bool {
	switch l.Kind {
	case action.KindApproval, action.KindKey, action.KindKill:
		return true
	case action.KindAttestation:
		return slices.ContainsFunc(l.Codes, func(c string) bool { return strings.HasPrefix(c, "self.") })
	}
	return false
}

type wrongPart struct{ part, what string }

// check looks at a leaf's bytes and the payload frames behind them. With keys it opens the parts.
func check(keys *keyring, raw []byte, payloads []frame) *checked {
	c := &checked{hash: leafHash(raw)}
	if c.err = c.own.decode(raw); c.err == nil {
		c.leaf = &c.own
		c.key = newUniqueKey(c.leaf.Action, int(c.leaf.Round), c.leaf.Kind)
	}
	c.sealed(keys, payloads)
	return c
}

func (c *checked) sealed(keys *keyring, payloads []frame) {
	c.parts = len(payloads)
	if c.leaf == nil || len(payloads) != len(c.leaf.Parts) {
		return
	}
	for i, f := range payloads {
		ref := &c.leaf.Parts[i]
		p, err := decodePayload(f.body)
		sum := sha256.Sum256(f.body)
		if err != nil || p.part != string(ref.Name) || p.kid != ref.Kid || digestText(&sum) != ref.Sealed {
			c.wrong = append(c.wrong, wrongPart{string(ref.Name), "the sealed part is not the one that the leaf names"})
			continue
		}
		c.count.Sealed++
		if keys == nil {
			continue
		}
		look := inspected(c.leaf)
		var sheet *[]byte
		var dst []byte // nil for what outlives the check
		if !look {
			sheet = plaintexts.Get().(*[]byte)
			dst = (*sheet)[:0]
		}
		salt, data, err := keys.unseal(dst, p, c.leaf.Tenant)
		switch {
		case errors.Is(err, ErrErased):
			c.count.Erased++
		case errors.Is(err, errNoTenantKey): // it stays sealed
		case err != nil:
			c.wrong = append(c.wrong, wrongPart{string(ref.Name), err.Error()})
		case !commits(ref, salt, data):
			c.wrong = append(c.wrong, wrongPart{string(ref.Name), "the part does not match its commitment"})
		default:
			c.count.Opened++
			if look {
				c.opened = append(c.opened, openedPart{ref.Name, data})
			}
		}
		if !look {
			if n := cap(data); err == nil && n > cap(*sheet) && n <= maxSheet {
				*sheet = data[:0]
			}
			plaintexts.Put(sheet)
		}
	}
}

// plaintexts are what parts are opened on that nobody keeps.
var plaintexts = sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}

const maxSheet = 1 << 20

const (
	chunkLeaves = 256 // at least, in a chunk that is not the last
	chunksAhead = 8   // checked and not yet taken, so that memory stays bounded
)

// ahead checks the frames of one segment before the scanner comes to them.
type ahead struct {
	number uint64
	read   chan struct{} // closed by fill once data, err and chunks stand
	data   []byte
	err    error // of reading the file
	chunks []chunk

	at, in int // the scanner's place: chunk, frame in it
	todo   atomic.Int64
	room   chan struct{}
	stop   chan struct{} // closed by close
	work   sync.WaitGroup
}

type chunk struct {
	from, to int64
	done     chan struct{} // closed by the worker that filled frames
	frames   []aheadFrame
}

type aheadFrame struct {
	at      int64
	frame   frame
	checked *checked // of a leaf
}

// aheadFrames are the lists of chunks that the scanner is done with.
var aheadFrames = sync.Pool{New: func() any { s := make([]aheadFrame, 0, 4*chunkLeaves); return &s }}

// lookAhead begins to read and check a segment. The caller closes what it returns.
func lookAhead(number uint64, keys *keyring, read func(number uint64) ([]byte, error)) *ahead {
	a := &ahead{number: number, read: make(chan struct{}), stop: make(chan struct{}), room: make(chan struct{}, chunksAhead)}
	a.work.Go(func() {
		a.data, a.err = read(number)
		a.split()
		close(a.read)
		for range min(runtime.GOMAXPROCS(0), len(a.chunks)) {
			a.work.Go(func() { a.fill(keys) })
		}
	})
	return a
}

// split cuts the segment before leaves, going by the lengths alone.
func (a *ahead) split() {
	leaves, from := 0, int64(0)
	at := int64(0)
	for at < int64(len(a.data)) {
		n, err := frameLength(a.data[at:], int64(len(a.data))-at)
		if err != nil {
			break
		}
		if a.data[at+4] == frameLeaf {
			if leaves++; leaves > chunkLeaves {
				a.chunks = append(a.chunks, chunk{from: from, to: at, done: make(chan struct{})})
				leaves, from = 1, at
			}
		}
		at += int64(n)
	}
	if at > from {
		a.chunks = append(a.chunks, chunk{from: from, to: at, done: make(chan struct{})})
	}
}

// fill takes chunks in order until none is left. A worker has room before it takes a chunk, so the chunk
// that the scanner waits for is never one without room.
func (a *ahead) fill(keys *keyring) {
	for {
		select {
		case <-a.stop:
			return
		case a.room <- struct{}{}:
		}
		i := int(a.todo.Add(1)) - 1
		if i >= len(a.chunks) {
			return
		}
		c := &a.chunks[i]
		c.frames = a.frames(keys, c.from, c.to)
		close(c.done)
	}
}

func (a *ahead) frames(keys *keyring, from, to int64) []aheadFrame {
	out := (*aheadFrames.Get().(*[]aheadFrame))[:0]
	leaf := -1
	var payloads []frame
	finish := func() {
		if leaf >= 0 {
			out[leaf].checked = check(keys, out[leaf].frame.body, payloads)
		}
		leaf, payloads = -1, payloads[:0]
	}
	for at := from; at < to; {
		f, err := parseFrame(a.data[at:])
		if err != nil {
			break // the scanner reads on by itself, and says what is wrong
		}
		if f.kind != framePayload {
			finish()
		}
		out = append(out, aheadFrame{at: at, frame: f})
		switch f.kind {
		case frameLeaf:
			leaf = len(out) - 1
		case framePayload:
			payloads = append(payloads, f)
		}
		at += int64(f.bytes)
	}
	finish()
	return out
}

// frame returns the frame at an offset, and false where nobody looked ahead. Offsets only grow.
func (a *ahead) frame(at int64) (frame, *checked, bool) {
	for ; a.at < len(a.chunks); a.at, a.in = a.at+1, 0 {
		c := &a.chunks[a.at]
		if at < c.from {
			return frame{}, nil, false
		}
		<-c.done
		for ; a.in < len(c.frames); a.in++ {
			if f := &c.frames[a.in]; f.at == at {
				return f.frame, f.checked, true
			} else if f.at > at {
				return frame{}, nil, false
			}
		}
		done := c.frames
		c.frames = nil
		clear(done)
		aheadFrames.Put(&done)
		<-a.room
	}
	return frame{}, nil, false
}

// close ends the work and waits for it.
func (a *ahead) close() {
	close(a.stop)
	a.work.Wait()
}
