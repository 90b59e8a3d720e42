// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
)

// line is one line of a stdio stream without its end. An oversize line has no bytes: Size, Digest and what
// could be read of its id stand for it.
type line struct {
	bytes    []byte
	oversize bool
	size     int64
	digest   string // "sha256:..."
	id       []byte // raw id of the envelope, or nil
}

// lineReader reads lines of at most limit bytes. A longer one is read to its end and thrown away, in
// constant memory.
type lineReader struct {
	r     *bufio.Reader
	limit int
}

func newLineReader(r io.Reader, limit int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), limit: limit}
}

// next returns the next line that is not blank. At the end of the stream it returns io.EOF; a last line
// without an end was cut off and counts as none.
func (l *lineReader) next() (line, error) {
	for {
		b, err := l.read()
		if err != nil || b.oversize || len(bytes.TrimSpace(b.bytes)) > 0 {
			return b, err
		}
	}
}

func (l *lineReader) read() (line, error) {
	var buf []byte
	for {
		part, err := l.r.ReadSlice('\n')
		if len(buf)+len(part) > l.limit+1 {
			return l.skip(buf, part, err)
		}
		buf = append(buf, part...)
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			return line{}, err
		}
		return line{bytes: bytes.TrimRight(buf, "\r\n")}, nil
	}
}

// skip reads an oversize line to its end.
func (l *lineReader) skip(buf, part []byte, err error) (line, error) {
	var (
		scan idScanner
		out  = line{oversize: true}
		h    = sha256.New()
	)
	eat := func(b []byte) {
		b = bytes.TrimRight(b, "\r\n")
		out.size += int64(len(b))
		h.Write(b)
		scan.write(b)
	}
	eat(buf)
	eat(part)
	for err == bufio.ErrBufferFull {
		part, err = l.r.ReadSlice('\n')
		eat(part)
	}
	if err != nil {
		return line{}, err
	}
	out.digest, out.id = "sha256:"+hex.EncodeToString(h.Sum(nil)), scan.id()
	return out, nil
}

// idScanner finds the member "id" of the outermost object of a JSON text of any length, in constant
// memory. It validates nothing: what it finds is used only to tell which open request is answered.
type idScanner struct {
	depth    int
	inString bool
	escaped  bool
	value    bool   // after the colon of a member of the outermost object
	name     []byte // of the member being read, bounded
	found    []byte // the id as far as read
	n        int    // how many ids
	long     bool
	method   bool // the object has a member "method"
}

const maxScannedID = 1100

func (s *idScanner) write(b []byte) {
	for _, c := range b {
		s.step(c)
	}
}

func (s *idScanner) step(c byte) {
	if s.inString {
		s.keep(c)
		switch {
		case s.escaped:
			s.escaped = false
		case c == '\\':
			s.escaped = true
		case c == '"':
			s.inString = false
		}
		return
	}
	switch c {
	case '"':
		s.inString = true
		if s.depth == 1 && !s.value {
			s.name = s.name[:0]
		}
		s.keep(c)
	case '{', '[':
		s.depth++
	case '}', ']':
		s.depth--
	case ':':
		if s.depth == 1 {
			s.value = true
			switch string(s.name) {
			case `"id"`:
				s.n++
			case `"method"`:
				s.method = true
			}
		}
	case ',':
		if s.depth == 1 {
			s.value = false
		}
	case ' ', '\t', '\r', '\n':
	default:
		s.keep(c)
	}
}

// keep collects names of the outermost object, and the value of its id.
func (s *idScanner) keep(c byte) {
	switch {
	case s.depth != 1:
	case !s.value:
		if len(s.name) < 16 {
			s.name = append(s.name, c)
		}
	case string(s.name) == `"id"`:
		if len(s.found) >= maxScannedID {
			s.long = true
			return
		}
		s.found = append(s.found, c)
	}
}

// id returns the raw id, or nil unless there was exactly one of a readable form.
func (s *idScanner) id() []byte {
	if s.n != 1 || s.long {
		return nil
	}
	if key, err := idKey(s.found); err != nil || key == "" {
		return nil
	}
	return s.found
}
