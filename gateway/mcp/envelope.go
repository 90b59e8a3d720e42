// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// kind is the form of a JSON-RPC message.
type kind int

const (
	kindRequest kind = iota + 1
	kindNotification
	kindResult
	kindError
)

// message is one JSON-RPC message with its parts as raw bytes; nothing is copied out of raw.
type message struct {
	raw    []byte
	kind   kind
	id     []byte // raw; nil for notifications
	key    string // the id's value, equal for equal ids: "n:12", "s:abc"; "" for null
	method string
	params []byte // nil if absent
	result []byte
	err    []byte
}

// The refusals of an envelope. Their texts go to the peer and quote nothing of the input.
var (
	errBatch    = errors.New("batches are not part of this revision")
	errEnvelope = errors.New("not a JSON-RPC 2.0 message")
	errID       = errors.New("the id must be a string or an integer")
)

// readClient reads a message of a client: strict to the last argument, so that no two readers can differ
// over what is asked.
func readClient(raw []byte, limit int) (message, error) {
	if isBatch(raw) {
		return message{raw: raw}, errBatch
	}
	if err := action.Check(raw, action.Limits{Bytes: limit}); err != nil {
		return message{raw: raw}, err
	}
	return split(raw)
}

// readServer reads a message of a server. Numbers and names inside results may be anything that JSON
// allows, because they are scanned as they stand and forwarded as they stand; duplicate names, bad UTF-8
// and deep nesting are refused, since readers differ over them.
func readServer(raw []byte, limit int) (message, error) {
	if isBatch(raw) {
		return message{raw: raw}, errBatch
	}
	if err := checkShape(raw, limit); err != nil {
		return message{raw: raw}, err
	}
	return split(raw)
}

func isBatch(raw []byte) bool {
	t := bytes.TrimLeft(raw, " \t\r\n")
	return len(t) > 0 && t[0] == '['
}

func checkShape(raw []byte, limit int) error {
	if len(raw) > limit {
		return fmt.Errorf("%w: %d bytes are more than %d", action.ErrStrict, len(raw), limit)
	}
	dec := jsontext.NewDecoder(bytes.NewReader(raw))
	for {
		if _, err := dec.ReadToken(); err != nil {
			return fmt.Errorf("%w: at byte %d", action.ErrStrict, dec.InputOffset())
		}
		if dec.StackDepth() > action.DefaultDepth {
			return fmt.Errorf("%w: nested deeper than %d", action.ErrStrict, action.DefaultDepth)
		}
		if dec.StackDepth() == 0 {
			break
		}
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: data after the value", action.ErrStrict)
	}
	return nil
}

// split takes the envelope apart. raw is valid JSON without duplicate names.
func split(raw []byte) (message, error) {
	m := message{raw: raw}
	version := false
	ms, err := members(raw)
	if err != nil {
		return m, errEnvelope
	}
	for _, f := range ms {
		switch f.name {
		case "jsonrpc":
			version = string(f.value) == `"2.0"`
		case "id":
			m.id = f.value
		case "method":
			s, ok := text(f.value)
			if !ok || s == "" {
				return m, errEnvelope
			}
			m.method = s
		case "params":
			m.params = f.value
		case "result":
			m.result = f.value
		case "error":
			m.err = f.value
		default:
			return m, errEnvelope // an unknown or case-folded member would pass unseen
		}
	}
	if !version {
		return m, errEnvelope
	}
	if m.id != nil {
		if m.key, err = idKey(m.id); err != nil {
			return m, err
		}
	}
	return m, m.form()
}

// form settles which of the four kinds m is.
func (m *message) form() error {
	answer := m.result != nil || m.err != nil
	switch {
	case m.method != "" && answer, m.result != nil && m.err != nil, m.method == "" && !answer:
		return errEnvelope
	case m.params != nil && (answer || m.params[0] != '{'):
		return errEnvelope
	case m.method != "" && m.id == nil:
		m.kind = kindNotification
	case m.method != "":
		if m.key == "" {
			return errID
		}
		m.kind = kindRequest
	case m.result != nil:
		if m.key == "" {
			return errID
		}
		m.kind = kindResult
	default:
		if m.err[0] != '{' || m.id == nil {
			return errEnvelope
		}
		m.kind = kindError
	}
	return nil
}

