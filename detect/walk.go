// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"errors"
	"io"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// spot is one text of a JSON value: a string, a member's name, or a long number.
type spot struct {
	pointer string // of the value; for a name, of its member
	name    string // of the member that holds it
	isName  bool
	text    string
}

// frame is what is known of an open object.
type frame struct {
	name   string // of the last member, or of the array's own
	label  string // value of "name" or "key", which says what "value" holds
	kind   string // value of "type" or "mimeType"
	blob   bool   // holds "data" or "blob" of some length
	object bool
}

// binary reports whether an object says that its data is neither text nor JSON.
func (f *frame) binary() bool {
	k := strings.ToLower(f.kind)
	return f.blob && k != "" && k != "text" && !strings.HasPrefix(k, "text/") && !strings.HasSuffix(k, "json") && !strings.HasSuffix(k, "xml")
}

// walk calls fn with every text of v in order. opaque reports content parts that hold pictures, sound or
// other bytes. It errs if v is not JSON.
func walk(v []byte, fn func(spot)) (opaque bool, err error) {
	dec := action.Decode(v)
	defer dec.Release()
	frames := []frame{{}}
	for {
		tok, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return opaque, nil
		}
		if err != nil {
			return opaque, errors.New("detect: not JSON")
		}
		depth := dec.StackDepth()
		switch k := tok.Kind(); k {
		case '{', '[':
			f := frame{object: k == '{', name: frames[len(frames)-1].name}
			frames = append(frames[:depth], f)
		case '}', ']':
			opaque = opaque || frames[depth+1].binary()
			frames = frames[:depth+1]
		case '0':
			if t := tok.String(); len(t) >= 13 {
				fn(spot{pointer: string(dec.StackPointer()), name: frames[depth].name, text: t})
			}
		case '"':
			f, t := &frames[depth], tok.String()
			if _, n := dec.StackIndex(depth); f.object && n%2 == 1 {
				f.name = t
				fn(spot{pointer: string(dec.StackPointer()), isName: true, text: t})
				continue
			}
			sp := spot{pointer: string(dec.StackPointer()), name: f.name, text: t}
			f.note(&sp)
			fn(sp)
		}
	}
}

// note keeps what the other members of an object need to know of a string.
func (f *frame) note(sp *spot) {
	if !f.object {
		return
	}
	switch f.name {
	case "name":
		f.label = sp.text
	case "key":
		f.label, sp.name = sp.text, ""
	case "value":
		if f.label != "" {
			sp.name = f.label
		}
	case "type", "mimeType", "mime_type", "media_type", "mediaType":
		if f.kind == "" || f.kind == "resource" {
			f.kind = sp.text
		}
	case "data", "blob", "b64_json", "bytes":
		f.blob = f.blob || len(sp.text) > 0
		if f.name == "blob" && f.kind == "" {
			f.kind = "blob"
		}
	}
}
