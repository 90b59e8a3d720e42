// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/andybalholm/brotli"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/zstd"

	"github.com/sallyport/sallyport/action"
)

// The bounds of what is taken apart. What goes beyond them is one text.
const (
	maxFields = 1000
	maxParts  = 256
)

// form is how a body stands in the facts.
type form int

const (
	formNone   form = iota
	formJSON        // as it is
	formText        // a string
	formFields      // an object of strings
	formOther       // parts, or bytes: cannot be put together again from the facts
)

// body is what a message carries, as facts.
type body struct {
	form   form
	value  []byte // one JSON value
	opaque bool   // some of it could not be read as text
}

// readBody says what data is, by its content type and encoding. room bounds what unpacking may yield.
func readBody(h http.Header, data []byte, room int) body {
	if len(data) == 0 {
		return body{value: []byte("null")}
	}
	packed := false
	switch enc := strings.ToLower(strings.TrimSpace(h.Get("Content-Encoding"))); enc {
	case "", "identity":
	default:
		packed = true
		plain, err := unpack(enc, data, room)
		if err != nil {
			return body{formOther, inBase64(data), true}
		}
		data = plain
	}
	typ, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		typ = ""
	}
	b := bodyOf(typ, params, data)
	if packed && b.form != formNone {
		b.form = formOther
	}
	return b
}

func bodyOf(typ string, params map[string]string, data []byte) body {
	switch {
	case (typ == "application/json" || strings.HasSuffix(typ, "+json") || typ == "") && looksJSON(data) &&
		action.Check(data, action.Limits{Bytes: len(data), Depth: action.DefaultDepth - 4}) == nil:
		return body{formJSON, data, false}
	case typ == "application/x-www-form-urlencoded":
		if v, ok := fields(string(data)); ok {
			return body{formFields, v, false}
		}
	case typ == "multipart/form-data" || typ == "multipart/mixed" || typ == "multipart/related":
		if v, opaque, ok := parts(data, params["boundary"]); ok {
			// What stands before, between and after the parts travels too.
			var o object
			o.open()
			o.raw("parts", v)
			if textual(data) {
				o.str("raw", string(data))
			} else {
				opaque = true
			}
			return body{formOther, o.close(), opaque}
		}
	}
	if !textual(data) {
		return body{formOther, inBase64(data), true}
	}
	b := body{formText, quoted(string(data)), typ == "application/octet-stream"}
	return b
}

// textual reports whether data is text: UTF-8 without the controls that texts have no use for.
func textual(data []byte) bool {
	return utf8.Valid(data) && !bytes.ContainsFunc(data, func(r rune) bool { return r < 0x20 && r != '\n' && r != '\r' && r != '\t' && r != '\f' && r != 0x1b })
}

func looksJSON(data []byte) bool {
	d := bytes.TrimLeft(data, " \t\r\n")
	return len(d) > 0 && strings.IndexByte(`{["-0123456789tfn`, d[0]) >= 0
}

var errPacked = errors.New("egress: the encoding is not known, or unpacks to too much")

func unpack(enc string, data []byte, room int) ([]byte, error) {
	r, done, err := unpacker(enc, bytes.NewReader(data), room)
	if err != nil {
		return nil, err
	}
	defer done()
	out, err := io.ReadAll(io.LimitReader(r, int64(room)+1))
	if err != nil || len(out) > room {
		return nil, errPacked
	}
	return out, nil
}

// maxEncodings is how many encodings may be put over each other.
const maxEncodings = 3

// unpacker reads what src packs, by a list of encodings as Content-Encoding has it. What it keeps in memory is bounded
// by room, or by 16 MiB where a format's own window is smaller. done gives it back. Its errors are errPacked, but for those of src.
func unpacker(list string, src io.Reader, room int) (r io.Reader, done func(), err error) {
	var closers []func()
	done = func() {
		for _, c := range closers {
			c()
		}
	}
	encs := strings.Split(strings.ToLower(list), ",")
	if len(encs) > maxEncodings {
		return nil, nil, errPacked
	}
	for i := len(encs) - 1; i >= 0; i-- { // the last one was put on last
		switch strings.TrimSpace(encs[i]) {
		case "", "identity":
			continue
		case "gzip", "x-gzip":
			src, err = gzip.NewReader(src)
		case "deflate":
			src, err = zlib.NewReader(src)
		case "br":
			src = brotli.NewReader(src)
		case "zstd":
			var d *zstd.Decoder
			d, err = zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderMaxMemory(uint64(max(room, 1<<20))))
			if err == nil {
				closers = append(closers, d.Close)
				src = d
			}
		default:
			err = errPacked
		}
		if err != nil {
			done()
			return nil, nil, errPacked
		}
	}
	return &packed{src}, done, nil
}

