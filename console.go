// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/policy/bundle"
)

// openLogins keeps the browsers of people who gave a token, or a code that the kernel's word on them had
// fetched. What they gave must hold as long as the login does.
func (s *Sallyport) openLogins() (err error) {
	s.logins, err = admin.NewSessions(admin.SessionsConfig{Now: s.Ledger.Now, Live: func(c *gateway.Caller) bool {
		switch ch := &c.Subject.Channel; ch.Credential {
		case action.CredentialToken:
			if s.signIn != nil && s.signIn.Vouches(c) {
				return s.signIn.current(c)
			}
			return !s.Tokens.Revoked(ch.CredID)
		case action.CredentialPeer:
			return c.Peer != nil && c.Peer.UID == int64(os.Geteuid())
		}
		return false
	}})
	return err
}

// SignInInstead begins the refusal of a code where people sign in through an identity provider.
const SignInInstead = "people sign in through"

// ConsoleCode lets a browser log in as whoever asks for it over the socket.
type ConsoleCode struct {
	URL     string `json:"url"`
	Code    string `json:"code"`
	UntilMs int64  `json:"until_ms"`
}

func (s *Sallyport) consoleCode(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var body struct {
		BreakGlass bool           `json:"break_glass"`
		Reason     string         `json:"reason"`
		Seconds    jsontext.Value `json:"seconds"`
	}
	if err := gateway.ReadJSON(w, r, &body, 4096); err != nil {
		return err
	}
	from, ok := gateway.PeerFrom(r.Context())
	if !ok {
		return gateway.Refuse(gateway.CodeSubject, "only who comes over the socket is given a code")
	}
	origins := s.Config.origins()
	if len(origins) == 0 {
		return gateway.Refuse(gateway.CodeState, "people reach this owner over the socket only")
	}
	held := *c
	held.Peer = &from
	if !body.BreakGlass && s.signIn != nil && s.Tokens.BootstrapEnded() {
		return gateway.Refuse(gateway.CodeState, SignInInstead+" %s", s.signIn.Name())
	}
	if body.BreakGlass {
		if err := s.breakGlass(r.Context(), &held, body.Reason, body.Seconds); err != nil {
			return err
		}
	}
	code, until, err := s.logins.Code(&held, "")
	if err != nil {
		return gateway.Refuse(gateway.CodeBusy, "too many codes wait to be used")
	}
	return gateway.WriteJSON(w, http.StatusOK, ConsoleCode{URL: origins[0] + "/console/", Code: code, UntilMs: until.UnixMilli()})
}

// workbench is what the console judges, tries and proves with.
type workbench struct {
	s *Sallyport

	mu    sync.Mutex // guards tried; held while it is compiled, so that one person at a time costs a core
	tried *policy.Compiled
	with  [32]byte // what tried was compiled from: the active bundle and the parameters
}

var _ admin.Workbench = (*workbench)(nil)

// watched lists what the bundle in force only watches now.
func (s *Sallyport) watched() []admin.Watched {
	out := []admin.Watched{}
	manifest := s.Policy.Active().Source().Manifest
	for _, o := range manifest.Observed(s.Ledger.Now()) {
		if o.Tenant == "default" {
			out = append(out, admin.Watched{Agent: o.Agent, Tool: o.Tool, UntilMs: o.Until.UnixMilli(), Reason: o.Reason})
		}
	}
	return out
}

// Activity lists agents in numbers, each with the mode that the bundle in force gives it now.
func (b *workbench) Activity(ctx context.Context, limit int, cursor string) (index.Page[admin.Activity], error) {
	current{b.s.Index, b.s}.await(ctx, cursor)
	found, err := b.s.Index.Agents(ctx, limit, cursor)
	out := index.Page[admin.Activity]{Items: []admin.Activity{}, Next: found.Next}
	manifest := b.s.Policy.Active().Manifest()
	for _, a := range found.Items {
		out.Items = append(out.Items, admin.Activity{Agent: a, Mode: manifest.ModeOf("default", a.ID, b.s.Ledger.Now())})
	}
	return out, err
}

// Destinations says where actions went.
func (b *workbench) Destinations(ctx context.Context, since int64) ([]index.Destination, error) {
	current{b.s.Index, b.s}.await(ctx, "")
	return b.s.Index.Destinations(ctx, since)
}

// maxSimilar is how many earlier decisions are told of, out of the latest records of a tool.
const maxSimilar = 8

