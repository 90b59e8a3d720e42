// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/identity/jose"
)

// Trusted is an issuer whose signed tokens are taken as proof: of people, or of workloads of a Kubernetes cluster.
type Trusted struct {
	Issuer   string // iss, exactly
	Audience string // one of aud, exactly
	Keys     string // file or https URL of its key set; "" asks Issuer's OpenID configuration
	Workload bool   // its tokens are projected service-account tokens

	// For people.
	UserClaim   string // "" means "sub"
	GroupsClaim string // "" means "groups"

	// For MCP clients: OAuth client to the id of an agent record. Others are nobody.
	Clients map[string]string

	// For workloads: "namespace/account" to the id of an agent record. Others are nobody.
	Accounts map[string]string
	Tenant   string // "" means "default"
}

// Person is what a token proves of a user.
type Person struct {
	ID         string
	Issuer     string
	Groups     []string
	GroupsKnow action.Tri // no: the token says that there are more than it holds (overage), or holds none
	Authn      time.Time  // when the person proved who he is; zero when unknown
	Until      time.Time
}

// Workload is what a token proves of an agent.
type Workload struct {
	Agent  string
	Tenant string
	ID     string // of the credential: names token and pod, never the secret
	Until  time.Time
}

// The bounds of trust in foreign tokens.
const (
	maxForeignLife = 24 * time.Hour
	foreignSkew    = 30 * time.Second
	keysFor        = 10 * time.Minute // how long a fetched key set is used
	keysAgain      = time.Minute      // how soon an unknown key may make us fetch it again
	keysAtMost     = time.Hour        // how long a set is used that cannot be fetched again
)

// Issuers verifies foreign tokens. Its methods are safe for concurrent use.
type Issuers struct {
	list []*issuer
	now  func() time.Time
	get  func(ctx context.Context, url string) ([]byte, error)
}

type issuer struct {
	Trusted
	fetching sync.Mutex // held across a fetch, so that one is under way at most; taken before mu

	mu      sync.Mutex // guards below
	set     *jose.Set
	fetched time.Time
	tried   time.Time
}

// NewIssuers checks the list. It fetches nothing yet. now and get may be nil: the clock, and HTTPS with a bound
// of ten seconds.
func NewIssuers(list []Trusted, now func() time.Time, get func(ctx context.Context, url string) ([]byte, error)) (*Issuers, error) {
	if now == nil {
		now = time.Now
	}
	if get == nil {
		get = httpsGet
	}
	is := &Issuers{now: now, get: get}
	for _, t := range list {
		u, err := url.Parse(t.Issuer)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
			return nil, fmt.Errorf("%w issuer %q: not a URL", ErrMalformed, action.Clip(t.Issuer, 200))
		case t.Keys == "" && !SafeURL(t.Issuer):
			return nil, fmt.Errorf("%w issuer %q: not https, and no key set is named", ErrMalformed, t.Issuer)
		case t.Audience == "" && len(t.Clients) == 0:
			return nil, fmt.Errorf("%w issuer %q: an audience is required: a token for somebody else proves nothing", ErrMalformed, t.Issuer)
		case strings.HasPrefix(t.Keys, "http://") && !SafeURL(t.Keys):
			return nil, fmt.Errorf("%w issuer %q: keys over plain http prove nothing", ErrMalformed, t.Issuer)
		case slices.ContainsFunc(is.list, func(o *issuer) bool { return o.Issuer == t.Issuer }):
			return nil, fmt.Errorf("%w issuer %q: stands twice", ErrMalformed, t.Issuer)
		}
		if t.UserClaim == "" {
			t.UserClaim = "sub"
		}
		if t.GroupsClaim == "" {
			t.GroupsClaim = "groups"
		}
		if t.Tenant == "" {
			t.Tenant = "default"
		}
		is.list = append(is.list, &issuer{Trusted: t})
	}
	return is, nil
}

// SafeURL reports whether nobody on the way can change what u answers: it is https, or http that does not leave
// this machine. Who may listen on the port is up to the machine's users then.
func SafeURL(u string) bool {
	p, err := url.Parse(u)
	if err != nil || p.Host == "" || p.User != nil || p.Fragment != "" {
		return false
	}
	if p.Scheme == "http" {
		ip := net.ParseIP(p.Hostname())
		return p.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	}
	return p.Scheme == "https"
}