// idKey returns the value of a raw id: two spellings of one string are one id. Only integers count as
// numbers, because 1, 1.0 and 1e0 are one id to some readers and three to others.
func idKey(raw []byte) (string, error) {
	if string(raw) == "null" {
		return "", nil
	}
	if s, ok := text(raw); ok {
		if len(s) > 1024 {
			return "", errID
		}
		return "s:" + s, nil
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != string(raw) || n > action.MaxNumber || n < -action.MaxNumber {
		return "", errID
	}
	return "n:" + string(raw), nil
}

// field is one member of an object, its value raw.
type field struct {
	name  string
	value []byte
}

// members returns the members of a JSON object in their order.
func members(raw []byte) ([]field, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw)) // a Buffer is read in place
	tok, err := dec.ReadToken()
	if err != nil || tok.Kind() != '{' {
		return nil, errEnvelope
	}
	var out []field
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, errEnvelope
		}
		f := field{name: name.String()}
		v, err := dec.ReadValue()
		if err != nil {
			return nil, errEnvelope
		}
		end := dec.InputOffset()
		f.value = raw[end-int64(len(v)) : end : end]
		out = append(out, f)
	}
	return out, nil
}

// member returns the raw value of one member of an object, or nil.
func member(raw []byte, path ...string) []byte {
	for _, name := range path {
		ms, err := members(raw)
		if err != nil {
			return nil
		}
		raw = nil
		for _, f := range ms {
			if f.name == name {
				raw = f.value
			}
		}
		if raw == nil {
			return nil
		}
	}
	return raw
}

// text returns the value of a raw JSON string.
func text(raw []byte) (string, bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	b, err := jsontext.AppendUnquote(nil, raw)
	return string(b), err == nil
}

// quote returns s as a JSON string; bytes that are no UTF-8 become the replacement character.
func quote(s string) []byte {
	b, err := jsontext.AppendQuote(nil, strings.ToValidUTF8(s, "\uFFFD"))
	if err != nil {
		return []byte(`""`)
	}
	return b
}

// object writes fields as a JSON object.
func object(fs ...field) []byte {
	b := []byte{'{'}
	for i, f := range fs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, quote(f.name)...), ':'), f.value...)
	}
	return append(b, '}')
}

// with returns raw, an object, with the member name set to value, or taken out for a nil value.
func with(raw []byte, name string, value []byte) []byte {
	ms, err := members(raw)
	if err != nil {
		ms = nil
	}
	out, done := ms[:0:0], value == nil
	for _, f := range ms {
		if f.name == name {
			if value == nil {
				continue
			}
			f.value, done = value, true
		}
		out = append(out, f)
	}
	if !done {
		out = append(out, field{name, value})
	}
	return object(out...)
}

// The JSON-RPC and MCP error codes that we answer with.
const (
	codeParse      = -32700
	codeInvalid    = -32600
	codeMethod     = -32601
	codeParams     = -32602
	codeInternal   = -32603
	codeRefused    = -32001 // a gate said no, and the method has no form of result for that
	codeHeader     = -32020
	codeCapability = -32021
	codeVersion    = -32022
)

func errorReply(id []byte, code int, msg string) []byte {
	if id == nil {
		id = []byte("null")
	}
	e := object(field{"code", []byte(strconv.Itoa(code))}, field{"message", quote(msg)})
	return object(field{"jsonrpc", []byte(`"2.0"`)}, field{"id", id}, field{"error", e})
}

func resultReply(id, result []byte) []byte {
	return object(field{"jsonrpc", []byte(`"2.0"`)}, field{"id", id}, field{"result", result})
}

func requestMessage(m *message, params []byte) []byte {
	fs := []field{{"jsonrpc", []byte(`"2.0"`)}}
	if m.id != nil {
		fs = append(fs, field{"id", m.id})
	}
	return object(append(fs, field{"method", quote(m.method)}, field{"params", params})...)
}

// elements returns the raw elements of a JSON array.
func elements(raw []byte) ([][]byte, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw))
	tok, err := dec.ReadToken()
	if err != nil || tok.Kind() != '[' {
		return nil, errEnvelope
	}
	var out [][]byte
	for dec.PeekKind() != ']' {
		v, err := dec.ReadValue()
		if err != nil {
			return nil, errEnvelope
		}
		end := dec.InputOffset()
		out = append(out, raw[end-int64(len(v)):end:end])
	}
	return out, nil
}
