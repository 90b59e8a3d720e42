// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"encoding/base64"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// The protocol's headers, in canonical form.
const (
	headerSession = "Mcp-Session-Id"
	headerVersion = "Mcp-Protocol-Version"
	headerMethod  = "Mcp-Method"
	headerName    = "Mcp-Name"
	headerParam   = "Mcp-Param-"
)

// agree checks the headers of a message against its body. It returns the refusal, or nil. Whoever routes
// or decides by a header must see what the body says.
func (x *exchange) agree(m *message) []byte {
	h := x.r.Header
	version := h.Get(headerVersion)
	if m.kind == kindResult || m.kind == kindError {
		return nil
	}
	meta := metaRevision(m)
	x.modern = meta >= stateless || version >= stateless && meta == ""
	mismatch := func(why string) []byte { return errorReply(m.id, codeHeader, why) }
	switch {
	case version != "" && !knownRevision(version), meta != "" && !knownRevision(meta):
		if meta == "" || meta == version {
			return versionReply(idOrNull(m), version)
		}
		return mismatch("MCP-Protocol-Version differs from the body")
	case meta != "" && version != meta:
		return mismatch("MCP-Protocol-Version differs from the body")
	case len(h.Values(headerMethod)) > 0 && h.Get(headerMethod) != m.method:
		return mismatch("Mcp-Method differs from the body")
	case x.modern && m.kind == kindRequest && h.Get(headerMethod) == "":
		return mismatch("Mcp-Method is missing")
	}
	name, named := "", false
	switch m.method {
	case methodCall, methodPrompt:
		name, named = text(member(m.params, "name"))
	case methodRead:
		name, named = text(member(m.params, "uri"))
	case "tasks/get", "tasks/update", "tasks/cancel", "tasks/result":
		if len(h.Values(headerName)) > 0 {
			name, named = text(member(m.params, "taskId"))
		}
	}
	got, ok := decodeHeader(h.Get(headerName))
	switch {
	case named && (x.modern || got != "") && (!ok || got != name && h.Get(headerName) != name):
		return mismatch("Mcp-Name differs from the body")
	case !named && len(h.Values(headerName)) > 0 && x.modern && m.kind == kindRequest && m.method != methodListen:
		return mismatch("Mcp-Name names nothing in the body")
	case m.method == methodCall && x.modern && !x.mirrored(m, name):
		return mismatch("an Mcp-Param header differs from the body")
	}
	return nil
}

// mirrored reports whether the headers that stand for arguments of a known tool agree with them.
func (x *exchange) mirrored(m *message, tool string) bool {
	bound, _ := x.h.cfg.Gate.mirrored(x.up.Name, tool)
	for _, b := range bound {
		vs := x.r.Header.Values(headerParam + b.header)
		want, there := scalar(member(m.params, append([]string{"arguments"}, b.path...)...))
		if len(vs) == 0 {
			continue // the server refuses what is missing
		}
		if got, ok := decodeHeader(vs[0]); !ok || len(vs) > 1 || !there || !same(want, got) {
			return false
		}
	}
	return true
}

func idOrNull(m *message) []byte {
	if m.id == nil {
		return []byte("null")
	}
	return m.id
}

