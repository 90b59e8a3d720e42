// SPDX-License-Identifier: Apache-2.0

// Package monitorbench measures how well the monitor tells recorded attacks from honest runs that it has
// never seen, and how much each of its signals contributes.
//
// # What it measures
//
// An agent is a suite of the recordings. It is trained on the honest runs of all user tasks but the one
// whose runs are judged, so that nothing of a judged task was seen before. Positives are runs in which the
// attack succeeded with at least one call, negatives are honest runs that solved their task. Facts come
// from the tools and flow columns as they stand in an owner; detectors take no part. A run scores as the
// highest risk that it reaches, from a calm start, as policy would see it; what it does is learnt once it is done. Recorded runs have no clock: pace and refusals are not measured.
package monitorbench

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/flow"
	"github.com/sallyport/sallyport/internal/replaybench"
	"github.com/sallyport/sallyport/store/memory"
	"github.com/sallyport/sallyport/tools"
)

// trace is one run with the facts of its calls, as they were at gate one.
type trace struct {
	suite, task string
	attack      bool // it succeeded, with a call
	honest      bool // there was no attack
	solved      bool
	calls       []*action.Query
	harm        []bool
}

// start is the time of the first action of every run, in milliseconds.
const start = 1_700_000_000_000

// bench states facts for the runs of one suite.
type bench struct {
	data   *replaybench.Data
	suite  string
	tools  *tools.Registry
	flow   *flow.Flow
	server map[string]string
}

func newBench(ctx context.Context, d *replaybench.Data, suite string) (*bench, error) {
	b := &bench{data: d, suite: suite, server: map[string]string{}}
	st := memory.Open(memory.Config{})
	print := func(label string, parts ...[]byte) string {
		h := sha256.New()
		for _, p := range append([][]byte{[]byte(label)}, parts...) {
			fmt.Fprintf(h, "%d:%s", len(p), p)
		}
		return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
	}
	var err error
	if b.tools, err = tools.Open(ctx, tools.Config{Store: st}); err != nil {
		return nil, err
	}
	if b.flow, err = flow.New(flow.Config{Store: st, Fingerprint: print, Tool: b.outline}); err != nil {
		return nil, err
	}
	by := map[string][]tools.Definition{}
	for i := range d.Tools[suite] {
		t := &d.Tools[suite][i]
		if b.server[t.Name] != "" {
			continue
		}
		raw, err := action.Canonical(map[string]any{"name": t.Name, "description": t.Description, "inputSchema": t.Schema})
		if err != nil {
			return nil, err
		}
		def, err := tools.ReadDefinition(raw)
		if err != nil {
			return nil, fmt.Errorf("tool %q: %w", t.Name, err)
		}
		b.server[t.Name] = replaybench.Service(t)
		by[b.server[t.Name]] = append(by[b.server[t.Name]], def)
	}
	for server, defs := range by {
		up := tools.Upstream{Server: server, Transport: tools.API}
		seen, err := b.tools.Observe(ctx, up, defs)
		if err != nil {
			return nil, err
		}
		for _, s := range seen {
			if _, err := b.tools.Approve(ctx, "default", server, s.Name, s.Digest, "bench"); err != nil {
				return nil, err
			}
		}
	}
	for _, r := range d.Tenant[suite] {
		_ = b.flow.Records("default", r.Name, r.Data, nil) // what cannot be read as a record vouches for nothing
	}
	return b, nil
}

// outline is what the tools column knows of a tool, in flow's words.
func (b *bench) outline(q *action.Query) flow.Tool {
	o := b.tools.Outline(q)
	return flow.Tool{Class: o.Class, Words: o.Words, Role: o.Role}
}

// trace plays one run and keeps what was stated at gate one of each call.
func (b *bench) trace(ctx context.Context, n int, r *replaybench.Run) (*trace, error) {
	t := &trace{suite: b.suite, task: r.UserTask, honest: r.Attack == "", solved: r.Utility}
	subject := action.NewQuery(action.Before).Subject
	subject.ID, subject.Instance = b.suite, fmt.Sprint(n)
	session := fmt.Sprint(b.suite, "-", n)
	if r.Prompt != "" {
		b.flow.Hear(ctx, session, &subject, enforce.Said{Kind: action.PartUserRequest, By: action.AssertedSDK, Text: []byte(r.Prompt)})
	}
	at := int64(start)
	for _, s := range r.Steps {
		for i, c := range s.Calls {
			at += 15_000
			q := b.query(action.Before, &subject, session, fmt.Sprint(session, "/", len(t.calls)), &c, at)
			if err := b.inform(ctx, q); err != nil {
				return nil, err
			}
			t.calls, t.harm = append(t.calls, q), append(t.harm, c.Harm != 0)
			t.attack = t.attack || r.Attack != "" && r.Succeeded && c.Harm != 0
			text, failure := "", ""
			if i < len(s.Outs) {
				text, failure = b.data.Texts[s.Outs[i].Text].Text, s.Outs[i].Err
			}
			if err := b.settle(ctx, q, &c, text, failure); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

func (b *bench) query(p action.Phase, subject *action.Subject, session, id string, c *replaybench.Call, at int64) *action.Query {
	q := action.NewQuery(p)
	q.ID, q.Subject = id, *subject
	q.Action.Name, q.Action.Arguments, q.Action.Bytes = "tools/call", arguments(c.Args), int64(len(c.Args))
	q.Resource.Server, q.Resource.Name = b.server[c.Tool], c.Tool
	q.Resource.ID = action.ToolKey(b.server[c.Tool], c.Tool)
	q.Context.Time.UnixMilli = at
	q.Context.Session = action.Session{ID: session, State: action.SessionLive, Inherits: action.No, Request: action.Statement{By: action.AssertedSDK}}
	q.Context.Enforcement.Observed = action.No
	return q
}

func arguments(v jsontext.Value) jsontext.Value {
	if action.Check(v, action.Limits{}) != nil || !strings.HasPrefix(strings.TrimSpace(string(v)), "{") {
		return jsontext.Value("{}")
	}
	return v
}

func (b *bench) inform(ctx context.Context, q *action.Query) error {
	for _, i := range []enforce.Informer{b.tools, b.flow} {
		p, err := i.Inform(ctx, q)
		if err != nil {
			return err
		}
		p.Put(q)
	}
	return nil
}

// settle hands the result of q to the flow column, as gate two does.
func (b *bench) settle(ctx context.Context, q *action.Query, c *replaybench.Call, text, failure string) error {
	if err := b.flow.Reserve(ctx, q); err != nil {
		return err
	}
	after := b.query(action.After, &q.Subject, q.Context.Session.ID, q.ID, c, q.Context.Time.UnixMilli)
	if failure != "" {
		text = failure
	}
	content, err := json.Marshal(text)
	if err != nil {
		content = []byte(`""`)
	}
	after.Context.Result = action.Result{Status: action.ResultDone, Content: content, Bytes: int64(len(content)), Kind: "result",
		Truncated: action.No, Opaque: action.No}
	if err := b.inform(ctx, after); err != nil {
		return err
	}
	b.flow.Settle(ctx, after, action.StatusDone)
	return nil
}
