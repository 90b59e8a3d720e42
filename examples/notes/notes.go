// SPDX-License-Identifier: Apache-2.0

// Package notes is a small real MCP server over a folder of notes: it lists, reads, writes, deletes and
// sends them. It guards nothing by itself, so that what a gate in front of it does can be seen.
//
// Sending appends to outbox.jsonl in the same folder: the address is recorded, nothing leaves the machine.
package notes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Run serves the notes in dir over stdin and stdout until stdin ends or ctx is done.
func Run(ctx context.Context, stdin io.ReadCloser, stdout io.WriteCloser, dir string) error {
	s, err := Server(dir)
	if err != nil {
		return err
	}
	err = s.Run(ctx, &mcp.IOTransport{Reader: stdin, Writer: stdout})
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// MaxNoteBytes is the largest note that is written.
const MaxNoteBytes = 1 << 20

type nameArgs struct {
	Name string `json:"name" jsonschema:"name of the note, such as todo"`
}

type writeArgs struct {
	Name string `json:"name" jsonschema:"name of the note, such as todo"`
	Text string `json:"text" jsonschema:"the whole new text"`
}

type copyArgs struct {
	Name string `json:"name" jsonschema:"name of the note to copy"`
	Path string `json:"path" jsonschema:"absolute path of the file to write"`
}

type sendArgs struct {
	Name string `json:"name" jsonschema:"name of the note to send"`
	To   string `json:"to" jsonschema:"mail address of the one who gets it"`
}

// Server returns the MCP server over dir, which must exist.
func Server(dir string) (*mcp.Server, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("notes: %w", err)
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return nil, fmt.Errorf("notes: %q is not a folder", dir)
	}
	b := book{dir}
	s := mcp.NewServer(&mcp.Implementation{Name: "notes", Version: "1"},
		&mcp.ServerOptions{Instructions: "Notes of one folder. Read before you write."})
	no, yes := false, true
	mcp.AddTool(s, &mcp.Tool{Name: "list_notes", Description: "List the names of all notes.",
		Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true, OpenWorldHint: &no}}, b.list)
	mcp.AddTool(s, &mcp.Tool{Name: "read_note", Description: "Read one note.",
		Annotations: &mcp.ToolAnnotations{ReadOnlyHint: true, OpenWorldHint: &no}}, b.read)
	mcp.AddTool(s, &mcp.Tool{Name: "write_note", Description: "Write one note, replacing what it held.",
		Annotations: &mcp.ToolAnnotations{DestructiveHint: &no, IdempotentHint: true, OpenWorldHint: &no}}, b.write)
	mcp.AddTool(s, &mcp.Tool{Name: "write_copy", Description: "Write a copy of one note to a file.",
		Annotations: &mcp.ToolAnnotations{DestructiveHint: &no, IdempotentHint: true, OpenWorldHint: &no}}, b.copy)
	mcp.AddTool(s, &mcp.Tool{Name: "delete_note", Description: "Delete one note for ever.",
		Annotations: &mcp.ToolAnnotations{DestructiveHint: &yes, OpenWorldHint: &no}}, b.remove)
	mcp.AddTool(s, &mcp.Tool{Name: "send_note", Description: "Send one note by mail.",
		Annotations: &mcp.ToolAnnotations{DestructiveHint: &no, OpenWorldHint: &yes}}, b.send)
	s.AddResourceTemplate(&mcp.ResourceTemplate{Name: "note", URITemplate: "note:///{name}", MIMEType: "text/plain"}, b.resource)
	s.AddPrompt(&mcp.Prompt{Name: "summarise", Description: "Summarise one note.",
		Arguments: []*mcp.PromptArgument{{Name: "name", Required: true}}}, b.prompt)
	return s, nil
}

// book is a folder of notes. Its calls may run at the same time.
type book struct{ dir string }

