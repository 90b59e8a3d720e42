// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

func TestClientMessagesThatAreNotOnesAreRefused(t *testing.T) {
	ctx := context.Background()
	tool := func(params string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` + params + `}`
	}
	for _, c := range []struct {
		name, in string
		code     string // of the answer; "" for no answer at all
		recorded string // what kind of refusal is counted
	}{
		{"cut off", `{"jsonrpc":"2.0","id":1,"method":"tools/ca`, "-32700", "json"},
		{"nothing", ``, "-32700", "json"},
		{"two messages", `{"jsonrpc":"2.0","id":1,"method":"ping"} {"jsonrpc":"2.0","id":2,"method":"ping"}`, "-32700", "json"},
		{"a batch", `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, "-32600", "envelope"},
		{"a duplicate method", `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}`, "-32700", "json"},
		{"a duplicate argument", tool(`{"name":"x","arguments":{"a":1,"a":2}}`), "-32700", "json"},
		{"a duplicate name by escape", tool(`{"name":"x","n\u0061me":"y"}`), "-32700", "json"},
		{"a method in capitals beside", `{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}`, "-32700", "json"},
		{"a method in capitals", `{"jsonrpc":"2.0","id":1,"Method":"ping"}`, "-32600", "envelope"},
		{"arguments in capitals", tool(`{"name":"x","Arguments":{"a":1}}`), "-32602", "params"},
		{"a member that policy would not see", tool(`{"name":"x","extra":1}`), "-32602", "params"},
		{"nesting of 10,000", tool(`{"name":"x","arguments":{"a":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}}`), "-32700", "json"},
		{"20 MB of arguments", tool(`{"name":"x","arguments":{"a":"` + strings.Repeat("a", 20<<20) + `"}}`), "-32700", "json"},
		{"bad UTF-8", tool("{\"name\":\"\xff\"}"), "-32700", "json"},
		{"a lone surrogate", tool(`{"name":"\ud800"}`), "-32700", "json"},
		{"a number that no double holds", tool(`{"name":"x","arguments":{"a":9007199254740993}}`), "-32700", "json"},
		{"another version", `{"jsonrpc":"1.0","id":1,"method":"ping"}`, "-32600", "envelope"},
		{"no version", `{"id":1,"method":"ping"}`, "-32600", "envelope"},
		{"an unknown member", `{"jsonrpc":"2.0","id":1,"method":"ping","x":1}`, "-32600", "envelope"},
		{"a request and an answer", `{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}`, "-32600", "envelope"},
		{"an answer with both", `{"jsonrpc":"2.0","id":1,"error":{},"result":{}}`, "-32600", "envelope"},
		{"params in a list", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["x"]}`, "-32600", "envelope"},
		{"no tool", tool(`{}`), "-32602", "params"},
		{"a tool that is a number", tool(`{"name":1}`), "-32602", "params"},
		{"an empty tool", tool(`{"name":""}`), "-32602", "params"},
		{"arguments in a list", tool(`{"name":"x","arguments":[]}`), "-32602", "params"},
		{"no params", `{"jsonrpc":"2.0","id":1,"method":"tools/call"}`, "-32602", "params"},
		{"an id of null", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, "-32600", "envelope"},
		{"an id with a fraction", `{"jsonrpc":"2.0","id":1.0,"method":"ping"}`, "-32600", "envelope"},
		{"an id with an exponent", `{"jsonrpc":"2.0","id":1e0,"method":"ping"}`, "-32600", "envelope"},
		{"an id that is an object", `{"jsonrpc":"2.0","id":{},"method":"ping"}`, "-32600", "envelope"},
		{"an id beyond 2^53", `{"jsonrpc":"2.0","id":12345678901234567890,"method":"ping"}`, "-32700", "json"},
		{"an id of minus nought", `{"jsonrpc":"2.0","id":-0,"method":"ping"}`, "-32600", "envelope"},
		{"an unknown method", `{"jsonrpc":"2.0","id":1,"method":"vendor/foo"}`, "-32601", "method"},
		{"a known method in capitals", `{"jsonrpc":"2.0","id":1,"method":"Tools/Call","params":{"name":"x"}}`, "-32601", "method"},
		{"a request that is the server's", `{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}`, "-32601", "method"},
		{"a tool call without an id", `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}`, "", "notification"},
		{"an unknown notification", `{"jsonrpc":"2.0","method":"notifications/vendor"}`, "", "notification"},
		{"an unknown revision", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2031-01-01"}}}`, "-32022", ""},
		{"words in a ping", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"secret"}}`, "-32602", "params"},
		{"words in a log level", `{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"secret"}}`, "-32602", "params"},
		{"an answer to nothing", `{"jsonrpc":"2.0","id":77,"result":{}}`, "", "answer"},
		{"a state that nobody gave", tool(`{"name":"x","requestState":"abc"}`), "-32602", "state"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPath()
			step := newGate(t, p, nil).Conn(testPeer, testUpstream).FromClient(ctx, []byte(c.in))
			if step.Forward != nil {
				t.Fatalf("forwarded %.200s", step.Forward)
			}
			if got := string(member(step.Reply, "error", "code")); got != c.code {
				t.Errorf("code %q: %s", got, step.Reply)
			}
			if c.recorded != "" && p.malformed[c.recorded] != 1 {
				t.Errorf("recorded %v", p.malformed)
			}
			if len(p.attempts) > 0 {
				t.Errorf("it became an attempt: %+v", p.attempts)
			}
			if strings.Contains(string(step.Reply), "secret") {
				t.Errorf("the answer quotes the input: %s", step.Reply)
			}
		})
	}
}

// open returns a connection with one request to tool x under way.
func open(t testing.TB, p *path) *Conn {
	c := newGate(t, p, nil).Conn(testPeer, testUpstream)
	in := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":"p1"}}}`
	if step := c.FromClient(context.Background(), []byte(in)); string(step.Forward) != in {
		t.Fatalf("not forwarded as it was: %s %s", step.Forward, step.Reply)
	}
	return c
}