// packed calls whatever a format complains of errPacked.
type packed struct{ io.Reader }

func (p *packed) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, errSpool) {
		err = errPacked
	}
	return n, err
}

// parts takes a multipart body apart.
func parts(data []byte, boundary string) (value []byte, opaque, ok bool) {
	if boundary == "" {
		return nil, false, false
	}
	r := multipart.NewReader(bytes.NewReader(data), boundary)
	out := []byte{'['}
	for n := 0; ; n++ {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) && n > 0 {
			return append(out, ']'), opaque, true
		}
		if err != nil || n == maxParts {
			return nil, false, false
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return nil, false, false
		}
		if n > 0 {
			out = append(out, ',')
		}
		b := readBody(http.Header{"Content-Type": {part.Header.Get("Content-Type")}}, content, len(data))
		opaque = opaque || b.opaque
		o := object{b: out}
		o.open()
		o.str("name", part.FormName())
		o.str("filename", part.FileName())
		if e := part.Header.Get("Content-Transfer-Encoding"); e != "" {
			o.str("encoding", e)
		}
		o.raw("content", b.value)
		out = o.close()
	}
}

// fields reads a query or a form as an object of strings, or of arrays of them for names that stand more
// than once. Names that differ only in case count as one: our own reader refuses to tell them apart.
func fields(raw string) ([]byte, bool) {
	type field struct {
		name   string
		values []string
	}
	var all []*field
	at := map[string]*field{}
	for n, s := 0, raw; s != ""; n++ {
		var pair string
		pair, s, _ = strings.Cut(s, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, false
		}
		if value, err = url.QueryUnescape(value); err != nil || n >= maxFields || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, false
		}
		f := at[foldName(name)]
		if f == nil {
			f = &field{name: name}
			at[foldName(name)], all = f, append(all, f)
		}
		f.values = append(f.values, value)
	}
	var o object
	o.open()
	for _, f := range all {
		o.strs(f.name, f.values)
	}
	return o.close(), true
}

func foldName(s string) string { return strings.ToLower(strings.ToUpper(s)) }

func inBase64(data []byte) []byte {
	var o object
	o.open()
	o.str("base64", base64.StdEncoding.EncodeToString(data))
	return o.close()
}

// quoted is s as a JSON string; what is no UTF-8 in it is replaced.
func quoted(s string) []byte {
	b, _ := jsontext.AppendQuote(nil, s) // the error tells of the replacement
	return b
}

// object writes one JSON object.
type object struct {
	b    []byte
	full bool
}

func (o *object) open() { o.b = append(o.b, '{') }

func (o *object) name(n string) {
	if o.full {
		o.b = append(o.b, ',')
	}
	o.full = true
	o.b, _ = jsontext.AppendQuote(o.b, n)
	o.b = append(o.b, ':')
}

func (o *object) str(name, value string) {
	o.name(name)
	o.b, _ = jsontext.AppendQuote(o.b, value)
}

func (o *object) raw(name string, value []byte) {
	o.name(name)
	o.b = append(o.b, value...)
}

// strs writes one value as a string and more of them as an array.
func (o *object) strs(name string, values []string) {
	if len(values) == 1 {
		o.str(name, values[0])
		return
	}
	o.name(name)
	o.list(values)
}

func (o *object) list(values []string) {
	o.b = append(o.b, '[')
	for i, v := range values {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b, _ = jsontext.AppendQuote(o.b, v)
	}
	o.b = append(o.b, ']')
}

func (o *object) close() []byte { return append(o.b, '}') }
