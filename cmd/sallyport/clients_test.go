// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/tools"
)

func init() {
	roles["client"] = clientRole
	roles["shell"] = shellRole
}

// clientRole is a client process of its own: role client SALLYPORT DIR reads one note through a gate.
func clientRole(args []string) error {
	cmd := exec.Command(args[0], "mcp", "--name", "notes", "--", args[0], "example-server", args[1])
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := mcp.NewClient(&mcp.Implementation{Name: "other", Version: "1"}, nil).Connect(ctx, &mcp.CommandTransport{Command: cmd}, nil)
	if err != nil {
		return err
	}
	if _, err := s.ListTools(ctx, nil); err != nil {
		return err
	}
	res, err := s.CallTool(ctx, &mcp.CallToolParams{Name: "read_note", Arguments: map[string]any{"name": "todo"}})
	if err != nil {
		return err
	}
	fmt.Print(textOf(res))
	return s.Close()
}

// shellRole is an MCP server that runs what it is told.
func shellRole([]string) error {
	type args struct {
		Command string `json:"command"`
	}
	s := mcp.NewServer(&mcp.Implementation{Name: "shell", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "run_command", Description: "Run one shell command."},
		func(ctx context.Context, _ *mcp.CallToolRequest, a args) (*mcp.CallToolResult, any, error) {
			out, err := exec.CommandContext(ctx, "sh", "-c", a.Command).CombinedOutput()
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf("%s%v", out, err)}}}, nil, nil
		})
	return s.Run(context.Background(), &mcp.StdioTransport{})
}