// Similar finds decisions on the same tool, and what the latest one that was let through looked like.
func (b *workbench) Similar(ctx context.Context, v approval.View, by string) (admin.Similar, error) {
	out := admin.Similar{Items: []index.Step{}}
	if v.Shown == nil {
		return out, nil
	}
	server, tool := action.SplitToolKey(v.Shown.Tool.Key)
	p, err := current{b.s.Index, b.s}.Records(ctx, index.Filter{Server: server, Tool: tool}, index.MaxLimit, "")
	if err != nil {
		return out, err
	}
	seen := map[string]bool{v.Action: true}
	for _, step := range p.Items {
		if step.Verdict == "" || step.Phase != v.Shown.Phase || seen[step.Action] {
			continue
		}
		seen[step.Action] = true
		out.Items = append(out.Items, step)
		if ran := step.Kind == action.KindIntent || step.Phase == action.After && step.Verdict == action.Allow; ran && out.Last == nil {
			if out.Last, err = b.lastCall(ctx, step, v.ID, by); err != nil {
				return out, err
			}
		}
		if len(out.Items) == maxSimilar {
			break
		}
	}
	return out, nil
}

// lastCall shows an earlier call to whoever judges the next one, and records that it was shown. It is nil
// where the call can no longer be shown.
func (b *workbench) lastCall(ctx context.Context, step index.Step, request, by string) (*admin.LastCall, error) {
	part := action.PartArguments
	if step.Phase == action.After {
		part = action.PartResult
	}
	data, _, err := b.s.Ledger.Disclose(ctx, step.Index, part, by, "compared with request "+request)
	if errors.Is(err, ledger.ErrErased) || errors.Is(err, ledger.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pretty, _, err := approval.Pretty(data)
	if err != nil {
		return nil, nil // too large to be compared by a person
	}
	return &admin.LastCall{Index: step.Index, TimeMs: step.TimeMs, Agent: step.Agent, Session: step.Session, Arguments: strings.Split(pretty, "\n")}, nil
}

// Replay decides a session again under what is in force.
func (b *workbench) Replay(ctx context.Context, c *gateway.Caller, session string) (admin.Replayed, error) {
	if err := b.s.indexed(ctx); err != nil {
		return admin.Replayed{}, err
	}
	steps, err := b.s.Index.Replay(reading(ctx, c, "replay/"+session), session, b.s.redecide)
	out := admin.Replayed{Bundle: b.s.Policy.Active().Bundle().Digest, Counts: index.Count(steps), Items: []admin.Redecided{}}
	for i := range steps {
		if r := steps[i].Replay; r != nil {
			out.Items = append(out.Items, admin.Redecided{Index: steps[i].Index, Answer: r.Answer, Recorded: r.Recorded.Verdict,
				Again: r.Again.Verdict, Differences: append([]string{}, r.Differences...)})
		}
	}
	return out, err
}

// Try decides a document: what the registry and the detectors say of it is added, what is stated wins.
func (b *workbench) Try(ctx context.Context, t admin.Trial) (admin.Tried, error) {
	var out admin.Tried
	q, err := b.document(ctx, t)
	if err != nil {
		return out, err
	}
	active := b.s.policyFor(q).Active()
	with := active
	if t.Params != "" || t.Rules != "" {
		if active != b.s.Policy.Active() {
			return out, fmt.Errorf("%w: a policy of its own decides on %q, of which no draft can be tried", admin.ErrTrial, action.Clip(q.Resource.Type, 32))
		}
		if with, err = b.under(active, t.Params, t.Rules); err != nil {
			return out, err
		}
		base, err := verdict(ctx, active, q)
		if err != nil {
			return out, err
		}
		out.Base = &base
	}
	if out.Again, err = verdict(ctx, with, q); err != nil {
		return out, err
	}
	params, _ := with.Source().File(bundle.ParamsFile)
	out.Params = string(params)
	out.Input, err = action.Canonical(q)
	return out, err
}

// document is the input of a trial.
func (b *workbench) document(ctx context.Context, t admin.Trial) (*action.Query, error) {
	if len(t.Arguments) == 0 {
		t.Arguments = jsontext.Value("{}")
	}
	q, err := bundle.ReadPartial([]byte(`{"phase":"before"}`), optional(t.Facts))
	if err != nil {
		return nil, fmt.Errorf("%w: facts: %w", admin.ErrTrial, err)
	}
	if t.Server != "" || t.Tool != "" {
		q.Resource.Server, q.Resource.Name, q.Resource.ID = t.Server, t.Tool, action.ToolKey(t.Server, t.Tool)
	}
	q.Action.Arguments, q.Action.Bytes = t.Arguments, int64(len(t.Arguments))
	if q.Subject.Tenant == "" {
		q.Subject.Tenant = "default"
	}
	if err := q.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", admin.ErrTrial, err)
	}
	for _, in := range []interface {
		Inform(context.Context, *action.Query) (action.Part, error)
	}{b.s.Tools, b.s.Detect} {
		part, err := in.Inform(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", admin.ErrTrial, err)
		}
		part.Put(q)
	}
	if q, err = b.s.Detect.Scrub(q); err != nil {
		return nil, fmt.Errorf("%w: %w", admin.ErrTrial, err)
	}
	if len(t.Facts) == 0 {
		return q, nil
	}
	stated, err := action.Canonical(q)
	if err != nil {
		return nil, err
	}
	if q, err = bundle.ReadPartial(stated, t.Facts); err != nil {
		return nil, fmt.Errorf("%w: facts: %w", admin.ErrTrial, err)
	}
	return q, nil
}