func TestServerMessagesReachTheClientOnlyWhereTheyBelong(t *testing.T) {
	ctx := context.Background()
	ok := `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`
	for _, c := range []struct {
		name     string
		in       []string
		out      []string // forwarded as they were
		recorded string
	}{
		{"the answer", []string{ok}, []string{ok}, ""},
		{"two answers for one id", []string{ok, ok}, []string{ok}, "reply"},
		{"an answer and then an error", []string{ok, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}`}, []string{ok}, "reply"},
		{"an answer to no request", []string{`{"jsonrpc":"2.0","id":2,"result":{}}`}, nil, "reply"},
		{"an answer with the id as text", []string{`{"jsonrpc":"2.0","id":"1","result":{}}`}, nil, "reply"},
		{"an error for id null", []string{`{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}`}, nil, "reply"},
		{"garbage", []string{"starting server on stdio", ok}, []string{ok}, "server"},
		{"a cut answer", []string{ok[:20]}, nil, "server"},
		{"a duplicate result", []string{`{"jsonrpc":"2.0","id":1,"result":{},"result":{"a":1}}`}, nil, "server"},
		{"text beside the result", []string{`{"jsonrpc":"2.0","id":1,"result":{},"note":"obey me"}`}, nil, "server"},
		{"a batch", []string{"[" + ok + "]"}, nil, "server"},
		{"big numbers stay as they are", []string{`{"jsonrpc":"2.0","id":1,"result":{"n":9007199254740993,"N":1.0}}`},
			[]string{`{"jsonrpc":"2.0","id":1,"result":{"n":9007199254740993,"N":1.0}}`}, ""},
		{"progress for an open request", []string{`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p1","progress":1}}`},
			[]string{`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p1","progress":1}}`}, ""},
		{"progress for nothing", []string{`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p2","progress":1}}`}, nil, "progress"},
		{"progress after the answer", []string{ok, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p1","progress":1}}`}, []string{ok}, "progress"},
		{"a log message", []string{`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}`},
			[]string{`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}`}, ""},
		{"an unknown request", []string{`{"jsonrpc":"2.0","id":5,"method":"vendor/run"}`}, nil, "method"},
		{"a request that is the client's", []string{`{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"x"}}`}, nil, "method"},
		{"a ping with words", []string{`{"jsonrpc":"2.0","id":5,"method":"ping","params":{"a":"b"}}`}, nil, "params"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPath()
			conn := open(t, p)
			var out []string
			for _, in := range c.in {
				if step := conn.FromServer(ctx, "", []byte(in)); step.Forward != nil {
					out = append(out, string(step.Forward))
				}
			}
			if fmt.Sprint(out) != fmt.Sprint(c.out) {
				t.Errorf("forwarded %q", out)
			}
			if c.recorded != "" && p.malformed[c.recorded] != 1 || c.recorded == "" && len(p.malformed) > 0 {
				t.Errorf("recorded %v", p.malformed)
			}
		})
	}
}

func TestEveryTextOfTheServerPassesTheSecondGate(t *testing.T) {
	ctx := context.Background()
	client := func(id int, method, params string) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, id, method, params)
	}
	answer := `{"jsonrpc":"2.0","id":9,"result":`
	for _, c := range []struct{ name, ask, in string }{
		{"a tool's result", client(9, "tools/call", `{"name":"y"}`), answer + `{"content":[{"type":"text","text":"SECRET"}]}}`},
		{"a tool's error", client(9, "tools/call", `{"name":"y"}`), `{"jsonrpc":"2.0","id":9,"error":{"code":1,"message":"SECRET"}}`},
		{"data of an error", client(9, "tools/call", `{"name":"y"}`), `{"jsonrpc":"2.0","id":9,"error":{"code":1,"message":"x","data":"SECRET"}}`},
		{"a prompt", client(9, "prompts/get", `{"name":"y"}`), answer + `{"messages":[{"role":"user","content":{"type":"text","text":"SECRET"}}]}}`},
		{"a resource", client(9, "resources/read", `{"uri":"a:b"}`), answer + `{"contents":[{"uri":"a:b","text":"SECRET"}]}}`},
		{"a completion", client(9, "completion/complete", `{"ref":{"type":"ref/prompt","name":"y"},"argument":{"name":"a","value":"b"}}`), answer + `{"completion":{"values":["SECRET"]}}}`},
		{"instructions", client(9, "initialize", `{"protocolVersion":"2025-11-25"}`), answer + `{"protocolVersion":"2025-11-25","instructions":"SECRET"}}`},
		{"instructions of a discovery", client(9, "server/discover", `{}`), answer + `{"instructions":"SECRET"}}`},
		{"a tool's description", client(9, "tools/list", `{}`), answer + `{"tools":[{"name":"y","description":"SECRET"}]}}`},
		{"a list of prompts", client(9, "prompts/list", `{}`), answer + `{"prompts":[{"name":"SECRET"}]}}`},
		{"a list of resources", client(9, "resources/list", `{}`), answer + `{"resources":[{"name":"SECRET"}]}}`},
		{"a task's result", client(9, "tasks/get", `{"taskId":"t"}`), answer + `{"status":"completed","result":"SECRET"}}`},
		{"words in an answer to ping", client(9, "ping", `{}`), answer + `{"x":"SECRET"}}`},
		{"a log message", "", `{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"SECRET"}}`},
		{"progress", "", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p1","message":"SECRET"}}`},
		{"a changed resource", "", `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"SECRET"}}`},
		{"a changed list with words", "", `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"x":"SECRET"}}}`},
		{"an unknown notification", "", `{"jsonrpc":"2.0","method":"notifications/vendor","params":{"x":"SECRET"}}`},
		{"an elicitation", "", `{"jsonrpc":"2.0","id":3,"method":"elicitation/create","params":{"message":"SECRET"}}`},
		{"sampling", "", `{"jsonrpc":"2.0","id":3,"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":{"type":"text","text":"SECRET"}}]}}`},
		{"a cancellation's reason", "", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3,"reason":"SECRET"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, mode := range []string{"pass", "redact", "withhold"} {
				p := newPath()
				switch mode {
				case "redact":
					p.redact = []byte("SECRET")
				case "withhold":
					p.withhold = []byte("SECRET")
				}
				conn := open(t, p)
				if c.ask != "" {
					if step := conn.FromClient(ctx, []byte(c.ask)); step.Forward == nil {
						t.Fatalf("the request did not pass: %s", step.Reply)
					}
				}
				step := conn.FromServer(ctx, "", []byte(c.in))
				leaks := strings.Contains(string(step.Forward), "SECRET")
				if mode == "pass" && !leaks && !strings.Contains(c.name, "ping") || mode != "pass" && leaks {
					t.Errorf("%s: %s", mode, step.Forward)
				}
				if mode == "redact" && step.Forward != nil {
					if err := checkShape(step.Forward, 1<<20); err != nil {
						t.Errorf("re-emitted as %s", step.Forward)
					}
				}
			}
		})
	}
}

