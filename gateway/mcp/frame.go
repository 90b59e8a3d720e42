// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// frameType says what a frame of a relay connection carries, and in which direction. A frame is its type
// in one byte, the length of its body in four (big-endian), and the body.
type frameType byte

const (
	frameHello      frameType = 'h' // relay to owner, once and first: JSON, see Hello
	frameWelcome    frameType = 'w' // owner to relay, once and first: empty
	frameRefused    frameType = 'x' // owner to relay, instead: the body says why
	frameClient     frameType = 'c' // relay to owner: a line of the client
	frameServer     frameType = 's' // relay to owner: a line of the server
	frameToClient   frameType = 'C' // owner to relay: a line for the client
	frameToServer   frameType = 'S' // owner to relay: a line for the server
	frameOversize   frameType = 'o' // relay to owner: JSON, see oversize
	frameClientEnd  frameType = 'q' // relay to owner: the client sends no more
	frameCloseInput frameType = 'Q' // owner to relay: everything for the server is out; close its input
	frameServerEnd  frameType = 'd' // relay to owner: the server sends no more
	frameDone       frameType = 'D' // owner to relay: everything is out
)

func (t frameType) known() bool {
	switch t {
	case frameHello, frameWelcome, frameClient, frameServer, frameToClient, frameToServer, frameOversize, frameRefused,
		frameClientEnd, frameCloseInput, frameServerEnd, frameDone:
		return true
	}
	return false
}

const frameHead = 5

// frameBuffer is what is read of a connection at once: a small frame comes whole, with one call of the system.
const frameBuffer = 16 << 10

var errFrame = errors.New("mcp: not a frame of a relay")

// readFrame reads one frame with a body of at most limit bytes. A frame that is cut off, of an unknown
// type or too long is an error; only a clean end between frames is io.EOF.
func readFrame(r io.Reader, limit int) (frameType, []byte, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	t, n := frameType(head[0]), binary.BigEndian.Uint32(head[1:])
	if !t.known() {
		return 0, nil, fmt.Errorf("%w: type %#02x", errFrame, head[0])
	}
	if uint64(n) > uint64(limit) {
		return 0, nil, fmt.Errorf("%w: %d bytes are more than %d", errFrame, n, limit)
	}
	body, err := readBody(r, int(n))
	return t, body, err
}

// readBody grows with what arrives, so that a length alone allocates little.
func readBody(r io.Reader, n int) ([]byte, error) {
	const step = 64 << 10
	body := make([]byte, 0, min(n, step))
	for len(body) < n {
		want := min(n-len(body), max(step, len(body)))
		start := len(body)
		body = append(body, make([]byte, want)...)
		if _, err := io.ReadFull(r, body[start:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return body, nil
}

// frameWriter writes whole frames from several goroutines.
type frameWriter struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func (f *frameWriter) write(t frameType, body []byte) error {
	buf := make([]byte, frameHead, frameHead+len(body))
	buf[0] = byte(t)
	binary.BigEndian.PutUint32(buf[1:], uint32(len(body)))
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.w.Write(append(buf, body...))
	return err
}

// The limit of a frame's body: a message, or what we add to one when we re-emit it.
func frameLimit(message int) int { return message + 64<<10 }
