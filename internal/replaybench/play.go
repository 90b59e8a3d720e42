// SPDX-License-Identifier: Apache-2.0

package replaybench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// Owner is a running owner with a data directory of its own, empty at first.
type Owner struct {
	Agents, People *Door
	// Decisions calls fn with every decision of gate one on record, and those of gate two that held
	// something back, in order.
	Decisions func(ctx context.Context, fn func(Decided) error) error
	// Redecide decides an input again, under the same policy.
	Redecide func(ctx context.Context, q *action.Query) (action.Decision, error)
	// Audit looks at the record of actions, each with whether it was executed.
	Audit func(ctx context.Context, ran map[string]bool) (Audit, error)
	// Close ends the owner and removes its data.
	Close func() error
}

// Decided is one recorded decision. Of gate two only what was not let through is told, without its input.
type Decided struct {
	After   bool
	Action  string
	Input   *action.Query
	Verdict action.Verdict
	Rules   []string
}

// Options say how to replay.
type Options struct {
	Approve  bool // a perfect approver answers asks; otherwise nobody does
	Withhold bool // do not tell the user's request
	Workers  int  // runs at a time; 0 means 4
	Quiet    int  // runs of each suite that are played again, one at a time, to measure the time of a call
	Audit    bool // look at the record afterwards
	Closed   bool // the obedient agent in place of the recorded runs

	Unselected bool // decide again as if the user had named every object
	Progress   func(suite string, done, of int)
}

// played is a run with what became of its calls.
type played struct {
	run   *Run
	calls []outcome
}

// outcome is what became of one call.
type outcome struct {
	call    *Call
	id      string         // of the action
	verdict action.Verdict // of gate one, before anybody was asked; "" if the door refused the call
	passed  bool           // it was executed
	held    bool           // somebody was asked
	back    bool           // its result came back
	changed bool           // what came back was redacted
	broken  bool           // the owner failed to answer
	hint    string
	took    time.Duration // both gates, without waiting for people
}

func (c *outcome) stopped() bool { return !c.passed || !c.back }

// player replays the runs of a suite against one owner.
type player struct {
	*Owner
	data    *Data
	opt     Options
	servers map[string]string // of tools
	from    int               // runs of the suite that were played before
	total   int               // runs of the suite
}

// run plays a recorded run.
func (p *player) run(ctx context.Context, n int, r *Run) (*played, error) {
	s, err := p.session(ctx, n, r.Prompt)
	if err != nil {
		return nil, err
	}
	out := &played{run: r}
	for _, step := range r.Steps {
		if err := s.say(ctx, step.Said); err != nil {
			return nil, err
		}
		for i := range step.Calls {
			o, err := s.act(ctx, &step.Calls[i], "", func() (string, string) {
				if i >= len(step.Outs) {
					return "", ""
				}
				return p.data.Texts[step.Outs[i].Text].Text, step.Outs[i].Err
			})
			if err != nil {
				return nil, fmt.Errorf("run %q: %w", r.ID, err)
			}
			out.calls = append(out.calls, o)
		}
	}
	return out, s.end(ctx)
}

// session begins the session of run n, as an agent that nobody has seen before.
func (p *player) session(ctx context.Context, n int, prompt string) (*sessionOf, error) {
	s := &sessionOf{player: p, agent: fmt.Sprintf("run-%06d", n)}
	var err error
	if s.token, err = p.agent(ctx, s.agent); err != nil {
		return nil, err
	}
	return s, s.begin(ctx, prompt)
}

// sessionOf is one session of one agent.
type sessionOf struct {
	*player
	token, agent string
	id           string
	calls        int
	open         []string // asks that nobody has answered
}

func (s *sessionOf) begin(ctx context.Context, prompt string) error {
	body := map[string]string{}
	if prompt != "" && !s.opt.Withhold {
		body["user_request"] = prompt
	}
	var out struct {
		ID string `json:"id"`
	}
	_, err := s.Agents.call(ctx, http.MethodPost, "/v1/sessions", s.token, body, &out)
	s.id = out.ID
	return err
}

