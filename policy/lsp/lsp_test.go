// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/policy/rego"
)

// client is the other end of a server.
type client struct {
	t    *testing.T
	w    *io.PipeWriter
	r    *bufio.Reader
	done chan error
	next int
}

func connect(t *testing.T, cfg Config) *client {
	t.Helper()
	fromClient, toServer := io.Pipe()
	fromServer, toClient := io.Pipe()
	c := &client{t: t, w: toServer, r: bufio.NewReaderSize(fromServer, MaxHeaderBytes), done: make(chan error, 1)}
	go func() {
		err := Serve(t.Context(), cfg, fromClient, toClient)
		_ = toClient.Close()
		_ = fromClient.Close()
		c.done <- err
	}()
	t.Cleanup(func() {
		_ = toServer.Close()
		_, _ = io.Copy(io.Discard, c.r)
	})
	return c
}

func (c *client) raw(text string) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.w, "Content-Length: %d\r\n\r\n%s", len(text), text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) notify(method string, params any) {
	c.t.Helper()
	data, err := json.Marshal(object{"jsonrpc": "2.0", "method": method, "params": params})
	if err != nil {
		c.t.Fatal(err)
	}
	c.raw(string(data))
}

type received struct {
	ID     jsontext.Value `json:"id"`
	Method string         `json:"method"`
	Params struct {
		URI         string `json:"uri"`
		Version     int64  `json:"version"`
		Message     string `json:"message"`
		Diagnostics []struct {
			Code     string `json:"code"`
			Severity int    `json:"severity"`
			Message  string `json:"message"`
			Range    struct {
				Start position `json:"start"`
				End   position `json:"end"`
			} `json:"range"`
		} `json:"diagnostics"`
	} `json:"params"`
	Result jsontext.Value `json:"result"`
	Error  *fault         `json:"error"`
}

// read returns the next message that keep accepts.
func (c *client) read(keep func(*received) bool) *received {
	c.t.Helper()
	for {
		data, err := readMessage(c.r)
		if err != nil {
			c.t.Fatal(err)
		}
		var m received
		if err := json.Unmarshal(data, &m); err != nil {
			c.t.Fatalf("%v\n%s", err, data)
		}
		if keep(&m) {
			return &m
		}
	}
}

func (c *client) call(method string, params any) *received {
	c.t.Helper()
	c.next++
	data, err := json.Marshal(object{"jsonrpc": "2.0", "id": c.next, "method": method, "params": params})
	if err != nil {
		c.t.Fatal(err)
	}
	c.raw(string(data))
	id := fmt.Sprint(c.next)
	return c.read(func(m *received) bool { return string(m.ID) == id })
}

// codes are those of the next diagnostics of a document.
func (c *client) codes(uri string) (out []string) {
	c.t.Helper()
	m := c.read(func(m *received) bool { return m.Method == "textDocument/publishDiagnostics" && m.Params.URI == uri })
	for _, d := range m.Params.Diagnostics {
		out = append(out, d.Code)
	}
	return out
}

func (c *client) open(uri, text string) {
	c.t.Helper()
	c.notify("textDocument/didOpen", object{"textDocument": object{"uri": uri, "languageId": "rego", "version": 1, "text": text}})
}

func (c *client) change(uri, text string) {
	c.t.Helper()
	c.notify("textDocument/didChange", object{"textDocument": object{"uri": uri, "version": 2}, "contentChanges": []any{object{"text": text}}})
}

const manifest = "version: 1\nname: x\nsequence: 1\nowner: test\n"

const good = `package sallyport.x

import rego.v2

allow contains {"id": "read"} if {
	input.phase == "before"
	input.action.effect == "read"
}
`

const cases = `given: {phase: before}
cases:
  - {name: a read, expect: allow, rules: [x.read], query: {action: {effect: read}}}
  - {name: a write, expect: deny, query: {action: {effect: write}}}
`

