// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

func codeOf(err error) Code {
	var p *Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

func TestQuotaBoundsWhatCallersHold(t *testing.T) {
	now := time.Unix(0, 0)
	for _, c := range []struct {
		name   string
		limits Limits
		use    func(q *quota) error
		want   Code
	}{
		{"requests in flight of one", Limits{Open: 2}, func(q *quota) error {
			q.enter("a", now)
			q.enter("a", now)
			_, err := q.enter("a", now)
			return err
		}, CodeTooManyOpen},
		{"another one is not touched", Limits{Open: 2}, func(q *quota) error {
			q.enter("a", now)
			q.enter("a", now)
			_, err := q.enter("b", now)
			return err
		}, ""},
		{"room comes back", Limits{Open: 1, BodyBytes: 10, Polls: 1}, func(q *quota) error {
			p, _ := q.enter("a", now)
			err := errors.Join(q.grow(p, 10), q.linger(p))
			q.leave(p, 10, 1)
			p, err2 := q.enter("a", now)
			return errors.Join(err, err2, q.grow(p, 10), q.linger(p))
		}, ""},
		{"polls of one", Limits{Polls: 1}, func(q *quota) error {
			p, _ := q.enter("a", now)
			q.linger(p)
			return q.linger(p)
		}, CodeTooManyOpen},
		{"bytes of one", Limits{BodyBytes: 10}, func(q *quota) error {
			p, _ := q.enter("a", now)
			return errors.Join(q.grow(p, 6), q.grow(p, 6))
		}, CodeTooManyOpen},
		{"bytes of all", Limits{TotalBodyBytes: 10}, func(q *quota) error {
			a, _ := q.enter("a", now)
			b, _ := q.enter("b", now)
			return errors.Join(q.grow(a, 6), q.grow(b, 6))
		}, CodeBusy},
		{"requests of all", Limits{TotalOpen: 1}, func(q *quota) error {
			return errors.Join(q.arrive(), q.arrive())
		}, CodeBusy},
		{"requests per second", Limits{Rate: 1, Burst: 2}, func(q *quota) error {
			var err error
			for range 3 {
				var p *principal
				if p, err = q.enter("a", now); err == nil {
					q.leave(p, 0, 0)
				}
			}
			return err
		}, CodeRate},
		{"requests of the next second", Limits{Rate: 1, Burst: 1}, func(q *quota) error {
			p, _ := q.enter("a", now)
			q.leave(p, 0, 0)
			q.enter("a", now) // refused; costs nothing
			_, err := q.enter("a", now.Add(time.Second))
			return err
		}, ""},
		{"callers that hold something are not forgotten", Limits{Principals: 1}, func(q *quota) error {
			q.enter("a", now)
			_, err := q.enter("b", now)
			return err
		}, CodeBusy},
	} {
		if got := codeOf(c.use(newQuota(c.limits.withDefaults()))); got != c.want {
			t.Errorf("%s: %q instead of %q", c.name, got, c.want)
		}
	}
}

func TestQuotaRemembersABoundedNumber(t *testing.T) {
	q := newQuota(Limits{Principals: 10, Rate: 1, Burst: 1}.withDefaults())
	now := time.Unix(0, 0)
	for i := range 1000 {
		if i%5 == 0 { // one who keeps coming stays known, and stays limited
			if _, err := q.enter("busy", now); (err == nil) != (i == 0) {
				t.Fatal(i, err)
			}
			continue
		}
		p, err := q.enter(fmt.Sprint(i), now)
		if err != nil {
			t.Fatal(err)
		}
		q.leave(p, 0, 0)
	}
	if len(q.known) != 10 || q.order.Len() != 10 {
		t.Errorf("%d known, %d in order", len(q.known), q.order.Len())
	}
}

func TestGateGivesBackWhatARequestHeld(t *testing.T) {
	l := &log{}
	g, err := New(Config{Auth: byHeader{}, Malformed: l.malformed, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	h, err := g.Handler(Route{Pattern: "POST /x", Scopes: []action.Scope{action.ScopeAgent}, Serve: func(w http.ResponseWriter, r *http.Request, _ *Caller) error {
		n++
		_ = Linger(r.Context())
		_, err := ReadBody(w, r, "application/json", 1<<20)
		switch {
		case n%3 == 0:
			panic("x")
		case n%3 == 1:
			return errors.New("x")
		}
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		r := httptest.NewRequest("POST", "/x", strings.NewReader(strings.Repeat("x", 100_000*(i%12))))
		r.Host = "localhost"
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "ann")
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	p := g.quota.known["default/agent/ann"].Value.(*principal)
	if p.open != 0 || p.polls != 0 || p.bytes != 0 || g.quota.open != 0 || g.quota.bytes != 0 {
		t.Errorf("left behind: %+v, %d open, %d bytes", p, g.quota.open, g.quota.bytes)
	}
}

// turn is a body whose reading takes a while and counts how many are read at once.
type turn struct{ now, most *atomic.Int64 }

func (v turn) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	n := v.now.Add(1)
	defer v.now.Add(-1)
	for {
		was := v.most.Load()
		if n <= was || v.most.CompareAndSwap(was, n) {
			break
		}
	}
	time.Sleep(time.Millisecond)
	return dec.SkipValue()
}

func TestLargeBodiesTakeTurns(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes int
		alone bool
	}{{"large", light + 1, true}, {"small", 1000, false}} {
		v := turn{new(atomic.Int64), new(atomic.Int64)}
		h, _ := newHandler(t, Config{}, func(w http.ResponseWriter, r *http.Request, c *Caller) error {
			if err := ReadJSON(w, r, &v, 1<<20); err != nil {
				return err
			}
			return ok(w, r, c)
		})
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				r := httptest.NewRequest("POST", "/x", strings.NewReader(`"`+strings.Repeat("x", c.bytes)+`"`))
				r.Host = "localhost"
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", "ann")
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != 200 {
					t.Error(w.Code, w.Body)
				}
			})
		}
		wg.Wait()
		if most := v.most.Load(); (most == 1) != c.alone {
			t.Errorf("%s bodies of one caller: %d were read at once", c.name, most)
		}
	}
}

func TestAnswersCountAgainstTheQuota(t *testing.T) {
	for _, c := range []struct {
		name   string
		limit  int64
		bytes  int
		fetch  int
		status int
	}{
		{"a small one", 1000, 100, 100, 200},
		{"a large one", 1 << 20, 100 << 10, 100 << 10, 200},
		{"one that is too large to write", 100 << 10, 200 << 10, 0, 429},
		{"one that is too large to fetch", 100 << 10, 0, 200 << 10, 429},
	} {
		h, _ := newHandler(t, Config{Limits: Limits{BodyBytes: c.limit}}, func(w http.ResponseWriter, r *http.Request, _ *Caller) error {
			if err := Fetch(r.Context(), func() (int, error) { return c.fetch, nil }); err != nil {
				return err
			}
			return WriteJSON(w, 200, strings.Repeat("x", c.bytes))
		})
		for range 3 { // what was held came back
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, request("GET", "localhost", "ann")); w.Code != c.status {
				t.Errorf("%s: %d", c.name, w.Code)
			}
		}
	}
}