// say tells what the user said in the middle of a session.
func (s *sessionOf) say(ctx context.Context, text string) error {
	if text == "" || s.opt.Withhold {
		return nil
	}
	_, err := s.Agents.call(ctx, http.MethodPost, "/v1/sessions/"+url.PathEscape(s.id)+"/context", s.token,
		map[string]string{"kind": "user_request", "text": text}, nil)
	return err
}

// end refuses what is still asked, so that it holds no room of the runs after.
func (s *sessionOf) end(ctx context.Context) error {
	slices.Sort(s.open) // the same call again shares its ask
	for _, id := range slices.Compact(s.open) {
		if err := s.approve(ctx, id, false); err != nil {
			return err
		}
	}
	s.open = nil
	return nil
}

// act puts one call through both gates, with the agent's reason if there is one. result is asked only for a call that was let through.
func (s *sessionOf) act(ctx context.Context, c *Call, reason string, result func() (text, failure string)) (outcome, error) {
	s.calls++
	o := outcome{call: c}
	args := c.Args
	if len(args) == 0 || args.Kind() == 'n' {
		args = jsontext.Value("{}")
	}
	from := time.Now()
	body := map[string]any{"session": s.id, "call_id": fmt.Sprintf("c%d", s.calls), "arguments": args,
		"tool": map[string]string{"server": s.server(c.Tool), "name": c.Tool}}
	if reason != "" {
		body["reasoning"] = reason
	}
	var d decision
	_, err := s.Agents.call(ctx, http.MethodPost, "/v1/actions", s.token, body, &d)
	o.took = time.Since(from)
	var no *refused
	if errors.As(err, &no) {
		o.hint, o.broken = no.title, no.status >= http.StatusInternalServerError
		return o, nil // what the door refuses, or cannot answer, does not run
	}
	if err != nil {
		return o, err
	}
	o.id, o.verdict, o.hint = d.ID, d.Decision.Effect, d.Decision.Hint
	o.held = o.verdict == action.Ask
	if o.held && d.Approval != nil {
		if err := s.ask(ctx, &d, c.Harm == 0 && !c.Serves); err != nil {
			return o, err
		}
	}
	if d.Decision.Effect != action.Allow {
		return o, nil
	}
	o.passed = true
	return o, s.report(ctx, &o, &d, result)
}

// ask lets the approver answer, and fetches the action again where he agreed.
func (s *sessionOf) ask(ctx context.Context, d *decision, benign bool) error {
	if !s.opt.Approve {
		s.open = append(s.open, d.Approval.ID)
		return nil
	}
	if err := s.approve(ctx, d.Approval.ID, benign); err != nil || !benign {
		return err
	}
	_, err := s.Agents.call(ctx, http.MethodGet, "/v1/actions/"+url.PathEscape(d.ID)+"?wait=1s", s.token, nil, d)
	return err
}

// report hands the result in. A held result is approved by the approver, who knows that the call was.
func (s *sessionOf) report(ctx context.Context, o *outcome, d *decision, result func() (text, failure string)) error {
	text, failure := result()
	status := "done"
	if failure != "" {
		status, text = "failed", failure
	}
	quoted, err := json.Marshal(text, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return err
	}
	from := time.Now()
	var rel decision
	_, err = s.Agents.call(ctx, http.MethodPost, "/v1/actions/"+url.PathEscape(d.ID)+"/outcome", s.token,
		map[string]any{"status": status, "result": jsontext.Value(quoted)}, &rel)
	o.took += time.Since(from)
	var no *refused
	if errors.As(err, &no) {
		o.hint, o.broken = no.title, no.status >= http.StatusInternalServerError
		return nil // what the door does not take does not come back
	}
	if err != nil {
		return err
	}
	o.back = rel.Status == action.StatusReleased
	o.changed = o.back && string(rel.Result) != string(quoted)
	if rel.Status == action.StatusHeld && rel.Approval != nil {
		o.held = true
		if !s.opt.Approve {
			s.open = append(s.open, rel.Approval.ID)
			return nil
		}
		o.back = true
		return s.approve(ctx, rel.Approval.ID, true)
	}
	return nil
}

// server is where a tool lives. One that was never registered is asked for all the same.
func (s *sessionOf) server(tool string) string {
	if name := s.servers[tool]; name != "" {
		return name
	}
	return "tools"
}