// outgoing returns the message with its mirrored headers. Of the Mcp-Param headers only those go on that
// repeat an argument, so that nothing leaves beside what was judged; for rewritten arguments they are
// written anew, or left out where the tool's definition is not known, and then the server refuses.
func (x *exchange) outgoing(m *message, original, body []byte) *outgoing {
	o := &outgoing{body: body, header: http.Header{}}
	if x.h.cfg.Gate.blind {
		return x.asSent(o)
	}
	if m.kind != kindRequest && m.kind != kindNotification {
		return o
	}
	if v := x.r.Header.Get(headerMethod); v != "" {
		o.header.Set(headerMethod, m.method)
	}
	changed := &body[0] != &original[0] || len(body) != len(original)
	params := m.params
	if changed {
		params = member(body, "params")
	}
	if got := x.r.Header.Get(headerName); got != "" {
		for _, n := range []string{"name", "uri", "taskId"} {
			v, ok := text(member(params, n))
			if !ok {
				continue
			}
			if d, ok := decodeHeader(got); !ok || d != v {
				got = encodeHeader(v)
			}
			o.header.Set(headerName, got)
			break
		}
	}
	if m.method != methodCall {
		return o
	}
	args := member(params, "arguments")
	tool, _ := text(member(params, "name"))
	bound, known := x.h.cfg.Gate.mirrored(x.up.Name, tool)
	if changed {
		for _, b := range bound {
			if v, ok := scalar(member(args, b.path...)); ok {
				o.header.Set(headerParam+b.header, encodeHeader(v))
			}
		}
		return o
	}
	values := scalars(args)
	for n, vs := range x.r.Header {
		if !strings.HasPrefix(n, headerParam) || len(vs) != 1 {
			continue
		}
		keep := slices.ContainsFunc(bound, func(b binding) bool { return strings.EqualFold(headerParam+b.header, n) })
		if got, ok := decodeHeader(vs[0]); ok && !known {
			keep = slices.ContainsFunc(values, func(v string) bool { return same(v, got) })
		}
		if keep {
			o.header[n] = vs
		}
	}
	return o
}

// asSent adds the client's own headers, unjudged.
func (x *exchange) asSent(o *outgoing) *outgoing {
	for n, vs := range x.r.Header {
		if strings.HasPrefix(n, "Mcp-") {
			o.header[n] = vs
		}
	}
	return o
}

// same compares a mirrored value with its argument; numbers by value.
func same(want, got string) bool {
	if want == got {
		return true
	}
	a, err1 := strconv.ParseFloat(want, 64)
	b, err2 := strconv.ParseFloat(got, 64)
	return err1 == nil && err2 == nil && a == b && a == math.Trunc(a) && len(got) <= 32
}

// scalar returns the value of a string, boolean or integer as a header has it.
func scalar(raw []byte) (string, bool) {
	if s, ok := text(raw); ok {
		return s, true
	}
	switch s := string(raw); s {
	case "true", "false":
		return s, true
	default:
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || n != math.Trunc(n) || math.Abs(n) > float64(action.MaxNumber) {
			return "", false
		}
		return strconv.FormatInt(int64(n), 10), true
	}
}

// scalars returns all scalar values inside raw, at most 1000.
func scalars(raw []byte) []string {
	var out []string
	var walk func(raw []byte, depth int)
	walk = func(raw []byte, depth int) {
		if len(raw) == 0 || len(out) >= 1000 || depth > 8 {
			return
		}
		switch jsontext.Kind(raw[0]) {
		case '{':
			ms, _ := members(raw)
			for _, f := range ms {
				walk(f.value, depth+1)
			}
		case '[':
		default:
			if s, ok := scalar(raw); ok {
				out = append(out, s)
			}
		}
	}
	walk(raw, 0)
	return out
}

const (
	base64Prefix = "=?base64?"
	base64Suffix = "?="
)

// decodeHeader undoes encodeHeader; false means a broken encoding.
func decodeHeader(v string) (string, bool) {
	in, ok := strings.CutPrefix(v, base64Prefix)
	if !ok {
		return v, true
	}
	if in, ok = strings.CutSuffix(in, base64Suffix); !ok {
		return v, true
	}
	b, err := base64.StdEncoding.DecodeString(in)
	return string(b), err == nil
}

// encodeHeader writes a value as a header may hold it: as it is if it is printable ASCII without outer
// blanks, else in base64 between sentinels.
func encodeHeader(v string) string {
	plain := v == strings.TrimSpace(v) && !strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r > 0x7e }) &&
		!(strings.HasPrefix(v, base64Prefix) && strings.HasSuffix(v, base64Suffix))
	if plain {
		return v
	}
	return base64Prefix + base64.StdEncoding.EncodeToString([]byte(v)) + base64Suffix
}
