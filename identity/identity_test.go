// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/store"
	"github.com/sallyport/sallyport/store/memory"
)

// book is a ledger in memory.
type book struct {
	mu      sync.Mutex
	records []action.Record
	broken  bool
}

var errBroken = errors.New("disk is gone")

func (b *book) record(_ context.Context, r *action.Record) (action.Receipt, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken {
		return action.Receipt{}, errBroken
	}
	b.records = append(b.records, *r)
	return action.Receipt{Index: uint64(len(b.records) - 1)}, nil
}

func (b *book) past(_ context.Context, fn func(r *action.Record) error) error {
	for i := range b.records {
		if err := fn(&b.records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (b *book) codes() string {
	var out []string
	for _, r := range b.records {
		out = append(out, r.Codes...)
	}
	return strings.Join(out, " ")
}

// desk is an identity column with its surroundings.
type desk struct {
	*Tokens
	book  *book
	store store.Store
	now   time.Time
}

func (d *desk) config() Config {
	return Config{Store: d.store, Key: bytes.Repeat([]byte("k"), 32), Record: d.book.record,
		Now: func() time.Time { return d.now }, PeerUIDs: []int64{1000},
		UserName: func(uid int64) (string, error) { return fmt.Sprintf("user%d", uid), nil }}
}

func newDesk(t testing.TB) *desk {
	d := &desk{book: &book{}, store: memory.Open(memory.Config{}), now: time.UnixMilli(1_750_000_000_000)}
	d.open(t, d.config())
	if _, err := d.CreateAgent(t.Context(), AgentSpec{ID: "clerk", Owner: "ada"}); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *desk) open(t testing.TB, c Config) {
	t.Helper()
	tokens, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	d.Tokens = tokens
}

func (d *desk) issue(t testing.TB, s TokenSpec) (string, Token) {
	t.Helper()
	secret, tok, err := d.Issue(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return secret, tok
}

func agentSpec() TokenSpec {
	return TokenSpec{Name: "ci", Agent: "clerk", User: "ada", By: "root", Scopes: []action.Scope{action.ScopeHost, action.ScopeAgent}}
}

func TestTokenProvesItsSubject(t *testing.T) {
	d := newDesk(t)
	secret, tok := d.issue(t, agentSpec())
	p, err := d.Authenticate(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	s := p.Subject
	if s.ID != "clerk" || s.Tenant != "default" || s.Channel.CredID != tok.ID || s.Channel.Credential != action.CredentialToken || p.Name != "ci" {
		t.Errorf("subject %+v", s)
	}
	if s.User.ID != "ada" || s.User.Verified != action.No || s.User.Evidence != "asserted" {
		t.Errorf("a bearer token proves no person: %+v", s.User)
	}
	q := action.NewQuery(action.Before)
	q.Subject = s
	if err := q.Validate(); err != nil {
		t.Error(err)
	}
}

func TestTokenThatIsNotLiveIsRefused(t *testing.T) {
	d := newDesk(t)
	secret, tok := d.issue(t, agentSpec())
	other, _ := d.issue(t, agentSpec())
	flip := func(at int) string {
		b := []byte(secret)
		b[at] = 'a' + (b[at]-'a'+1)%26
		return string(b)
	}
	for name, bad := range map[string]string{
		"empty": "", "a word": "admin", "a wrong random part": flip(25), "a wrong id": flip(4), "a wrong checksum": flip(len(secret) - 1),
		"upper case": strings.ToUpper(secret), "a space behind": secret + " ", "bearer before": "Bearer " + secret, "cut short": secret[:40],
		"the id of one with the rest of another": secret[:20] + other[20:], "very long": strings.Repeat(secret, 10_000), "a zero byte": secret[:30] + "\x00" + secret[31:],
	} {
		if _, err := d.Authenticate(t.Context(), bad); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: %v, want ErrUnauthenticated", name, err)
		}
	}
	forged := secret[:20] + strings.Repeat("a", randomChars)
	if _, err := d.Authenticate(t.Context(), forged+checksum(forged)); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("a guessed secret with a right checksum: %v", err)
	}
	d.now = d.now.Add(DefaultTTL - time.Millisecond)
	if _, err := d.Authenticate(t.Context(), secret); err != nil {
		t.Errorf("a millisecond before it expires: %v", err)
	}
	d.now = d.now.Add(time.Millisecond)
	if _, err := d.Authenticate(t.Context(), secret); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("expired: %v, want ErrUnauthenticated", err)
	}
	if !d.Revoked(tok.ID) {
		t.Error("an expired token still counts for open sessions")
	}
}

func TestTokenSecretIsKeptNowhere(t *testing.T) {
	d := newDesk(t)
	secret, _ := d.issue(t, agentSpec())
	random := secret[20:72]
	entries, err := d.store.List(t.Context(), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.Contains(string(e.Value), random) {
			t.Errorf("the store holds the secret under %q", e.Key)
		}
	}
	for _, r := range d.book.records {
		if strings.Contains(fmt.Sprintf("%+v%s", r, r.Part(action.PartDetail)), random) {
			t.Errorf("the ledger holds the secret: %v", r.Codes)
		}
	}
}

func TestIssueRefusesWhatMakesNoSense(t *testing.T) {
	d := newDesk(t)
	for name, change := range map[string]func(s *TokenSpec){
		"no scopes":                  func(s *TokenSpec) { s.Scopes = nil },
		"an unknown scope":           func(s *TokenSpec) { s.Scopes = []action.Scope{"root"} },
		"the word unknown":           func(s *TokenSpec) { s.Scopes = []action.Scope{"unknown"} },
		"the scope agent, no agent":  func(s *TokenSpec) { s.Agent = "" },
		"an agent nobody recorded":   func(s *TokenSpec) { s.Agent = "ghost" },
		"an agent who approves":      func(s *TokenSpec) { s.Scopes = append(s.Scopes, action.ScopeApprover) },
		"an agent who administrates": func(s *TokenSpec) { s.Scopes = append(s.Scopes, action.ScopeAdmin) },
		"a negative life":            func(s *TokenSpec) { s.TTL = -1 },
		"a life of ten years":        func(s *TokenSpec) { s.TTL = 10 * MaxTTL },
		"a tenant that is not there": func(s *TokenSpec) { s.Tenant = "other" },
		"a line break in the name":   func(s *TokenSpec) { s.Name = "a\nb" },
		"a user of a kilobyte":       func(s *TokenSpec) { s.User = strings.Repeat("u", 1024) },
	} {
		s := agentSpec()
		change(&s)
		if secret, _, err := d.Issue(t.Context(), s); err == nil || secret != "" {
			t.Errorf("%s: accepted", name)
		}
	}
	if n := len(d.List("default", "", 0)); n != 0 {
		t.Errorf("%d tokens stand after refusals", n)
	}
}

func TestTokenNeverWorksUnrecorded(t *testing.T) {
	d := newDesk(t)
	secret, tok := d.issue(t, agentSpec())
	d.book.broken = true
	if s, _, err := d.Issue(t.Context(), agentSpec()); !errors.Is(err, errBroken) || s != "" {
		t.Errorf("issue without a ledger: %q, %v", s, err)
	}
	if _, err := d.CreateAgent(t.Context(), AgentSpec{ID: "x"}); !errors.Is(err, errBroken) {
		t.Errorf("agent without a ledger: %v", err)
	}
	if _, err := d.Agent("default", "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("an unrecorded agent exists: %v", err)
	}
	if _, err := d.Revoke(t.Context(), tok.ID, "root"); !errors.Is(err, errBroken) {
		t.Errorf("revoke without a ledger: %v, want its error", err)
	}
	if _, err := d.Authenticate(t.Context(), secret); !errors.Is(err, ErrUnauthenticated) {
		t.Error("a token withdrawn without a ledger still works")
	}
}

func TestTokensSurviveReopening(t *testing.T) {
	d := newDesk(t)
	live, _ := d.issue(t, agentSpec())
	gone, tok := d.issue(t, agentSpec())
	if _, err := d.Revoke(t.Context(), tok.ID, "root"); err != nil {
		t.Fatal(err)
	}
	d.open(t, d.config())
	if _, err := d.Authenticate(t.Context(), live); err != nil {
		t.Errorf("live: %v", err)
	}
	if _, err := d.Authenticate(t.Context(), gone); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("withdrawn: %v", err)
	}
	if got := d.book.codes(); got != "agent.created agent.created token.issued token.issued token.revoked" {
		t.Errorf("records: %s", got)
	}
	if all := d.List("default", "", 0); len(all) != 2 || len(d.List("default", all[0].ID, 1)) != 1 {
		t.Errorf("list: %+v", all)
	}
}

func TestStoreCannotMakeAuthority(t *testing.T) {
	edit := func(t *testing.T, d *desk, key string, change func(v string) string) {
		e, err := d.store.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.store.Put(t.Context(), key, []byte(change(string(e.Value))), e.Revision); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("a widened row stops the start", func(t *testing.T) {
		d := newDesk(t)
		_, tok := d.issue(t, agentSpec())
		edit(t, d, tokenKey("default", tok.ID), func(v string) string { return strings.Replace(v, `"host"`, `"admin"`, 1) })
		if _, err := Open(t.Context(), d.config()); err == nil || !strings.Contains(err.Error(), "MAC") {
			t.Errorf("opened: %v", err)
		}
	})
	t.Run("a row moved to another key stops the start", func(t *testing.T) {
		d := newDesk(t)
		_, a := d.issue(t, agentSpec())
		_, b := d.issue(t, agentSpec())
		e, _ := d.store.Get(t.Context(), tokenKey("default", a.ID))
		edit(t, d, tokenKey("default", b.ID), func(string) string { return string(e.Value) })
		if _, err := Open(t.Context(), d.config()); err == nil {
			t.Error("opened")
		}
	})
	t.Run("an older row does not undo a withdrawal the ledger knows", func(t *testing.T) {
		d := newDesk(t)
		secret, tok := d.issue(t, agentSpec())
		old, _ := d.store.Get(t.Context(), tokenKey("default", tok.ID))
		if _, err := d.Revoke(t.Context(), tok.ID, "root"); err != nil {
			t.Fatal(err)
		}
		edit(t, d, tokenKey("default", tok.ID), func(string) string { return string(old.Value) })
		c := d.config()
		c.Past = d.book.past
		d.open(t, c)
		if _, err := d.Authenticate(t.Context(), secret); !errors.Is(err, ErrUnauthenticated) {
			t.Error("the withdrawn token works again")
		}
	})
	t.Run("a token the ledger never saw is nobody's", func(t *testing.T) {
		d := newDesk(t)
		secret, _ := d.issue(t, agentSpec())
		known, _ := d.issue(t, agentSpec())
		d.book.records = slices.DeleteFunc(d.book.records, func(r action.Record) bool { return r.Subject == secret[3:19] })
		c := d.config()
		c.Past = d.book.past
		d.open(t, c)
		if _, err := d.Authenticate(t.Context(), secret); !errors.Is(err, ErrUnauthenticated) {
			t.Error("an unrecorded token works")
		}
		if _, err := d.Authenticate(t.Context(), known); err != nil {
			t.Errorf("a recorded token does not: %v", err)
		}
	})
}

func TestBothFindsTokensWithAgentAndHost(t *testing.T) {
	d := newDesk(t)
	_, both := d.issue(t, agentSpec())
	one := agentSpec()
	one.Scopes = []action.Scope{action.ScopeAgent}
	d.issue(t, one)
	_, gone := d.issue(t, agentSpec())
	if _, err := d.Revoke(t.Context(), gone.ID, "root"); err != nil {
		t.Fatal(err)
	}
	if got := d.Both(action.ScopeAgent, action.ScopeHost); len(got) != 1 || got[0].ID != both.ID {
		t.Errorf("got %+v, want only %s", got, both.ID)
	}
}

func TestPeerIsTheKernelsWord(t *testing.T) {
	d := newDesk(t)
	p, err := d.Peer(1000, 42)
	if err != nil {
		t.Fatal(err)
	}
	s := p.Subject
	if s.ID != "local" || s.User.ID != "user1000" || s.User.Verified != action.Yes || s.User.Evidence != "peer" ||
		s.Channel.UID != 1000 || s.Channel.PID != 42 || s.Channel.Remote != action.No {
		t.Errorf("subject %+v", s)
	}
	if !slices.Equal(s.Scopes, []action.Scope{action.ScopeAgent}) {
		t.Errorf("scopes %v: nothing but agent unless it is configured", s.Scopes)
	}
	for _, uid := range []int64{0, 1001, -1} {
		if _, err := d.Peer(uid, 42); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("uid %d: %v, want ErrUnauthenticated", uid, err)
		}
	}
}

func TestFactsAreStatedAndValid(t *testing.T) {
	d := newDesk(t)
	if _, err := d.CreateAgent(t.Context(), AgentSpec{ID: "leased", Lease: true}); err != nil {
		t.Fatal(err)
	}
	for agent, want := range map[string][2]action.Tri{"clerk": {action.Yes, action.No}, "leased": {action.Yes, action.Yes}, "ghost": {action.No, action.No}} {
		q := action.NewQuery(action.Before)
		q.Subject.ID = agent
		for _, in := range []interface {
			Inform(context.Context, *action.Query) (action.Part, error)
		}{d.Facts(), d.Unattested()} {
			p, err := in.Inform(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if err := action.ValidatePart(p); err != nil {
				t.Error(err)
			}
			p.Put(q)
		}
		id, at := q.Subject.Identity, q.Subject.Attested
		if id.State != action.StateKnown || id.Registered != want[0] || id.Rights.Permitted != action.TriUnknown ||
			at.State != action.StateKnown || at.Needed != want[1] || at.LeaseS != 0 {
			t.Errorf("%s: %+v %+v", agent, id, at)
		}
	}
}

func TestAgentIDsAreValidatedAndUniqueByCase(t *testing.T) {
	d := newDesk(t)
	for _, id := range []string{"", "-a", ".a", "a b", "a/b", "ä", "a\x00", "a\n", strings.Repeat("a", 129), "../x", "a%2fb"} {
		if _, err := d.CreateAgent(t.Context(), AgentSpec{ID: id}); !errors.Is(err, ErrMalformed) {
			t.Errorf("id %q: %v, want ErrMalformed", id, err)
		}
	}
	if a, err := d.CreateAgent(t.Context(), AgentSpec{ID: "CLERK"}); !errors.Is(err, ErrExists) || a.Owner != "ada" {
		t.Errorf("the same id in capitals: %+v, %v", a, err)
	}
	if got := d.Agents("default", "clerk", 0); len(got) != 1 || got[0].ID != "local" {
		t.Errorf("after clerk: %+v", got)
	}
}

func FuzzParse(f *testing.F) {
	_, s, err := mint(bytes.NewReader(make([]byte, 42)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s)
	f.Add("sp__")
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := parse(s)
		if ok && (len(s) != secretChars || checkID("id", id) != nil || !strings.HasPrefix(s, "sp_"+id+"_")) {
			t.Errorf("%q parsed to %q", s, id)
		}
	})
}

func FuzzUnseal(f *testing.F) {
	key := bytes.Repeat([]byte("k"), 32)
	good, err := seal(key, "default/identity/token/a", Token{ID: "a", Scopes: []action.Scope{action.ScopeViewer}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":1,"row":{},"mac":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		row, err := unseal(key, store.Entry{Key: "default/identity/token/a", Value: b})
		if err != nil {
			return
		}
		if want, _ := unseal(key, store.Entry{Key: "default/identity/token/a", Value: good}); !bytes.Equal(row, want) {
			t.Errorf("%q was taken for one of ours", b)
		}
	})
}

func TestTokensHoldUnderLoad(t *testing.T) {
	d := newDesk(t)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			secret, tok, err := d.Issue(context.Background(), agentSpec())
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := d.Authenticate(context.Background(), secret); err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				if _, err := d.Revoke(context.Background(), tok.ID, "root"); err != nil {
					t.Error(err)
				}
				if _, err := d.Authenticate(context.Background(), secret); err == nil {
					t.Error("a withdrawn token works")
				}
			}
			if _, err := d.CreateAgent(context.Background(), AgentSpec{ID: "same"}); err != nil && !errors.Is(err, ErrExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(d.Both(action.ScopeAgent, action.ScopeHost)); n != 25 {
		t.Errorf("%d live tokens, want 25", n)
	}
	if n := strings.Count(d.book.codes(), CodeAgentCreated); n != 3 {
		t.Errorf("%d agents were recorded, want 3", n)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	d := newDesk(b)
	secret, _ := d.issue(b, agentSpec())
	other := "sp_" + strings.Repeat("b", idChars) + secret[19:secretChars-sumChars]
	for name, s := range map[string]string{"live": secret, "unknown": other + checksum(other), "malformed": "sp_x"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				d.Authenticate(context.Background(), s)
			}
		})
	}
}
