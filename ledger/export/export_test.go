// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

const planted = "the-planted-secret"

// newLog is a log with n records, each with a sealed part.
func newLog(t *testing.T, n int) *ledger.Log {
	t.Helper()
	dir := t.TempDir()
	l, err := ledger.Open(ledger.Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Origin: "log.example/1", SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	grow(t, l, n)
	return l
}

func grow(t *testing.T, l *ledger.Log, n int) {
	t.Helper()
	for range n {
		_, err := l.Append(t.Context(), &action.Record{Kind: action.KindAlert, Tenant: "default", TimeMs: 1, Status: action.StatusNone, Agent: planted,
			Codes: []string{"test"}, Parts: []action.PayloadPart{{Name: action.PartDetail, Owner: "o", Data: []byte(planted)}}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// place is a cursor, and ends a run once it stands at until.
type place struct {
	origin string
	next   uint64
	until  uint64
	end    context.CancelFunc
}

func config(l *ledger.Log, p *place) Config {
	return Config{Name: "x", Origin: l.Origin, Size: func() uint64 { return l.Checkpoint().Size }, Follow: l.Follow,
		Load: func(context.Context) (string, uint64, error) { return p.origin, p.next, nil },
		Save: func(_ context.Context, o string, n uint64) error {
			if p.origin, p.next = o, n; n >= p.until {
				p.end()
			}
			return nil
		}, BatchRecords: 4, Pause: time.Microsecond, MaxPause: time.Millisecond}
}

// run exports until the cursor stands at until.
func run(t *testing.T, c Config, p *place, until uint64) Stats {
	t.Helper()
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p.until, p.end = until, cancel
	if err := e.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if p.next != until || e.Stats().Next != until {
		t.Fatalf("the cursor stands at %d, the exporter at %d, not %d", p.next, e.Stats().Next, until)
	}
	return e.Stats()
}

type line struct {
	ID     string      `json:"id"`
	Index  uint64      `json:"index"`
	Leaf   ledger.Leaf `json:"leaf"`
	Origin string      `json:"origin"`
	Size   uint64      `json:"size"`
}

type event struct {
	Spec    string `json:"specversion"`
	ID      string `json:"id"`
	Source  string `json:"source"`
	Type    string `json:"type"`
	Subject string `json:"subject"`
	Time    string `json:"time"`
	Content string `json:"datacontenttype"`
	Data    line   `json:"data"`
}

// receiver counts how often each id came in batches that it kept.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	seen map[string]int
	hits int
}

// receive answers by turn: a status; 0 keeps the batch and cuts the connection; 1 keeps it and answers late.
func receive(t *testing.T, turns ...int) *receiver {
	r := &receiver{seen: map[string]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		r.mu.Lock()
		turn := 202
		if r.hits < len(turns) {
			turn = turns[r.hits]
		}
		r.hits++
		if turn < 300 {
			r.keep(t, q, b)
		}
		r.mu.Unlock()
		switch turn {
		case 0:
			panic(http.ErrAbortHandler)
		case 1:
			<-q.Context().Done() // the sender gives up first
		case 302:
			http.Redirect(w, q, "/elsewhere", turn)
		default:
			w.WriteHeader(turn)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) keep(t *testing.T, q *http.Request, b []byte) {
	if bytes.Contains(b, []byte(planted)) {
		t.Error("contents or an identity left the log")
	}
	if q.Header.Get("Authorization") != "Bearer tok" || q.URL.Path != "/" {
		t.Errorf("authorization %q at %q", q.Header.Get("Authorization"), q.URL.Path)
	}
	switch kind := q.Header.Get("Content-Type"); kind {
	case "application/cloudevents-batch+json":
		var events []event
		if err := action.Read(b, &events, action.Limits{}); err != nil {
			t.Error(err)
		}
		for _, e := range events {
			r.seen[e.ID]++
			if e.Spec != "1.0" || e.ID != e.Data.ID || e.Source != "/sallyport/ledger/log.example%2F1" || e.Type != "sallyport.ledger."+string(e.Data.Leaf.Kind)+".v1" {
				t.Errorf("event %+v", e)
			}
			if _, err := time.Parse(time.RFC3339, e.Time); err != nil {
				t.Error(err)
			}
		}
	case "application/x-ndjson":
		for _, l := range lines(t, b) {
			r.seen[l.ID]++
		}
	default:
		t.Errorf("content type %q", kind)
	}
}

func lines(t *testing.T, b []byte) (out []line) {
	t.Helper()
	for s := range strings.Lines(string(b)) {
		var l line
		if err := action.Read([]byte(strings.TrimSuffix(s, "\n")), &l, action.Limits{}); err != nil {
			t.Fatal(err, s)
		}
		if l.ID != fmt.Sprintf("%s/%d", l.Origin, l.Index) || l.Size <= l.Index {
			t.Errorf("line %+v", l)
		}
		out = append(out, l)
	}
	return out
}

func TestWebhookLosesNothing(t *testing.T) {
	l := newLog(t, 10)
	n := l.Checkpoint().Size
	batches := int((n + 3) / 4)
	for name, c := range map[string]struct {
		turns  []int
		failed int64
		twice  bool
	}{
		"a willing receiver":                 {nil, 0, false},
		"one that is down for a while":       {[]int{503, 500, 502, 429}, 4, false},
		"one that refuses for a while":       {[]int{202, 400, 401, 413}, 3, false},
		"one that redirects":                 {[]int{302}, 1, false},
		"one that loses answers":             {[]int{0, 202, 0}, 2, true},
		"one that answers after the timeout": {[]int{202, 1}, 1, true},
	} {
		for _, format := range []string{JSONLines, CloudEvents} {
			t.Run(name+"/"+format, func(t *testing.T) {
				r, p := receive(t, c.turns...), &place{}
				cfg := config(l, p)
				cfg.Kind, cfg.Format, cfg.URL, cfg.Token = Webhook, format, r.URL, "tok"
				if strings.Contains(name, "timeout") {
					cfg.Timeout = 200 * time.Millisecond
				}
				st := run(t, cfg, p, n)
				r.mu.Lock()
				defer r.mu.Unlock()
				if uint64(len(r.seen)) != n || st.Failed < c.failed || r.hits < batches {
					t.Errorf("%d of %d ids in %d posts, %+v", len(r.seen), n, r.hits, st)
				}
				twice := false
				for i := range n {
					times := r.seen[id(l.Origin(), i)]
					if twice = twice || times > 1; times == 0 {
						t.Errorf("record %d is lost", i)
					}
				}
				if c.twice && !twice {
					t.Error("nothing came twice: the case shows nothing")
				}
			})
		}
	}
}

func TestExporterGoesOnWhereItStood(t *testing.T) {
	l := newLog(t, 3)
	path := filepath.Join(t.TempDir(), "out.jsonl")
	p := &place{}
	cfg := config(l, p)
	cfg.Kind, cfg.Path = File, path
	n := l.Checkpoint().Size
	run(t, cfg, p, n)
	grow(t, l, 2)
	run(t, cfg, p, n+2)
	if got := lines(t, content(t, path)); uint64(len(got)) != n+2 || got[n].Index != n {
		t.Errorf("%d lines after a restart", len(got))
	}
	if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", i.Mode(), err)
	}
	p.origin = "another/log" // whose indexes mean something else
	run(t, cfg, p, n+2)
	if got := lines(t, content(t, path)); uint64(len(got)) != 2*(n+2) {
		t.Errorf("%d lines after a change of the log", len(got))
	}
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFileRotatesWithoutLoss(t *testing.T) {
	l := newLog(t, 40)
	dir := t.TempDir()
	p := &place{}
	cfg := config(l, p)
	cfg.Kind, cfg.Path, cfg.RotateBytes = File, filepath.Join(dir, "out"), 6000
	n := l.Checkpoint().Size
	run(t, cfg, p, n)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	seen := map[uint64]int{}
	for _, f := range files {
		b := content(t, filepath.Join(dir, f.Name()))
		if len(b) > 6000 {
			t.Errorf("%s has %d bytes", f.Name(), len(b))
		}
		for _, l := range lines(t, b) {
			seen[l.Index]++
		}
	}
	if uint64(len(seen)) != n {
		t.Errorf("%d of %d records", len(seen), n)
	}
}

func TestFileMendsAnInterruptedLine(t *testing.T) {
	for name, c := range map[string]struct {
		before, after string
		errs          bool
	}{
		"a new file":                     {"", "{\"b\":1}\n", false},
		"whole lines":                    {"{\"a\":1}\n", "{\"a\":1}\n{\"b\":1}\n", false},
		"half a line of ours":            {"{\"a\":1}\n{\"b", "{\"a\":1}\n{\"b\":1}\n", false},
		"half a line of ours, alone":     {"{\"b", "{\"b\":1}\n", false},
		"somebody else's file":           {"dear diary", "dear diary", true},
		"a line longer than any of ours": {"{" + strings.Repeat("x", maxLine), "{" + strings.Repeat("x", maxLine), true},
	} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(c.before), 0o600); err != nil {
			t.Fatal(err)
		}
		f := file{path: path, rotate: 1 << 30}
		if err := f.write(t.Context(), 0, [][]byte{[]byte(`{"b":1}`)}); (err != nil) != c.errs {
			t.Errorf("%s: %v", name, err)
		}
		if got := string(content(t, path)); got != c.after {
			t.Errorf("%s: %q", name, action.Clip(got, 80))
		}
	}
	dir := t.TempDir()
	if err := (&file{path: dir, rotate: 1}).write(t.Context(), 0, [][]byte{[]byte(`{}`)}); err == nil {
		t.Error("a folder was taken for a file")
	}
}

func TestConfigRefusesWhatCannotWork(t *testing.T) {
	l := newLog(t, 0)
	for name, change := range map[string]func(*Config){
		"no name":                   func(c *Config) { c.Name = "" },
		"an unknown kind":           func(c *Config) { c.Kind = "fax" },
		"an unknown format":         func(c *Config) { c.Format = "xml" },
		"a file without a path":     func(c *Config) { c.Kind = File },
		"a relative path":           func(c *Config) { c.Kind, c.Path, c.URL = File, "out", "" },
		"a webhook with a path":     func(c *Config) { c.Path = "/x" },
		"no address":                func(c *Config) { c.URL = "" },
		"a password in the address": func(c *Config) { c.URL = "https://u:passwd@siem.example/" },
		"a token in the clear":      func(c *Config) { c.URL, c.Token = "http://siem.example/", "passwd" },
		"a token of two lines":      func(c *Config) { c.Token = "passwd\r\nX: y" },
		"reasoning":                 func(c *Config) { c.Parts = []action.PartName{action.PartReasoning}; c.Access = unrecorded },
		"a part that is none":       func(c *Config) { c.Parts = []action.PartName{"passwords"}; c.Access = unrecorded },
		"parts off the record":      func(c *Config) { c.Parts = []action.PartName{action.PartResult} },
		"an otlp with a format":     func(c *Config) { c.Kind, c.Format = OTLP, OCSF },
		"a syslog with a url":       func(c *Config) { c.Kind, c.Address = Syslog, "a:1" },
		"a syslog without a port":   func(c *Config) { c.Kind, c.Address, c.URL = Syslog, "siem.example", "" },
		"a splunk without a token":  func(c *Config) { c.Kind = Splunk },
		"a splunk with a path":      func(c *Config) { c.Kind, c.Token, c.URL = Splunk, "passwd", "https://siem.example/services" },
	} {
		c := config(l, &place{})
		c.Kind, c.URL = Webhook, "https://siem.example/"
		change(&c)
		if _, err := New(c); err == nil || strings.Contains(err.Error(), "passwd") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func unrecorded(context.Context, []ledger.PartAt) error { return nil }
