// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// script is a server that answers each line with what f makes of it.
func script(f func(line string) []string) func(io.ReadCloser, io.WriteCloser) {
	return func(in io.ReadCloser, out io.WriteCloser) {
		r := bufio.NewReaderSize(in, 1<<20)
		for {
			l, err := r.ReadString('\n')
			if err != nil {
				return
			}
			for _, a := range f(strings.TrimSpace(l)) {
				if _, err := io.WriteString(out, a+"\n"); err != nil {
					return
				}
			}
		}
	}
}

func requestLine(id int, tool string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q}}`, id, tool)
}

func answerLine(line, result string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, member([]byte(line), "id"), result)
}

func (s *stdio) write(t testing.TB, line string) {
	t.Helper()
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

func TestRelayFailsClosedWhenTheOwnerDies(t *testing.T) {
	reached := make(chan string, 10)
	s := guard(t, newGate(t, newPath(), nil), script(func(l string) []string { reached <- l; return nil }))
	out := bufio.NewReader(s.out)
	s.write(t, requestLine(1, "x"))
	<-reached // under way, unanswered
	if err := s.owner.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := out.ReadString('\n')
	if err != nil || !strings.Contains(l, `"id":1`) || !strings.Contains(l, "error") {
		t.Fatalf("the open request was answered %q, %v", l, err)
	}
	s.write(t, requestLine(2, "x"))
	if l, err = out.ReadString('\n'); err != nil || !strings.Contains(l, `"id":2`) || !strings.Contains(l, "error") {
		t.Fatalf("a later request was answered %q, %v", l, err)
	}
	if err := <-s.relayed; !errors.Is(err, ErrOwner) {
		t.Fatalf("the relay ended with %v", err)
	}
	if len(reached) > 0 {
		t.Fatalf("the server got %q without a gate", <-reached)
	}
}

func TestRelayAnswersOpenRequestsWhenTheServerDies(t *testing.T) {
	s := guard(t, newGate(t, newPath(), nil), func(in io.ReadCloser, _ io.WriteCloser) {
		_, _ = bufio.NewReader(in).ReadString('\n') // takes one request and ends
	})
	out := bufio.NewReader(s.out)
	s.write(t, requestLine(1, "x"))
	l, err := out.ReadString('\n')
	if err != nil || !strings.Contains(l, `"id":1`) || !strings.Contains(l, "unknown") {
		t.Fatalf("answered %q, %v", l, err)
	}
	if err := <-s.relayed; err != nil {
		t.Fatalf("the relay ended with %v", err)
	}
}

func TestResultBeyondTheHoldLimitIsWithheldWhole(t *testing.T) {
	p := newPath()
	g := newGate(t, p, nil)
	s := guard(t, g, script(func(l string) []string {
		if strings.Contains(l, `"huge"`) {
			return []string{answerLine(l, `{"content":[{"type":"text","text":"`+strings.Repeat("SECRET", 4<<20)+`"}]}`)}
		}
		return []string{answerLine(l, `{"content":[]}`)}
	}))
	out := bufio.NewReader(s.out)
	s.write(t, requestLine(1, "huge"))
	l, err := out.ReadString('\n')
	if err != nil || strings.Contains(l, "SECRET") || !strings.Contains(l, "withheld whole") || !strings.Contains(l, "act-1") {
		t.Fatalf("answered %.300q, %v", l, err)
	}
	s.write(t, requestLine(2, "small"))
	if l, err = out.ReadString('\n'); err != nil || l != answerLine(requestLine(2, ""), `{"content":[]}`)+"\n" {
		t.Fatalf("then answered %.300q, %v", l, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.outcomes["act-1"]; o.Status != action.ResultDone || !o.Opaque {
		t.Errorf("recorded as %+v", o)
	}
}

func TestRequestBeyondTheLimitIsRefusedAndCounted(t *testing.T) {
	p := newPath()
	reached := make(chan string, 2)
	s := guard(t, newGate(t, p, nil), script(func(l string) []string { reached <- l[:10]; return nil }))
	out := bufio.NewReader(s.out)
	s.write(t, `{"jsonrpc":"2.0","id":"big","method":"tools/call","params":{"name":"x","arguments":{"a":"`+strings.Repeat("a", 20<<20)+`"}}}`)
	l, err := out.ReadString('\n')
	if err != nil || !strings.Contains(l, `"id":"big"`) || !strings.Contains(l, "-32600") {
		t.Fatalf("answered %q, %v", l, err)
	}
	if len(reached) > 0 || p.malformed["size"] != 1 {
		t.Errorf("reached the server: %d, recorded: %v", len(reached), p.malformed)
	}
}

func TestFloodOfAServerReachesTheClientInOrderAndWhole(t *testing.T) {
	const n = 3000
	s := guard(t, newGate(t, newPath(), nil), script(func(l string) []string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"data":%d}}`, i))
		}
		return append(out, answerLine(l, `{"content":[]}`))
	}))
	out := bufio.NewReader(s.out)
	s.write(t, requestLine(1, "x"))
	for i := range n {
		l, err := out.ReadString('\n')
		if err != nil || string(member([]byte(l), "params", "data")) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q, %v", i, l, err)
		}
	}
	if l, err := out.ReadString('\n'); err != nil || !strings.Contains(l, "result") {
		t.Fatalf("the answer is %q, %v", l, err)
	}
}

