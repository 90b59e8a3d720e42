// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// responses is OpenAI's responses. A call is an item of the output, complete with
// response.output_item.done; the events that end the response carry all items once more. Events are
// numbered, and stay so: where ours are more than those that they replace, the later ones count on.
type responses struct {
	item  *openItem
	shift int64 // added to the sequence numbers of what follows
}

// openItem is the call that is coming in.
type openItem struct {
	index int     // of the output
	text  []byte  // arguments or input, from the fragments
	full  *string // the same, from the event that ends the fragments
}

type respEvent struct {
	Type     string
	Sequence *int64 `json:"sequence_number"`
	Index    *int   `json:"output_index"`
	Content  int    `json:"content_index"`
	ItemID   string `json:"item_id"`
	Item     jsontext.Value
	Delta    jsontext.Value
	Text     jsontext.Value
	Refusal  jsontext.Value
	Args     *string `json:"arguments"`
	Input    *string
	Part     *respPart
	Response *respBody
}

type respBody struct {
	Output []jsontext.Value
}

type respItem struct {
	Type      string
	ID        string
	CallID    string `json:"call_id"`
	Name      string
	Arguments jsontext.Value
	Input     jsontext.Value
	Content   jsontext.Value
}

type respPart struct {
	Type    string
	Text    jsontext.Value
	Refusal jsontext.Value
}

// passive are the items that nobody has to execute: what the model says, and what the provider has
// executes itself, which is gated on the request. Everything else but an output is a call.
var passive = []string{"message", "reasoning", "compaction", "program", "web_search_call", "file_search_call", "code_interpreter_call",
	"image_generation_call", "mcp_call", "mcp_list_tools", "tool_search_call", "tool_search_output"}

func (it *respItem) isCall() bool {
	return !slices.Contains(passive, it.Type) && !strings.HasSuffix(it.Type, "_output")
}

// ends are the events that carry the response as it ends.
var ends = []string{"response.completed", "response.incomplete", "response.failed", "response.cancelled"}

func (p *responses) take(f *frame) (step, error) {
	if bytes.Equal(f.data, doneData) {
		return last, nil
	}
	var e respEvent
	if err := read(f.data, &e); err != nil {
		return pass, err
	}
	if e.Type == "" || f.event != "" && f.event != e.Type {
		return pass, fmt.Errorf("%w: an event with two names, or none", errStream)
	}
	switch {
	case e.Type == "response.output_item.added":
		return p.added(&e)
	case e.Type == "response.output_item.done":
		return p.done(&e)
	case strings.HasSuffix(e.Type, ".delta") && p.own(&e):
		if s, ok := text(e.Delta); ok {
			p.item.text = append(p.item.text, s...)
		}
		return hold, nil
	case strings.HasSuffix(e.Type, ".done") && p.own(&e):
		if e.Args != nil {
			p.item.full = e.Args
		} else if e.Input != nil {
			p.item.full = e.Input
		}
		return hold, nil
	case strings.HasPrefix(e.Type, "response.function_call") || strings.HasPrefix(e.Type, "response.custom_tool_call"):
		return pass, fmt.Errorf("%w: a fragment of no call", errStream)
	case e.Response != nil:
		if !slices.Contains(ends, e.Type) {
			return p.early(&e)
		}
		if p.item != nil {
			return pass, fmt.Errorf("%w: it ends within a call", errStream)
		}
		return end, nil
	}
	return p.other(), nil
}

// own reports whether e is of the call that is coming in.
func (p *responses) own(e *respEvent) bool {
	return p.item != nil && e.Index != nil && *e.Index == p.item.index
}

// other is what an event of no call does.
func (p *responses) other() step {
	switch {
	case p.item != nil:
		return hold
	case p.shift != 0:
		return settle // its number changes
	}
	return pass
}

// early refuses calls in the copies of the response that come before its items.
func (p *responses) early(e *respEvent) (step, error) {
	for _, raw := range e.Response.Output {
		var it respItem
		if err := read(raw, &it); err != nil {
			return pass, err
		}
		if it.isCall() {
			return pass, fmt.Errorf("%w: a call before its own event", errStream)
		}
	}
	return p.other(), nil
}

func (p *responses) added(e *respEvent) (step, error) {
	var it respItem
	if err := read(e.Item, &it); err != nil {
		return pass, err
	}
	switch {
	case !it.isCall():
		return p.other(), nil
	case p.item != nil || e.Index == nil:
		return pass, fmt.Errorf("%w: a call within a call, or without a place", errStream)
	}
	p.item = &openItem{index: *e.Index}
	return hold, nil
}

