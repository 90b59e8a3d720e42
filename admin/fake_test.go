// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/factor"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/monitor"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/store/memory"
	"github.com/sallyport/sallyport/tools"
)

// book is a ledger in memory, with the view of it.
type book struct {
	mu      sync.Mutex
	records []*action.Record
	changed chan struct{}
}

func (b *book) append(_ context.Context, r *action.Record) (action.Receipt, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := *r
	b.records = append(b.records, &c)
	close(b.changed)
	b.changed = make(chan struct{})
	return action.Receipt{Index: uint64(len(b.records) - 1)}, nil
}

func (b *book) past(_ context.Context, fn func(r *action.Record) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.records {
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

func (b *book) Follow(ctx context.Context, from uint64, fn func(index.Entry) error) error {
	for at := from; ; at++ {
		for {
			b.mu.Lock()
			changed, size := b.changed, uint64(len(b.records))
			b.mu.Unlock()
			if size > at {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		b.mu.Lock()
		r := b.records[at]
		b.mu.Unlock()
		if err := fn(index.Entry{Index: at, Leaf: "sha256:00", Record: r}); err != nil {
			return err
		}
	}
}

// view answers like an index that holds the book's records.
type view struct{ *book }

func (v view) all(f index.Filter, limit int, cursor string) (index.Page[index.Step], error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := index.Page[index.Step]{Items: []index.Step{}}
	from := len(v.records) - 1
	if cursor != "" {
		if _, err := fmt.Sscanf(cursor, "c%d", &from); err != nil {
			return out, fmt.Errorf("%w: cursor", index.ErrQuery)
		}
	}
	for i := from; i >= 0; i-- {
		r := v.records[i]
		if f.Kind != "" && r.Kind != f.Kind || f.Session != "" && r.Session != f.Session {
			continue
		}
		if len(out.Items) == limit {
			out.Next = fmt.Sprintf("c%d", i)
			break
		}
		out.Items = append(out.Items, index.Step{Index: uint64(i), Leaf: "sha256:00", Kind: r.Kind, Session: r.Session, Agent: r.Agent,
			Status: r.Status, Codes: r.Codes, TimeMs: r.TimeMs, Rules: r.Rules})
	}
	return out, nil
}

func (v view) Sessions(_ context.Context, _ index.Filter, _ int, _ string) (index.Page[index.Session], error) {
	return index.Page[index.Session]{Items: []index.Session{{ID: "s1", Agent: "bot", Door: action.DoorAPI}}}, nil
}

func (v view) Session(_ context.Context, id string) (index.Session, error) {
	if id != "s1" {
		return index.Session{}, index.ErrNotFound
	}
	return index.Session{ID: "s1", Agent: "bot", Door: action.DoorAPI}, nil
}

func (v view) Steps(_ context.Context, session string, limit int, cursor string) (index.Page[index.Step], error) {
	return v.all(index.Filter{Session: session}, limit, cursor)
}

func (v view) Records(_ context.Context, f index.Filter, limit int, cursor string) (index.Page[index.Step], error) {
	return v.all(f, limit, cursor)
}

func (v view) Search(_ context.Context, text string, f index.Filter, limit int, cursor string) (index.Page[index.Step], error) {
	if strings.Trim(text, "-* ") == "" {
		return index.Page[index.Step]{}, fmt.Errorf("%w: no word", index.ErrQuery)
	}
	return v.all(f, limit, cursor)
}

func (v view) Alerts(_ context.Context, f index.Filter, limit int, cursor string) (index.Page[index.Step], error) {
	f.Kind = action.KindAlert
	return v.all(f, limit, cursor)
}

// oneAlert is a ledger with one alert, at index 7.
type oneAlert struct{}

func (oneAlert) Alert(_ context.Context, index uint64) (monitor.Alert, error) {
	if index != 7 {
		return monitor.Alert{}, ErrNoAlert
	}
	return monitor.Alert{Summary: "odd", Alerts: []string{monitor.Unusual}, Reasons: []string{}, Agent: "bot", Count: 1}, nil
}

func (o oneAlert) Acknowledge(ctx context.Context, index uint64, _ string, _ bool, _ string) error {
	_, err := o.Alert(ctx, index)
	return err
}

// critic is reviews with one of each.
type critic struct{}

func (critic) Wrong(_ context.Context, _ *gateway.Caller, index uint64, _ Wrong) (Called, error) {
	if index != 7 {
		return Called{}, ErrNotDecided
	}
	return Called{Index: 9, Record: 7, Rules: []string{"p.r"}, Case: "  - name: x\n"}, nil
}

func (critic) List(context.Context, int64, int) ([]Review, error) {
	return []Review{{Index: 9, Record: 7, By: "ann", Reason: "ours", Rules: []string{"p.r"}, Verdict: action.Deny, Expect: action.Allow, Case: "x"}}, nil
}

func (critic) Accuracy(context.Context, int64) ([]RuleAccuracy, error) {
	return []RuleAccuracy{{RuleCount: index.RuleCount{Rule: "p.r", Denied: 4}, Wrong: 1, WrongMilli: 250}}, nil
}

func (critic) Reviewers(context.Context, int64) ([]Reviewer, error) {
	return []Reviewer{{Person: "ann", Answers: 3, Approved: 2, ApproveMilli: 666}}, nil
}

func (critic) Seed(_ context.Context, _ *gateway.Caller, t Trial) (approval.View, error) {
	return approval.View{ID: "ap_x", State: approval.Pending, Title: t.Tool, Needs: []approval.Need{}, Answers: []approval.Given{}, Equal: []string{}}, nil
}

func (critic) Runs(context.Context, *gateway.Caller, int64) ([]Run, error) {
	return []Run{{Agent: "bot", Tool: "mail/send", Effect: "send", Approvals: 6}}, nil
}

func (critic) Propose(_ context.Context, _ *gateway.Caller, p Proposal) (Proposed, error) {
	if p.Tool != "mail/send" {
		return Proposed{}, fmt.Errorf("%w: secret data goes to a sink", policy.ErrStanding)
	}
	return Proposed{Standing: policy.Standing{Agent: p.Agent, Tool: p.Tool, Asks: []string{"p.r"}}, Files: map[string]string{"a.rego": "x"}, Else: []Admitted{{Index: 3, Was: action.Ask}}}, nil
}

// plank is a workbench with one of each.
type plank struct{}

func (plank) Activity(context.Context, int, string) (index.Page[Activity], error) {
	return index.Page[Activity]{Items: []Activity{{index.Agent{ID: "bot", Sessions: 1}, "enforce"}}}, nil
}

func (plank) Destinations(context.Context, int64) ([]index.Destination, error) {
	return []index.Destination{{Server: "mail", Agent: "bot", Effect: action.EffectSend, Tools: 1}}, nil
}

func (plank) Similar(_ context.Context, v approval.View, _ string) (Similar, error) {
	return Similar{Items: []index.Step{}, Last: &LastCall{Agent: v.Agent, Arguments: []string{"{}"}}}, nil
}

func (plank) Replay(_ context.Context, _ *gateway.Caller, session string) (Replayed, error) {
	if session != "s1" {
		return Replayed{}, index.ErrNotFound
	}
	return Replayed{Counts: map[index.Answer]int{index.Same: 1}, Items: []Redecided{{Answer: index.Same, Differences: []string{}}}}, nil
}

func (plank) Difference(_ context.Context, _ *gateway.Caller, d Draft) (Difference, error) {
	if d.Rules == "x" {
		return Difference{}, fmt.Errorf("%w: no Rego", ErrTrial)
	}
	return Difference{Decisions: 4, Changed: 1, Items: []Changed{{From: "ask", To: "allow", Phase: "before", Server: "mail", Tool: "send", Rules: "draft.r", N: 1, Example: 3}}}, nil
}

func (plank) Try(_ context.Context, t Trial) (Tried, error) {
	if t.Server == "none" {
		return Tried{}, fmt.Errorf("%w: no such server", ErrTrial)
	}
	v := Verdict{Verdict: action.Ask, Mode: action.Enforce, Rules: []FiredRule{{ID: "r", Verdict: action.Ask, Needs: action.RankOperator}},
		Obligations: []string{}, Errors: []string{}}
	return Tried{Again: v, Base: &v, Input: []byte(`{"phase":"before"}`)}, nil
}

func (plank) Head() LedgerHead { return LedgerHead{Vkey: "log+0+A", Origin: "log", Size: 1} }

func (plank) Disclose(_ context.Context, at uint64, part, _, _ string) (Disclosed, error) {
	switch at {
	case 4:
		return Disclosed{}, ErrNoEntry
	case 5:
		return Disclosed{}, ErrErased
	}
	return Disclosed{Index: at, Part: part, Text: "{}", Bytes: 2}, nil
}

// tokens reads bearer tokens; the header X-Peer plays the uid that a unix socket would prove.
type tokens struct{ *identity.Tokens }

func (a tokens) Authenticate(ctx context.Context, r *http.Request) (*gateway.Caller, error) {
	secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, gateway.ErrUnauthenticated
	}
	p, err := a.Tokens.Authenticate(ctx, secret)
	if err != nil {
		return nil, gateway.ErrUnauthenticated
	}
	return &gateway.Caller{Subject: p.Subject, Name: p.Name}, nil
}

// bench is a listener over real columns in memory.
type bench struct {
	*httptest.Server
	t       testing.TB
	cfg     Config
	desk    *approval.Desk
	ids     *identity.Tokens
	signers *identity.Signers
	book    *book
	secret  map[string]string // by scope, "" for none, "operator" for all that people may hold
	bad     []string          // codes of refused attempts
	mu      sync.Mutex
	later   atomic.Int64 // nanoseconds that logins' clock is ahead
}

func (b *bench) now() time.Time { return time.Now().Add(time.Duration(b.later.Load())) }

func start(t testing.TB, change ...func(*Config)) *bench {
	t.Helper()
	ctx := context.Background()
	b := &bench{t: t, book: &book{changed: make(chan struct{})}, secret: map[string]string{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	st, key := memory.Open(memory.Config{}), bytes.Repeat([]byte{7}, 32)
	var err error
	b.ids, err = identity.Open(ctx, identity.Config{Store: st, Key: key, Record: b.book.append, Past: b.book.past, Tenants: []string{"default", "other"}})
	must(err)
	sw, err := identity.OpenSwitch(ctx, identity.SwitchConfig{Store: st, Key: key, Record: b.book.append, Past: b.book.past, Tokens: b.ids,
		Factor: func() bool { return b.signers.Any() }})
	must(err)
	b.signers, err = identity.OpenSigners(ctx, identity.SignersConfig{Store: st, Key: key, Record: b.book.append, Past: b.book.past,
		Origins: []string{"http://localhost:7118"}})
	must(err)
	b.desk, err = approval.Open(ctx, approval.Config{Store: st, Record: b.book.append, Past: b.book.past, Prove: b.prove})
	must(err)
	reg, err := tools.Open(ctx, tools.Config{Store: st, Record: b.book.append})
	must(err)
	_, err = b.ids.CreateAgent(ctx, identity.AgentSpec{ID: "bot", By: "test"})
	must(err)
	everything := []action.Scope{action.ScopeViewer, action.ScopeApprover, action.ScopeAuthor, action.ScopePolicyApprover,
		action.ScopeAuditor, action.ScopeAdmin, action.ScopeToolAdmin, action.ScopeTenantData}
	for _, s := range everything {
		b.token(string(s), identity.TokenSpec{Name: string(s), Scopes: []action.Scope{s}})
	}
	b.token("operator", identity.TokenSpec{Name: "olga", Scopes: everything})
	b.token("second", identity.TokenSpec{Name: "otto", Scopes: everything})
	b.token("stranger", identity.TokenSpec{Name: "eve", Tenant: "other", Scopes: everything})
	b.token("agent", identity.TokenSpec{Name: "bot", Agent: "bot", Scopes: []action.Scope{action.ScopeAgent}})
	b.token("cheat", identity.TokenSpec{Name: "cheat", Agent: "bot", Scopes: []action.Scope{action.ScopeApprover}})
	file := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "file "+r.URL.Path) })
	b.cfg = Config{Approvals: b.desk, Signers: b.signers, Identities: b.ids, Switch: sw, Tools: reg, Index: view{b.book}, Follow: b.book.Follow,
		Records: &cabinet{of: map[string]TenantRecord{}}, Facts: forgetful{}, Log: file, Metrics: file, Alerts: oneAlert{}, Reviews: critic{}, Workbench: plank{},
		Shown: func(context.Context, *gateway.Caller, string, []index.PartAt) error { return nil },
		Policies: func(context.Context) ([]Policy, error) {
			return []Policy{{Name: "baseline", Digest: "sha256:11", Sequence: 1, Mode: action.Enforce}}, nil
		},
		Actor: func(c *gateway.Caller) approval.Actor { // as over the socket
			a := ActorOf(c)
			if a.ID == "olga" || a.ID == "otto" {
				a.Channel, a.UID, a.HasUID = action.RankOperator, 2000, true
			}
			return a
		},
	}
	b.cfg.Sessions, err = NewSessions(SessionsConfig{Now: b.now, Live: func(c *gateway.Caller) bool { return c.Peer != nil || !b.ids.Revoked(c.Subject.Channel.CredID) }})
	must(err)
	for _, c := range change {
		c(&b.cfg)
	}
	b.cfg.Gate, err = gateway.New(gateway.Config{Auth: b.cfg.Sessions.Authenticator(tokens{b.ids}), SameOrigin: true, Log: slog.New(slog.DiscardHandler),
		Malformed: func(_ context.Context, _ action.Door, _, code string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.bad = append(b.bad, code)
		}})
	must(err)
	h, err := New(b.cfg)
	must(err)
	b.Server = httptest.NewServer(Console(h))
	t.Cleanup(b.Close)
	return b
}

// prove takes a passkey's signature as one, and an SSH key's as a login.
func (b *bench) prove(ctx context.Context, person string, challenge []byte, evidence string) (action.Rank, error) {
	e, err := factor.Read([]byte(evidence))
	if err != nil {
		return action.RankUnknown, err
	}
	k, err := b.signers.Check(ctx, person, challenge, &e)
	if err != nil || k.Key.Kind != factor.Passkey {
		return action.RankOperator, err
	}
	return action.RankPasskey, nil
}

func (b *bench) token(as string, s identity.TokenSpec) {
	b.t.Helper()
	secret, _, err := b.ids.Issue(context.Background(), s)
	if err != nil {
		b.t.Fatal(err)
	}
	b.secret[as] = secret
}

// call sends one request; header holds names and values in turn.
func (b *bench) call(as, method, target, body string, header ...string) (int, string, *http.Response) {
	b.t.Helper()
	req, err := http.NewRequest(method, b.URL+target, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if as != "" {
		req.Header.Set("Authorization", "Bearer "+b.secret[as])
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for pair := range slices.Chunk(header, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	res, err := b.Client().Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, string(answer), res
}

// want calls and checks the status.
func (b *bench) want(status int, as, method, target, body string, header ...string) string {
	b.t.Helper()
	got, answer, _ := b.call(as, method, target, body, header...)
	if got != status {
		b.t.Fatalf("%s %s as %q: %d %s, want %d", method, target, as, got, answer, status)
	}
	return answer
}

// ask opens an approval of agent bot in session s1 and returns its id.
func (b *bench) ask(id string, quorum int) string {
	b.t.Helper()
	q := action.NewQuery(action.Before)
	q.Subject.ID, q.Context.Session.ID, q.Resource.ID = "bot", "s1", "mail/send"
	ans, err := b.desk.Ask(context.Background(), enforce.Request{Action: id, Query: q, Binding: id, Bytes: []byte(`{"to":"<b>x</b>"}`),
		Decision: action.Decision{Verdict: action.Ask, Matches: []action.Match{{ID: "r", Verdict: action.Ask,
			Approver: action.Approver{Quorum: quorum}}}}, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		b.t.Fatal(err)
	}
	return ans.Ticket
}

// forgetful forgets one destination of whoever is named.
type forgetful struct{}

func (forgetful) Forget(context.Context, string, string, string, bool, string) (int, error) {
	return 1, nil
}

func (forgetful) Canary(_, name string) (string, error) {
	if name == "" {
		return "", errors.New("a canary needs a name")
	}
	return strings.Repeat("a", 32), nil
}
