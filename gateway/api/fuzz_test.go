// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	stdjson "encoding/json"
	"log/slog"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
)

// FuzzRequests sends any bytes to any route. No request may reach a fault of ours, and what reaches the
// path must be what another JSON reader sees in the same bytes.
func FuzzRequests(f *testing.F) {
	targets := []string{"/v1/actions", "/v1/sessions", "/v1/sessions/S1/context", "/v1/actions/A1/outcome", "/v1/actions/A1/heartbeat"}
	for i, body := range []string{
		act("c", "read", `{"a":[1,2.5,-0,1e2,null,"\u00e9"]}`), `{"user_request":"x","roots":["/w"],"cwd":"/w","agent":"bot"}`,
		`{"kind":"content","text":"x","source":"web","untrusted":"yes"}`, `{"status":"done","result":{"a":1},"opaque":false}`, `{}`,
	} {
		f.Add(i, []byte(body))
	}
	f.Add(0, []byte(`{"call_id":"c","CALL_ID":"d"}`))
	f.Add(0, []byte(act("c", "read", `{"a":9007199254740993}`)))
	f.Fuzz(func(t *testing.T, route int, body []byte) {
		p := newPath()
		gate, err := gateway.New(gateway.Config{
			Auth:      tokens{"both": caller("bot", "", action.ScopeAgent, action.ScopeHost)},
			Malformed: (&bench{}).record, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		h, err := New(Config{Enforcer: p, Gate: gate, ActionBytes: 1 << 16, OutcomeBytes: 1 << 16})
		if err != nil {
			t.Fatal(err)
		}
		target := targets[(route%len(targets)+len(targets))%len(targets)]
		r := httptest.NewRequest("POST", target, bytes.NewReader(body))
		r.Host = "localhost"
		r.Header.Set("Authorization", "Bearer both")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		for _, a := range p.attempts {
			sameAsOthersRead(t, body, a.CallID, a.Server, a.Tool, a.Arguments)
		}
		faultOfTheFake := len(p.attempts) == 1 && (strings.HasPrefix(p.attempts[0].Tool, "broken") || strings.HasPrefix(p.attempts[0].Tool, "panic"))
		if w.Code == 500 && !faultOfTheFake {
			t.Errorf("%s %q: %s", target, body, w.Body)
		}
	})
}

func sameAsOthersRead(t *testing.T, body []byte, call, server, tool string, args []byte) {
	t.Helper()
	var other struct {
		CallID string `json:"call_id"`
		Tool   struct {
			Server string `json:"server"`
			Name   string `json:"name"`
		} `json:"tool"`
		Arguments any `json:"arguments"`
	}
	if err := stdjson.Unmarshal(body, &other); err != nil {
		t.Fatalf("another reader refuses %q: %v", body, err)
	}
	var ours any
	if err := stdjson.Unmarshal(args, &ours); err != nil {
		t.Fatal(err)
	}
	if call != other.CallID || server != other.Tool.Server || tool != other.Tool.Name || !reflect.DeepEqual(ours, other.Arguments) {
		t.Errorf("%q reads as %q %q %q %s", body, call, server, tool, args)
	}
}

// FuzzWait reads any query.
func FuzzWait(f *testing.F) {
	for _, q := range []string{"", "wait=60s", "wait=-1s", "wait=1s&on_behalf_of=ann", "wait=9999999h", "a=b", "wait=1s;wait=2s"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		if d, _, err := waitQuery(q); err == nil && (d < 0 || d > MaxWait) {
			t.Errorf("%q waits %v", q, d)
		}
	})
}