func (p *responses) done(e *respEvent) (step, error) {
	var it respItem
	if err := read(e.Item, &it); err != nil {
		return pass, err
	}
	if p.item == nil {
		if it.isCall() {
			return pass, fmt.Errorf("%w: a call without its beginning", errStream)
		}
		return p.other(), nil
	}
	if !p.own(e) {
		if it.isCall() {
			return pass, fmt.Errorf("%w: a call without its beginning", errStream)
		}
		return hold, nil
	}
	if !it.isCall() {
		return pass, fmt.Errorf("%w: a call becomes something else", errStream)
	}
	full, ok := text(it.Arguments)
	if !ok {
		full, ok = text(it.Input)
	}
	// Some clients join the fragments, others take the copy at the end.
	if ok && (len(p.item.text) > 0 && string(p.item.text) != full || p.item.full != nil && *p.item.full != full) {
		return pass, fmt.Errorf("%w: a call is told in two ways", errStream)
	}
	return settle, nil
}

// callOf is the call that an item is. Items of other types than functions carry their words in themselves.
func (it *respItem) callOf(raw []byte) call {
	c := call{id: it.CallID, kind: it.Type, name: it.Name, args: raw}
	switch it.Type {
	case "function_call":
		c.kind = "function"
		if s, ok := text(it.Arguments); ok || it.Arguments == nil {
			c.args = arguments(c.kind, s)
		}
	case "custom_tool_call":
		c.kind = "custom"
		if s, ok := text(it.Input); ok {
			c.args = arguments(c.kind, s)
		}
	default:
		c.name = it.Type
	}
	return c
}

// refusedItem is the message that stands in place of a refused call.
func refusedItem(index int, text string) []byte {
	return encode(map[string]any{"type": "message", "id": "msg_sallyport_" + strconv.Itoa(index), "status": "completed", "role": "assistant",
		"content": []any{map[string]any{"type": "output_text", "text": text, "annotations": []any{}}}})
}

// outcome is what becomes of an item.
type outcome struct {
	now     []byte // nil means unchanged
	id      string // in place of the call's own, where nothing else changed
	refusal string // not "": now is a message that refuses
}

// rewritten returns the item as it is permitted.
func rewritten(raw jsontext.Value, index int, r rule) (outcome, error) {
	var it respItem
	if err := read(raw, &it); err != nil {
		return outcome{}, err
	}
	if !it.isCall() {
		return outcome{}, nil
	}
	c := it.callOf(raw)
	v, err := r(c)
	switch {
	case err != nil:
		return outcome{}, err
	case v.permit && v.args != nil && c.kind != "function":
		v = ruling{text: unchangeable(c.name)}
	}
	if !v.permit {
		return outcome{now: refusedItem(index, v.text), refusal: v.text}, nil
	}
	e, o := edits{}, outcome{}
	if v.id != "" {
		e["/call_id"], o.id = quote(v.id), v.id
	}
	if v.args != nil {
		e["/arguments"], o.id = quote(string(v.args)), ""
	}
	if len(e) > 0 {
		o.now, err = edit(raw, e)
	}
	return o, err
}

func (p *responses) settle(held []*frame, r rule) ([]*frame, error) {
	f := held[len(held)-1]
	if bytes.Equal(f.data, doneData) {
		return p.renumber(held)
	}
	var e respEvent
	if err := read(f.data, &e); err != nil {
		return nil, err
	}
	if e.Response != nil && slices.Contains(ends, e.Type) {
		return p.settleEnd(held, f, &e, r)
	}
	if p.item == nil || e.Type != "response.output_item.done" {
		return p.renumber(held)
	}
	index := p.item.index
	p.item = nil
	o, err := rewritten(e.Item, index, r)
	switch {
	case err != nil:
		return nil, err
	case o.id != "":
		if err := p.rename(held, index, o.id); err != nil {
			return nil, err
		}
		return p.renumber(held)
	case o.now == nil:
		return p.renumber(held)
	}
	return p.replace(held, index, o.now, o.refusal)
}

// rename puts a minted id into the frames that show the call as an item.
func (p *responses) rename(held []*frame, index int, id string) error {
	for i, f := range held {
		var e respEvent
		if f.data == nil {
			continue
		}
		if err := read(f.data, &e); err != nil {
			return err
		}
		var it respItem
		if e.Item == nil || e.Index == nil || *e.Index != index {
			continue
		}
		if err := read(e.Item, &it); err != nil {
			return err
		}
		if it.CallID == "" {
			continue
		}
		now, err := renamed(f, map[jsontext.Pointer]string{"/item/call_id": id})
		if err != nil {
			return err
		}
		held[i] = now
	}
	return nil
}

