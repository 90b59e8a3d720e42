// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/go-json-experiment/json"
)

// A part is one stretch of an answer: text, or a call.
type part struct {
	text           string
	id, name, args string
}

// js encodes v as the providers do.
func js(v any) string {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return string(b)
}

type obj = map[string]any

// cut parts s into up to n runs at rune boundaries.
func cut(r *rand.Rand, s string, n int) []string {
	runes := []rune(s)
	var out []string
	for len(runes) > 0 {
		k := len(runes)
		if len(out) < n-1 {
			k = 1 + r.IntN(len(runes))
		}
		out = append(out, string(runes[:k]))
		runes = runes[k:]
	}
	return out
}

// chatStream is the transcript of a chat completion.
func chatStream(r *rand.Rand, parts []part) string {
	var b strings.Builder
	chunk := func(delta obj, finish any) {
		fmt.Fprintf(&b, "data: %s\n\n", js(obj{"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m-1", "system_fingerprint": "fp",
			"choices": []any{obj{"index": 0, "delta": delta, "logprobs": nil, "finish_reason": finish}}}))
	}
	chunk(obj{"role": "assistant", "content": "", "refusal": nil}, nil)
	n, finish := 0, "stop"
	for _, p := range parts {
		if p.name == "" {
			for _, t := range cut(r, p.text, 4) {
				chunk(obj{"content": t}, nil)
			}
			continue
		}
		finish = "tool_calls"
		chunk(obj{"tool_calls": []any{obj{"index": n, "id": p.id, "type": "function", "function": obj{"name": p.name, "arguments": ""}}}}, nil)
		for _, t := range cut(r, p.args, 5) {
			chunk(obj{"tool_calls": []any{obj{"index": n, "function": obj{"arguments": t}}}}, nil)
		}
		n++
	}
	chunk(obj{}, finish)
	fmt.Fprintf(&b, "data: %s\n\n", js(obj{"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m-1", "choices": []any{}, "usage": obj{"total_tokens": 9}}))
	b.WriteString("data: [DONE]\n\n")
	return b.String()
}