// under is the active bundle with other parameters, and with further rules. The last one is kept: people try one thing often.
func (b *workbench) under(active *policy.Compiled, params, rules string) (*policy.Compiled, error) {
	sum := sha256.Sum256([]byte(strings.Join([]string{active.Bundle().Digest, params, rules}, "\x00")))
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tried != nil && b.with == sum {
		return b.tried, nil
	}
	files := map[string][]byte{}
	if params != "" {
		files[bundle.ParamsFile] = []byte(params)
	}
	if rules != "" {
		files["draft/draft.rego"] = []byte(rules)
	}
	source, err := active.Source().With(files)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", admin.ErrTrial, err)
	}
	c, err := policy.Compile(source, policy.Config{Shadow: -1})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", admin.ErrTrial, err)
	}
	b.tried, b.with = c, sum
	return c, nil
}

// verdict decides and says why.
func verdict(ctx context.Context, c *policy.Compiled, q *action.Query) (admin.Verdict, error) {
	d, err := c.Redecide(ctx, q)
	if err != nil {
		return admin.Verdict{}, err
	}
	v := admin.Verdict{Verdict: d.Verdict, Mode: d.Mode, Bundle: d.Bundle.Digest, Hint: d.Hint(), Rules: []admin.FiredRule{},
		Obligations: []string{}, Errors: append([]string{}, d.Errors...)}
	for _, m := range d.Matches {
		r := admin.FiredRule{ID: m.ID, Verdict: m.Verdict, Code: m.Code, Severity: m.Severity, Reason: m.Reason}
		if m.Verdict == action.Ask {
			r.Needs = m.Approver.Need()
		}
		v.Rules = append(v.Rules, r)
	}
	for _, o := range d.Obligations {
		v.Obligations = append(v.Obligations, string(o.Type)+" ("+o.Rule+")")
	}
	return v, nil
}

// maxCompared bounds the decisions that a draft is compared over.
const maxCompared = 20_000

// Difference decides what is on record under a draft.
func (b *workbench) Difference(ctx context.Context, c *gateway.Caller, d admin.Draft) (admin.Difference, error) {
	active := b.s.Policy.Active()
	with, err := b.under(active, d.Params, d.Rules)
	if err != nil {
		return admin.Difference{}, err
	}
	got, err := b.s.compare(reading(ctx, c, "policy-diff"), active, with, b.s.since30(d.SinceMs), maxCompared)
	if err != nil {
		return admin.Difference{}, err
	}
	out := admin.Difference{Decisions: got.Decisions, Changed: got.Changed, Failed: got.Failed, Items: []admin.Changed{}}
	for _, g := range got.Groups[:min(len(got.Groups), 200)] {
		out.Items = append(out.Items, admin.Changed{From: g.From, To: g.To, Phase: string(g.Phase), Server: g.Server, Tool: g.Tool, Rules: g.Rules, N: g.N, Example: g.Example})
	}
	return out, nil
}

// Head is how the log stands.
func (b *workbench) Head() admin.LedgerHead {
	cp, st := b.s.Ledger.Checkpoint(), b.s.Ledger.Stats()
	return admin.LedgerHead{Vkey: b.s.Ledger.Vkey(), Origin: cp.Origin, Size: cp.Size, Checkpoint: string(cp.Note),
		Witnesses: len(b.s.Config.Ledger.Witnesses), Stopped: st.Stopped}
}

// Disclose opens a part for a person, who is recorded first.
func (b *workbench) Disclose(ctx context.Context, at uint64, part, by, purpose string) (admin.Disclosed, error) {
	data, access, err := b.s.Ledger.Disclose(ctx, at, action.PartName(part), by, purpose)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return admin.Disclosed{}, admin.ErrNoEntry
	case errors.Is(err, ledger.ErrErased):
		return admin.Disclosed{}, admin.ErrErased
	case err != nil:
		return admin.Disclosed{}, err
	}
	text, _, err := approval.Pretty(data)
	if err != nil {
		text = approval.Visible(action.Clip(string(data), 64<<10))
	}
	return admin.Disclosed{Index: at, Part: part, Text: text, Bytes: len(data), Access: access.Index}, nil
}