func TestClientsAnswersPassTheSecondGateOnTheirWayOut(t *testing.T) {
	ctx := context.Background()
	ask := []byte(`{"jsonrpc":"2.0","id":3,"method":"elicitation/create","params":{"message":"Your name?"}}`)
	reply := []byte(`{"jsonrpc":"2.0","id":3,"result":{"action":"accept","content":{"name":"SECRET"}}}`)
	for _, c := range []struct {
		name   string
		change func(*path)
		want   string
	}{
		{"as it is", func(*path) {}, string(reply)},
		{"redacted", func(p *path) { p.redact = []byte("SECRET") }, `[gone]`},
		{"withheld", func(p *path) { p.withhold = []byte("SECRET") }, `"error"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPath()
			conn := open(t, p)
			if step := conn.FromServer(ctx, "", ask); string(step.Forward) != string(ask) {
				t.Fatalf("the question became %s", step.Forward)
			}
			c.change(p)
			step := conn.FromClient(ctx, reply)
			if !strings.Contains(string(step.Forward), c.want) || c.want != string(reply) && strings.Contains(string(step.Forward), "SECRET") {
				t.Fatalf("the server gets %s", step.Forward)
			}
		})
	}
}

func TestFaultsOfOursFailClosed(t *testing.T) {
	ctx := context.Background()
	for _, fault := range []error{enforce.ErrUnrecorded, enforce.ErrBusy, enforce.ErrMalformed, enforce.ErrNotFound, errors.New("disk on fire in rack 7")} {
		p := newPath()
		conn := open(t, p)
		p.broken = fault
		step := conn.FromClient(ctx, []byte(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"x"}}`))
		if step.Forward != nil || member(step.Reply, "error") == nil || strings.Contains(string(step.Reply), "rack") {
			t.Errorf("%v: before: forward %s reply %s", fault, step.Forward, step.Reply)
		}
		step = conn.FromServer(ctx, "", []byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"SECRET"}]}}`))
		if strings.Contains(string(step.Forward), "SECRET") || !strings.Contains(string(step.Forward), "Do not repeat") {
			t.Errorf("%v: after: %s", fault, step.Forward)
		}
	}
}

func TestRewrittenArgumentsReachTheServerAndNothingElseChanges(t *testing.T) {
	p := newPath()
	p.rewrite["x"] = []byte(`{"limit":10}`)
	conn := newGate(t, p, nil).Conn(testPeer, testUpstream)
	step := conn.FromClient(context.Background(), []byte(`{"jsonrpc":"2.0", "id":"a\u0062", "method":"tools/call","params":{"name":"x","arguments":{"limit":1e3},"_meta":{"progressToken":7}}}`))
	want := `{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":{"name":"x","arguments":{"limit":10},"_meta":{"progressToken":7}}}`
	if string(step.Forward) != want {
		t.Fatalf("forwarded %s", step.Forward)
	}
}

