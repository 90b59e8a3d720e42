// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
)

// wire speaks raw lines to a server behind sallyport mcp.
type wire struct {
	t    testing.TB
	in   io.WriteCloser
	out  *bufio.Reader
	done func()
}

func (p *place) wire(name string, server ...string) *wire {
	p.t.Helper()
	cmd := p.command(p.t.Context(), append([]string{"sallyport", "mcp", "--name", name, "--"}, server...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	w := &wire{t: p.t, in: in, out: bufio.NewReaderSize(out, 1<<20)}
	w.done = func() {
		_ = in.Close()
		_ = cmd.Wait()
	}
	p.t.Cleanup(w.done)
	return w
}

// reply is one line that the client reads.
type reply struct {
	ID     any            `json:"id"`
	Method string         `json:"method"`
	Result map[string]any `json:"result"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	line string
}

// say sends a line and reads the next answer; notifications of the server are passed over.
func (w *wire) say(line string) reply {
	w.t.Helper()
	if _, err := io.WriteString(w.in, line+"\n"); err != nil {
		w.t.Fatal(err)
	}
	for {
		b, err := w.out.ReadString('\n')
		if err != nil {
			w.t.Fatalf("%v after %.200s", err, line)
		}
		r := reply{line: b}
		if err := json.Unmarshal([]byte(b), &r); err != nil {
			w.t.Fatalf("%v: %.300s", err, b)
		}
		if r.Method == "" {
			return r
		}
	}
}

const (
	hello = `{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}`
	ready = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
)

func callLine(id, tool, args string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"` + tool + `","arguments":` + args + `}}`
}

// TestBadLinesReachNoServer sends what no client should through the stdio door. The server writes down
// what it executes, and must stay without a line until the call that is in order.
func TestBadLinesReachNoServer(t *testing.T) {
	p := newPlace(t, "")
	p.write("config/sallyport/sallyport.yaml", "version: 1\ngateway: {listen: none}\nadmin: {listen: none}\npolicy: {dir: "+p.permissive("")+"}\n")
	executed := filepath.Join(p.home, "executed")
	w := p.wire("act", role("act", executed)...)
	if r := w.say(hello); r.Error != nil {
		t.Fatal(r.line)
	}
	if _, err := io.WriteString(w.in, ready+"\n"); err != nil {
		t.Fatal(err)
	}
	if r := w.say(`{"jsonrpc":"2.0","id":0,"method":"tools/list"}`); r.Result["tools"] == nil {
		t.Fatal(r.line)
	}
	for i, c := range []struct{ name, line string }{
		{"truncated JSON", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"act"`},
		{"a duplicate name in the arguments", callLine("2", "act", `{"id":"bad","id":"worse"}`)},
		{"a duplicate method", `{"jsonrpc":"2.0","id":3,"method":"tools/list","method":"tools/call","params":{"name":"act","arguments":{"id":"bad"}}}`},
		{"a name that differs in case", callLine("4", "act", `{"id":"bad","ID":"worse"}`)},
		{"10,000 levels", callLine("5", "act", `{"id":"bad","x":`+nested(10000)+`}`)},
		{"20 MB of arguments", callLine("6", "act", `{"id":"`+strings.Repeat("x", 20<<20)+`"}`)},
		{"arguments that are no object", callLine("7", "act", `["bad"]`)},
		{"params that are a list", `{"jsonrpc":"2.0","id":8,"method":"tools/call","params":["act"]}`},
		{"a tool that is a number", `{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":7,"arguments":{"id":"bad"}}}`},
		{"an unknown method", `{"jsonrpc":"2.0","id":10,"method":"tools/execute","params":{"name":"act","arguments":{"id":"bad"}}}`},
		{"a batch", "[" + callLine("11", "act", `{"id":"bad"}`) + "]"},
		{"another protocol", `{"jsonrpc":"1.0","id":12,"method":"tools/call","params":{"name":"act","arguments":{"id":"bad"}}}`},
		{"an id that is an object", callLine(`{"a":1}`, "act", `{"id":"bad"}`)},
		{"a number beyond doubles", callLine("14", "act", `{"id":"bad","n":1e400}`)},
		{"a lone surrogate", callLine("15", "act", `{"id":"\ud800"}`)},
		{"an unknown revision", `{"jsonrpc":"2.0","id":16,"method":"tools/call","params":{"name":"act","arguments":{"id":"bad"},"_meta":{"io.modelcontextprotocol/protocolVersion":"1999-01-01"}}}`},
	} {
		r := w.say(c.line)
		if r.Error == nil || r.Error.Message == "" {
			t.Errorf("%d, %s: %.300s", i, c.name, r.line)
		}
	}
	if b, _ := os.ReadFile(executed); len(b) > 0 {
		t.Errorf("executed: %s", b)
	}
	if r := w.say(callLine(`"nosuch"`, "frobnicate", `{"id":"bad"}`)); r.Error == nil && r.Result["isError"] != true {
		t.Errorf("an unknown tool: %s", r.line)
	}
	if r := w.say(callLine(`"last"`, "act", `{"id":"good"}`)); r.Error != nil || !strings.Contains(fmt.Sprint(r.Result), "acted good") {
		t.Errorf("after all that, a call in order: %s", r.line)
	}
	w.done()
	if b, _ := os.ReadFile(executed); string(b) != "good\n" {
		t.Errorf("executed: %q", b)
	}
	malformed, intents := 0, 0
	for _, s := range p.steps() {
		for _, code := range s.Codes {
			if strings.HasPrefix(code, "malformed.") {
				malformed++
			}
		}
		if s.Kind == action.KindIntent && strings.HasSuffix(s.ToolKey(), "/act") {
			intents++
		}
	}
	if malformed == 0 || intents != 1 {
		t.Errorf("%d records of malformed lines, %d intents of the tool", malformed, intents)
	}
	if out := p.must("ledger", "verify"); !strings.Contains(out, "VERIFIED") {
		t.Error(out)
	}
}

// TestLostOwnerClosesTheDoor: without its owner a shim lets nothing pass, and says so.
func TestLostOwnerClosesTheDoor(t *testing.T) {
	p := newPlace(t, "")
	executed := filepath.Join(p.home, "executed")
	w := p.wire("act", role("act", executed)...)
	if r := w.say(hello); r.Error != nil {
		t.Fatal(r.line)
	}
	if !p.stopOwner() {
		t.Fatal("no owner")
	}
	if r := w.say(callLine("1", "act", `{"id":"bad"}`)); r.Error == nil || !strings.Contains(r.Error.Message, "nothing passes without it") {
		t.Errorf("%s", r.line)
	}
	w.done()
	if b, _ := os.ReadFile(executed); len(b) > 0 {
		t.Errorf("executed: %s", b)
	}
}
