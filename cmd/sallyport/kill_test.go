// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

func init() { roles["act"] = actRole }

// actRole is an MCP server that writes down what it executes: role act FILE. A line is on its way to the
// disk before the answer is.
func actRole(args []string) error {
	f, err := os.OpenFile(args[0], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	type act struct {
		ID string `json:"id"`
	}
	s := mcp.NewServer(&mcp.Implementation{Name: "act", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "act", Description: "Acts."},
		func(_ context.Context, _ *mcp.CallToolRequest, a act) (*mcp.CallToolResult, any, error) {
			if _, err := f.WriteString(a.ID + "\n"); err != nil {
				return nil, nil, err
			}
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "acted " + a.ID}}}, nil, nil
		})
	return s.Run(context.Background(), &mcp.StdioTransport{})
}

// permissive writes a bundle that lets everything pass but what rules (in Rego) say.
func (p *place) permissive(rules string) string {
	p.write("bundle/sallyport-bundle.yaml", "version: 1\nname: test\nsequence: 1\ndescription: For a test.\nowner: test\n")
	return filepath.Dir(p.write("bundle/test.rego", "package sallyport.test\n\nimport rego.v2\n\nallow contains {\"id\": \"all\", \"code\": \"all\", \"reason\": \"Everything else.\"} if input.version == \"agent.v1\"\n\n"+rules))
}

// TestKilledOwnerLosesNothing kills the owner again and again while clients act. SALLYPORT_SOAK makes it
// long.
func TestKilledOwnerLosesNothing(t *testing.T) {
	kills, between := 5, 500*time.Millisecond
	if os.Getenv("SALLYPORT_SOAK") != "" {
		kills, between = 150, 300*time.Millisecond
	}
	p := newPlace(t, "")
	p.write("config/sallyport/sallyport.yaml", "version: 1\ngateway: {listen: none}\nadmin: {listen: none}\nledger: {segment_bytes: 8388608}\npolicy: {dir: "+p.permissive("")+"}\n")
	dir, done := p.folder("w"), filepath.Join(p.home, "executed")

	var stop atomic.Bool
	var wg sync.WaitGroup
	var mu sync.Mutex
	acked := map[string]bool{}
	for w := range 4 {
		wg.Go(func() {
			var c *client
			for n := 0; !stop.Load(); n++ {
				if c == nil {
					var err error
					if c, err = p.dial(dir, "act", role("act", done)...); err != nil {
						c = nil
						time.Sleep(20 * time.Millisecond) // it was killed while it started
						continue
					}
				}
				id := fmt.Sprintf("w%d-%d", w, n)
				text, stopped, err := c.try("act", map[string]any{"id": id})
				switch {
				case err == nil && !stopped && text == "acted "+id:
					mu.Lock()
					acked[id] = true
					mu.Unlock()
				case err == nil && !stopped:
					t.Errorf("%s is answered with %q", id, text)
				default: // nobody knows; it is never sent again
					lost := c
					wg.Go(func() { _ = lost.Close() })
					c = nil
				}
			}
			if c != nil {
				_ = c.Close()
			}
		})
	}
	killed := 0
	for deadline := time.Now().Add(time.Duration(kills) * 5 * time.Second); killed < kills && time.Now().Before(deadline); {
		time.Sleep(between)
		if signalOwner(p.data, syscall.SIGKILL) {
			killed++
			o, e, code := p.run("ledger", "verify")
			if code != 0 { // the next owner may have dropped a partial tile beside us; damage stays
				t.Logf("kill %d, looked at twice:\n%s%s", killed, o, e)
				o, e, code = p.run("ledger", "verify")
			}
			if code != 0 {
				t.Errorf("kill %d: the log does not verify: exit %d\n%s%s", killed, code, o, e)
			}
		}
	}
	time.Sleep(between)
	signalOwner(p.data, syscall.SIGKILL) // the last one leaves things open
	stop.Store(true)
	wg.Wait()
	if killed < kills {
		t.Fatalf("only %d kills", killed)
	}
	p.unowned()
	p.audit(done, acked)
	if o, e, code := p.run("ledger", "verify"); code != 0 {
		t.Errorf("at the end: exit %d\n%s%s", code, o, e)
	}
}

// unowned ends owners until nobody holds the data directory: one that was just starting holds the lock
// before it listens.
func (p *place) unowned() {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		signalOwner(p.data, syscall.SIGKILL)
		f, err := os.Open(filepath.Join(p.data, "lock"))
		if err != nil {
			p.t.Fatal(err)
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		_ = f.Close()
		if err == nil {
			return
		}
	}
	p.t.Fatal("the data directory stays owned")
}

// audit holds what was executed and what was acknowledged against the log.
func (p *place) audit(done string, acked map[string]bool) {
	p.t.Helper()
	b, err := os.ReadFile(done)
	if err != nil {
		p.t.Fatal(err)
	}
	executed := map[string]int{}
	for line := range strings.Lines(string(b)) {
		executed[strings.TrimSpace(line)]++
	}
	intents, ends := map[string]string{}, map[string][]action.Kind{} // by id; by action
	p.records(func(e ledger.Entry, q *action.Query) {
		switch e.Leaf.Kind {
		case action.KindIntent:
			var args struct {
				ID string `json:"id"`
			}
			if q == nil {
				p.t.Errorf("entry %d: an intent without its input", e.Index)
			} else if json.Unmarshal(q.Action.Arguments, &args) == nil && args.ID != "" {
				if intents[args.ID] != "" {
					p.t.Errorf("%s has two intents", args.ID)
				}
				intents[args.ID] = e.Leaf.Action
			}
		case action.KindOutcome, action.KindUnknown:
			ends[e.Leaf.Action] = append(ends[e.Leaf.Action], e.Leaf.Kind)
		}
	})
	for id, n := range executed {
		if n != 1 {
			p.t.Errorf("%s was executed %d times", id, n)
		}
		if intents[id] == "" {
			p.t.Errorf("%s was executed without an intent on record", id)
		}
	}
	for id := range acked {
		if a := intents[id]; a == "" || len(ends[a]) == 0 || ends[a][0] != action.KindOutcome {
			p.t.Errorf("%s was acknowledged, the log has intent %q and %v", id, a, ends[a])
		}
		if executed[id] == 0 {
			p.t.Errorf("%s was acknowledged and never executed", id)
		}
	}
	unknown := 0
	for id, a := range intents {
		switch {
		case len(ends[a]) != 1:
			p.t.Errorf("%s (action %s) ended as %v", id, a, ends[a])
		case ends[a][0] == action.KindUnknown:
			unknown++
		}
	}
	p.t.Logf("%d executed, %d acknowledged, %d intents, %d unknown", len(executed), len(acked), len(intents), unknown)
	if len(acked) == 0 {
		p.t.Error("nothing was acknowledged at all")
	}
}
