// SPDX-License-Identifier: Apache-2.0

package api

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
)

// BenchmarkAction measures what the door itself adds to an action of 1 KiB: all checks, strict reading,
// the answer. The path behind it decides in a map; no socket is involved.
func BenchmarkAction(b *testing.B) {
	gate, err := gateway.New(gateway.Config{
		Auth: tokens{"agent": caller("bot", "", action.ScopeAgent)}, Malformed: (&bench{}).record,
		Log: slog.New(slog.DiscardHandler), Limits: gateway.Limits{Rate: 1e9, Burst: 1 << 30},
	})
	if err != nil {
		b.Fatal(err)
	}
	h, err := New(Config{Enforcer: newPath(), Gate: gate})
	if err != nil {
		b.Fatal(err)
	}
	args := `{"path":"/home/ann/notes/todo.md","content":"` + strings.Repeat("call Bob; ", 90) + `"}`
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		r := httptest.NewRequest(http.MethodPost, "/v1/actions", strings.NewReader(act(strconv.Itoa(i), "read", args)))
		r.Host = "localhost"
		r.Header.Set("Authorization", "Bearer agent")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusOK {
			b.Fatal(w.Code, w.Body)
		}
	}
}
