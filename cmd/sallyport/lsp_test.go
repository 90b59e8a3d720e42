// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// TestPolicyLSPServesAnEditor talks to the program as an editor does.
func TestPolicyLSPServesAnEditor(t *testing.T) {
	p := newPlace(t, "")
	p.write("b/sallyport-bundle.yaml", "version: 1\nname: b\nsequence: 1\nowner: test\n")
	at := p.write("b/rules.rego", "")
	uri := (&url.URL{Scheme: "file", Path: at}).String()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := p.command(ctx, "sallyport", "policy", "lsp")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(stdout)
	send := func(message string) {
		t.Helper()
		if _, err := fmt.Fprintf(in, "Content-Length: %d\r\n\r\n%s", len(message), message); err != nil {
			t.Fatal(err)
		}
	}
	until := func(part string) string {
		t.Helper()
		for {
			head, err := textproto.NewReader(out).ReadMIMEHeader()
			if err != nil {
				t.Fatalf("%q never came: %v", part, err)
			}
			n, err := strconv.Atoi(head.Get("Content-Length"))
			if err != nil {
				t.Fatal(err)
			}
			body := make([]byte, n)
			if _, err := io.ReadFull(out, body); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(body), part) {
				return string(body)
			}
		}
	}
	text, err := json.Marshal("package sallyport.b\n\nimport rego.v2\n\nallow contains {\"id\": \"a\"} if {\n\tinput.phase == \"befor\"\n\tinput.action.\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	send(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"processId":null,"rootUri":null,"capabilities":{}}}`)
	until(`"completionProvider"`)
	send(`{"jsonrpc":"2.0","method":"initialized","params":{}}`)
	send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"textDocument/didOpen","params":{"textDocument":{"uri":%q,"languageId":"rego","version":7,"text":%s}}}`, uri, text))
	if got := until(uri); !strings.Contains(got, "does-not-load") || !strings.Contains(got, `"version":7`) {
		t.Errorf("a text that does not parse: %s", got)
	}
	send(fmt.Sprintf(`{"jsonrpc":"2.0","id":2,"method":"textDocument/completion","params":{"textDocument":{"uri":%q},"position":{"line":6,"character":14}}}`, uri))
	if got := until(`"id":2`); !strings.Contains(got, `"label":"effect"`) {
		t.Errorf("completion: %s", got)
	}
	send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"textDocument/didChange","params":{"textDocument":{"uri":%q,"version":8},"contentChanges":[{"text":%s}]}}`,
		uri, strings.Replace(string(text), `input.action.\n`, `input.action.effect == \"read\"\n`, 1)))
	if got := until(uri); !strings.Contains(got, "impossible-value") || !strings.Contains(got, `"line":5`) {
		t.Errorf("a word that is on no list: %s", got)
	}
	send(`{"jsonrpc":"2.0","id":3,"method":"shutdown"}`)
	until(`"id":3`)
	send(`{"jsonrpc":"2.0","method":"exit"}`)
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}

	// A signal ends it, though nothing comes in.
	cmd = p.command(ctx, "sallyport", "policy", "lsp")
	if in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if stdout, err = cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out = bufio.NewReader(stdout)
	send(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`)
	until(`"completionProvider"`)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after a signal it ends with %v", err)
	}
}

// TestPolicyTestWatchesTheFolder changes a bundle under the program's eyes.
func TestPolicyTestWatchesTheFolder(t *testing.T) {
	p := newPlace(t, "")
	if _, stderr, code := p.run("policy", "new", "b", "--owner", "test"); code != 0 {
		t.Fatal(stderr)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := p.command(ctx, "sallyport", "policy", "test", "--watch", "b")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewScanner(stdout)
	until := func(part string) {
		t.Helper()
		for out.Scan() {
			if strings.Contains(out.Text(), part) {
				return
			}
		}
		t.Fatalf("%q never came: %v", part, out.Err())
	}
	until("5 cases (2 allow, 3 do not), 0 failed")
	cases := p.read("b/tests/cases.yaml")
	p.write("b/tests/cases.yaml", strings.Replace(cases, "expect: ask", "expect: deny", 1))
	until("want deny by write, got ask by write")
	until("1 failed")
	until("the bundle's cases do not pass")
	p.write("b/rules.rego", "package sallyport.b\n")
	until(`"import rego.v2" is missing`)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for out.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("interrupted, it ends with %v", err)
	}
}
