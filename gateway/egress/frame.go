// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// The opcodes of RFC 6455.
const (
	opContinue = 0x0
	opText     = 0x1
	opBinary   = 0x2
	opClose    = 0x8
	opPing     = 0x9
	opPong     = 0xa
)

// The errors of reading frames.
var (
	errFrame   = errors.New("egress: websocket: malformed frame")
	errMessage = errors.New("egress: websocket: message too large")
)

// message is one message, put together, or one control frame.
type message struct {
	op   byte
	data []byte
}

// messages reads messages from one side of a connection. Extensions are not agreed on, so that reserved bits
// are an error.
type messages struct {
	r      *bufio.Reader
	masked bool // this side must mask, and the other must not
	max    int
	op     byte // of a message under way
	part   []byte
	open   bool
}

// next returns the next message, or a control frame that stands between its parts.
func (m *messages) next() (message, error) {
	for {
		fin, op, data, err := m.frame()
		if err != nil {
			return message{}, err
		}
		switch {
		case op >= opClose:
			return message{op, data}, nil
		case op == opContinue && !m.open, op != opContinue && m.open:
			return message{}, errFrame
		case op != opContinue:
			m.op, m.open, m.part = op, true, nil
		}
		if len(m.part)+len(data) > m.max {
			return message{}, errMessage
		}
		m.part = append(m.part, data...)
		if fin {
			out := message{m.op, m.part}
			m.open, m.part = false, nil
			return out, nil
		}
	}
}

func (m *messages) frame() (fin bool, op byte, data []byte, err error) {
	var head [8]byte
	if _, err = io.ReadFull(m.r, head[:2]); err != nil {
		return
	}
	fin, op = head[0]&0x80 != 0, head[0]&0x0f
	masked, n := head[1]&0x80 != 0, uint64(head[1]&0x7f)
	known := op <= opBinary || op >= opClose && op <= opPong
	if head[0]&0x70 != 0 || !known || masked != m.masked || op >= opClose && (!fin || n > 125) {
		return false, 0, nil, errFrame
	}
	switch n {
	case 126:
		if _, err = io.ReadFull(m.r, head[:2]); err != nil {
			return
		}
		if n = uint64(binary.BigEndian.Uint16(head[:2])); n < 126 {
			return false, 0, nil, errFrame
		}
	case 127:
		if _, err = io.ReadFull(m.r, head[:8]); err != nil {
			return
		}
		if n = binary.BigEndian.Uint64(head[:8]); n < 1<<16 {
			return false, 0, nil, errFrame
		}
	}
	if n > uint64(m.max) {
		return false, 0, nil, errMessage
	}
	var key [4]byte
	if masked {
		if _, err = io.ReadFull(m.r, key[:]); err != nil {
			return
		}
	}
	data = make([]byte, n)
	if _, err = io.ReadFull(m.r, data); err != nil {
		return
	}
	if masked {
		for i := range data {
			data[i] ^= key[i&3]
		}
	}
	return fin, op, data, nil
}

// appendFrame appends one whole message as a frame. With a key it is masked, as clients must.
func appendFrame(b []byte, op byte, data []byte, key *[4]byte) []byte {
	b = append(b, 0x80|op)
	mask := byte(0)
	if key != nil {
		mask = 0x80
	}
	switch n := len(data); {
	case n < 126:
		b = append(b, mask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
	}
	if key == nil {
		return append(b, data...)
	}
	b = append(b, key[:]...)
	for i, c := range data {
		b = append(b, c^key[i&3])
	}
	return b
}
