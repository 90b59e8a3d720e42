// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
)

func TestOnlyRoutesThatSaySoMayTakeLong(t *testing.T) {
	const limit = 50 * time.Millisecond
	for _, c := range []struct {
		name  string
		wait  time.Duration
		whole bool
	}{{"a stream", -1, true}, {"a poll", time.Minute, true}, {"anything else", 0, false}} {
		t.Run(c.name, func(t *testing.T) {
			l := &log{}
			g, err := New(Config{Auth: byHeader{}, Malformed: l.malformed, Log: slog.New(slog.DiscardHandler), Limits: Limits{WriteTimeout: limit}})
			if err != nil {
				t.Fatal(err)
			}
			h, err := g.Handler(Route{Pattern: "GET /x", Scopes: []action.Scope{action.ScopeAgent}, Wait: c.wait,
				Serve: func(w http.ResponseWriter, r *http.Request, _ *Caller) error {
					if err := Linger(r.Context()); err != nil {
						return err
					}
					_, _ = w.Write([]byte("one "))
					w.(http.Flusher).Flush()
					time.Sleep(3 * limit)
					_, _ = w.Write([]byte("two"))
					return nil
				}})
			if err != nil {
				t.Fatal(err)
			}
			srv := listen(t, h)
			req, _ := http.NewRequest("GET", srv.URL+"/x", nil)
			req.Header.Set("Authorization", "ann")
			res, err := srv.Client().Do(req)
			if err != nil && !c.whole {
				return // a slow machine: cut before the first word
			}
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if whole := err == nil && string(body) == "one two"; whole != c.whole {
				t.Errorf("%q, %v", body, err)
			}
		})
	}
}
