// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/sallyport/sallyport/action"
)

// asking is a gate whose clients may be asked; the answers go to the path's inbox.
func asking(t testing.TB, p *path) *Gate {
	return newGate(t, p, func(c *Config) {
		c.Answer = func(_ context.Context, ticket string, accept bool, _ *action.Subject) error {
			if accept {
				p.approve(ticket)
			}
			return nil
		}
	})
}

func TestAskGoesToTheUserOfAClientThatCanAsk(t *testing.T) {
	for _, c := range []struct {
		name    string
		version string
		channel action.Rank
		answer  string // "" for a client that cannot ask
		asked   int
		sent    bool
	}{
		{"the user accepts and the call runs", "2026-07-28", action.RankClient, "accept", 1, true},
		{"the user declines and it does not", "2026-07-28", action.RankClient, "decline", 1, false},
		{"the user closes the form and it does not", "2026-07-28", action.RankClient, "cancel", 1, false},
		{"a person apart is needed, so the user is not asked", "2026-07-28", action.RankOperator, "accept", 0, false},
		{"the client cannot ask and gets a ticket", "2026-07-28", action.RankClient, "", 0, false},
		{"an older client gets a ticket", "2025-11-25", action.RankClient, "accept", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPath()
			p.verdicts["send_note"], p.channel = action.Ask, c.channel
			dir := t.TempDir()
			asked := 0
			o := &sdk.ClientOptions{}
			if c.answer != "" {
				o.ElicitationHandler = func(_ context.Context, r *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
					asked++
					if !strings.Contains(r.Params.Message, "send_note") {
						t.Errorf("the question is %q", r.Params.Message)
					}
					return &sdk.ElicitResult{Action: c.answer, Content: map[string]any{"approve": true}}, nil
				}
			}
			cs := guard(t, asking(t, p), notesServer(t, dir)).connect(t, c.version, o)
			call(t, cs, "write_note", map[string]any{"name": "a", "text": "b"})
			s, bad := call(t, cs, "send_note", map[string]any{"name": "a", "to": "x@y.example"})
			if bad == c.sent || asked != c.asked {
				t.Fatalf("asked %d times; %q, error %v", asked, s, bad)
			}
			if !c.sent && c.answer != "decline" && c.answer != "cancel" && !strings.Contains(s, "sallyport approvals approve T-") {
				t.Errorf("no way to approve in %q", s)
			}
		})
	}
}

// modern is a request of 2026-07-28 by a client that can ask.
func modern(id, method, rest string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":%q,"params":{%s"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",`+
		`"io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}}}`, id, method, rest)
}

func TestAskStateOpensOnceForOneCallerAndCall(t *testing.T) {
	ctx := context.Background()
	now := time.Now()
	p := newPath()
	p.verdicts["send"], p.channel = action.Ask, action.RankClient
	g := newGate(t, p, func(c *Config) {
		c.Now = func() time.Time { return now }
		c.Answer = func(_ context.Context, ticket string, accept bool, _ *action.Subject) error {
			if accept {
				p.approve(ticket)
			}
			return nil
		}
	})
	bob := testPeer
	bob.Subject.ID, bob.Session = "bob", testPeer.Session
	ask := func() string {
		step := g.Conn(testPeer, testUpstream).FromClient(ctx, []byte(modern("1", "tools/call", `"name":"send","arguments":{"to":"a"},`)))
		s, ok := text(member(step.Reply, "result", "requestState"))
		if !ok || step.Forward != nil {
			t.Fatalf("no question: %s", step.Reply)
		}
		return s
	}
	retry := func(peer Peer, state, name, to, answer string) Step {
		return g.Conn(peer, testUpstream).FromClient(ctx, []byte(modern("2", "tools/call", fmt.Sprintf(
			`"name":%q,"arguments":{"to":%q},"requestState":%q,"inputResponses":{"sallyport.approval":%s},`, name, to, state, answer))))
	}
	yes := `{"action":"accept","content":{"approve":true}}`
	for _, c := range []struct {
		name string
		step func() Step
		pass bool
	}{
		{"the answer of the one who was asked", func() Step { return retry(testPeer, ask(), "send", "a", yes) }, true},
		{"the same state twice", func() Step {
			s := ask()
			retry(testPeer, s, "send", "a", yes)
			return retry(testPeer, s, "send", "a", yes)
		}, false},
		{"another agent", func() Step { return retry(bob, ask(), "send", "a", yes) }, false},
		{"other arguments", func() Step { return retry(testPeer, ask(), "send", "b", yes) }, false},
		{"another tool", func() Step { return retry(testPeer, ask(), "read", "a", yes) }, false},
		{"a state of our own making", func() Step { return retry(testPeer, statePrefix+"AAAA", "send", "a", yes) }, false},
		{"a flipped byte", func() Step {
			s := []byte(ask())
			s[len(s)-2] ^= 1
			return retry(testPeer, string(s), "send", "a", yes)
		}, false},
		{"too late", func() Step {
			s := ask()
			now = now.Add(2 * time.Hour)
			return retry(testPeer, s, "send", "a", yes)
		}, false},
		{"a form that says no", func() Step {
			return retry(testPeer, ask(), "send", "a", `{"action":"accept","content":{"approve":false}}`)
		}, false},
		{"no answer at all", func() Step { return retry(testPeer, ask(), "send", "a", `{}`) }, false},
		{"a server's state that no server gave", func() Step { return retry(testPeer, "abc", "send", "a", yes) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.set(func() { clear(p.asks) })
			step := c.step()
			if (step.Forward != nil) != c.pass {
				t.Fatalf("forward %s reply %s", step.Forward, step.Reply)
			}
			if c.pass && (strings.Contains(string(step.Forward), "requestState") || strings.Contains(string(step.Forward), "inputResponses")) {
				t.Fatalf("our question reaches the server: %s", step.Forward)
			}
		})
	}
}

