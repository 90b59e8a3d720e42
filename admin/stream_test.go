// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/index"
)

// reader is one open stream.
type reader struct {
	t    *testing.T
	in   *bufio.Scanner
	body io.Closer
}

func (b *bench) open(t *testing.T, as, target string, header ...string) *reader {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", b.URL+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+b.secret[as])
	if len(header) == 2 {
		req.Header.Set(header[0], header[1])
	}
	res, err := b.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("the stream begins with %d %s", res.StatusCode, res.Header.Get("Content-Type"))
	}
	t.Cleanup(func() { res.Body.Close() })
	return &reader{t, bufio.NewScanner(res.Body), res.Body}
}

// next returns the id, the name and the data of the next event, or "" at the end. It skips comments.
func (r *reader) next() (id, name, data string) {
	for r.in.Scan() {
		line := r.in.Text()
		switch k, v, _ := strings.Cut(line, ": "); k {
		case "id":
			id = v
		case "event":
			name = v
		case "data":
			data = v
		case "":
			if id != "" {
				return id, name, data
			}
		}
	}
	return "", "", ""
}

func (b *bench) record(kind action.Kind, session string) {
	_, _ = b.book.append(context.Background(), &action.Record{Kind: kind, Session: session, Codes: []string{"a\nid: 7"}})
}

func TestStreamMissesNothing(t *testing.T) {
	b := start(t)
	r := b.open(t, "viewer", "/v1/stream")
	first := len(b.book.records)
	b.record(action.KindDecision, "s1")
	id, name, data := r.next()
	if id != strconv.Itoa(first) || name != "decision" || decode[index.Step](t, data).Session != "s1" {
		t.Fatalf("the event is %q %q %q", id, name, data)
	}
	r.body.Close()
	for range 50 {
		b.record(action.KindIntent, "s2")
	}
	for _, again := range []*reader{b.open(t, "auditor", "/v1/stream", "Last-Event-ID", id), b.open(t, "viewer", "/v1/stream?after="+id)} {
		for i := range 50 {
			if got, name, _ := again.next(); got != strconv.Itoa(first+1+i) || name != "intent" {
				t.Fatalf("event %d is %q %q", i, got, name)
			}
		}
		again.body.Close()
	}
	whole := b.open(t, "viewer", "/v1/stream", "Last-Event-ID", "0")
	if id, _, _ := whole.next(); id != "1" {
		t.Errorf("after the first record comes %q", id)
	}
}

func TestStreamEnds(t *testing.T) {
	t.Run("after its time", func(t *testing.T) {
		b := start(t, func(c *Config) { c.StreamFor = 50 * time.Millisecond })
		if id, _, _ := b.open(t, "viewer", "/v1/stream").next(); id != "" {
			t.Errorf("event %q", id)
		}
	})
	t.Run("when its token is withdrawn", func(t *testing.T) {
		b := start(t, func(c *Config) { c.StreamQuiet = 5 * time.Millisecond })
		secret, tok, err := b.ids.Issue(t.Context(), identity.TokenSpec{Name: "x", Scopes: []action.Scope{action.ScopeViewer}})
		if err != nil {
			t.Fatal(err)
		}
		b.secret["x"] = secret
		r := b.open(t, "x", "/v1/stream")
		if _, err := b.ids.Revoke(t.Context(), tok.ID, "test"); err != nil {
			t.Fatal(err)
		}
		if id, _, data := r.next(); id != "" {
			t.Errorf("a withdrawn token still reads %q", data)
		}
	})
	t.Run("with a cut when the log fails", func(t *testing.T) {
		b := start(t, func(c *Config) {
			c.Follow = func(context.Context, uint64, func(index.Entry) error) error {
				return errors.New("bit rot at /data/wal")
			}
		})
		r := b.open(t, "viewer", "/v1/stream")
		if id, _, _ := r.next(); id != "" || r.in.Err() == nil {
			t.Errorf("event %q, %v", id, r.in.Err())
		}
	})
	t.Run("when the reader goes, and its follower too", func(t *testing.T) {
		gone := make(chan struct{})
		b := start(t)
		follow := b.cfg.Follow
		b = start(t, func(c *Config) {
			c.Follow = func(ctx context.Context, from uint64, fn func(index.Entry) error) error {
				defer close(gone)
				return follow(ctx, from, fn)
			}
		})
		b.open(t, "viewer", "/v1/stream").body.Close()
		<-gone
	})
}

func TestEventsCannotBeForged(t *testing.T) {
	b, err := event(index.Entry{Index: 3, Record: &action.Record{Kind: action.KindAlert, Session: "x\n\nid: 9\r\ndata: {}", Agent: "\u2028"}})
	if err != nil || strings.Count(string(b), "\n") != 4 || strings.ContainsAny(string(b), "\r") || !strings.HasPrefix(string(b), "id: 3\nevent: alert\ndata: {") {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := event(index.Entry{Record: &action.Record{Kind: "alert\nid: 9"}}); err == nil {
		t.Error("a record of no kind is sent")
	}
}
