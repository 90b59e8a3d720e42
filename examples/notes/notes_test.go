// SPDX-License-Identifier: Apache-2.0

package notes

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func TestNotesAreWrittenReadSentAndDeleted(t *testing.T) {
	dir := t.TempDir()
	serverIn, toServer := io.Pipe()
	fromServer, serverOut := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- Run(context.Background(), serverIn, serverOut, dir) }()
	cs, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(context.Background(),
		&mcp.IOTransport{Reader: fromServer, Writer: toServer}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tool string
		args map[string]any
		want string // "" is an error
	}{
		{"write_note", map[string]any{"name": "todo", "text": "milk"}, `wrote "todo", 4 bytes`},
		{"list_notes", nil, "todo"},
		{"read_note", map[string]any{"name": "todo"}, "milk"},
		{"send_note", map[string]any{"name": "todo", "to": "a@b.example"}, `sent "todo" to a@b.example`},
		{"write_note", map[string]any{"name": "../out", "text": "x"}, ""},
		{"read_note", map[string]any{"name": "/etc/passwd"}, ""},
		{"read_note", map[string]any{"name": ""}, ""},
		{"write_note", map[string]any{"name": "big", "text": strings.Repeat("a", MaxNoteBytes+1)}, ""},
		{"delete_note", map[string]any{"name": "todo"}, `deleted "todo"`},
		{"delete_note", map[string]any{"name": "todo"}, ""},
		{"send_note", map[string]any{"name": "todo", "to": "a@b.example"}, ""},
	} {
		res, err := cs.CallTool(context.Background(), &mcp.CallToolParams{Name: c.tool, Arguments: c.args})
		if err != nil {
			t.Fatalf("%s %v: %v", c.tool, c.args, err)
		}
		got := res.Content[0].(*mcp.TextContent).Text
		if res.IsError != (c.want == "") || !res.IsError && got != c.want {
			t.Errorf("%s %.80v: %q, error %v", c.tool, c.args, got, res.IsError)
		}
	}
	out, err := os.ReadFile(filepath.Join(dir, "outbox.jsonl"))
	if err != nil || strings.Count(string(out), "\n") != 1 {
		t.Errorf("outbox %q, %v", out, err)
	}
	if err := cs.Close(); err != nil {
		t.Log(err)
	}
	if err := <-done; err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

func TestServerNeedsItsFolder(t *testing.T) {
	if _, err := Server(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a folder that is not there was served")
	}
}
