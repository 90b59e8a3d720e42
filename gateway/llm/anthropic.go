// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// messages is Anthropic's messages. A call is a content block between content_block_start and
// content_block_stop. Blocks of thinking are signed, and pass as they came.
type messages struct {
	block   *openBlock
	refused bool // a call of this answer was refused
	left    int  // calls that were permitted
	first   int  // blocks that stood in the first event
	begun   bool
}

type openBlock struct {
	index int
	call
	input []byte // as far as it has come
	start jsontext.Value
}

type msgEvent struct {
	Type    string
	Index   *int
	Block   jsontext.Value `json:"content_block"`
	Delta   *msgDelta
	Message *msgBody
}

type msgDelta struct {
	Type               string
	Text               jsontext.Value
	Partial            *string `json:"partial_json"`
	Thinking, Citation jsontext.Value
	Stop               jsontext.Value `json:"stop_reason"`
}

type msgBlock struct {
	Type                string
	ID                  string
	Name                string
	Input               jsontext.Value
	Text                jsontext.Value
	Thinking, Citations jsontext.Value
}

// doneByProvider are the tools that it runs itself, which are gated on the request.
var doneByProvider = []string{"server_tool_use", "mcp_tool_use"}

func (b *msgBlock) isCall() bool {
	return strings.HasSuffix(b.Type, "tool_use") && !slices.Contains(doneByProvider, b.Type)
}

func (m *messages) take(f *frame) (step, error) {
	var e msgEvent
	if err := read(f.data, &e); err != nil {
		return pass, err
	}
	if e.Type == "" || f.event != "" && f.event != e.Type {
		return pass, fmt.Errorf("%w: an event with two names, or none", errStream)
	}
	if e.Index != nil && *e.Index < m.first {
		return pass, fmt.Errorf("%w: more of a block that was judged", errStream)
	}
	again := m.begun
	m.begun = m.begun || e.Type != "ping"
	switch e.Type {
	case "ping":
		return beside, nil
	case "message_start":
		if e.Message == nil || len(e.Message.Content) == 0 {
			break
		}
		if again {
			return pass, fmt.Errorf("%w: content before its own event", errStream)
		}
		m.first = len(e.Message.Content)
		return settle, nil // an answer to results of code that goes on
	case "content_block_start":
		return m.start(&e)
	case "content_block_delta":
		if m.block == nil {
			break
		}
		if e.Index == nil || *e.Index != m.block.index || e.Delta == nil || e.Delta.Partial == nil {
			return pass, fmt.Errorf("%w: another block within a call", errStream)
		}
		m.block.input = append(m.block.input, *e.Delta.Partial...)
		return hold, nil
	case "content_block_stop":
		if m.block == nil {
			break
		}
		if e.Index == nil || *e.Index != m.block.index {
			return pass, fmt.Errorf("%w: another block within a call", errStream)
		}
		return settle, nil
	case "message_delta":
		if m.refused && m.left == 0 {
			return settle, nil
		}
	case "message_stop":
		return last, nil
	}
	return pass, nil
}

func (m *messages) start(e *msgEvent) (step, error) {
	var b msgBlock
	if err := read(e.Block, &b); err != nil {
		return pass, err
	}
	switch {
	case m.block != nil:
		return pass, fmt.Errorf("%w: another block within a call", errStream)
	case !b.isCall():
		return pass, nil
	case e.Index == nil:
		return pass, fmt.Errorf("%w: a call without a place", errStream)
	}
	m.block = &openBlock{index: *e.Index, call: call{id: b.ID, kind: b.Type, name: b.Name}, start: e.Block.Clone()}
	if b.Input != nil && string(b.Input) != "{}" {
		m.block.input = append(m.block.input, b.Input...)
		m.block.kind = "whole" // fragments after this would be another call for some clients
	}
	return hold, nil
}

func (m *messages) settle(held []*frame, r rule) ([]*frame, error) {
	if m.block == nil {
		return m.stopped(held, r)
	}
	b := m.block
	m.block = nil
	fragments := 0
	for _, f := range held {
		var e msgEvent
		if f.data != nil && read(f.data, &e) == nil && e.Delta != nil && e.Delta.Partial != nil && *e.Delta.Partial != "" {
			fragments++
		}
	}
	if b.kind == "whole" && fragments > 0 {
		return nil, fmt.Errorf("%w: a call is told in two ways", errStream)
	}
	c := b.call
	c.args = arguments("function", string(b.input))
	v, err := r(c)
	if err != nil {
		return nil, err
	}
	if v.permit {
		m.left++
		if v.args == nil && v.id == "" {
			return held, nil
		}
		if v.args == nil {
			held[0], err = renamed(held[0], map[jsontext.Pointer]string{"/content_block/id": v.id})
			return held, err
		}
		e := edits{"/input": []byte("{}")}
		if v.id != "" {
			e["/id"] = quote(v.id)
		}
		start, err := edit(b.start, e)
		if err != nil {
			return nil, err
		}
		return blockFrames(b.index, start, map[string]any{"type": "input_json_delta", "partial_json": string(v.args)}), nil
	}
	m.refused = true
	return blockFrames(b.index, []byte(`{"type":"text","text":""}`), map[string]any{"type": "text_delta", "text": v.text}), nil
}