func httpsGet(ctx context.Context, u string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirects are not followed") }}
	resp, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	return io.ReadAll(io.LimitReader(resp.Body, jose.MaxSetBytes+1))
}

// foreign are the registered claims of a foreign token.
type foreign struct {
	Issuer  string        `json:"iss"`
	Subject string        `json:"sub"`
	Aud     jose.Audience `json:"aud"`
	Expires *jose.Seconds `json:"exp"`
	From    *jose.Seconds `json:"nbf"`
	Issued  *jose.Seconds `json:"iat"`
	Authn   *jose.Seconds `json:"auth_time"`
	Client  string        `json:"client_id"`
	Party   string        `json:"azp"`
	Confirm Confirm       `json:"cnf"`
	Kube    struct {
		Namespace string `json:"namespace"`
		Pod       struct {
			UID string `json:"uid"`
		} `json:"pod"`
		Account struct {
			Name string `json:"name"`
		} `json:"serviceaccount"`
	} `json:"kubernetes.io"`
}

// Looks reports whether a credential has the form of a foreign token, and none of ours.
func Looks(secret string) bool {
	return strings.Count(secret, ".") == 2 && !strings.HasPrefix(secret, prefix)
}

// Person verifies a token of a user.
func (is *Issuers) Person(ctx context.Context, text string) (Person, error) {
	i, t, c, err := is.verify(ctx, text, false, "")
	if err != nil {
		return Person{}, err
	}
	return person(i, t, c)
}

func person(i *issuer, t *jose.Token, c *foreign) (Person, error) {
	var all map[string]jsontext.Value
	if err := json.Unmarshal(t.Payload, &all); err != nil {
		return Person{}, ErrUnauthenticated
	}
	p := Person{Issuer: i.Issuer, Until: c.Expires.Time()}
	if err := json.Unmarshal(all[i.UserClaim], &p.ID); err != nil || p.ID == "" || checkText("user", p.ID, 128) != nil {
		return Person{}, ErrUnauthenticated
	}
	if c.Authn != nil {
		p.Authn = c.Authn.Time()
	}
	p.Groups, p.GroupsKnow = groups(all, i.GroupsClaim)
	return p, nil
}

// groups reads the groups of a token. Where an issuer leaves them out because they are too many (the claims
// _claim_names and hasgroups of Entra), or the claim is not there, they are not known.
func groups(all map[string]jsontext.Value, claim string) ([]string, action.Tri) {
	var elsewhere map[string]jsontext.Value
	if v, ok := all["_claim_names"]; ok && (json.Unmarshal(v, &elsewhere) != nil || elsewhere[claim] != nil) {
		return nil, action.TriUnknown
	}
	if v, ok := all["hasgroups"]; ok && claim == "groups" && string(v) != "false" {
		return nil, action.TriUnknown
	}
	var out []string
	v, ok := all[claim]
	if !ok || json.Unmarshal(v, &out) != nil || len(out) > 1000 {
		return nil, action.TriUnknown
	}
	for _, g := range out {
		if g == "" || checkText("group", g, 256) != nil {
			return nil, action.TriUnknown
		}
	}
	slices.Sort(out)
	return slices.Compact(out), action.Yes
}

// Workload verifies a projected service-account token, and names the agent that its account is.
func (is *Issuers) Workload(ctx context.Context, text string) (Workload, error) {
	i, _, c, err := is.verify(ctx, text, true, "")
	if err != nil {
		return Workload{}, err
	}
	ns, account := c.Kube.Namespace, c.Kube.Account.Name
	agent, ok := i.Accounts[ns+"/"+account]
	if !ok || ns == "" || account == "" || strings.Contains(ns, "/") || c.Subject != "system:serviceaccount:"+ns+":"+account {
		return Workload{}, ErrUnauthenticated
	}
	return Workload{Agent: agent, Tenant: i.Tenant, ID: "account:" + ns + "/" + account + "/" + action.Clip(c.Kube.Pod.UID, 64), Until: c.Expires.Time()}, nil
}

