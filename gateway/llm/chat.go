// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// chat is OpenAI's chat completions. Calls come in fragments of choices[].delta.tool_calls[] (or, in the old
// form, delta.function_call) until the choice has a finish_reason.
type chat struct {
	open map[int]*chatCalls // by choice
	base chatBase
}

// chatCalls are the calls of one choice.
type chatCalls struct {
	calls map[int]*chatCall
	old   *chatCall // function_call
	done  bool      // the choice has a finish_reason
}

type chatCall struct {
	call
	text []byte // arguments or input so far
}

// chatBase is what every chunk of a stream says.
type chatBase struct {
	ID      jsontext.Value `json:"id,omitzero"`
	Created jsontext.Value `json:"created,omitzero"`
	Model   jsontext.Value `json:"model,omitzero"`
}

type chatDoc struct {
	chatBase
	Choices []chatChoice
}

type chatChoice struct {
	Index        int
	Delta        *chatMessage
	Message      *chatMessage
	FinishReason jsontext.Value `json:"finish_reason"`
	Text         jsontext.Value
}

type chatMessage struct {
	Role         jsontext.Value
	Content      jsontext.Value
	Refusal      jsontext.Value
	ToolCalls    []chatFragment `json:"tool_calls"`
	FunctionCall *chatFunction  `json:"function_call"`

	ReasoningContent jsontext.Value `json:"reasoning_content"`
	Reasoning        jsontext.Value
	Annotations      jsontext.Value
}

type chatFragment struct {
	Index    *int
	ID       string
	Type     string
	Function *chatFunction
	Custom   *chatCustom
}

type chatFunction struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

type chatCustom struct {
	Name  string `json:"name"`
	Input string `json:"input"`
}

var doneData = []byte("[DONE]")

func (c *chat) take(f *frame) (step, error) {
	if bytes.Equal(f.data, doneData) {
		return last, nil
	}
	var d chatDoc
	if err := read(f.data, &d); err != nil {
		return pass, err
	}
	if d.ID != nil {
		c.base = d.chatBase
	}
	s := pass
	for i := range d.Choices {
		ch := &d.Choices[i]
		if ch.Delta == nil {
			continue
		}
		if len(ch.Delta.ToolCalls) > 0 || ch.Delta.FunctionCall != nil {
			s = hold
			if err := c.collect(ch); err != nil {
				return pass, err
			}
		}
		if o := c.open[ch.Index]; o != nil && finished(ch.FinishReason) {
			o.done = true
		}
	}
	if len(c.open) > 0 && !slices.ContainsFunc(slices.Collect(maps.Values(c.open)), func(o *chatCalls) bool { return !o.done }) {
		s = settle
	}
	return s, nil
}

func finished(v jsontext.Value) bool { return len(v) > 0 && v.Kind() != 'n' }

// collect adds the fragments of one chunk. A name comes once and an id does not change: some clients would
// join what comes again, others would replace it.
func (c *chat) collect(ch *chatChoice) error {
	if c.open == nil {
		c.open = map[int]*chatCalls{}
	}
	o := c.open[ch.Index]
	if o == nil {
		o = &chatCalls{calls: map[int]*chatCall{}}
		c.open[ch.Index] = o
	}
	if o.done {
		return fmt.Errorf("%w: a call after the end of its choice", errStream)
	}
	if fn := ch.Delta.FunctionCall; fn != nil {
		if o.old == nil {
			o.old = &chatCall{call: call{kind: "function_call"}}
		}
		if err := o.old.add("", fn.Name, fn.Arguments); err != nil {
			return err
		}
	}
	for i, fr := range ch.Delta.ToolCalls {
		index := i
		if fr.Index != nil {
			index = *fr.Index
		}
		k := o.calls[index]
		if k == nil {
			if len(o.calls) >= maxCalls || len(c.open) > maxCalls {
				return fmt.Errorf("%w: more than %d calls", errStream, maxCalls)
			}
			k = &chatCall{call: call{kind: "function"}}
			if fr.Custom != nil || fr.Type == "custom" {
				k.kind = "custom"
			}
			o.calls[index] = k
		}
		name, text := fr.parts()
		if (fr.Function != nil && k.kind != "function") || (fr.Custom != nil && k.kind != "custom") {
			return fmt.Errorf("%w: a call of two kinds", errStream)
		}
		if err := k.add(fr.ID, name, text); err != nil {
			return err
		}
	}
	return nil
}

func (fr *chatFragment) parts() (name, text string) {
	if fr.Function != nil {
		name, text = fr.Function.Name, fr.Function.Arguments
	}
	if fr.Custom != nil {
		name, text = name+fr.Custom.Name, text+fr.Custom.Input
	}
	return name, text
}

func (k *chatCall) add(id, name, text string) error {
	if id != "" && k.id != "" && id != k.id || name != "" && k.name != "" {
		return fmt.Errorf("%w: a call changes its name", errStream)
	}
	if id != "" {
		k.id = id
	}
	if name != "" {
		k.name = name
	}
	k.text = append(k.text, text...)
	return nil
}

