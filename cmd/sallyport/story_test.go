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
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sallyport/sallyport/index"
)

// TestStory runs the stories in testdata, each in a home of its own. Beside testscript's own commands:
//
//	code N COMMAND...           runs a program that must end with exit code N
//	up                          starts an owner and waits for it
//	down                        ends the owner, whoever started it
//	call TOOL JSON              calls a tool of the notes in $WORK/notes as one agent; the text goes to
//	                            stdout, the ids into $TICKET and $ACTION; "! call" wants it stopped
//	flip FILE [OFFSET]          changes one bit, in the middle of what is written there
//	cut FILE                    takes off the last third of what is written there
//	session                     puts the id of the only session into $SESSION
//	isjson FILE                 the file (or stdout) is one JSON value
func TestStory(t *testing.T) {
	exe := binary(t)
	root, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	testscript.Run(t, testscript.Params{
		Dir: "testdata", WorkdirRoot: root, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			for name, value := range map[string]string{
				"HOME": e.WorkDir, "XDG_STATE_HOME": filepath.Join(e.WorkDir, "state"), "XDG_CONFIG_HOME": filepath.Join(e.WorkDir, "config"),
				"DATA": filepath.Join(e.WorkDir, "state", "sallyport"), "PATH": filepath.Dir(exe) + string(os.PathListSeparator) + e.Getenv("PATH"),
				"BASELINE": baseline(t), "SALLYPORT_GATEWAY_LISTEN": "none", "SALLYPORT_ADMIN_LISTEN": "none",
				"SALLYPORT_LEDGER_SEGMENT_BYTES": "8388608",
			} {
				e.Setenv(name, value)
			}
			e.Defer(func() { signalOwner(e.Getenv("DATA"), syscall.SIGTERM) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": storyCode, "up": storyUp, "down": storyDown, "call": storyCall, "flip": storyFlip, "cut": storyCut, "isjson": storyJSON,
			"session": storySession,
		},
	})
}

func baseline(t testing.TB) string {
	dir, err := filepath.Abs("../../policies/baseline")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// storyPlace is the place of a story.
func storyPlace(ts *testscript.TestScript) *place {
	p := &place{home: ts.Getenv("WORK"), data: ts.Getenv("DATA")}
	for _, name := range []string{"HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "PATH", "SALLYPORT_GATEWAY_LISTEN", "SALLYPORT_ADMIN_LISTEN",
		"SALLYPORT_LEDGER_SEGMENT_BYTES", "SALLYPORT_POLICY_PARAMS", "SALLYPORT_POLICY_DIR", "SALLYPORT_POLICY_TRUST", "SALLYPORT_IDENTITY_SINGLE_OPERATOR", "SALLYPORT_IDENTITY_RELEASE_DELAY"} {
		if v := ts.Getenv(name); v != "" {
			p.env = append(p.env, name+"="+v)
		}
	}
	p.exe = filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], "sallyport")
	return p
}

func storyCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = strconv.Itoa(exit.ExitCode())
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, not %s", got, args[0])
	}
}

func storyUp(ts *testscript.TestScript, _ bool, args []string) {
	p := storyPlace(ts)
	cmd := p.command(context.Background(), append([]string{"sallyport", "up"}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for range 2000 {
		if ownerOf(p.data) == cmd.Process.Pid {
			return
		}
		select {
		case err := <-ended:
			ts.Fatalf("the owner ended: %v\n%s", err, out.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
	ts.Fatalf("the owner does not listen")
}

func storyDown(ts *testscript.TestScript, _ bool, _ []string) {
	if !signalOwner(ts.Getenv("DATA"), syscall.SIGTERM) {
		ts.Fatalf("no owner ran")
	}
}

func storyCall(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] call TOOL JSON")
	}
	p := storyPlace(ts)
	dir := filepath.Join(p.home, "notes")
	ts.Check(os.MkdirAll(dir, 0o700))
	c, err := p.dial(dir, "notes", p.notes(dir)...)
	if err != nil && neg {
		fmt.Fprintln(ts.Stdout(), err) // not even the greeting passed
		return
	}
	ts.Check(err)
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	res, err := c.CallTool(ctx, &mcp.CallToolParams{Name: args[0], Arguments: jsontext.Value(args[1])})
	ts.Check(err)
	text := textOf(res)
	fmt.Fprintln(ts.Stdout(), text)
	for name, re := range map[string]interface{ FindStringSubmatch(string) []string }{"TICKET": ticketText, "ACTION": actionText} {
		if m := re.FindStringSubmatch(text); m != nil {
			ts.Setenv(name, m[1])
		}
	}
	if res.IsError != neg {
		ts.Fatalf("stopped: %v, text %q", res.IsError, text)
	}
}

// storyFile is the first file that a pattern matches.
func storyFile(ts *testscript.TestScript, pattern string) string {
	files, err := filepath.Glob(ts.MkAbs(pattern))
	ts.Check(err)
	if len(files) == 0 {
		ts.Fatalf("no file %s", pattern)
	}
	return files[0]
}

func storyFlip(ts *testscript.TestScript, _ bool, args []string) {
	path := storyFile(ts, args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	at := len(bytes.TrimRight(b, "\x00")) / 2
	if len(args) > 1 {
		at, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	b[at] ^= 1
	ts.Check(os.WriteFile(path, b, 0o600))
}

func storyCut(ts *testscript.TestScript, _ bool, args []string) {
	path := storyFile(ts, args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	ts.Check(os.Truncate(path, int64(len(bytes.TrimRight(b, "\x00"))*2/3)))
}

func storyJSON(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &v); err != nil {
		ts.Fatalf("%s is no JSON: %v", args[0], err)
	}
}

func storySession(ts *testscript.TestScript, _ bool, _ []string) {
	p := storyPlace(ts)
	out, err := p.command(context.Background(), "sallyport", "sessions", "list", "--json").Output()
	ts.Check(err)
	var list []index.Session
	ts.Check(json.Unmarshal(out, &list))
	if len(list) != 1 {
		ts.Fatalf("%d sessions", len(list))
	}
	ts.Setenv("SESSION", list[0].ID)
}