// folder writes a bundle and returns the URI of its rules.
func folder(t *testing.T, rules string) (dir, uri string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{"sallyport-bundle.yaml": manifest, "rules.rego": rules, "tests/cases.yaml": cases} {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, uriOf(dir, "rules.rego")
}

func TestServerSaysWhatIsWrongWhileItIsWritten(t *testing.T) {
	dir, uri := folder(t, good)
	c := connect(t, Config{Quiet: -1})
	if r := c.call("initialize", object{"capabilities": object{}}); r.Error != nil || !strings.Contains(string(r.Result), `"hoverProvider":true`) {
		t.Fatalf("%+v %s", r.Error, r.Result)
	}
	c.notify("initialized", object{})
	c.open(uri, good)
	if got := c.codes(uri); got != nil {
		t.Errorf("a good bundle: %v", got)
	}
	for text, want := range map[string]string{
		strings.Replace(good, `"read"`+"\n", `"reed"`+"\n", 1):                  "impossible-value",
		strings.Replace(good, "effect ==", "efect ==", 1):                       "impossible-field",
		strings.Replace(good, "effect ==", "effect ==  ==", 1):                  "does-not-load",
		good + "\nlost if input.phase == \"after\"\n":                           "unused",
		good + "\ndeny contains {\"id\": \"n\"} if input.phase == \"before\"\n": "does-not-load",
	} {
		c.change(uri, text)
		if got := c.codes(uri); !slices.Contains(got, want) {
			t.Errorf("%q is not among %v for\n%s", want, got, text)
		}
	}
	// What is on the screen counts, until it is closed; then what is on disk does.
	c.notify("textDocument/didClose", object{"textDocument": object{"uri": uri}})
	if got := c.codes(uri); got != nil {
		t.Errorf("closed: %v", got)
	}
	// A finding elsewhere in the bundle is told at its own file.
	other := uriOf(dir, "sallyport-bundle.yaml")
	c.open(other, strings.Replace(manifest, "owner: test\n", "", 1))
	if got := c.codes(other); !slices.Equal(got, []string{"no-owner"}) {
		t.Errorf("the manifest: %v", got)
	}
	if r := c.call("shutdown", nil); r.Error != nil || string(r.Result) != "null" {
		t.Errorf("shutdown: %+v", r)
	}
	c.notify("exit", nil)
	if err := <-c.done; err != nil {
		t.Error(err)
	}
}

func TestServerKeepsToTheProtocol(t *testing.T) {
	c := connect(t, Config{Quiet: -1})
	for _, k := range []struct {
		name, method string
		code         int
	}{
		{"anything before initialize", "textDocument/hover", notInitialized},
		{"initialize", "initialize", 0},
		{"initialize twice", "initialize", invalidRequest},
		{"a method that there is none of", "textDocument/rename", methodNotFound},
		{"a hover in what is not open", "textDocument/hover", invalidParams},
		{"shutdown", "shutdown", 0},
		{"anything after shutdown", "textDocument/hover", invalidRequest},
	} {
		if r := c.call(k.method, object{"textDocument": object{"uri": "file:///none.rego"}, "position": position{}}); (r.Error == nil) != (k.code == 0) || r.Error != nil && r.Error.Code != k.code {
			t.Errorf("%s: %+v", k.name, r.Error)
		}
	}
	c.raw(`{"jsonrpc":"2.0","id":{"a":1},"method":"x"}`)
	if r := c.read(func(m *received) bool { return m.Error != nil }); r.Error.Code != invalidRequest || string(r.ID) != "null" {
		t.Errorf("an id that is an object: %+v", r)
	}
	c.raw(`{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}`)
	if r := c.read(func(m *received) bool { return m.Error != nil }); r.Error.Code != parseError {
		t.Errorf("a name twice: %+v", r)
	}
}

func TestServerEndsWithItsClient(t *testing.T) {
	for name, k := range map[string]struct {
		sent string
		want error
	}{
		"the stream ends":                   {"", ErrNoShutdown},
		"exit without shutdown":             {"Content-Length: 33\r\n\r\n{\"jsonrpc\":\"2.0\",\"method\":\"exit\"}", ErrNoShutdown},
		"no length":                         {"Content-Type: x\r\n\r\n{}", errMalformed},
		"two lengths":                       {"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", errMalformed},
		"a length beyond the bound":         {fmt.Sprintf("Content-Length: %d\r\n\r\n", MaxMessageBytes+1), errMalformed},
		"a negative length":                 {"Content-Length: -1\r\n\r\n", errMalformed},
		"fewer bytes than said":             {"Content-Length: 9\r\n\r\n{}", errMalformed},
		"headers without end":               {strings.Repeat("a: b\r\n", MaxHeaderBytes), errMalformed},
		"one header of more than is bound":  {"a: " + strings.Repeat("b", MaxHeaderBytes) + "\r\n\r\n", errMalformed},
		"something else than the protocol":  {"GET / HTTP/1.1\r\n\r\n", errMalformed},
		"an end within the headers' length": {"Content-Le", errMalformed},
	} {
		if err := Serve(t.Context(), Config{}, strings.NewReader(k.sent), io.Discard); !errors.Is(err, k.want) {
			t.Errorf("%s: %v, not %v", name, err, k.want)
		}
	}
}

func TestServerBoundsWhatItKeeps(t *testing.T) {
	const bound = 1 << 20
	c := connect(t, Config{Quiet: -1, Bytes: bound, Lint: func(context.Context, string, map[string][]byte) (policy.LintReport, error) {
		return policy.LintReport{}, nil
	}})
	c.call("initialize", object{})
	refused := func(m *received) bool { return m.Method == "window/logMessage" }
	for i := range MaxDocuments {
		c.open(fmt.Sprintf("file:///nowhere/%d.rego", i), good)
	}
	c.open("file:///nowhere/more.rego", good)
	c.read(refused)
	if r := c.call("textDocument/hover", object{"textDocument": object{"uri": "file:///nowhere/more.rego"}, "position": position{}}); r.Error == nil {
		t.Error("one document too many is followed")
	}
	big := strings.Repeat("#", bound/3)
	for i := range 3 {
		c.change(fmt.Sprintf("file:///nowhere/%d.rego", i), big)
	}
	c.read(refused)
	c.change("file:///nowhere/0.rego", good)
	c.change("file:///nowhere/3.rego", big)
	if r := c.call("textDocument/hover", object{"textDocument": object{"uri": "file:///nowhere/3.rego"}, "position": position{}}); r.Error != nil {
		t.Error("room that was given back is not used")
	}
	c.notify("textDocument/didChange", object{"textDocument": object{"uri": "file:///nowhere/4.rego"}, "contentChanges": []any{object{"range": object{}, "text": "x"}}})
	c.read(refused)
	if r := c.call("textDocument/hover", object{"textDocument": object{"uri": "file:///nowhere/4.rego"}, "position": position{}}); r.Error == nil {
		t.Error("a document of which only a part is known is followed")
	}
}

func TestServerLintsOnceATextIsLeftAlone(t *testing.T) {
	_, uri := folder(t, good)
	synctest.Test(t, func(t *testing.T) {
		lints, last := 0, ""
		c := connect(t, Config{Lint: func(_ context.Context, _ string, overlay map[string][]byte) (policy.LintReport, error) {
			lints, last = lints+1, string(overlay["rules.rego"])
			return policy.LintReport{Findings: []rego.Finding{{Lint: "unused", File: "rules.rego", Line: 3}, {Lint: "waived", File: "rules.rego", Line: 3, Waived: "why"}}}, nil
		}})
		c.call("initialize", object{})
		c.open(uri, good)
		for i := range 20 {
			c.change(uri, fmt.Sprint(good, "# ", i))
		}
		if got := c.codes(uri); !slices.Equal(got, []string{"unused"}) || lints != 1 || !strings.HasSuffix(last, "# 19") {
			t.Errorf("%v after %d lints of\n%s", got, lints, last)
		}
		_ = c.w.Close()
		if err := <-c.done; !errors.Is(err, ErrNoShutdown) {
			t.Error(err)
		}
	})
}

// at is the place of the mark | in a text, and the text without it.
func at(text string) (string, position) {
	before, after, _ := strings.Cut(text, "|")
	return before + after, position{strings.Count(before, "\n"), len([]rune(before[strings.LastIndexByte(before, '\n')+1:]))}
}

func TestFactsAreCompleted(t *testing.T) {
	for _, k := range []struct {
		name, file, text string
		want             []string // some of the labels; nil for none at all
		not              string
	}{
		{"the parts of the input", "x.rego", "input.|", []string{"phase", "action", "context"}, "inside"},
		{"a name that was begun", "x.rego", "\tinput.action.ef|", []string{"effect", "paths"}, ""},
		{"the fields of a list's records", "x.rego", "input.action.paths[_].|", []string{"inside", "raw"}, "effect"},
		{"what a name stands for", "x.rego", "some p in input.action.paths\n\tp.|", []string{"inside"}, "effect"},
		{"what a name in every stands for", "x.rego", "every i, p in input.action.paths {\n\tp.|", []string{"inside"}, "effect"},
		{"the later of two meanings", "x.rego", "p := input.subject\nx := p\np := input.resource\nx.| ", []string{"server"}, "user"},
		{"a name that stands for itself", "x.rego", "p := p\np.|", nil, ""},
		{"parameters", "x.rego", "h in data.params.|", []string{"hosts", "roots"}, ""},
		{"the words of a fact", "x.rego", `input.action.effect == "|`, []string{"read", "destroy"}, ""},
		{"the words within a list", "x.rego", `input.action.effect in {"read", "|`, []string{"write"}, ""},
		{"a text of anyone's", "x.rego", `input.subject.id == "|`, nil, ""},
		{"a fact that there is none of", "x.rego", "input.nothing.|", nil, ""},
		{"a word that is no reference", "x.rego", "allow|", nil, ""},
		{"after characters of two units", "x.rego", "# 😀é\ninput.subject.|", []string{"user"}, ""},
		{"the context of Cedar", "x.cedar", "when { context.|", []string{"phase", "session", "params"}, "context"},
		{"a list by columns", "x.cedar", "context.action.paths.|", []string{"count", "inside"}, ""},
		{"the words of a column", "x.cedar", `context.action.paths.inside == ["|`, []string{"yes"}, ""},
		{"the words after contains", "x.cedar", `context.action.paths.access.contains("|`, []string{"read"}, ""},
		{"cases", "x.yaml", "input.|", nil, ""},
	} {
		text, pos := at(k.text)
		var got []string
		for _, item := range complete(k.file, text, pos) {
			got = append(got, item["label"].(string))
		}
		for _, w := range k.want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: no %q among %v", k.name, w, got)
			}
		}
		if k.want == nil && got != nil || k.not != "" && slices.Contains(got, k.not) {
			t.Errorf("%s: %v", k.name, got)
		}
	}
}