func TestServersQuestionsAreRoundsOfOneAction(t *testing.T) {
	ctx := context.Background()
	p := newPath()
	p.verdicts["book"], p.channel = action.Ask, action.RankOperator
	g := newGate(t, p, nil)
	first := modern("1", "tools/call", `"name":"book","arguments":{"n":1},`)
	step := g.Conn(testPeer, testUpstream).FromClient(ctx, []byte(first))
	for ticket := range p.asks {
		p.approve(ticket)
	}
	if step.Forward != nil {
		t.Fatal("an asked call passed")
	}
	c := g.Conn(testPeer, testUpstream)
	if step = c.FromClient(ctx, []byte(first)); string(step.Forward) != first {
		t.Fatalf("an approved call did not pass: %s", step.Reply)
	}
	asked := `{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","requestState":"theirs","inputRequests":` +
		`{"q":{"method":"elicitation/create","params":{"message":"Which seat?"}}}}}`
	if step = c.FromServer(ctx, "", []byte(asked)); string(step.Forward) != asked {
		t.Fatalf("the question did not pass: %s", step.Forward)
	}
	answer := modern("2", "tools/call", `"name":"book","arguments":{"n":1},"requestState":"theirs","inputResponses":{"q":{"action":"accept"}},`)
	for _, bad := range []string{
		strings.Replace(answer, "theirs", "forged", 1),
		strings.Replace(answer, `{"n":1}`, `{"n":2}`, 1),
	} {
		if step := g.Conn(testPeer, testUpstream).FromClient(ctx, []byte(bad)); step.Forward != nil {
			t.Fatalf("passed: %s", bad)
		}
	}
	c = g.Conn(testPeer, testUpstream)
	if step = c.FromClient(ctx, []byte(answer)); string(step.Forward) != answer {
		t.Fatalf("the answer did not pass: %s", step.Reply)
	}
	done := `{"jsonrpc":"2.0","id":2,"result":{"resultType":"complete","content":[]}}`
	if step = c.FromServer(ctx, "", []byte(done)); string(step.Forward) != done {
		t.Fatalf("the result did not pass: %s", step.Forward)
	}
	if n := p.count(methodCall); n != 2 { // the ask, and the admitted one with both its rounds
		t.Errorf("%d attempts", n)
	}
	if step = g.Conn(testPeer, testUpstream).FromClient(ctx, []byte(answer)); step.Forward != nil {
		t.Error("a round was continued twice")
	}
	if len(p.open) != 0 {
		t.Errorf("open actions: %v", p.open)
	}
}

func TestQuestionThatAServerMayNotAskEndsTheCall(t *testing.T) {
	ctx := context.Background()
	p := newPath()
	p.verdicts[methodSample] = action.Deny
	c := newGate(t, p, nil).Conn(testPeer, testUpstream)
	c.FromClient(ctx, []byte(modern("1", "tools/call", `"name":"x",`)))
	step := c.FromServer(ctx, "", []byte(`{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":`+
		`{"q":{"method":"sampling/createMessage","params":{"messages":[]}}}}}`))
	if strings.Contains(string(step.Forward), "sampling") || !strings.Contains(string(step.Forward), `"isError":true`) {
		t.Fatalf("released %s", step.Forward)
	}
}

func TestInputThatNobodyAskedForGoesNoFurther(t *testing.T) {
	c := newGate(t, newPath(), nil).Conn(testPeer, testUpstream)
	step := c.FromClient(context.Background(), []byte(modern("1", "tools/call", `"name":"x","inputResponses":{"q":{"a":"SECRET"}},`)))
	if step.Forward == nil || strings.Contains(string(step.Forward), "SECRET") {
		t.Fatalf("forward %s reply %s", step.Forward, step.Reply)
	}
}

func TestOneCallerCannotHoldAllRounds(t *testing.T) {
	now := time.Unix(0, 0)
	r := rooms{now: func() time.Time { return now }, ttl: time.Minute}
	for i := range maxCallerRooms {
		if !r.put(fmt.Sprint(i), room{caller: "a"}) {
			t.Fatalf("round %d was refused", i)
		}
	}
	if r.put("more", room{caller: "a"}) {
		t.Error("a caller holds more rounds than it may")
	}
	if !r.put("0", room{caller: "b"}) {
		t.Error("another caller is refused")
	}
	if x, ok := r.take("0"); !ok || x.caller != "a" || !r.put("more", room{caller: "a"}) {
		t.Error("a continued round holds its place")
	}
	now = now.Add(time.Hour)
	if !r.put("late", room{caller: "a"}) || r.n != 1 || len(r.held) != 1 {
		t.Errorf("rounds that nobody continued hold their places: %d", r.n)
	}
	now = now.Add(time.Hour)
	if _, ok := r.take("late"); ok {
		t.Error("an expired round was continued")
	}
}
