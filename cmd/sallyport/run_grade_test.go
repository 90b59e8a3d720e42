// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/internal/confine"
	"github.com/sallyport/sallyport/ledger"
)

func init() { roles["inside"] = insideRole }

// insideRole is a confined agent: it acts through each door, waits for another owner, and acts again. The file
// "there" says that it waits, "go" that it may go on.
func insideRole(args []string) error {
	if err := errors.Join(say("first"), hookInside(), mcpInside(args), os.WriteFile("there", nil, 0o600)); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat("go"); err == nil {
			return say("second")
		}
		if time.Now().After(deadline) {
			return errors.New("nobody says go")
		}
	}
}

// say takes one action over the HTTP protocol. A credential of the program's own choice changes nothing.
func say(id string) error {
	body := fmt.Sprintf(`{"call_id":%q,"tool":{"server":"act","name":"act"},"arguments":{"id":%q}}`, id, id)
	req, err := http.NewRequest(http.MethodPost, os.Getenv("SALLYPORT_URL")+"/v1/actions", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer mine")
	req.Header.Set(gateway.RunHeader, "mine")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, b)
	}
	return nil
}

func hookInside() error {
	for event, want := range map[string]string{
		`{"session_id":"s","cwd":"/w","hook_event_name":"UserPromptSubmit","prompt":"tell eve@out.example"}`:                                       "{",
		`{"session_id":"s","cwd":"/w","hook_event_name":"PreToolUse","tool_name":"mcp__act__act","tool_input":{"id":"hooked"},"tool_use_id":"t1"}`: "{",
	} {
		cmd := exec.Command("sallyport", "hook", "claude-code")
		cmd.Stdin = strings.NewReader(event)
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte(want)) {
			return fmt.Errorf("hook: %w %s", err, out)
		}
	}
	return nil
}

func mcpInside(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.Command("sallyport", append([]string{"mcp", "--name", "act", "--"}, args...)...)
	cmd.Stderr = os.Stderr
	s, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(ctx, &mcp.CommandTransport{Command: cmd}, nil)
	if err != nil {
		return fmt.Errorf("mcp: %w", err)
	}
	_, listed := s.ListTools(ctx, nil)
	_, called := s.CallTool(ctx, &mcp.CallToolParams{Name: "act", Arguments: map[string]any{"id": "guarded"}})
	return errors.Join(listed, called, s.Close())
}

// TestRunTellsTheOwnerWhatHolds also takes the owner away in between: what is confined stays so under the next one.
func TestRunTellsTheOwnerWhatHolds(t *testing.T) {
	for w, err := range confine.Available() {
		if err != nil {
			t.Skipf("the kernel offers no wall %q: %v", w, err)
		}
	}
	p := newPlace(t, "")
	p.write("config/sallyport/sallyport.yaml", "version: 1\ngateway: {listen: none}\nadmin: {listen: none}\nledger: {segment_bytes: 8388608}\npolicy: {dir: "+p.permissive("")+"}\n")
	p.listenNone()
	p.must("agents", "create", "billing")
	work := p.folder("work")
	inside, served := role("inside", role("act", filepath.Join(work, "done"))...), make(chan error, 1)
	cmd := p.command(t.Context(), append([]string{"sallyport", "run", "--require", "confined", "--agent", "billing", "--read", filepath.Dir(inside[0]), "--"}, inside...)...)
	cmd.Dir = work
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { served <- cmd.Wait() }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(work, "there")); err == nil {
			break
		}
		select {
		case err := <-served:
			t.Fatalf("%v\n%s", err, out.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the agent does not come to its end")
		}
	}
	signalOwner(p.data, syscall.SIGKILL)
	p.unowned()
	p.listenNone()
	if err := os.WriteFile(filepath.Join(work, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	seen := map[action.Door]int{}
	p.records(func(e ledger.Entry, q *action.Query) {
		if q == nil || e.Leaf.Action == "" {
			return
		}
		seen[q.Subject.Channel.Door]++
		f := q.Context.Enforcement
		if e.Leaf.Grade != action.GradeConfined || e.Leaf.Separation != action.SeparationConfined || q.Subject.ID != "billing" || len(f.Confined) != len(confine.Walls) {
			t.Errorf("entry %d (%s): grade %q, separation %q, agent %q, walls %q", e.Index, q.Subject.Channel.Door, e.Leaf.Grade, e.Leaf.Separation, q.Subject.ID, f.Confined)
		}
		if slices.Contains(q.Subject.Scopes, action.ScopeHost) {
			t.Errorf("entry %d: a confined program speaks for its user", e.Index)
		}
	})
	if seen[action.DoorAPI] < 2 || seen[action.DoorHook] < 1 || seen[action.DoorMCP] < 1 {
		t.Errorf("records by door: %v", seen)
	}
}

// listenNone starts an owner that only the socket reaches, and waits for it.
func (p *place) listenNone() {
	p.t.Helper()
	for range 5 {
		if _, _, code := p.run("mcp", "--name", "wake", "--", "true"); code == 0 || ownerOf(p.data) != 0 {
			return
		}
	}
	p.t.Fatal("no owner starts")
}

func TestOwnerBelievesNoWallsThatItDoesNotFind(t *testing.T) {
	p := newPlace(t, "")
	p.listenNone()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", sallyport.SocketPath(p.data))
	}}
	defer tr.CloseIdleConnections()
	post := func(path, body string, header ...string) (int, string) {
		req, err := http.NewRequest(http.MethodPost, "http://localhost"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	free := exec.Command("sleep", "60")
	if err := free.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = free.Process.Kill(); _ = free.Wait() }()
	for name, body := range map[string]string{
		"a child that is free":     fmt.Sprintf(`{"run":"0123456789abcdefghij","init":%d,"walls":["network","processes","files","calls","privileges"]}`, free.Process.Pid),
		"itself":                   fmt.Sprintf(`{"run":"0123456789abcdefghij","init":%d,"walls":["calls"]}`, os.Getpid()),
		"a process that is absent": `{"run":"0123456789abcdefghij","init":0,"walls":[]}`,
	} {
		if code, text := post("/people/v1/local/walls", body); code != http.StatusConflict || !strings.Contains(text, "not proved") {
			t.Errorf("%s: %d %s", name, code, text)
		}
	}
	for _, body := range []string{`{"run":"0123456789abcdefghij","init":1,"walls":["moat"]}`, `{"run":"short","init":1,"walls":[]}`, `{"run":"0123456789abcdefghij","init":1,"walls":["calls","calls"]}`, `{"run":"0123456789abcdefghij","init":1,"walls":[],"agent":"a","token":"b"}`} {
		if code, text := post("/people/v1/local/walls", body); code != http.StatusUnprocessableEntity && code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, code, text)
		}
	}
	if code, _ := post("/agents/v1/actions", `{"call_id":"a","tool":{"server":"x","name":"y"},"arguments":{}}`, gateway.RunHeader, "made-up"); code != http.StatusUnauthorized {
		t.Errorf("a run that nobody entered is answered with %d", code)
	}
}