func TestFactUnderThePointerIsExplained(t *testing.T) {
	for _, k := range []struct{ file, text, want string }{
		{"x.rego", "input.action.ef|fect == 1", "`action.effect`: unknown, read"},
		{"x.rego", "input.act|ion.effect == 1", "`action`: record"},
		{"x.rego", "some p in input.action.paths\np.ins|ide", "`action.paths[].inside`: unknown, yes, no"},
		{"x.rego", "input.i|d", "of the action"},
		{"x.cedar", "context.action.paths.ins|ide", "set of unknown"},
		{"x.rego", "inp|ut.action", "agent.v1"},
		{"x.rego", "all|ow", ""},
		{"x.rego", "input.action == |  x", ""},
	} {
		text, pos := at(k.text)
		got, _ := json.Marshal(hover(k.file, text, pos), jsontext.EscapeForHTML(false))
		if (k.want == "") != (string(got) == "null") || !strings.Contains(string(got), k.want) {
			t.Errorf("%s: %s", k.text, got)
		}
	}
}

func TestDocumentBelongsToTheNearestBundle(t *testing.T) {
	dir, _ := folder(t, good)
	for uri, want := range map[string][2]string{
		uriOf(dir, "tests/cases.yaml"):  {dir, "tests/cases.yaml"},
		uriOf(dir, "a b/é.rego"):        {dir, "a b/é.rego"},
		"untitled:Untitled-1":           {"", "untitled:Untitled-1"},
		"http://x.example/r.rego":       {"", "r.rego"},
		"file:///nowhere/at/all.rego":   {"", "all.rego"},
		"file://elsewhere" + dir + "/x": {"", "x"},
	} {
		if root, name := place(uri); root != want[0] || name != want[1] {
			t.Errorf("%s: %q, %q", uri, root, name)
		}
	}
}

func FuzzServe(f *testing.F) {
	f.Add("Content-Length: 2\r\n\r\n{}")
	f.Add("Content-Length: 46\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}")
	f.Fuzz(func(t *testing.T, in string) {
		if err := Serve(t.Context(), Config{Quiet: -1}, strings.NewReader(in), io.Discard); err == nil {
			t.Errorf("a clean end without shutdown and exit: %q", in)
		}
	})
}

func FuzzComplete(f *testing.F) {
	f.Add("some p in input.action.paths\np.", 1, 2)
	f.Add(`context.action.effect == "`, 0, 26)
	f.Fuzz(func(_ *testing.T, text string, line, character int) {
		pos := position{min(line, 1000), min(character, 1000)}
		for _, name := range []string{"x.rego", "x.cedar"} {
			complete(name, text, pos)
			hover(name, text, pos)
		}
	})
}