// chatBody is the same in one piece.
func chatBody(parts []part) string {
	msg := obj{"role": "assistant", "content": nil, "refusal": nil, "annotations": []any{}}
	finish := "stop"
	var calls []any
	text := ""
	for _, p := range parts {
		if p.name == "" {
			text += p.text
			continue
		}
		finish = "tool_calls"
		calls = append(calls, obj{"id": p.id, "type": "function", "function": obj{"name": p.name, "arguments": p.args}})
	}
	if text != "" {
		msg["content"] = text
	}
	if calls != nil {
		msg["tool_calls"] = calls
	}
	return js(obj{"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "m-1",
		"choices": []any{obj{"index": 0, "message": msg, "logprobs": nil, "finish_reason": finish}}, "usage": obj{"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}})
}

func responseItems(parts []part) []any {
	items := []any{}
	for i, p := range parts {
		if p.name == "" {
			items = append(items, obj{"id": fmt.Sprintf("msg_%d", i), "type": "message", "status": "completed", "role": "assistant",
				"content": []any{obj{"type": "output_text", "text": p.text, "annotations": []any{}}}})
		} else {
			items = append(items, obj{"id": fmt.Sprintf("fc_%d", i), "type": "function_call", "status": "completed", "call_id": p.id, "name": p.name, "arguments": p.args})
		}
	}
	return items
}

func responseObject(status string, output []any) obj {
	return obj{"id": "resp_1", "object": "response", "created_at": 1700000000, "status": status, "model": "m-1", "output": output, "error": nil,
		"incomplete_details": nil, "instructions": nil, "metadata": obj{}, "parallel_tool_calls": true, "temperature": 1.0, "tool_choice": "auto", "tools": []any{}, "top_p": 1.0,
		"usage": obj{"input_tokens": 1, "input_tokens_details": obj{"cached_tokens": 0}, "output_tokens": 1, "output_tokens_details": obj{"reasoning_tokens": 0}, "total_tokens": 2}}
}

func responsesBody(parts []part) string {
	return js(responseObject("completed", responseItems(parts)))
}

// responsesStream is the transcript of a response.
func responsesStream(r *rand.Rand, parts []part) string {
	var b strings.Builder
	seq := 0
	emit := func(kind string, more obj) {
		more["type"], more["sequence_number"] = kind, seq
		seq++
		fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", kind, js(more))
	}
	emit("response.created", obj{"response": responseObject("in_progress", []any{})})
	emit("response.in_progress", obj{"response": responseObject("in_progress", []any{})})
	items := responseItems(parts)
	for i, p := range parts {
		if p.name == "" {
			id := fmt.Sprintf("msg_%d", i)
			emit("response.output_item.added", obj{"output_index": i, "item": obj{"id": id, "type": "message", "status": "in_progress", "role": "assistant", "content": []any{}}})
			emit("response.content_part.added", obj{"output_index": i, "item_id": id, "content_index": 0, "part": obj{"type": "output_text", "text": "", "annotations": []any{}}})
			for _, t := range cut(r, p.text, 4) {
				emit("response.output_text.delta", obj{"output_index": i, "item_id": id, "content_index": 0, "delta": t, "logprobs": []any{}})
			}
			emit("response.output_text.done", obj{"output_index": i, "item_id": id, "content_index": 0, "text": p.text, "logprobs": []any{}})
			emit("response.content_part.done", obj{"output_index": i, "item_id": id, "content_index": 0, "part": obj{"type": "output_text", "text": p.text, "annotations": []any{}}})
			emit("response.output_item.done", obj{"output_index": i, "item": items[i]})
			continue
		}
		id := fmt.Sprintf("fc_%d", i)
		emit("response.output_item.added", obj{"output_index": i, "item": obj{"id": id, "type": "function_call", "status": "in_progress", "call_id": p.id, "name": p.name, "arguments": ""}})
		for _, t := range cut(r, p.args, 5) {
			emit("response.function_call_arguments.delta", obj{"output_index": i, "item_id": id, "delta": t})
		}
		emit("response.function_call_arguments.done", obj{"output_index": i, "item_id": id, "name": p.name, "arguments": p.args})
		emit("response.output_item.done", obj{"output_index": i, "item": items[i]})
	}
	emit("response.completed", obj{"response": responseObject("completed", items)})
	return b.String()
}

func stopReason(parts []part) string {
	for _, p := range parts {
		if p.name != "" {
			return "tool_use"
		}
	}
	return "end_turn"
}

func messagesBody(parts []part) string {
	content := []any{obj{"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"}}
	for _, p := range parts {
		if p.name == "" {
			content = append(content, obj{"type": "text", "text": p.text, "citations": nil})
			continue
		}
		var in any
		if err := json.Unmarshal([]byte(p.args), &in); err != nil {
			in = p.args
		}
		content = append(content, obj{"type": "tool_use", "id": p.id, "name": p.name, "input": in})
	}
	return js(obj{"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "content": content, "stop_reason": stopReason(parts), "stop_sequence": nil,
		"usage": obj{"input_tokens": 3, "output_tokens": 4}})
}

// messagesStream is the transcript of a message, with a block of thinking first.
func messagesStream(r *rand.Rand, parts []part) string {
	var b strings.Builder
	emit := func(kind string, more obj) {
		more["type"] = kind
		fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", kind, js(more))
	}
	emit("message_start", obj{"message": obj{"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "content": []any{}, "stop_reason": nil, "stop_sequence": nil,
		"usage": obj{"input_tokens": 3, "output_tokens": 1}}})
	emit("content_block_start", obj{"index": 0, "content_block": obj{"type": "thinking", "thinking": "", "signature": ""}})
	emit("ping", obj{})
	emit("content_block_delta", obj{"index": 0, "delta": obj{"type": "thinking_delta", "thinking": "Let me see."}})
	emit("content_block_delta", obj{"index": 0, "delta": obj{"type": "signature_delta", "signature": "c2ln"}})
	emit("content_block_stop", obj{"index": 0})
	for i, p := range parts {
		if p.name == "" {
			emit("content_block_start", obj{"index": i + 1, "content_block": obj{"type": "text", "text": ""}})
			for _, t := range cut(r, p.text, 4) {
				emit("content_block_delta", obj{"index": i + 1, "delta": obj{"type": "text_delta", "text": t}})
			}
		} else {
			emit("content_block_start", obj{"index": i + 1, "content_block": obj{"type": "tool_use", "id": p.id, "name": p.name, "input": obj{}}})
			emit("content_block_delta", obj{"index": i + 1, "delta": obj{"type": "input_json_delta", "partial_json": ""}})
			for _, t := range cut(r, p.args, 5) {
				emit("content_block_delta", obj{"index": i + 1, "delta": obj{"type": "input_json_delta", "partial_json": t}})
			}
		}
		emit("content_block_stop", obj{"index": i + 1})
	}
	emit("message_delta", obj{"delta": obj{"stop_reason": stopReason(parts), "stop_sequence": nil}, "usage": obj{"output_tokens": 9}})
	emit("message_stop", obj{})
	return b.String()
}

// dialects are the three, as a client meets them.
var dialects = []struct {
	name, path string
	request    string // without stream and what follows the messages
	machine    func() machine
	stream     func(*rand.Rand, []part) string
	body       func([]part) string
}{
	{"chat", "/llm/openai/v1/chat/completions", `"model":"m-1","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Go on"}]`,
		func() machine { return &chat{} }, chatStream, chatBody},
	{"responses", "/llm/openai/v1/responses", `"model":"m-1","instructions":"Be brief.","input":[{"role":"user","content":[{"type":"input_text","text":"Go on"}]}]`,
		func() machine { return &responses{} }, responsesStream, responsesBody},
	{"messages", "/llm/anthropic/v1/messages", `"model":"m-1","max_tokens":9,"system":"Be brief.","messages":[{"role":"user","content":"Go on"}]`,
		func() machine { return &messages{} }, messagesStream, messagesBody},
}

// heard is what a client makes of an answer.
type heard struct {
	text   string
	calls  []part
	finish string
}

// clientOf reads an answer of a dialect in the simplest way that a client could.
func clientOf(dialect, body string, stream bool) (h heard, err error) {
	if !stream {
		return h, h.whole(dialect, []byte(body))
	}
	src := newFrames(strings.NewReader(body))
	seq := -1.0
	for {
		f, err := src.next()
		if err != nil {
			if err.Error() == "EOF" {
				return h, nil
			}
			return h, err
		}
		if f.data == nil || string(f.data) == "[DONE]" {
			continue
		}
		var v obj
		if err := json.Unmarshal(f.data, &v); err != nil {
			return h, err
		}
		if n, ok := v["sequence_number"].(float64); ok {
			if n != seq+1 {
				return h, fmt.Errorf("number %v after %v", n, seq)
			}
			seq = n
		}
		h.event(dialect, v)
	}
}

func (h *heard) event(dialect string, v obj) {
	switch dialect {
	case "chat":
		for _, c := range v["choices"].([]any) {
			c := c.(obj)
			d := c["delta"].(obj)
			if s, ok := d["content"].(string); ok {
				h.text += s
			}
			calls, _ := d["tool_calls"].([]any)
			for _, k := range calls {
				k := k.(obj)
				n, fn := int(k["index"].(float64)), k["function"].(obj)
				for len(h.calls) <= n {
					h.calls = append(h.calls, part{})
				}
				if s, ok := k["id"].(string); ok {
					h.calls[n].id = s
				}
				if s, ok := fn["name"].(string); ok {
					h.calls[n].name = s
				}
				h.calls[n].args += fn["arguments"].(string)
			}
			if s, ok := c["finish_reason"].(string); ok {
				h.finish = s
			}
		}
	case "responses":
		switch v["type"] {
		case "response.output_text.delta":
			h.text += v["delta"].(string)
		case "response.output_item.done":
			it := v["item"].(obj)
			if it["type"] == "function_call" {
				h.calls = append(h.calls, part{id: it["call_id"].(string), name: it["name"].(string), args: it["arguments"].(string)})
			}
		case "response.completed":
			var end heard
			if err := end.whole(dialect, []byte(js(v["response"]))); err != nil || end.text != h.text || js(fmt.Sprint(end.calls)) != js(fmt.Sprint(h.calls)) {
				h.text += fmt.Sprintf(" BUT THE COPY SAYS %+v", end)
			}
		}
	case "messages":
		switch v["type"] {
		case "content_block_start":
			b := v["content_block"].(obj)
			if b["type"] == "tool_use" {
				h.calls = append(h.calls, part{id: b["id"].(string), name: b["name"].(string)})
			}
		case "content_block_delta":
			d := v["delta"].(obj)
			if s, ok := d["text"].(string); ok {
				h.text += s
			}
			if s, ok := d["partial_json"].(string); ok {
				h.calls[len(h.calls)-1].args += s
			}
		case "message_delta":
			h.finish = v["delta"].(obj)["stop_reason"].(string)
		}
	}
}

func (h *heard) whole(dialect string, body []byte) error {
	var v obj
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	switch dialect {
	case "chat":
		c := v["choices"].([]any)[0].(obj)
		m := c["message"].(obj)
		h.text, _ = m["content"].(string)
		h.finish = c["finish_reason"].(string)
		calls, _ := m["tool_calls"].([]any)
		for _, k := range calls {
			fn := k.(obj)["function"].(obj)
			h.calls = append(h.calls, part{id: k.(obj)["id"].(string), name: fn["name"].(string), args: fn["arguments"].(string)})
		}
	case "responses":
		for _, it := range v["output"].([]any) {
			it := it.(obj)
			if it["type"] == "function_call" {
				h.calls = append(h.calls, part{id: it["call_id"].(string), name: it["name"].(string), args: it["arguments"].(string)})
				continue
			}
			for _, c := range it["content"].([]any) {
				h.text += c.(obj)["text"].(string)
			}
		}
	case "messages":
		h.finish = v["stop_reason"].(string)
		for _, b := range v["content"].([]any) {
			b := b.(obj)
			switch b["type"] {
			case "text":
				h.text += b["text"].(string)
			case "tool_use":
				h.calls = append(h.calls, part{id: b["id"].(string), name: b["name"].(string), args: js(b["input"])})
			}
		}
	}
	return nil
}

func parsed(s string) (v any) {
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		return "not JSON: " + s
	}
	return v
}
