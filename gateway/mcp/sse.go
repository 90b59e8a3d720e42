// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
)

// event is one server-sent event. Of its fields only these are carried on.
type event struct {
	name  string
	id    string
	retry string
	data  line // oversize data is summed up as a line of stdio is
	any   bool // it holds a field at all
}

// maxEventField bounds id, event and retry.
const maxEventField = 512

// eventReader reads events whose data holds at most limit bytes; longer data is read to its end and thrown
// away. It keeps no more than one event.
type eventReader struct {
	r     *bufio.Reader
	limit int
	first bool
}

func newEventReader(r io.Reader, limit int) *eventReader {
	return &eventReader{r: bufio.NewReaderSize(r, 64<<10), limit: limit, first: true}
}

// next returns the next event, or an error, io.EOF at a clean end. An event without its blank line is cut
// off and counts as none.
func (e *eventReader) next() (event, error) {
	var (
		ev   event
		data dataBuffer
	)
	data.limit = e.limit
	for {
		done, err := e.field(&ev, &data)
		if err != nil {
			return event{}, err
		}
		if done && ev.any {
			ev.data = data.line()
			return ev, nil
		}
	}
}

// field reads one line of the stream and reports whether it was blank.
func (e *eventReader) field(ev *event, data *dataBuffer) (bool, error) {
	head, err := e.r.ReadSlice('\n')
	if err != nil && err != bufio.ErrBufferFull {
		return false, err
	}
	if e.first {
		head, e.first = bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), false
	}
	whole := err == nil
	if whole {
		head = bytes.TrimRight(head, "\r\n")
		if len(head) == 0 {
			return true, nil
		}
	}
	name, value, _ := bytes.Cut(head, []byte{':'})
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	switch string(name) {
	case "data":
		ev.any = true
		data.begin()
		data.add(value)
	case "event":
		ev.name = small(value, whole)
	case "id":
		ev.id = small(value, whole)
		ev.any = ev.any || ev.id != ""
	case "retry":
		ev.retry = small(value, whole)
		ev.any = ev.any || ev.retry != ""
	}
	isData := string(name) == "data"
	for !whole {
		part, err := e.r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return false, err
		}
		if whole = err == nil; whole {
			part = bytes.TrimRight(part, "\r\n")
		}
		if isData {
			data.add(part)
		}
	}
	return false, nil
}

// small returns a field that may be carried on: short, printable, whole.
func small(v []byte, whole bool) string {
	if !whole || len(v) > maxEventField || bytes.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		return ""
	}
	return strings.Clone(string(v))
}

// dataBuffer joins the data lines of an event. JSON has line ends only between tokens, so a space stands
// for them.
type dataBuffer struct {
	limit int
	buf   []byte
	lines int
	over  bool
	size  int64
	hash  interface {
		io.Writer
		Sum([]byte) []byte
	}
	scan idScanner
}

func (d *dataBuffer) begin() {
	if d.lines++; d.lines > 1 {
		d.add([]byte{' '})
	}
}

func (d *dataBuffer) add(b []byte) {
	d.size += int64(len(b))
	if !d.over && len(d.buf)+len(b) <= d.limit {
		d.buf = append(d.buf, b...)
		return
	}
	if !d.over {
		d.over, d.hash = true, sha256.New()
		_, _ = d.hash.Write(d.buf)
		d.scan.write(d.buf)
		d.buf = nil
	}
	_, _ = d.hash.Write(b)
	d.scan.write(b)
}

func (d *dataBuffer) line() line {
	if !d.over {
		return line{bytes: d.buf, size: d.size}
	}
	return line{oversize: true, size: d.size, digest: "sha256:" + hex.EncodeToString(d.hash.Sum(nil)), id: d.scan.id()}
}

// encode writes an event; data holds no line end.
func (ev *event) encode(data []byte) []byte {
	var b []byte
	for _, f := range []struct{ name, value string }{{"event", ev.name}, {"id", ev.id}, {"retry", ev.retry}} {
		if f.value != "" {
			b = append(append(append(append(b, f.name...), ": "...), f.value...), '\n')
		}
	}
	if data != nil {
		b = append(append(append(b, "data: "...), flat(data)...), '\n')
	} else if len(b) == 0 {
		return []byte(":\n\n")
	} else {
		b = append(b, "data:\n"...)
	}
	return append(b, '\n')
}

// flat returns JSON text on one line.
func flat(b []byte) []byte {
	if bytes.IndexByte(b, '\n') < 0 && bytes.IndexByte(b, '\r') < 0 {
		return b
	}
	return bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, b)
}