// verify checks form, signature, issuer, audience and times of a token of the wanted kind of issuer. The audience is
// the one that is configured, unless the caller names another.
func (is *Issuers) verify(ctx context.Context, text string, workload bool, audience string) (*issuer, *jose.Token, *foreign, error) {
	t, err := jose.Parse(text)
	if err != nil {
		return nil, nil, nil, ErrUnauthenticated
	}
	var c foreign
	if jose.Object(t.Payload, &c) != nil {
		return nil, nil, nil, ErrUnauthenticated
	}
	n := slices.IndexFunc(is.list, func(i *issuer) bool { return i.Issuer == c.Issuer && i.Workload == workload })
	if n < 0 {
		return nil, nil, nil, ErrUnauthenticated
	}
	i := is.list[n]
	set, err := i.keys(ctx, t, is)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%w: the keys of %s cannot be had: %w", ErrUnauthenticated, i.Issuer, err)
	}
	typ := strings.ToLower(t.Header.Type)
	if typ != "" && typ != "jwt" && typ != "at+jwt" && typ != "id_token+jwt" || set.Verify(t, "", jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.EdDSA) != nil {
		return nil, nil, nil, ErrUnauthenticated
	}
	now := is.now()
	if audience == "" {
		audience = i.Audience
	}
	switch {
	case audience == "" || !slices.Contains(c.Aud, audience), c.Expires == nil, c.Issued == nil:
	case !now.Before(c.Expires.Time()), now.Add(foreignSkew).Before(c.Issued.Time()):
	case c.From != nil && now.Add(foreignSkew).Before(c.From.Time()):
	case c.Expires.Time().Sub(c.Issued.Time()) > maxForeignLife && !workload, c.Expires.Time().Sub(now) > 366*24*time.Hour:
	default:
		return i, t, &c, nil
	}
	return nil, nil, nil, ErrUnauthenticated
}

// keys returns the issuer's keys, fetched anew when they are old, or when t names a key that they do not hold.
// Whoever finds a fetch under way goes on with the keys that are there, if they may still be used.
func (i *issuer) keys(ctx context.Context, t *jose.Token, is *Issuers) (*jose.Set, error) {
	now := is.now()
	set, again := i.held(t, now)
	if set != nil && !again {
		return set, nil
	}
	if set == nil {
		i.fetching.Lock()
	} else if !i.fetching.TryLock() {
		return set, nil
	}
	defer i.fetching.Unlock()
	if set, again = i.held(t, now); !again {
		if set == nil {
			return nil, errors.New("they could not be had a moment ago")
		}
		return set, nil
	}
	i.mu.Lock()
	i.tried = now
	i.mu.Unlock()
	fresh, err := i.fetch(ctx, is)
	if err != nil {
		if set != nil {
			return set, nil
		}
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.set, i.fetched = fresh, now
	return fresh, nil
}

// held returns the keys that may be used, nil if there are none, and whether they should be fetched again now.
func (i *issuer) held(t *jose.Token, now time.Time) (set *jose.Set, again bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.set != nil && now.Sub(i.fetched) < keysAtMost {
		set = i.set
	}
	again = set == nil || now.Sub(i.fetched) > keysFor || !set.Knows(t)
	return set, again && (i.tried.IsZero() || now.Sub(i.tried) >= keysAgain)
}

func (i *issuer) fetch(ctx context.Context, is *Issuers) (*jose.Set, error) {
	where := i.Keys
	if where == "" {
		data, err := is.get(ctx, strings.TrimSuffix(i.Issuer, "/")+"/.well-known/openid-configuration")
		if err != nil {
			return nil, err
		}
		var doc struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		if err := jose.Object(data, &doc); err != nil || doc.Issuer != i.Issuer || !SafeURL(doc.Keys) || strings.HasPrefix(doc.Keys, "http://") && strings.HasPrefix(i.Issuer, "https://") {
			return nil, errors.New("its OpenID configuration is another issuer's, or names no key set")
		}
		where = doc.Keys
	}
	var data []byte
	var err error
	if strings.HasPrefix(where, "https://") || strings.HasPrefix(where, "http://") {
		data, err = is.get(ctx, where)
	} else {
		data, err = os.ReadFile(where)
	}
	if err != nil {
		return nil, err
	}
	return jose.ParseSet(data)
}
