// SPDX-License-Identifier: Apache-2.0

package sallyport_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/jose"
	"github.com/sallyport/sallyport/internal/attester"
)

// realm is an issuer with its key set in a file.
type realm struct {
	key  *rsa.PrivateKey
	keys string
}

func newRealm(t *testing.T) *realm {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	j, err := jose.KeyOf(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	data, err := action.Canonical(map[string]any{"keys": []*jose.JWK{j}})
	if err != nil {
		t.Fatal(err)
	}
	r := &realm{k, filepath.Join(t.TempDir(), "keys.json")}
	if err := os.WriteFile(r.keys, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *realm) token(t *testing.T, claims map[string]any) string {
	t.Helper()
	now := time.Now()
	all := map[string]any{"aud": "sallyport", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	for k, v := range claims {
		all[k] = v
	}
	text, err := jose.Signer{Key: r.key}.Sign("JWT", all, false)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (r *realm) person(t *testing.T, id string, groups ...string) string {
	t.Helper()
	c := map[string]any{"iss": "https://idp.example", "sub": id}
	if groups != nil {
		c["groups"] = groups
	}
	return r.token(t, c)
}

func (r *realm) pod(t *testing.T, ns, account string) string {
	t.Helper()
	return r.token(t, map[string]any{"iss": "https://cluster.example", "sub": "system:serviceaccount:" + ns + ":" + account,
		"kubernetes.io": map[string]any{"namespace": ns, "serviceaccount": map[string]string{"name": account}, "pod": map[string]string{"uid": "p1"}}})
}

func (r *realm) configure(c *sallyport.Config) {
	c.Federation.Issuers = []sallyport.FederationIssuer{
		{Issuer: "https://idp.example", Audience: "sallyport", Keys: r.keys},
		{Issuer: "https://cluster.example", Audience: "sallyport", Keys: r.keys, Workload: true,
			Accounts: []sallyport.FederationAccount{{Namespace: "pay", Account: "biller", Agent: "payer"}, {Namespace: "pay", Account: "ghost", Agent: "nobody"}}},
	}
}

// openDrive is an owner under the baseline with documents behind it, and rights of users from source.
func openDrive(t *testing.T, r *realm, source string, change func(*sallyport.Config)) *bank {
	t.Helper()
	b := &bank{token: map[string]string{}}
	b.house = open(t, func(c *sallyport.Config) {
		c.Gateway.Listen = "127.0.0.1:0"
		c.Policy.Dir = bundle(t, "deny contains {\"id\": \"rights\", \"code\": \"rights\", \"reason\": \"not the user's\", \"severity\": \"high\"} if {\n\tinput.subject.identity.rights.source != \"\"\n\tinput.subject.identity.rights.permitted != \"yes\"\n}\n")
		r.configure(c)
		c.Rights.Rules = []sallyport.RightsRule{
			{Server: "drive", Tool: "read", Source: source, Relation: "viewer", Object: "document:{/id}"},
			{Server: "drive", Tool: "search", Source: source, Relation: "viewer", Results: "document:{/items/*/id}"},
		}
		if change != nil {
			change(c)
		}
	})
	b.server("drive", `{"name":"read","inputSchema":{"type":"object","properties":{"id":{"type":"string"}}}}`,
		`{"name":"search","inputSchema":{"type":"object","properties":{"words":{"type":"string"}}}}`)
	b.serve()
	for _, id := range []string{"payer", "helper"} {
		if _, err := b.Tokens.CreateAgent(t.Context(), identity.AgentSpec{ID: id, By: "test"}); err != nil {
			t.Fatal(err)
		}
		var err error
		if b.token[id], _, err = b.Tokens.Issue(t.Context(), identity.TokenSpec{Agent: id, Scopes: []action.Scope{action.ScopeAgent, action.ScopeHost}, By: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// holder signs requests with a key and a key-bound token.
type holder struct {
	key   jose.Signer
	token string
	url   string
}

func newHolder(t *testing.T, url string) *holder {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &holder{key: jose.Signer{Key: k}, url: url}
}

func (h *holder) print(t *testing.T) string {
	t.Helper()
	k, err := jose.KeyOf(h.key.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	p, err := k.Thumbprint()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (h *holder) RoundTrip(r *http.Request) (*http.Response, error) {
	id, err := attester.Secret()
	if err != nil {
		return nil, err
	}
	claims := map[string]any{"jti": id, "htm": r.Method, "htu": h.url + r.URL.Path, "iat": time.Now().Unix()}
	if h.token != "" {
		claims["ath"] = hashOf(h.token)
		r.Header.Set("Authorization", "DPoP "+h.token)
	}
	proof, err := h.key.Sign("dpop+jwt", claims, true)
	if err != nil {
		return nil, err
	}
	r.Header.Set("DPoP", proof)
	return http.DefaultTransport.RoundTrip(r)
}

// exchange asks for a token; it returns the status, and the token where there is one.
func (b *bank) exchange(rt http.RoundTripper, authorization string, form url.Values) (int, string) {
	b.t.Helper()
	form.Set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
	if form.Has("subject_token") {
		form.Set("subject_token_type", "urn:ietf:params:oauth:token-type:id_token")
	}
	r, err := http.NewRequest(http.MethodPost, b.url+"/v1/token", strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	resp, err := rt.RoundTrip(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	var a sallyport.ExchangeAnswer
	_ = json.Unmarshal(data, &a)
	return resp.StatusCode, a.Token
}

// call does a whole call over HTTP: it returns the verdict before, and the one on the result.
func (b *bank) call(rt http.RoundTripper, id, tool, args, result string) (before, after string) {
	b.t.Helper()
	send := func(path, body string) (out struct {
		ID       string `json:"id"`
		Decision struct {
			Effect string `json:"effect"`
		} `json:"decision"`
	}) {
		r, err := http.NewRequest(http.MethodPost, b.url+path, strings.NewReader(body))
		if err != nil {
			b.t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		resp, err := rt.RoundTrip(r)
		if err != nil {
			b.t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		data, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			b.t.Fatalf("%s: %d %s %v", path, resp.StatusCode, data, err)
		}
		if err := json.Unmarshal(data, &out); err != nil {
			b.t.Fatal(err)
		}
		return out
	}
	a := send("/v1/actions", `{"call_id":"`+id+`","tool":{"server":"drive","name":"`+tool+`"},"arguments":`+args+`}`)
	if a.Decision.Effect != "allow" {
		return a.Decision.Effect, ""
	}
	o := send("/v1/actions/"+a.ID+"/outcome", `{"status":"done","result":`+result+`}`)
	return a.Decision.Effect, o.Decision.Effect
}

// TestTheUsersOwnRightsBindTheAgent has three users, one drive and an agent that may do everything.
func TestTheUsersOwnRightsBindTheAgent(t *testing.T) {
	r := newRealm(t)
	acl := filepath.Join(t.TempDir(), "acl.json")
	lists := `{"version":"7","made_ms":1700000000000,"objects":{"document:plan":{"viewer":{"users":["ann"],"groups":["board"]}},"document:menu":{"viewer":{"users":["ann","bob"],"groups":["staff"]}}}}`
	if err := os.WriteFile(acl, []byte(lists), 0o600); err != nil {
		t.Fatal(err)
	}
	var asked []string // guarded by mu
	var mu sync.Mutex
	fga := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { // OpenFGA's check, over the same lists
		type key struct {
			User     string `json:"user"`
			Relation string `json:"relation"`
			Object   string `json:"object"`
		}
		var q struct {
			Key    key `json:"tuple_key"`
			Checks []struct {
				Key key    `json:"tuple_key"`
				ID  string `json:"correlation_id"`
			} `json:"checks"`
			Model string `json:"authorization_model_id"`
			How   string `json:"consistency"`
		}
		data, err := io.ReadAll(req.Body)
		if err != nil || json.Unmarshal(data, &q) != nil || q.Model != "M" || q.How != "HIGHER_CONSISTENCY" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		answer := func(k key) string {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, k.User+" "+k.Relation+" "+k.Object)
			switch {
			case k.Object == "document:menu", k.Object == "document:plan" && k.User == "user:ann":
				return `{"allowed":true}`
			case k.Object == "document:plan":
				return `{"allowed":false}`
			}
			return `{"error":{"message":"not found"}}`
		}
		switch req.URL.Path {
		case "/stores/S/check":
			_, _ = io.WriteString(w, answer(q.Key))
		case "/stores/S/batch-check":
			var all []string
			for _, c := range q.Checks {
				all = append(all, fmt.Sprintf("%q:%s", c.ID, answer(c.Key)))
			}
			_, _ = io.WriteString(w, `{"result":{`+strings.Join(all, ",")+`}}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(fga.Close)
	for _, source := range []string{"acl", "openfga"} {
		t.Run(source, func(t *testing.T) {
			b := openDrive(t, r, source, func(c *sallyport.Config) {
				c.Rights.ACL = acl
				c.Rights.OpenFGA = sallyport.OpenFGAConfig{URL: fga.URL, Store: "S", Model: "M"}
			})
			as := func(user string, groups ...string) *holder {
				h := newHolder(t, b.url)
				code, token := b.exchange(h, "Bearer "+b.token["payer"], url.Values{"subject_token": {r.person(t, user, groups...)}})
				if code != 200 {
					t.Fatal(code)
				}
				h.token = token
				return h
			}
			ann, bob := as("ann", "board"), as("bob", "staff")
			for _, c := range []struct {
				name          string
				rt            http.RoundTripper
				tool, args    string
				result        string
				before, after string
			}{
				{"her own document", ann, "read", `{"id":"plan"}`, `{}`, "allow", "allow"},
				{"a document that is not his", bob, "read", `{"id":"plan"}`, ``, "deny", ""},
				{"his own document", bob, "read", `{"id":"menu"}`, `{}`, "allow", "allow"},
				{"a document that nobody knows", ann, "read", `{"id":"lost"}`, ``, "deny", ""},
				{"a call that names no document", ann, "read", `{}`, ``, "deny", ""},
				{"a document of another name than text", ann, "read", `{"id":["plan"]}`, ``, "deny", ""},
				{"the agent without a user", withToken(b.token["payer"]), "read", `{"id":"menu"}`, ``, "deny", ""},
				{"a search that finds hers", ann, "search", `{"words":"x"}`, `{"items":[{"id":"plan"},{"id":"menu"}]}`, "allow", "allow"},
				{"a search whose index is stale", bob, "search", `{"words":"x"}`, `{"items":[{"id":"menu"},{"id":"plan"}]}`, "allow", "deny"},
				{"a search that finds nothing", bob, "search", `{"words":"x"}`, `{"items":[]}`, "allow", "allow"},
				{"a result that cannot be looked through", bob, "search", `{"words":"x"}`, `{"found":[{"id":"plan"}]}`, "allow", "deny"},
			} {
				before, after := b.call(c.rt, source+c.name, c.tool, c.args, orNull(c.result))
				if before != c.before || after != c.after {
					t.Errorf("%s: %s then %q, want %s then %q", c.name, before, after, c.before, c.after)
				}
			}
			// Each answer says of which state it is, and how old that is.
			_, inputs := b.records(action.KindDecision, action.PartInputBefore)
			var q action.Query
			if err := action.Read([]byte(inputs[0]), &q, action.Limits{}); err != nil {
				t.Fatal(err)
			}
			if got := q.Subject.Identity.Rights; got.Source != source || got.Version == "" || source == "acl" && (got.Version != "7" || got.AgeS < 1) {
				t.Errorf("the answer on record: %+v", got)
			}
		})
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Contains(asked, "user:bob viewer document:plan") {
		t.Errorf("the server was asked %q", asked)
	}
}

func orNull(s string) string {
	if s == "" {
		return "null"
	}
	return s
}

// TestGroupsOfATokenAreWholeOrUnknown uses groups as the source.
func TestGroupsOfATokenAreWholeOrUnknown(t *testing.T) {
	r := newRealm(t)
	b := openDrive(t, r, "groups", func(c *sallyport.Config) {
		c.Rights.Groups = []sallyport.RightsGroup{{Relation: "viewer", Groups: []string{"board"}}}
	})
	for _, c := range []struct {
		name  string
		token string
		want  string
	}{
		{"a member", r.person(t, "ann", "staff", "board"), "allow"},
		{"no member", r.person(t, "bob", "staff"), "deny"},
		{"a token without groups", r.person(t, "cid"), "deny"},
		{"groups that are too many for the token", r.token(t, map[string]any{"iss": "https://idp.example", "sub": "dan", "groups": []string{"board"}, "hasgroups": true}), "deny"},
	} {
		h := newHolder(t, b.url)
		code, token := b.exchange(h, "Bearer "+b.token["payer"], url.Values{"subject_token": {c.token}})
		if code != 200 {
			t.Fatal(c.name, code)
		}
		h.token = token
		if got, _ := b.call(h, c.name, "read", `{"id":"x"}`, `{}`); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestServiceAccountsAndChains goes from a cluster's token over a user's to another agent, and takes it all back.
func TestServiceAccountsAndChains(t *testing.T) {
	r := newRealm(t)
	b := openDrive(t, r, "acl", func(c *sallyport.Config) {
		c.Rights.Rules = nil
	})
	pod := "Bearer " + r.pod(t, "pay", "biller")
	plain := withHeader(pod)
	if got, _ := b.call(plain, "pod", "read", `{"id":"x"}`, `{}`); got != "allow" {
		t.Errorf("a service account: %s", got)
	}
	for name, token := range map[string]string{"an account without an agent": r.pod(t, "pay", "other"), "an agent without a record": r.pod(t, "pay", "ghost"),
		"a person in the place of a workload": r.person(t, "ann")} {
		if code, _ := b.exchange(http.DefaultTransport, "Bearer "+token, url.Values{}); code != 401 {
			t.Errorf("%s: %d", name, code)
		}
	}
	h := newHolder(t, b.url)
	for name, form := range map[string]url.Values{
		"a token of nobody":        {"subject_token": {"x.y.z"}},
		"a workload as a user":     {"subject_token": {r.pod(t, "pay", "biller")}},
		"another scope":            {"subject_token": {r.person(t, "ann")}, "scope": {"admin"}},
		"an unknown member":        {"actor_token": {"x"}},
		"a delegate without a key": {"delegate": {"helper"}},
	} {
		if code, _ := b.exchange(h, pod, form); code < 400 {
			t.Errorf("%s: %d", name, code)
		}
	}
	code, token := b.exchange(h, pod, url.Values{"subject_token": {r.person(t, "ann", "staff")}})
	if code != 200 {
		t.Fatal(code)
	}
	h.token = token
	helper := newHolder(t, b.url)
	if code, helper.token = b.exchange(h, "", url.Values{"delegate": {"helper"}, "delegate_jkt": {helper.print(t)}}); code != 200 {
		t.Fatal(code)
	}
	if got, _ := b.call(helper, "chain", "read", `{"id":"x"}`, `{}`); got != "allow" {
		t.Errorf("a delegate: %s", got)
	}
	thief := newHolder(t, b.url)
	thief.token = helper.token
	if code, _ := b.exchange(thief, "", url.Values{}); code != 401 {
		t.Errorf("a stolen delegation: %d", code)
	}
	_, inputs := b.records(action.KindIntent, action.PartInputBefore)
	last := inputs[len(inputs)-1]
	for _, want := range []string{`"id":"helper"`, `"delegation":[{"id":"payer"`, `"id":"ann"`, `"evidence":"exchange"`, `"verified":"yes"`} {
		if !strings.Contains(last, want) {
			t.Errorf("the record lacks %s", want)
		}
	}
	if _, err := b.Kill.Kill(t.Context(), identity.Actor{ID: "ops"}, identity.Target{Scope: identity.KillAgent, Tenant: "default", ID: "payer"}, "drill"); err != nil {
		t.Fatal(err)
	}
	if got, _ := b.call(helper, "killed", "read", `{"id":"x"}`, `{}`); got != "deny" {
		t.Errorf("the delegate of a killed agent: %s", got)
	}
}

type withHeader string

func (w withHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Authorization", string(w))
	return http.DefaultTransport.RoundTrip(r)
}

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return jose.Encode(sum[:])
}
