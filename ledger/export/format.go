// SPDX-License-Identifier: Apache-2.0

package export

import (
	"encoding/base64"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// The formats of a record.
const (
	JSONLines   = "jsonl"       // {"id","index","leaf","mode","names","origin","parts","size"}
	CloudEvents = "cloudevents" // CloudEvents 1.0 in JSON; data is what JSONLines holds
	OCSF        = "ocsf"        // OCSF 1.5.0; what it has no place for is in "unmapped"
)

// Formats lists the formats.
var Formats = []string{JSONLines, CloudEvents, OCSF}

// record is what an encoder is told of one record.
type record struct {
	origin string
	size   uint64 // of the log when it was sent
	ledger.Entry
	Opened
}

// Opened is what was opened of a record's sealed parts. The zero value says: nothing.
type Opened struct {
	Names map[string]string // "agent", "user", "server", "tool": the names behind the leaf's pseudonyms
	Parts []Part            // in the order of Config.Parts
}

// Part is one opened part.
type Part struct {
	Name   action.PartName
	Data   []byte
	Erased bool // Data is empty: its key was destroyed
}

// encoder writes one record as JSON without line breaks. The leaf stands in it byte for byte, so that its
// hash can be computed from what was sent.
type encoder func(r *record) []byte

var encoders = map[string]encoder{JSONLines: jsonLine, CloudEvents: cloudEvent, OCSF: ocsfEvent}

// id is one record's identity for ever.
func id(origin string, index uint64) string { return origin + "/" + strconv.FormatUint(index, 10) }

// object builds one JSON object. Strings are escaped by jsontext, which keeps them valid UTF-8.
type object struct{ b []byte }

func open() *object { return &object{b: append(make([]byte, 0, 2048), '{')} }

func (o *object) key(name string) {
	if o.b[len(o.b)-1] != '{' {
		o.b = append(o.b, ',')
	}
	o.b = append(strconv.AppendQuote(o.b, name), ':')
}

// text leaves an empty value out, as number does zero.
func (o *object) text(name, value string) {
	if value != "" {
		o.key(name)
		o.b = quote(o.b, value)
	}
}

func (o *object) number(name string, value int64) {
	if value != 0 {
		o.key(name)
		o.b = strconv.AppendInt(o.b, value, 10)
	}
}

func (o *object) raw(name string, value []byte) {
	o.key(name)
	o.b = append(o.b, value...)
}

func (o *object) end() []byte { return append(o.b, '}') }

func quote(b []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = string([]rune(s)) // each bad byte becomes U+FFFD
	}
	b, _ = jsontext.AppendQuote(b, s)
	return b
}

func jsonLine(r *record) []byte {
	o := open()
	o.text("id", id(r.origin, r.Index))
	o.raw("index", strconv.AppendUint(nil, r.Index, 10))
	o.raw("leaf", r.Raw)
	o.text("mode", r.mode())
	if len(r.Names) > 0 {
		o.raw("names", names(r.Names))
	}
	o.text("origin", r.origin)
	if len(r.Parts) > 0 {
		o.raw("parts", parts(r.Parts))
	}
	o.raw("size", strconv.AppendUint(nil, r.size, 10))
	return o.end()
}

func names(m map[string]string) []byte {
	o := open()
	for _, k := range slices.Sorted(maps.Keys(m)) {
		o.text(k, m[k])
	}
	return o.end()
}

// maxPartBytes is how much of an opened part is sent; the whole of it is in the log.
const maxPartBytes = 64 << 10

// parts is a list of {"name", "text" or "base64", "bytes"}; "bytes" is the length of the whole part.
func parts(list []Part) []byte {
	b := []byte{'['}
	for i, p := range list {
		if i > 0 {
			b = append(b, ',')
		}
		o := open()
		o.text("name", string(p.Name))
		data := p.Data[:min(len(p.Data), maxPartBytes)]
		for n := 0; len(data) < len(p.Data) && n < utf8.UTFMax && !utf8.Valid(data); n++ {
			data = data[:len(data)-1] // a character that was cut in two
		}
		switch {
		case p.Erased:
			o.raw("erased", []byte("true"))
		case utf8.Valid(data):
			o.raw("text", quote(nil, string(data)))
		default:
			o.text("base64", base64.StdEncoding.EncodeToString(data))
		}
		o.number("bytes", int64(len(p.Data)))
		b = append(b, o.end()...)
	}
	return append(b, ']')
}

// cloudEvent is the record as a CloudEvents 1.0 event: source and id together name it once, as the
// specification wants.
func cloudEvent(r *record) []byte {
	o := open()
	o.text("specversion", "1.0")
	o.text("id", id(r.origin, r.Index))
	o.text("source", "/sallyport/ledger/"+url.PathEscape(r.origin))
	o.text("type", "sallyport.ledger."+string(r.Leaf.Kind)+".v1")
	o.text("subject", r.Leaf.Action)
	o.text("time", stamp(r.Leaf.LogMs))
	o.text("datacontenttype", "application/json")
	o.raw("data", jsonLine(r))
	return o.end()
}

// stamp is a time of RFC 3339 with milliseconds.
func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// mode says of a decision whether it was carried out ("enforce") or only recorded ("observe"); "" of anything else.
func (r *record) mode() string {
	switch {
	case r.Leaf.Verdict == "":
		return ""
	case r.Leaf.Enforced:
		return string(action.Enforce)
	}
	return string(action.Observe)
}

// named is the name behind a pseudonym, if it was opened, else the pseudonym.
func (r *record) named(what, pseudonym string) string {
	if n := r.Names[what]; n != "" && pseudonym != "" {
		return n
	}
	return pseudonym
}
