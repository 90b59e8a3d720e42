// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxFrame bounds one frame of a stream: the last one of a response carries all of it.
const maxFrame = 8 << 20

// errStream means that the upstream's stream is not what every reader would understand alike. Nothing more
// of it is passed on.
var errStream = errors.New("the stream of the upstream cannot be read")

// frame is one event of a stream, with the bytes that it came as.
type frame struct {
	raw   []byte
	event string // "" if it names none
	data  []byte // nil for a comment or a keep-alive
}

// frames reads a stream of events strictly: lines end with LF or CRLF, because a lone CR ends a line for
// some readers only; fields are event, data, id and retry; text is UTF-8. Whatever way the bytes come in,
// the frames are the same.
type frames struct {
	r     *bufio.Reader
	begun bool
}

func newFrames(r io.Reader) *frames { return &frames{r: bufio.NewReaderSize(r, 16<<10)} }

// next returns the next frame, and io.EOF after the last one. A last frame that no empty line ends is one
// all the same, since some readers take it for one.
func (s *frames) next() (*frame, error) {
	f := &frame{}
	var data [][]byte
	for {
		line, err := s.line(maxFrame - len(f.raw))
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		f.raw = append(f.raw, line...)
		text := bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(text) > 0 {
			if data, err = f.field(text, data, err); err != nil && !errors.Is(err, io.EOF) {
				return nil, err
			}
		}
		switch {
		case len(line) == 0 && len(f.raw) == 0:
			return nil, io.EOF
		case len(text) == 0 || errors.Is(err, io.EOF):
			if data != nil {
				f.data = bytes.Join(data, []byte("\n"))
			}
			return f, nil
		}
	}
}

// field takes one line of f; it hands end on.
func (f *frame) field(text []byte, data [][]byte, end error) ([][]byte, error) {
	name, value, _ := bytes.Cut(text, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "", "id", "retry":
	case "data":
		data = append(data, value)
	case "event":
		if f.event != "" {
			return nil, fmt.Errorf("%w: a frame has two names", errStream)
		}
		f.event = string(value)
	default:
		return nil, fmt.Errorf("%w: a field that nobody knows", errStream)
	}
	return data, end
}

// line returns one line with its end, as a copy, and io.EOF with the last one.
func (s *frames) line(room int) ([]byte, error) {
	var line []byte
	for {
		part, err := s.r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > room {
			return nil, fmt.Errorf("%w: a frame is larger than %d bytes", errStream, maxFrame)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return line, s.check(line, err)
	}
}

func (s *frames) check(line []byte, end error) error {
	text := bytes.TrimSuffix(line, []byte("\n"))
	if end == nil {
		text = bytes.TrimSuffix(text, []byte("\r"))
	}
	if bytes.IndexByte(text, '\r') >= 0 || !utf8.Valid(line) || !s.begun && bytes.HasPrefix(line, []byte("\xef\xbb\xbf")) {
		return fmt.Errorf("%w: it holds bytes that readers take in different ways", errStream)
	}
	s.begun = true
	return end
}

// with returns f carrying other data.
func (f *frame) with(data []byte) *frame { return newFrame(f.event, data) }

func newFrame(event string, data []byte) *frame {
	f := &frame{event: event, data: data}
	if event != "" {
		f.raw = append(append(append(f.raw, "event: "...), event...), '\n')
	}
	f.raw = append(append(append(f.raw, "data: "...), data...), "\n\n"...)
	return f
}
