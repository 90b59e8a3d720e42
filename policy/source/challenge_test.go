// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/policy/bundle"
)

// guardedRegistry wants a token of its own service, or a name and secret, and counts the tokens that it gave.
type guardedRegistry struct {
	scheme string // "Bearer" or "Basic"
	realm  string // "" is its own
	lapsed bool   // the tokens given so far
	given  int
	asked  []string // what the token service was asked for, with whom
	open   http.Handler
	at     string
}

func (g *guardedRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	auth := r.Header.Get("Authorization")
	user, secret, basic := r.BasicAuth()
	switch {
	case r.URL.Path == "/token":
		g.asked = append(g.asked, r.URL.Query().Get("service")+" "+r.URL.Query().Get("scope")+" "+user)
		if basic && secret != "s3cret" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		g.given++
		g.lapsed = false
		fmt.Fprintf(w, `{"access_token":"t%d","expires_in":60}`, g.given)
	case g.scheme == "Bearer" && auth == fmt.Sprintf("Bearer t%d", g.given) && g.given > 0 && !g.lapsed,
		g.scheme == "Basic" && basic && user == "ann" && secret == "s3cret":
		g.open.ServeHTTP(w, r)
	default:
		realm := g.realm
		if realm == "" {
			realm = g.at + "/token"
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`%s realm=%q,service="reg.example",scope="repository:team/policy:pull,push"`, g.scheme, realm))
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func TestFetchNegotiatesWithARegistry(t *testing.T) {
	layer := func() []byte { return archive(t, 1) }
	manifest := func() string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`, ManifestType, LayerType, bundle.Sum(layer()), len(layer()))
	}
	for name, c := range map[string]struct {
		scheme, realm, token string
		want                 string // of the error; "" is none
		asked                string
	}{
		"a token without a name":        {"Bearer", "", "", "", "reg.example repository:team/policy:pull "},
		"a token for a name and secret": {"Bearer", "", "ann:s3cret", "", "reg.example repository:team/policy:pull ann"},
		"a wrong secret":                {"Bearer", "", "ann:wrong", "status 403", ""},
		"a name and secret themselves":  {"Basic", "", "ann:s3cret", "", ""},
		"nothing to show":               {"Basic", "", "", `wants "basic"`, ""},
		"another scheme":                {"Negotiate", "", "ann:s3cret", `wants "negotiate"`, ""},
		"a token service in the clear":  {"Bearer", "http://registry.example/token", "ann:s3cret", "by https", ""},
		"a token service in a file":     {"Bearer", "file:///etc/passwd", "ann:s3cret", "by https", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := &guardedRegistry{scheme: c.scheme, realm: c.realm, open: registryOf(manifest, layer)}
			srv := httptest.NewServer(g)
			defer srv.Close()
			g.at = srv.URL
			s, err := New(Config{Source: "oci://" + strings.TrimPrefix(srv.URL, "http://") + "/team/policy:stable", Token: c.token})
			if err != nil {
				t.Fatal(err)
			}
			f, err := s.Fetch(t.Context())
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("%v, want %q", err, c.want)
				}
				return
			}
			if err != nil || f.Bundle == nil {
				t.Fatalf("%+v %v", f, err)
			}
			if c.asked != "" && (len(g.asked) != 1 || g.asked[0] != c.asked) {
				t.Errorf("the token service was asked %q", g.asked)
			}
			g.lapsed = true
			if _, err := s.Fetch(t.Context()); err != nil {
				t.Errorf("after the token has lapsed: %v", err)
			}
		})
	}
}

func FuzzChallenge(f *testing.F) {
	for _, seed := range []string{`Bearer realm="https://a/token",service="b",scope="c"`, `Basic realm=x`, `Bearer realm="a", realm="b"`, `Bearer realm="a\"b"`, "", "Bearer ,=", "Bearer a=\"b\"c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		scheme, params, err := challenge(field)
		if err != nil && (scheme != "" || params != nil) {
			t.Errorf("%q: %q %v beside %v", field, scheme, params, err)
		}
		for name := range maps.Keys(params) {
			if name == "" || name != strings.ToLower(name) {
				t.Errorf("%q: a parameter %q", field, name)
			}
		}
	})
}