func blockFrames(index int, start []byte, delta map[string]any) []*frame {
	made := func(event string, more map[string]any) *frame {
		more["type"], more["index"] = event, index
		return newFrame(event, encode(more))
	}
	return []*frame{
		made("content_block_start", map[string]any{"content_block": jsontext.Value(start)}),
		made("content_block_delta", map[string]any{"delta": delta}),
		made("content_block_stop", map[string]any{}),
	}
}

// stopped makes the reason for the end that of an answer without calls, and judges the calls with which one begins.
func (m *messages) stopped(held []*frame, r rule) ([]*frame, error) {
	f := held[len(held)-1]
	var e msgEvent
	if err := read(f.data, &e); err != nil {
		return nil, err
	}
	if e.Message != nil {
		changes, err := m.content("/message", e.Message, r)
		if err != nil || len(changes) == 0 {
			return held, err
		}
		data, err := edit(f.data, changes)
		held[len(held)-1] = f.with(data)
		return held, err
	}
	if e.Delta == nil || string(e.Delta.Stop) != `"tool_use"` {
		return held, nil
	}
	data, err := edit(f.data, edits{"/delta/stop_reason": []byte(`"end_turn"`)})
	if err != nil {
		return nil, err
	}
	held[len(held)-1] = f.with(data)
	return held, nil
}

func (m *messages) pieces(f *frame) ([]piece, error) {
	var e msgEvent
	if err := read(f.data, &e); err != nil {
		return nil, err
	}
	if e.Message != nil {
		return e.Message.pieces("/message")
	}
	if e.Index == nil {
		return nil, nil
	}
	key := strconv.Itoa(*e.Index)
	if e.Delta != nil && e.Delta.Type == "text_delta" {
		if s, ok := text(e.Delta.Text); ok && s != "" {
			return []piece{{key: key, place: "/delta/text", text: s}}, nil
		}
	}
	if e.Block != nil {
		var b msgBlock
		if err := read(e.Block, &b); err != nil || b.Type != "text" {
			return nil, err
		}
		if s, ok := text(b.Text); ok && s != "" {
			return []piece{{key: key, place: "/content_block/text", text: s}}, nil
		}
	}
	return nil, nil
}

type msgBody struct {
	Content []jsontext.Value
	Stop    jsontext.Value `json:"stop_reason"`
}

func (m *messages) body(data []byte, r rule) ([]byte, error) {
	var d msgBody
	if err := read(data, &d); err != nil {
		return nil, err
	}
	e, err := m.content("", &d, r)
	if err != nil {
		return nil, err
	}
	return edit(data, e)
}

// content are the changes that rulings make to a message, which stands at a place.
func (m *messages) content(place jsontext.Pointer, d *msgBody, r rule) (edits, error) {
	e := edits{}
	for i, raw := range d.Content {
		var b msgBlock
		if err := read(raw, &b); err != nil {
			return nil, err
		}
		if !b.isCall() {
			continue
		}
		v, err := r(call{id: b.ID, kind: b.Type, name: b.Name, args: arguments("function", string(b.Input))})
		switch {
		case err != nil:
			return nil, err
		case !v.permit:
			m.refused = true
			e[at(place+"/content", i)] = encode(struct {
				Type string `json:"type"`
				Text string `json:"text"`
			}{"text", v.text})
			continue
		case v.args != nil:
			e[at(place+"/content", i, "input")] = v.args
		}
		if v.id != "" {
			e[at(place+"/content", i, "id")] = quote(v.id)
		}
		m.left++
	}
	if m.refused && m.left == 0 && string(d.Stop) == `"tool_use"` {
		e[place+"/stop_reason"] = []byte(`"end_turn"`)
	}
	return e, nil
}

func (m *messages) bodyPieces(data []byte) ([]piece, error) {
	var d msgBody
	if err := read(data, &d); err != nil {
		return nil, err
	}
	return d.pieces("")
}

// pieces are the texts of a message, which stands at a place.
func (d *msgBody) pieces(place jsontext.Pointer) (out []piece, err error) {
	for i, raw := range d.Content {
		var b msgBlock
		if err := read(raw, &b); err != nil {
			return nil, err
		}
		if s, ok := text(b.Text); ok && b.Type == "text" && s != "" {
			out = append(out, piece{key: strconv.Itoa(i), place: at(place+"/content", i, "text"), text: s})
		}
	}
	return out, nil
}