// ownersOf counts the processes that own a data directory or try to, by their command lines.
func ownersOf(t testing.TB, data string) (pids []int) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range lines {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		argv := strings.Split(string(b), "\x00")
		if len(argv) > 1 && argv[1] == "up" && slices.Contains(argv, data) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestTenServersAtOnceShareOneOwner(t *testing.T) {
	p := newPlace(t, "")
	const n = 10
	clients := make([]*client, n)
	var wg sync.WaitGroup
	for i := range n {
		dir := p.folder(fmt.Sprintf("w%d", i))
		p.write(fmt.Sprintf("w%d/todo.txt", i), fmt.Sprintf("note %d", i))
		wg.Go(func() {
			c, err := p.dial(dir, fmt.Sprintf("notes%d", i), p.notes(dir)...)
			if err != nil {
				t.Error(err)
				return
			}
			clients[i] = c
			text, stopped, err := c.try("read_note", map[string]any{"name": "todo"})
			if err != nil || stopped || text != fmt.Sprintf("note %d", i) {
				t.Errorf("server %d: %q, stopped %v, %v", i, text, stopped, err)
			}
		})
	}
	wg.Wait()
	for _, c := range clients {
		if c != nil {
			defer func() { _ = c.Close() }()
		}
	}
	if t.Failed() {
		return
	}
	for range 100 { // those that came second are on their way out
		if len(ownersOf(t, p.data)) == 1 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if pids := ownersOf(t, p.data); len(pids) != 1 || pids[0] != ownerOf(p.data) {
		t.Errorf("owners %v, the socket is %d's", pids, ownerOf(p.data))
	}
	if logs, _ := filepath.Glob(filepath.Join(p.home, "w*", "*sallyport*")); len(logs) > 0 {
		t.Errorf("something of ours in a workspace: %v", logs)
	}
	sessions := ask[[]index.Session](p, "sessions", "list")
	if len(sessions) != 1 || sessions[0].Allowed < n {
		t.Errorf("one client's sessions: %+v", sessions)
	}

	// Two questions of two servers lie in one inbox; the answer reaches the server that asked.
	text3, stopped3 := clients[3].call("delete_note", map[string]any{"name": "todo"})
	_, stopped7 := clients[7].call("delete_note", map[string]any{"name": "todo"})
	inbox := ask[[]approval.View](p, "approvals", "list")
	if !stopped3 || !stopped7 || len(inbox) != 2 || inbox[0].Session != sessions[0].ID || inbox[1].Session != sessions[0].ID {
		t.Fatalf("inbox %+v", inbox)
	}
	p.must("approvals", "approve", ticket(t, text3))
	if text, stopped := clients[7].call("delete_note", map[string]any{"name": "todo"}); !stopped {
		t.Errorf("an approval for one server let another one's call pass: %q", text)
	}
	if text, stopped := clients[3].call("delete_note", map[string]any{"name": "todo"}); stopped {
		t.Errorf("the approved call does not pass: %q", text)
	}
	if _, err := os.Stat(filepath.Join(p.home, "w7", "todo.txt")); err != nil {
		t.Error("a note that waits is gone", err)
	}

	// Another client process is another session, under the same owner.
	cmd := p.command(context.Background(), role("client", p.exe, filepath.Join(p.home, "w0"))...)
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "note 0" {
		t.Fatalf("another client: %v: %s", err, out)
	}
	if s := ask[[]index.Session](p, "sessions", "list"); len(s) != 2 || s[0].ID == s[1].ID {
		t.Errorf("two clients, sessions %+v", s)
	}
	if out := p.must("ledger", "verify"); !strings.Contains(out, "VERIFIED") {
		t.Error(out)
	}
}

// approve makes the definition of a tool that was seen the approved one.
func (p *place) approve(key string) {
	p.t.Helper()
	for _, pin := range ask[[]tools.Pin](p, "tools", "list") {
		if pin.Server+"/"+pin.Name == key {
			p.must("tools", "approve", key, pin.Digest)
			return
		}
	}
	p.t.Fatalf("no tool %s was seen", key)
}

// records stops the owner and reads what it recorded, with the inputs.
func (p *place) records(fn func(e ledger.Entry, q *action.Query)) {
	p.t.Helper()
	p.stopOwner()
	cfg := sallyport.DefaultConfig()
	cfg.Data, cfg.Ledger.SegmentBytes = p.data, 8<<20
	s, err := sallyport.Open(context.Background(), cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	err = s.Ledger.Records(context.Background(), func(e ledger.Entry) error {
		var q *action.Query
		if b, err := e.Open(action.PartInputBefore); err == nil {
			if q, err = action.ReadQuery(b); err != nil {
				return err
			}
		}
		fn(e, q)
		return nil
	})
	if err := errors.Join(err, s.Close()); err != nil {
		p.t.Fatal(err)
	}
}

func TestDataOfOneServerSentByAnotherIsOneFlow(t *testing.T) {
	p := newPlace(t, "flow:\n  servers:\n    - {server: payroll, secrecy: confidential, untrusted: \"no\"}\n")
	a, b := p.folder("a"), p.folder("b")
	p.write("a/salaries.txt", "ann 5300, bob 4100")
	p.write("b/hello.txt", "hello")
	payroll, mail := p.connect(a, "payroll", p.notes(a)...), p.connect(b, "mail", p.notes(b)...)
	p.approve("payroll/read_note")
	if text, stopped := payroll.call("read_note", map[string]any{"name": "salaries"}); stopped {
		t.Fatal(text)
	}
	text, stopped := mail.call("send_note", map[string]any{"name": "hello", "to": "bob@out.example"})
	if !stopped {
		t.Fatalf("what one server gave was sent by another, unasked: %q", text)
	}
	if _, err := os.Stat(filepath.Join(b, "outbox.jsonl")); err == nil {
		t.Error("the mail was sent")
	}
	id := actionText.FindStringSubmatch(text)
	if id == nil {
		t.Fatal(text)
	}
	_ = payroll.Close()
	_ = mail.Close()
	seen := false
	p.records(func(e ledger.Entry, q *action.Query) {
		if e.Leaf.Action != id[1] || q == nil {
			return
		}
		seen = true
		f := q.Context.Flow
		from := slices.IndexFunc(f.Sources, func(s action.Source) bool {
			return s.Server == "payroll" && s.Tool == "read_note" && s.Secrecy == action.SecrecyConfidential
		})
		if f.Session.Secrecy != action.SecrecyConfidential || from < 0 {
			t.Errorf("the record of the send does not show where its data came from: %+v", f)
		}
		if !slices.Contains(e.Leaf.Rules, "baseline.flow.confidential") {
			t.Errorf("rules %v", e.Leaf.Rules)
		}
	})
	if !seen {
		t.Error("the send is not on record")
	}
}

func TestAgentCannotApproveItself(t *testing.T) {
	p := newPlace(t, "")
	dir := p.folder("w")
	p.write("w/todo.txt", "water the plants")
	notes, shell := p.connect(dir, "notes", p.notes(dir)...), p.connect(dir, "shell", role("shell")...)
	text, stopped := notes.call("delete_note", map[string]any{"name": "todo"})
	if !stopped {
		t.Fatal(text)
	}
	id := ticket(t, text)
	socket := sallyport.SocketPath(p.data)
	for name, command := range map[string]string{
		"the command line":           "sallyport approvals approve " + id,
		"by its path":                p.exe + " approvals approve " + id,
		"in another shell":           `sh -c "sallyport approvals approve ` + id + `"`,
		"behind other commands":      "cd / && true; env X=1 nohup sallyport approvals approve " + id,
		"a spliced name":             "sally'port' approvals approve " + id,
		"a pipe":                     "echo " + id + " | xargs sallyport approvals approve",
		"a substitution":             "echo $(sallyport approvals approve " + id + ")",
		"curl to the socket":         "curl -s --unix-socket " + socket + " -X POST http://localhost/people/v1/approvals/" + id + "/approve -H 'If-Match: *' -d '{}'",
		"curl to the socket, spelt":  "curl -s --unix-socket=" + socket + " http://localhost/people/v1/approvals",
		"the token file":             "cat " + p.data + "/tokens/admin",
		"the token file, from there": "cd " + p.data + " && cat tokens/admin",
		"the token in a header":      `curl -s -H "Authorization: Bearer $(cat ` + p.data + `/tokens/admin)" http://127.0.0.1:7118/v1/approvals`,
		"the keys":                   "cp -r " + p.data + "/keys " + dir,
		"the record":                 "rm -rf " + p.data + "/wal",
		"the program, replaced":      "cp /bin/true " + p.exe,
	} {
		text, stopped := shell.call("run_command", map[string]any{"command": command})
		if !stopped || strings.Contains(text, "Ticket") {
			t.Errorf("%s (%s) is not denied: %q", name, command, text)
		}
	}
	for name, command := range map[string]string{ // not known to be ours: a person has to look
		"a name that is made up": "S=sally; ${S}port approvals approve " + id,
		"a script":               "python3 -c 'import os; os.system(\"sally\" + \"port approvals approve " + id + "\")'",
	} {
		if text, stopped := shell.call("run_command", map[string]any{"command": command}); !stopped {
			t.Errorf("%s runs unasked: %q", name, text)
		}
	}
	if v := ask[approval.View](p, "approvals", "show", id); v.State != approval.Pending {
		t.Fatalf("the ticket is %s", v.State)
	}

	// Outside of any gate it works: the same user. What follows from it says so.
	p.must("approvals", "approve", id)
	if text, stopped := notes.call("delete_note", map[string]any{"name": "todo"}); stopped {
		t.Fatal(text)
	}
	found := false
	for _, s := range p.steps() {
		if s.Kind == action.KindIntent && strings.HasSuffix(s.ToolKey(), "delete_note") {
			found = true
			if s.Separation != action.SeparationNone {
				t.Errorf("the intent says separation %q", s.Separation)
			}
		}
	}
	if !found {
		t.Error("no intent of the deletion")
	}
	if text, stopped := shell.call("run_command", map[string]any{"command": "sallyport kill --all"}); !stopped || strings.Contains(text, "Ticket") {
		t.Errorf("kill: %q", text)
	}
}

func TestMissingSeparationCanBeRefused(t *testing.T) {
	p := newPlace(t, "")
	params, err := os.ReadFile(filepath.Join(baseline(t), "params.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	strict := bytes.Replace(params, []byte("require_separation: false"), []byte("require_separation: true"), 1)
	if bytes.Equal(strict, params) {
		t.Fatal("params.yaml has no require_separation")
	}
	file := p.write("params.yaml", string(strict))
	p.write("config/sallyport/sallyport.yaml", "version: 1\ngateway: {listen: none}\nadmin: {listen: none}\npolicy: {params: "+file+"}\n")
	dir := p.folder("w")
	p.write("w/todo.txt", "water the plants")
	c := p.connect(dir, "notes", p.notes(dir)...)
	if text, stopped := c.call("read_note", map[string]any{"name": "todo"}); stopped {
		t.Error("reading stays possible:", text)
	}
	text, stopped := c.call("delete_note", map[string]any{"name": "todo"})
	if !stopped || ticketText.MatchString(text) {
		t.Errorf("a deletion without separation: %q", text)
	}
	i := slices.IndexFunc(p.steps(), func(s index.Step) bool { return slices.Contains(s.Rules, "baseline.separation.missing") })
	if i < 0 {
		t.Error("the rule is not on record")
	}
}

// The demo is the story that the README tells first.
func TestDemoTellsItsStory(t *testing.T) {
	p := newPlace(t, "")
	data := filepath.Join(p.home, "d")
	out := p.must("demo", "--data", data)
	for _, want := range []string{"passes   read_note", "stopped  write_copy", "passes   delete_note", "VERIFIED", "bad frame", "done in"} {
		if !strings.Contains(out, want) {
			t.Errorf("the demo does not say %q", want)
		}
	}
	if strings.Contains(out, "AKIA"+"Q7RTZ5WJ2MLB4XNC") {
		t.Error("the demo prints the secret")
	}
	if out := p.must("ledger", "verify", "--data", data); !strings.Contains(out, "VERIFIED") {
		t.Error(out)
	}
}