// asked is the call with its arguments as one object.
func (k *chatCall) asked() call {
	c := k.call
	c.args = arguments(c.kind, string(k.text))
	return c
}

// arguments are those of a call as policy sees them: free text as {"input": ...}, none as {}.
func arguments(kind, text string) []byte {
	switch {
	case kind == "custom":
		return encode(struct {
			Input string `json:"input"`
		}{text})
	case text == "":
		return []byte("{}")
	}
	return []byte(text)
}

// chatOut is what becomes of the calls of one choice.
type chatOut struct {
	changed bool
	calls   []chatFragment // that are permitted
	old     *chatFunction
	text    string            // in place of those that are not
	ids     map[string]string // minted, by the provider's
}

func (o *chatCalls) rule(r rule) (chatOut, error) {
	out := chatOut{ids: map[string]string{}}
	keep := func(k *chatCall) (ok bool, text string, err error) {
		v, err := r(k.asked())
		if err != nil {
			return false, "", err
		}
		if v.permit && v.args != nil && k.kind == "custom" {
			v = ruling{text: unchangeable(k.name)}
		}
		if !v.permit {
			out.changed = true
			out.text = joined(out.text, v.text)
			return false, "", nil
		}
		if v.id != "" {
			out.ids[k.id] = v.id
		}
		if v.args != nil {
			out.changed = true
			return true, string(v.args), nil
		}
		return true, string(k.text), nil
	}
	for _, i := range slices.Sorted(maps.Keys(o.calls)) {
		k := o.calls[i]
		ok, text, err := keep(k)
		if err != nil {
			return out, err
		}
		if ok {
			n := len(out.calls)
			fr := chatFragment{Index: &n, ID: out.mint(k.id), Type: k.kind}
			if k.kind == "custom" {
				fr.Custom = &chatCustom{k.name, text}
			} else {
				fr.Function = &chatFunction{k.name, text}
			}
			out.calls = append(out.calls, fr)
		}
	}
	if o.old != nil {
		ok, text, err := keep(o.old)
		if err != nil {
			return out, err
		}
		if ok {
			out.old = &chatFunction{o.old.name, text}
		}
	}
	return out, nil
}

// mint is the id under which the agent meets a call.
func (o chatOut) mint(id string) string {
	if now := o.ids[id]; now != "" {
		return now
	}
	return id
}

// rename puts minted ids into a frame whose calls stay as they are.
func rename(f *frame, outs map[int]chatOut) (*frame, error) {
	var d chatDoc
	if f.data == nil || bytes.Equal(f.data, doneData) {
		return f, nil
	}
	if err := read(f.data, &d); err != nil {
		return nil, err
	}
	ids := map[jsontext.Pointer]string{}
	for i := range d.Choices {
		o, ok := outs[d.Choices[i].Index]
		if d.Choices[i].Delta == nil || !ok || o.changed {
			continue
		}
		for n, fr := range d.Choices[i].Delta.ToolCalls {
			if now := o.ids[fr.ID]; fr.ID != "" && now != "" {
				ids[at("/choices", i, "delta", "tool_calls", n, "id")] = now
			}
		}
	}
	return renamed(f, ids)
}

func (o chatOut) none() bool { return len(o.calls) == 0 && o.old == nil }

func (c *chat) settle(held []*frame, r rule) ([]*frame, error) {
	open := c.open
	c.open = nil
	outs, changed := map[int]chatOut{}, false
	for _, i := range slices.Sorted(maps.Keys(open)) {
		if !open[i].done {
			return nil, fmt.Errorf("%w: it ends within a call", errStream)
		}
		o, err := open[i].rule(r)
		if err != nil {
			return nil, err
		}
		outs[i], changed = o, changed || o.changed
	}
	var frames []*frame
	for _, f := range held {
		f, err := rename(f, outs)
		if err != nil {
			return nil, err
		}
		if !changed {
			frames = append(frames, f)
			continue
		}
		made, err := c.rewrite(f, outs)
		if err != nil {
			return nil, err
		}
		frames = append(frames, made...)
	}
	return frames, nil
}

// rewrite takes the calls of changed choices out of f. Where such a choice ends, what is left of its calls
// and the refusals come first.
func (c *chat) rewrite(f *frame, outs map[int]chatOut) ([]*frame, error) {
	var d chatDoc
	if f.data == nil || bytes.Equal(f.data, doneData) {
		return []*frame{f}, nil
	}
	if err := read(f.data, &d); err != nil {
		return nil, err
	}
	var before []*frame
	e, empty := edits{}, len(d.Choices) > 0
	for i := range d.Choices {
		ch := &d.Choices[i]
		o, ok := outs[ch.Index]
		if ch.Delta == nil || !ok || !o.changed {
			empty = false
			continue
		}
		if len(ch.Delta.ToolCalls) > 0 {
			e[at("/choices", i, "delta", "tool_calls")] = []byte("[]")
		}
		if ch.Delta.FunctionCall != nil {
			e[at("/choices", i, "delta", "function_call")] = []byte("null")
		}
		if finished(ch.FinishReason) {
			before = append(before, c.chunks(ch.Index, o)...)
			if o.none() {
				e[at("/choices", i, "finish_reason")] = []byte(`"stop"`)
			}
		}
		if finished(ch.FinishReason) || finished(ch.Delta.Role) || finished(ch.Delta.Content) || finished(ch.Delta.Refusal) {
			empty = false
		}
	}
	if empty {
		return before, nil
	}
	data, err := edit(f.data, e)
	if err != nil {
		return nil, err
	}
	return append(before, f.with(data)), nil
}

