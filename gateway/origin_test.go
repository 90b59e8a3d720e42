// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/http/httptest"
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestOwnOriginIsForTheRoutesThatSaySo(t *testing.T) {
	l := &log{}
	g, err := New(Config{Auth: byHeader{}, Malformed: l.malformed})
	if err != nil {
		t.Fatal(err)
	}
	agents := []action.Scope{action.ScopeAgent}
	h, err := g.Handler(Route{Pattern: "GET /own", Scopes: agents, Serve: ok, OwnOrigin: true}, Route{Pattern: "GET /strict", Scopes: agents, Serve: ok})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path, header, value string
		status                    int
	}{
		{"the very address", "/own", "Origin", "http://localhost:7117", 200},
		{"another port", "/own", "Origin", "http://localhost:7118", 403},
		{"another name of the machine", "/own", "Origin", "http://127.0.0.1:7117", 403},
		{"another scheme", "/own", "Origin", "https://localhost:7117", 403},
		{"no origin at all", "/own", "Origin", "null", 403},
		{"a link on a page", "/own", "Sec-Fetch-Site", "cross-site", 403},
		{"a route that does not say so", "/strict", "Origin", "http://localhost:7117", 403},
		{"no route", "/none", "Origin", "http://localhost:7117", 403},
	} {
		r := request("GET", "localhost:7117", "ann")
		r.URL.Path = c.path
		r.Header.Set(c.header, c.value)
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
}