// file returns where a note lies. A name is one plain path element: the server is simple, not careless.
func (b book) file(name string) (string, error) {
	if name == "" || len(name) > 100 || strings.ContainsAny(name, `/\`) || strings.HasPrefix(name, ".") {
		return "", fmt.Errorf("note %q: not a name", name)
	}
	return filepath.Join(b.dir, name+".txt"), nil
}

func (b book) load(name string) (string, error) {
	f, err := b.file(name)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(f)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("note %q: there is none", name)
	}
	return string(text), err
}

func text(format string, a ...any) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf(format, a...)}}}
}

func (b book) list(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
	files, err := filepath.Glob(filepath.Join(b.dir, "*.txt"))
	if err != nil {
		return nil, nil, err
	}
	names := make([]string, 0, len(files))
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".txt"))
	}
	sort.Strings(names)
	return text("%s", strings.Join(names, "\n")), nil, nil
}

func (b book) read(_ context.Context, _ *mcp.CallToolRequest, a nameArgs) (*mcp.CallToolResult, any, error) {
	s, err := b.load(a.Name)
	if err != nil {
		return nil, nil, err
	}
	return text("%s", s), nil, nil
}

func (b book) write(_ context.Context, _ *mcp.CallToolRequest, a writeArgs) (*mcp.CallToolResult, any, error) {
	f, err := b.file(a.Name)
	if err != nil {
		return nil, nil, err
	}
	if len(a.Text) > MaxNoteBytes {
		return nil, nil, fmt.Errorf("note %q: %d bytes are more than %d", a.Name, len(a.Text), MaxNoteBytes)
	}
	if err := os.WriteFile(f, []byte(a.Text), 0o600); err != nil {
		return nil, nil, err
	}
	return text("wrote %q, %d bytes", a.Name, len(a.Text)), nil, nil
}

// copy writes wherever it is told: this server guards nothing.
func (b book) copy(_ context.Context, _ *mcp.CallToolRequest, a copyArgs) (*mcp.CallToolResult, any, error) {
	s, err := b.load(a.Name)
	if err != nil {
		return nil, nil, err
	}
	if !filepath.IsAbs(a.Path) {
		return nil, nil, fmt.Errorf("path %q is not absolute", a.Path)
	}
	if err := os.WriteFile(a.Path, []byte(s), 0o600); err != nil {
		return nil, nil, err
	}
	return text("copied %q to %s", a.Name, a.Path), nil, nil
}

func (b book) remove(_ context.Context, _ *mcp.CallToolRequest, a nameArgs) (*mcp.CallToolResult, any, error) {
	f, err := b.file(a.Name)
	if err != nil {
		return nil, nil, err
	}
	if err := os.Remove(f); errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("note %q: there is none", a.Name)
	} else if err != nil {
		return nil, nil, err
	}
	return text("deleted %q", a.Name), nil, nil
}

func (b book) send(_ context.Context, _ *mcp.CallToolRequest, a sendArgs) (*mcp.CallToolResult, any, error) {
	s, err := b.load(a.Name)
	if err != nil {
		return nil, nil, err
	}
	entry, err := json.Marshal(map[string]string{"to": a.To, "name": a.Name, "text": s})
	if err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(filepath.Join(b.dir, "outbox.jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	_, err = f.Write(append(entry, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, nil, err
	}
	return text("sent %q to %s", a.Name, a.To), nil, nil
}

func (b book) resource(_ context.Context, r *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
	s, err := b.load(strings.TrimPrefix(r.Params.URI, "note:///"))
	if err != nil {
		return nil, err
	}
	return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: r.Params.URI, MIMEType: "text/plain", Text: s}}}, nil
}

func (b book) prompt(_ context.Context, r *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
	s, err := b.load(r.Params.Arguments["name"])
	if err != nil {
		return nil, err
	}
	return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{
		{Role: "user", Content: &mcp.TextContent{Text: "Summarise this note:\n" + s}}}}, nil
}