// chunk is one of ours.
type chunk struct {
	chatBase
	Object  string        `json:"object"`
	Choices []chunkChoice `json:"choices"`
}

type chunkChoice struct {
	Index  int        `json:"index"`
	Delta  chunkDelta `json:"delta"`
	Finish *string    `json:"finish_reason"`
}

type chunkDelta struct {
	Content      *string       `json:"content,omitempty"`
	ToolCalls    []chunkCall   `json:"tool_calls,omitempty"`
	FunctionCall *chatFunction `json:"function_call,omitempty"`
}

type chunkCall struct {
	Index    *int          `json:"index,omitempty"`
	ID       string        `json:"id,omitempty"`
	Type     string        `json:"type"`
	Function *chatFunction `json:"function,omitempty"`
	Custom   *chatCustom   `json:"custom,omitempty"`
}

func (c *chat) chunks(choice int, o chatOut) []*frame {
	var out []*frame
	add := func(d chunkDelta) {
		out = append(out, newFrame("", encode(chunk{c.base, "chat.completion.chunk", []chunkChoice{{Index: choice, Delta: d}}})))
	}
	for _, k := range o.calls {
		add(chunkDelta{ToolCalls: []chunkCall{chunkCall(k)}})
	}
	if o.old != nil {
		add(chunkDelta{FunctionCall: o.old})
	}
	if o.text != "" {
		add(chunkDelta{Content: &o.text})
	}
	return out
}

func (c *chat) pieces(f *frame) ([]piece, error) {
	if bytes.Equal(f.data, doneData) {
		return nil, nil
	}
	return c.find(f.data, func(ch *chatChoice) (*chatMessage, string) { return ch.Delta, "delta" })
}

func (c *chat) bodyPieces(data []byte) ([]piece, error) {
	return c.find(data, func(ch *chatChoice) (*chatMessage, string) { return ch.Message, "message" })
}

func (c *chat) find(data []byte, in func(*chatChoice) (*chatMessage, string)) ([]piece, error) {
	var d chatDoc
	if err := read(data, &d); err != nil {
		return nil, err
	}
	var out []piece
	for i := range d.Choices {
		m, member := in(&d.Choices[i])
		if m == nil {
			continue
		}
		base := strconv.Itoa(d.Choices[i].Index)
		for name, v := range map[string]jsontext.Value{"content": m.Content, "refusal": m.Refusal} {
			if s, ok := text(v); ok && s != "" {
				out = append(out, piece{key: base + " " + name, place: at("/choices", i, member, name), text: s})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b piece) int { return bytes.Compare([]byte(a.key), []byte(b.key)) })
	return out, nil
}

// body rules on the calls of every choice of a complete answer.
func (c *chat) body(data []byte, r rule) ([]byte, error) {
	var d chatDoc
	if err := read(data, &d); err != nil {
		return nil, err
	}
	e := edits{}
	for i := range d.Choices {
		m := d.Choices[i].Message
		if m == nil || len(m.ToolCalls) == 0 && m.FunctionCall == nil {
			continue
		}
		one := chatChoice{Index: i, Delta: m}
		for n := range m.ToolCalls {
			m.ToolCalls[n].Index = nil // they are complete, and as many as there are
		}
		if err := c.collect(&one); err != nil {
			return nil, err
		}
		o, err := c.open[i].rule(r)
		if err != nil {
			return nil, err
		}
		if !o.changed {
			for n, fr := range m.ToolCalls {
				if now := o.ids[fr.ID]; now != "" {
					e[at("/choices", i, "message", "tool_calls", n, "id")] = quote(now)
				}
			}
			continue
		}
		if err := c.replace(e, i, m, o); err != nil {
			return nil, err
		}
	}
	return edit(data, e)
}

func (c *chat) replace(e edits, i int, m *chatMessage, o chatOut) error {
	calls := []chunkCall{}
	for _, k := range o.calls {
		k.Index = nil
		calls = append(calls, chunkCall(k))
	}
	said, _ := text(m.Content)
	if len(m.ToolCalls) > 0 {
		e[at("/choices", i, "message", "tool_calls")] = encode(calls)
	}
	if m.FunctionCall != nil {
		e[at("/choices", i, "message", "function_call")] = encode(o.old)
	}
	if o.text != "" {
		if m.Content == nil {
			return fmt.Errorf("%w: a message without content", errStream)
		}
		e[at("/choices", i, "message", "content")] = quote(joined(said, o.text))
	}
	if o.none() {
		e[at("/choices", i, "finish_reason")] = []byte(`"stop"`)
	}
	return nil
}

func joined(said, more string) string {
	if said == "" {
		return more
	}
	return said + "\n\n" + more
}