// settleEnd puts what changed into the copy of the response.
func (p *responses) settleEnd(held []*frame, f *frame, e *respEvent, r rule) ([]*frame, error) {
	changes := edits{}
	for i, raw := range e.Response.Output {
		o, err := rewritten(raw, i, r)
		if err != nil {
			return nil, err
		}
		if o.now != nil {
			changes[at("/response/output", i)] = o.now
		}
	}
	data, err := edit(f.data, changes)
	if err != nil {
		return nil, err
	}
	if len(changes) > 0 {
		held[len(held)-1] = f.with(data)
	}
	return p.renumber(held)
}

// renumber gives held frames the numbers that follow on ours.
func (p *responses) renumber(held []*frame) ([]*frame, error) {
	if p.shift == 0 {
		return held, nil
	}
	for i, f := range held {
		var e respEvent
		if f.data == nil || bytes.Equal(f.data, doneData) {
			continue
		}
		if err := read(f.data, &e); err != nil {
			return nil, err
		}
		if e.Sequence == nil {
			continue
		}
		data, err := edit(f.data, edits{"/sequence_number": strconv.AppendInt(nil, *e.Sequence+p.shift, 10)})
		if err != nil {
			return nil, err
		}
		held[i] = f.with(data)
	}
	return held, nil
}

// replace makes the events of item now, in place of those of the call in held. Frames of other items that
// came in between go out before them.
func (p *responses) replace(held []*frame, index int, now []byte, refusal string) ([]*frame, error) {
	var others []*frame
	first, own, named := int64(-1), int64(0), false
	for _, f := range held {
		var e respEvent
		if f.data == nil {
			others = append(others, f)
			continue
		}
		if err := read(f.data, &e); err != nil {
			return nil, err
		}
		named = named || f.event != ""
		if e.Sequence != nil && first < 0 {
			first = *e.Sequence
		}
		if e.Index != nil && *e.Index == index {
			own++
		} else {
			others = append(others, f)
		}
	}
	if first < 0 {
		first = 0
	}
	next := first + p.shift
	var out []*frame
	for _, f := range others {
		if f.data != nil {
			data, err := edit(f.data, edits{"/sequence_number": strconv.AppendInt(nil, next, 10)})
			if err != nil {
				return nil, err
			}
			f = f.with(data)
			next++
		}
		out = append(out, f)
	}
	made := itemEvents(index, now, refusal)
	for _, m := range made {
		m["sequence_number"], m["output_index"] = next, index
		next++
		event := ""
		if named {
			event, _ = m["type"].(string)
		}
		out = append(out, newFrame(event, encode(m)))
	}
	p.shift += int64(len(made)) - own
	return out, nil
}

// itemEvents are the events by which an item comes: a message that refuses, or a call as it is permitted.
func itemEvents(index int, now []byte, refusal string) []map[string]any {
	item := jsontext.Value(now)
	if refusal == "" {
		var it respItem
		_ = read(now, &it)
		args, _ := text(it.Arguments)
		empty, err := edit(now, edits{"/arguments": []byte(`""`)})
		if err != nil {
			return []map[string]any{{"type": "response.output_item.added", "item": item}, {"type": "response.output_item.done", "item": item}}
		}
		return []map[string]any{
			{"type": "response.output_item.added", "item": jsontext.Value(empty)},
			{"type": "response.function_call_arguments.delta", "item_id": it.ID, "delta": args},
			{"type": "response.function_call_arguments.done", "item_id": it.ID, "name": it.Name, "arguments": args},
			{"type": "response.output_item.done", "item": item},
		}
	}
	id := "msg_sallyport_" + strconv.Itoa(index)
	part := map[string]any{"type": "output_text", "text": refusal, "annotations": []any{}}
	return []map[string]any{
		{"type": "response.output_item.added", "item": map[string]any{"type": "message", "id": id, "status": "in_progress", "role": "assistant", "content": []any{}}},
		{"type": "response.content_part.added", "item_id": id, "content_index": 0, "part": map[string]any{"type": "output_text", "text": "", "annotations": []any{}}},
		{"type": "response.output_text.delta", "item_id": id, "content_index": 0, "delta": refusal, "logprobs": []any{}},
		{"type": "response.output_text.done", "item_id": id, "content_index": 0, "text": refusal, "logprobs": []any{}},
		{"type": "response.content_part.done", "item_id": id, "content_index": 0, "part": part},
		{"type": "response.output_item.done", "item": item},
	}
}

func (p *responses) body(data []byte, r rule) ([]byte, error) {
	var b respBody
	if err := read(data, &b); err != nil {
		return nil, err
	}
	e := edits{}
	for i, raw := range b.Output {
		o, err := rewritten(raw, i, r)
		if err != nil {
			return nil, err
		}
		if o.now != nil {
			e[at("/output", i)] = o.now
		}
	}
	return edit(data, e)
}