func TestAnswersMayComeInAnyOrder(t *testing.T) {
	var held []string
	s := guard(t, newGate(t, newPath(), nil), script(func(l string) []string {
		if held = append(held, l); len(held) < 3 {
			return nil
		}
		return []string{answerLine(held[2], `{"n":2}`), answerLine(held[0], `{"n":0}`), answerLine(held[1], `{"n":1}`)}
	}))
	out := bufio.NewReader(s.out)
	for i := range 3 {
		s.write(t, requestLine(i, "x"))
	}
	for _, want := range []string{"2", "0", "1"} {
		l, err := out.ReadString('\n')
		if err != nil || string(member([]byte(l), "id")) != want || string(member([]byte(l), "result", "n")) != want {
			t.Fatalf("got %q, want id %s; %v", l, want, err)
		}
	}
}

func TestLineThatIsCutOffIsNone(t *testing.T) {
	l := newLineReader(strings.NewReader("\n  \n{\"a\":1}\r\n{\"b\""), 100)
	got, err := l.next()
	if err != nil || string(got.bytes) != `{"a":1}` {
		t.Fatalf("%q %v", got.bytes, err)
	}
	if _, err := l.next(); !errors.Is(err, io.EOF) {
		t.Fatalf("a cut line is %v", err)
	}
}

func TestOversizeLinesTellWhichRequestTheyAnswer(t *testing.T) {
	pad := strings.Repeat("x", 200)
	for _, c := range []struct{ name, in, id string }{
		{"id first", `{"id":12,"result":{"a":"` + pad + `"}}`, "12"},
		{"id last", `{"result":{"a":"` + pad + `","id":9},"id" : "z" }`, `"z"`},
		{"id within only", `{"result":{"a":"` + pad + `","id":9}}`, ""},
		{"id in a string only", `{"result":"\",\"id\":4,` + pad + `"}`, ""},
		{"two ids", `{"id":1,"id":2,"result":"` + pad + `"}`, ""},
		{"an id that is an object", `{"id":{"a":1},"result":"` + pad + `"}`, ""},
		{"an endless id", `{"id":"` + strings.Repeat("1", 5000) + `"}`, ""},
		{"not an object", `"` + pad + `"`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := newLineReader(strings.NewReader(c.in+"\nnext\n"), 100).next()
			if err != nil || !l.oversize || string(l.id) != c.id || l.size != int64(len(c.in)) {
				t.Fatalf("%+v %v", l, err)
			}
		})
	}
}

func TestFramesThatAreNotOnesAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"a clean end", nil, io.EOF},
		{"a cut head", []byte{'c', 0, 0}, io.ErrUnexpectedEOF},
		{"a cut body", []byte{'c', 0, 0, 0, 9, 'a'}, io.ErrUnexpectedEOF},
		{"an unknown type", []byte{'?', 0, 0, 0, 0}, errFrame},
		{"a body of 4 GiB", []byte{'c', 0xff, 0xff, 0xff, 0xff}, errFrame},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := readFrame(bytes.NewReader(c.in), 1<<20); !errors.Is(err, c.want) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestOwnerRefusesARelayThatSaysNoHello(t *testing.T) {
	g := newGate(t, newPath(), nil)
	admit := func(context.Context, Hello) (Peer, Upstream, error) { return testPeer, testUpstream, nil }
	for _, in := range []string{"", "c\x00\x00\x00\x01x", "h\x00\x00\x00\x02{}", "h\x00\x00\x00\x01{", "GET / HTTP/1.1\r\n"} {
		if err := g.ServeRelay(context.Background(), &wire{r: strings.NewReader(in)}, admit); err == nil {
			t.Errorf("%q was served", in)
		}
	}
}

// wire is a connection that sends what it holds and swallows what it gets.
type wire struct{ r io.Reader }

func (w *wire) Read(p []byte) (int, error)  { return w.r.Read(p) }
func (w *wire) Write(p []byte) (int, error) { return len(p), nil }
func (w *wire) Close() error                { return nil }

func FuzzEnvelope(f *testing.F) {
	for _, s := range []string{requestLine(1, "x"), `{"jsonrpc":"2.0","id":"\u0061","result":{}}`, `[]`, `{"id":null,"error":{},"jsonrpc":"2.0"}`,
		modern("1", "tools/call", `"name":"x","arguments":{"a":[1,2]},`), `{"jsonrpc":"2.0","method":"notifications/initialized"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p := newPath()
		g, err := New(Config{Enforcer: p})
		if err != nil {
			t.Fatal(err)
		}
		conn := g.Conn(testPeer, testUpstream)
		step := conn.FromClient(context.Background(), bytes.Clone(in))
		if step.Forward != nil && !bytes.Equal(step.Forward, in) && member(in, "params", "_meta") == nil && member(in, "params", "inputResponses") == nil {
			t.Fatalf("%q became %q", in, step.Forward)
		}
		for _, out := range [][]byte{step.Forward, step.Reply} {
			if out != nil && checkShape(out, 1<<24) != nil {
				t.Fatalf("%q leads to %q", in, out)
			}
		}
		if step.Forward != nil {
			// A reader that takes the last of equal names, and any case, must see the same method.
			m, err := readClient(in, 1<<24)
			if err != nil || m.kind == kindRequest && clientRequests[m.method] == classUnknown {
				t.Fatalf("%q passed: %v", in, err)
			}
		}
		if step = conn.FromServer(context.Background(), "", bytes.Clone(in)); step.Forward != nil && checkShape(step.Forward, 1<<24) != nil {
			t.Fatalf("%q leads to %q", in, step.Forward)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte("c\x00\x00\x00\x02{}h\x00\x00\x00\x00"))
	f.Add([]byte("o\x00\x00\x00\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		var out bytes.Buffer
		w := frameWriter{w: &out}
		for {
			k, body, err := readFrame(r, 1<<16)
			if err != nil {
				break
			}
			if err := w.write(k, body); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.HasPrefix(in, out.Bytes()) {
			t.Fatalf("%q came back as %q", in, out.Bytes())
		}
	})
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte("event: message\nid: 1\ndata: {\"a\":\ndata: 1}\n\n: c\n\ndata:x\n\n"))
	f.Add([]byte("\xef\xbb\xbfretry: 5\r\ndata\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := newEventReader(bytes.NewReader(in), 64)
		for range len(in) + 1 {
			ev, err := r.next()
			if err != nil {
				return
			}
			if ev.data.oversize || ev.id == "" && ev.retry == "" && len(ev.data.bytes) == 0 {
				continue // summed up, or a sign of life
			}
			again, err := newEventReader(bytes.NewReader(ev.encode(ev.data.bytes)), 1<<16).next()
			if err != nil || again.id != ev.id || again.retry != ev.retry || !bytes.Equal(flat(again.data.bytes), flat(ev.data.bytes)) {
				t.Fatalf("%+v came back as %+v, %v", ev, again, err)
			}
		}
		t.Fatal("more events than bytes")
	})
}

var _ Enforcer = (*path)(nil)