func TestOpenRequestsAreBounded(t *testing.T) {
	ctx := context.Background()
	p := newPath()
	conn := newGate(t, p, func(c *Config) { c.Pending = 8 }).Conn(testPeer, testUpstream)
	send := func(i int) bool {
		return conn.FromClient(ctx, []byte(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"x"}}`, i))).Forward != nil
	}
	passed := 0
	for i := range 20 {
		if send(i) {
			passed++
		}
	}
	if passed != 8 || send(3) {
		t.Fatalf("%d requests are open", passed)
	}
	if conn.FromClient(ctx, []byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}`)).Forward == nil {
		t.Fatal("a cancellation did not pass")
	}
	if !send(100) {
		t.Error("a cancelled request holds its place for ever")
	}
	flood := 0
	for i := range 20 {
		if conn.FromServer(ctx, "", []byte(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"roots/list"}`, i))).Forward != nil {
			flood++
		}
	}
	if flood != 8 {
		t.Errorf("%d requests of the server are open", flood)
	}
}

func TestOpaqueResultsAreMarked(t *testing.T) {
	for in, want := range map[string]bool{
		`{"content":[{"type":"text","text":"image"}]}`:                        false,
		`{"content":[{"type":"image","data":"AA"}]}`:                          true,
		`{"content":[{"data":"AA","type":"audio"}]}`:                          true,
		`{"contents":[{"uri":"a","blob":"AA"}]}`:                              true,
		`{"content":[{"type":"resource","resource":{"blob":"AA"}}]}`:          true,
		`{"structuredContent":{"a":["image",{"b":"blob"}]}}`:                  false,
		`{"content":[{"type":"text","text":"x"},{"ty\u0070e":"im\u0061ge"}]}`: true,
	} {
		if opaque([]byte(in)) != want {
			t.Errorf("%s: %v", in, !want)
		}
	}
}

func TestSettledActionsLeaveNothingOpen(t *testing.T) {
	ctx := context.Background()
	p := newPath()
	conn := open(t, p)
	conn.FromServer(ctx, "", []byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}`))
	conn.FromServer(ctx, "", []byte(`{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"x"}}`))
	conn.Close(ctx, "done")
	if len(p.open) != 0 {
		t.Errorf("open: %v", p.open)
	}
	for id, o := range p.outcomes {
		if id == "act-1" && o.Status != action.ResultFailed {
			t.Errorf("a tool's own error is recorded as %s", o.Status)
		}
	}
}

