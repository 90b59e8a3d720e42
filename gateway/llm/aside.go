// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// aside is what stands in an answer beside its text and its calls: what the model said to itself, and what tools
// that the provider ran gave to it. Policy is shown both before it decides on the calls that follow. Neither is
// ever edited: thinking is signed, and what the provider fetched it knows anyway.
type aside struct {
	text  string         // of reasoning
	value jsontext.Value // that the provider's tool gave; nil for reasoning
}

const (
	maxThought  = 64 << 10 // of reasoning that is shown and recorded; the rest passes unseen
	maxProvided = 64       // things from the provider's tools that are judged in one answer
)

// musing collects the asides of one answer. It is used by one goroutine.
type musing struct {
	look    func(kind string, content []byte) error
	thought strings.Builder
	shown   int // of thought, bytes that were looked at
	given   int
}

// hear takes asides in: what a provider's tool gave is judged at once.
func (m *musing) hear(asides []aside) error {
	for _, a := range asides {
		if a.value == nil {
			m.thought.WriteString(action.Clip(a.text, max(0, maxThought-m.thought.Len())))
			continue
		}
		if m.given++; m.given > maxProvided {
			return fmt.Errorf("%w: more than %d results of the provider's tools", errStream, maxProvided)
		}
		if m.look == nil {
			continue
		}
		if err := m.look(enforce.KindProvided, a.value); err != nil {
			return err
		}
	}
	return nil
}

// flush has the reasoning so far judged: before a call that follows it, and at the end.
func (m *musing) flush() error {
	if m.look == nil || m.thought.Len() == m.shown {
		return nil
	}
	part := m.thought.String()[m.shown:]
	m.shown = m.thought.Len()
	return m.look(enforce.KindReasoning, quote(part))
}

// look takes what stands beside the answer through gate two. What it would redact stays: nothing of it can be edited.
func (x *exchange) look(ctx context.Context, kind string, content []byte) error {
	if kind == enforce.KindReasoning {
		s, _ := text(content)
		x.thought = action.Clip(x.thought+s, maxThought)
	}
	rel, err := x.d.cfg.Enforcer.Chunk(ctx, &x.sub, x.respond.ID, enforce.Outcome{Status: action.ResultDone, Kind: kind, Content: content})
	if err != nil {
		return err
	}
	if rel.Status != action.StatusReleased {
		return refusal(refused("An answer with what the provider's own tool or the model's reasoning says", rel.Hint))
	}
	if kind == enforce.KindProvided {
		x.d.said.put(x.providedKey(content), struct{}{}) // the next request repeats it
	}
	return nil
}

// providedItem reports whether an item of the responses API is what a tool of the provider's brought.
func providedItem(kind string) bool {
	switch kind {
	case "web_search_call", "file_search_call", "code_interpreter_call", "mcp_call", "mcp_list_tools", "tool_search_output":
		return true
	}
	return false
}

// providedBlock reports the same of a block of Anthropic's.
func providedBlock(kind string) bool {
	return strings.HasSuffix(kind, "_tool_result")
}

func thought(values ...jsontext.Value) (out []aside) {
	for _, v := range values {
		if s, ok := text(v); ok && s != "" {
			out = append(out, aside{text: s})
		}
	}
	return out
}

func (c *chat) asides(f *frame) ([]aside, error) {
	if bytes.Equal(f.data, doneData) {
		return nil, nil
	}
	return c.bodyAsides(f.data)
}

// bodyAsides knows the names that servers gave to reasoning, and what web search of OpenAI's cites.
func (c *chat) bodyAsides(data []byte) (out []aside, err error) {
	var d chatDoc
	if err := read(data, &d); err != nil {
		return nil, err
	}
	for _, ch := range d.Choices {
		for _, m := range []*chatMessage{ch.Delta, ch.Message} {
			if m == nil {
				continue
			}
			if out = append(out, thought(m.ReasoningContent)...); len(out) == 0 {
				out = append(out, thought(m.Reasoning)...)
			}
			if present(m.Annotations) {
				out = append(out, aside{value: m.Annotations})
			}
		}
	}
	return out, nil
}

func (p *responses) asides(f *frame) ([]aside, error) {
	if bytes.Equal(f.data, doneData) {
		return nil, nil
	}
	var e respEvent
	if err := read(f.data, &e); err != nil || e.Type != "response.output_item.done" || e.Item == nil {
		return nil, err
	}
	return itemAsides(e.Item)
}

type reasoningItem struct {
	Summary, Content []struct{ Text jsontext.Value }
}

func itemAsides(raw jsontext.Value) (out []aside, err error) {
	var kind struct{ Type string }
	if err := read(raw, &kind); err != nil {
		return nil, err
	}
	switch {
	case providedItem(kind.Type) || strings.HasSuffix(kind.Type, "_output"):
		return []aside{{value: raw.Clone()}}, nil
	case kind.Type == "program":
		var it struct{ Code jsontext.Value }
		if err := read(raw, &it); err != nil {
			return nil, err
		}
		return thought(it.Code), nil
	case kind.Type == "reasoning":
		var it reasoningItem
		if err := read(raw, &it); err != nil {
			return nil, err
		}
		for _, part := range append(it.Summary, it.Content...) {
			out = append(out, thought(part.Text)...)
		}
	case kind.Type == "message":
		var m struct {
			Content []struct{ Annotations jsontext.Value }
		}
		if read(raw, &m) != nil {
			return nil, nil // a text in place of a list: nothing is cited
		}
		for _, part := range m.Content {
			if present(part.Annotations) {
				out = append(out, aside{value: part.Annotations.Clone()})
			}
		}
	}
	return out, nil
}

func (p *responses) bodyAsides(data []byte) (out []aside, err error) {
	var b respBody
	if err := read(data, &b); err != nil {
		return nil, err
	}
	for _, raw := range b.Output {
		found, err := itemAsides(raw)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

func (m *messages) asides(f *frame) ([]aside, error) {
	var e msgEvent
	if err := read(f.data, &e); err != nil {
		return nil, err
	}
	switch {
	case e.Message != nil:
		return e.Message.asides()
	case e.Block != nil:
		return blockAsides(e.Block)
	case e.Delta == nil:
	case e.Delta.Type == "thinking_delta":
		return thought(e.Delta.Thinking), nil
	case e.Delta.Type == "citations_delta" && present(e.Delta.Citation):
		return []aside{{value: e.Delta.Citation.Clone()}}, nil
	}
	return nil, nil
}

func blockAsides(raw jsontext.Value) ([]aside, error) {
	var b msgBlock
	if err := read(raw, &b); err != nil {
		return nil, err
	}
	switch {
	case providedBlock(b.Type):
		return []aside{{value: raw.Clone()}}, nil
	case b.Type == "thinking":
		return thought(b.Thinking), nil
	case present(b.Citations):
		return []aside{{value: b.Citations.Clone()}}, nil
	}
	return nil, nil
}

func (m *messages) bodyAsides(data []byte) ([]aside, error) {
	var d msgBody
	if err := read(data, &d); err != nil {
		return nil, err
	}
	return d.asides()
}

func (d *msgBody) asides() (out []aside, err error) {
	for _, raw := range d.Content {
		found, err := blockAsides(raw)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}
