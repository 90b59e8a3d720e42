// SPDX-License-Identifier: Apache-2.0

package action

import (
	"bytes"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Decoder reads JSON tokens out of bytes that are at hand. It copies nothing of them, and what it needs besides
// is used again: a new jsontext.Decoder costs more than the tokens of a small call. It is not safe for concurrent use.
type Decoder struct {
	jsontext.Decoder
	in bytes.Buffer
}

var decoders = sync.Pool{New: func() any { return &Decoder{} }}

// Decode returns a decoder over data, which must not change until Release.
func Decode(data []byte, opts ...jsontext.Options) *Decoder {
	d := decoders.Get().(*Decoder)
	d.in = *bytes.NewBuffer(data)
	d.Reset(&d.in, opts...)
	return d
}

// Release gives d back. Neither d nor a token of it may be used afterwards.
func (d *Decoder) Release() {
	d.in = bytes.Buffer{}
	d.Reset(&d.in)
	decoders.Put(d)
}