func TestTextOutsideRequestsGoesOnAfterAQuietHour(t *testing.T) {
	ctx := context.Background()
	p := newPath()
	conn := newGate(t, p, nil).Conn(testPeer, testUpstream)
	note := []byte(`{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"x"}}`)
	if conn.FromServer(ctx, "", note).Forward == nil {
		t.Fatal("the first did not pass")
	}
	p.set(func() { clear(p.open) }) // its deadline passed
	if conn.FromServer(ctx, "", note).Forward == nil {
		t.Error("the next did not pass")
	}
	p.set(func() { clear(p.open); p.verdicts[methodListen] = action.Deny })
	if conn.FromServer(ctx, "", note).Forward != nil {
		t.Error("one passed without an action")
	}
}

func TestMetaCarriesIdsAndNoData(t *testing.T) {
	ctx := context.Background()
	data := strings.Repeat("SECRET", 100)
	meta := func(s string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":` + s + `}}`
	}
	for _, c := range []struct{ name, in, want string }{
		{"an id of the client's own goes on as it is", meta(`{"vendor/id":"toolu_123"}`), meta(`{"vendor/id":"toolu_123"}`)},
		{"data is taken out", meta(`{"progressToken":3,"vendor/id":"` + data + `"}`), meta(`{"progressToken":3}`)},
		{"data in many members is taken out", meta(`{"a":"` + data[:200] + `","b":"` + data[:200] + `"}`), meta(`{}`)},
		{"data as a name is taken out", meta(`{"` + data + `":1}`), meta(`{}`)},
		{"data in the client's name is refused", meta(`{"io.modelcontextprotocol/clientInfo":{"name":"` + strings.Repeat(data, 10) + `"}}`), ""},
		{"data as a progress token is refused", meta(`{"progressToken":"` + data + `"}`), ""},
		{"data in a log level is refused", meta(`{"io.modelcontextprotocol/logLevel":"` + data + `"}`), ""},
		{"data in a ping is refused", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"a":"` + data + `"}}}`, ""},
		{"data in a notification is dropped", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"message":"` + strings.Repeat(data, 10) + `"}}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			step := newGate(t, newPath(), nil).Conn(testPeer, testUpstream).FromClient(ctx, []byte(c.in))
			if string(step.Forward) != c.want {
				t.Errorf("forwarded %s", step.Forward)
			}
		})
	}
}
