// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
)

// otlpSchema names the semantic conventions whose names are used: gen_ai.* and mcp.* as they stand there.
// They are not stable yet, so the version is pinned here and said in every batch.
const otlpSchema = "https://opentelemetry.io/schemas/1.41.0"

// otlpRecord is a record as an OTLP LogRecord in JSON. Its body is the leaf's bytes.
func otlpRecord(r *record) []byte {
	l := r.Leaf
	o := open()
	o.text("timeUnixNano", strconv.FormatInt(l.TimeMs, 10)+"000000")
	o.text("observedTimeUnixNano", strconv.FormatInt(l.LogMs, 10)+"000000")
	number, text := 9, "INFO"
	if s := ocsfSeverity(r); s >= 3 {
		number, text = 13, "WARN"
	}
	o.number("severityNumber", int64(number))
	o.text("severityText", text)
	o.text("eventName", "sallyport."+string(l.Kind))
	body := open()
	body.text("stringValue", string(r.Raw))
	o.raw("body", body.end())
	var a attributes
	a.text("log.record.uid", id(r.origin, r.Index))
	if l.Tool != "" {
		a.text("gen_ai.operation.name", "execute_tool")
		a.text("gen_ai.tool.name", r.named("tool", l.Tool))
		a.text("gen_ai.tool.call.id", l.Call)
		if l.Door == action.DoorMCP {
			a.text("mcp.method.name", "tools/call")
		}
	}
	a.text("gen_ai.agent.id", l.Agent)
	a.text("gen_ai.agent.name", r.Names["agent"])
	a.text("gen_ai.conversation.id", l.Session)
	a.text("user.id", l.User)
	a.text("user.name", r.Names["user"])
	if l.Status == action.StatusFailed {
		a.text("error.type", "_OTHER")
	}
	for _, w := range []struct{ name, value string }{
		{"kind", string(l.Kind)}, {"action", l.Action}, {"server", r.named("server", l.Server)}, {"effect", string(l.Effect)}, {"phase", string(l.Phase)},
		{"verdict", string(l.Verdict)}, {"mode", r.mode()}, {"status", string(l.Status)}, {"door", string(l.Door)}, {"grade", string(l.Grade)},
		{"policy.name", l.Bundle.Name}, {"policy.digest", l.Bundle.Digest}, {"rules", strings.Join(l.Rules, " ")}, {"codes", strings.Join(l.Codes, " ")},
		{"log.origin", r.origin}, {"actor", l.Actor},
	} {
		a.text("sallyport."+w.name, w.value)
	}
	a.number("sallyport.log.index", r.Index)
	a.number("sallyport.log.size", r.size)
	for _, p := range r.Parts {
		if !p.Erased {
			a.text("sallyport.part."+string(p.Name), strings.ToValidUTF8(string(p.Data[:min(len(p.Data), maxPartBytes)]), "\uFFFD"))
		}
	}
	o.raw("attributes", append(append([]byte{'['}, a.b...), ']'))
	return o.end()
}

// attributes is a list of OTLP key values.
type attributes struct{ b []byte }

func (a *attributes) add(name, kind, value string) {
	if len(a.b) > 0 {
		a.b = append(a.b, ',')
	}
	v := open()
	v.text(kind, value)
	o := open()
	o.text("key", name)
	o.raw("value", v.end())
	a.b = append(a.b, o.end()...)
}

func (a *attributes) text(name, value string) {
	if value != "" {
		a.add(name, "stringValue", value)
	}
}

func (a *attributes) number(name string, value uint64) {
	a.add(name, "intValue", strconv.FormatUint(value, 10)) // 64 bit integers are text in OTLP's JSON
}

// otlp sends batches to a collector by OTLP/HTTP in JSON.
type otlp struct {
	post     poster
	resource []byte
}

func newOTLP(post poster) *otlp {
	var a attributes
	a.text("service.name", "sallyport")
	return &otlp{post, append(append([]byte(`{"attributes":[`), a.b...), "]}"...)}
}

// write returns once the collector said that it took every record. One that rejects some of a batch is
// asked again: nothing is left out silently.
func (h *otlp) write(ctx context.Context, _ uint64, records [][]byte) error {
	scope := open()
	scope.raw("scope", []byte(`{"name":"github.com/sallyport/sallyport/ledger/export"}`))
	scope.text("schemaUrl", otlpSchema)
	scope.raw("logRecords", append(append([]byte{'['}, bytes.Join(records, []byte{','})...), ']'))
	res := open()
	res.raw("resource", h.resource)
	res.raw("scopeLogs", append(append([]byte{'['}, scope.end()...), ']'))
	body := open()
	body.raw("resourceLogs", append(append([]byte{'['}, res.end()...), ']'))
	answer, err := h.post.send(ctx, h.post.url, "application/json", body.end())
	if err != nil {
		return err
	}
	var said struct {
		Partial struct {
			Rejected any    `json:"rejectedLogRecords"`
			Message  string `json:"errorMessage"`
		} `json:"partialSuccess"`
	}
	if len(bytes.TrimSpace(answer)) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return errors.New("the answer is none of OTLP's")
	}
	if n := fmt.Sprint(said.Partial.Rejected); said.Partial.Rejected != nil && n != "0" {
		return fmt.Errorf("%s records were rejected", action.Clip(n, 20))
	}
	return nil
}
