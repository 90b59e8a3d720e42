// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

func (p *responses) pieces(f *frame) ([]piece, error) {
	if bytes.Equal(f.data, doneData) {
		return nil, nil
	}
	var e respEvent
	if err := read(f.data, &e); err != nil {
		return nil, err
	}
	index := 0
	if e.Index != nil {
		index = *e.Index
	}
	key := partKey(index, e.Content)
	var out []piece
	add := func(v jsontext.Value, key string, place jsontext.Pointer, repeat bool) {
		if s, ok := text(v); ok && s != "" {
			out = append(out, piece{key: key, place: place, text: s, repeat: repeat})
		}
	}
	switch {
	case e.Type == "response.output_text.delta" || e.Type == "response.refusal.delta":
		add(e.Delta, key, "/delta", false)
	case e.Type == "response.output_text.done":
		add(e.Text, key, "/text", true)
	case e.Type == "response.refusal.done":
		add(e.Refusal, key, "/refusal", true)
	case e.Part != nil && strings.HasPrefix(e.Type, "response.content_part."):
		add(e.Part.Text, key, "/part/text", true)
		add(e.Part.Refusal, key, "/part/refusal", true)
	case e.Item != nil:
		return itemPieces(e.Item, index, "/item")
	case e.Response != nil:
		return outputPieces(e.Response.Output, "/response/output")
	}
	return out, nil
}

func partKey(index, content int) string { return strconv.Itoa(index) + "." + strconv.Itoa(content) }

func itemPieces(raw jsontext.Value, index int, base jsontext.Pointer) ([]piece, error) {
	var it respItem
	var out []piece
	if raw.Kind() != '{' {
		return nil, nil
	}
	var kind struct{ Type string }
	if err := read(raw, &kind); err != nil || kind.Type != "message" {
		return nil, err
	}
	if err := read(raw, &it); err != nil {
		return nil, err
	}
	var parts []respPart
	if it.Content.Kind() == '[' {
		if err := read(it.Content, &parts); err != nil {
			return nil, err
		}
	}
	for n, part := range parts {
		for _, v := range []struct {
			name string
			v    jsontext.Value
		}{{"text", part.Text}, {"refusal", part.Refusal}} {
			if s, ok := text(v.v); ok && s != "" {
				out = append(out, piece{key: partKey(index, n), place: at(base, "content", n, v.name), text: s, repeat: true})
			}
		}
	}
	return out, nil
}

func outputPieces(output []jsontext.Value, base jsontext.Pointer) (out []piece, err error) {
	for i, raw := range output {
		found, err := itemPieces(raw, i, at(base, i))
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

func (p *responses) bodyPieces(data []byte) ([]piece, error) {
	var b respBody
	if err := read(data, &b); err != nil {
		return nil, err
	}
	return outputPieces(b.Output, "/output")
}
