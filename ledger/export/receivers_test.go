// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// collector is Splunk's HTTP Event Collector as its documentation describes it: events, then questions for
// their acknowledgement, all on one channel.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	events []jsontext.Value
	acks   map[int64]int // how often to say "not yet"
	posts  int
	turns  []string // by post: "", "down", "lost" (indexed, answer lost), "never" (not indexed, never acknowledged), "later"
}

func newCollector(t *testing.T, turns ...string) *collector {
	c := &collector{acks: map[int64]int{}, turns: turns}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if r.Header.Get("Authorization") != "Splunk tok" || !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(r.URL.Query().Get("channel")) {
			t.Errorf("%q on channel %q", r.Header.Get("Authorization"), r.URL.RawQuery)
		}
		switch r.URL.Path {
		case "/services/collector/event":
			c.post(t, w, r)
		case "/services/collector/ack":
			c.ack(t, w, r)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) post(t *testing.T, w http.ResponseWriter, r *http.Request) {
	turn := ""
	if c.posts < len(c.turns) {
		turn = c.turns[c.posts]
	}
	ack := int64(c.posts)
	c.posts++
	if turn == "down" {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	for d := jsontext.NewDecoder(r.Body); turn != "never"; {
		v, err := d.ReadValue()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Error(err)
			return
		}
		c.events = append(c.events, v.Clone())
	}
	switch turn {
	case "lost":
		panic(http.ErrAbortHandler)
	case "never":
		c.acks[ack] = 1 << 30
	case "later":
		c.acks[ack] = 2
	}
	fmt.Fprintf(w, `{"text":"Success","code":0,"ackId":%d}`, ack)
}

func (c *collector) ack(t *testing.T, w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Acks []int64 `json:"acks"`
	}
	if err := json.UnmarshalRead(r.Body, &asked); err != nil || len(asked.Acks) != 1 {
		t.Errorf("%v: %v", asked, err)
		return
	}
	c.acks[asked.Acks[0]]--
	fmt.Fprintf(w, `{"acks":{"%d":%t}}`, asked.Acks[0], c.acks[asked.Acks[0]] < 0)
}

func TestSplunkLosesNothing(t *testing.T) {
	l := newLog(t, 9)
	n := l.Checkpoint().Size
	for name, c := range map[string]struct {
		turns  []string
		failed int64
		twice  bool
	}{
		"a willing indexer":                    {nil, 0, false},
		"one that is down for a while":         {[]string{"down", "down", "down"}, 3, false},
		"one that acknowledges late":           {[]string{"later", "later"}, 0, false},
		"one that forgets what it took":        {[]string{"", "never"}, 1, false},
		"one whose answer is lost, once taken": {[]string{"lost", "", "lost"}, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, p := newCollector(t, c.turns...), &place{}
			cfg := config(l, p)
			cfg.Kind, cfg.Format, cfg.URL, cfg.Token, cfg.AckEvery, cfg.AckWithin = Splunk, OCSF, s.URL, "tok", time.Millisecond, time.Minute
			if slices.Contains(c.turns, "never") {
				cfg.AckWithin = 500 * time.Millisecond
			}
			st := run(t, cfg, p, n)
			seen := map[string]int{}
			for _, v := range s.events {
				var e struct {
					Time   jsontext.Value    `json:"time"`
					Host   string            `json:"host"`
					Type   string            `json:"sourcetype"`
					Event  jsontext.Value    `json:"event"`
					Fields map[string]string `json:"fields"`
				}
				if err := json.Unmarshal(v, &e); err != nil {
					t.Fatal(err)
				}
				if e.Host != l.Origin() || e.Type != "sallyport:ocsf" || !regexp.MustCompile(`^\d+\.\d{3}$`).Match(e.Time) || !bytes.Contains(e.Event, []byte(e.Fields["id"])) {
					t.Errorf("event %s", v)
				}
				seen[e.Fields["id"]]++
			}
			complete(t, l, n, seen, c.twice)
			if st.Failed != c.failed || st.Problem != "" {
				t.Errorf("%+v", st)
			}
		})
	}
}

// complete wants each record once at least, and some twice where twice is set.
func complete(t *testing.T, l *ledger.Log, n uint64, seen map[string]int, twice bool) {
	t.Helper()
	double := false
	for i := range n {
		times := seen[id(l.Origin(), i)]
		if double = double || times > 1; times == 0 {
			t.Errorf("record %d is lost", i)
		}
	}
	if uint64(len(seen)) != n || double != twice {
		t.Errorf("%d of %d ids; some twice: %t", len(seen), n, double)
	}
}

func TestSplunkNeedsAcknowledgement(t *testing.T) {
	r := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"text":"Success","code":0}`) }))
	defer r.Close()
	post, err := newPoster(&Config{URL: r.URL, Token: "tok"}, "Splunk")
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSplunk(&Config{Name: "x", URL: r.URL, Token: "tok", Now: time.Now}, post)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.write(t.Context(), 0, [][]byte{[]byte("{}")}); err == nil || !strings.Contains(err.Error(), "acknowledgement") {
		t.Error(err)
	}
}

// syslogd reads octet-counted messages over TLS until the sender ends. By turn it takes a connection
// whole (""), resets it midway ("reset"), or takes all and breaks ("lost").
type syslogd struct {
	net.Listener
	mu       sync.Mutex
	messages []string
	turns    []string
	conns    int
	wg       sync.WaitGroup
}

func newSyslogd(t *testing.T, turns ...string) (*syslogd, *x509.CertPool) {
	web := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(web.Close)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	s := &syslogd{Listener: ln, turns: turns}
	s.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.take(t, c.(*tls.Conn))
		}
	})
	t.Cleanup(func() { _ = ln.Close(); s.wg.Wait() })
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	return s, roots
}

func (s *syslogd) take(t *testing.T, c *tls.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	turn := ""
	if s.conns < len(s.turns) {
		turn = s.turns[s.conns]
	}
	s.conns++
	r := bufio.NewReader(c)
	for n := 0; ; n++ {
		count, err := r.ReadString(' ')
		if errors.Is(err, io.EOF) && count == "" {
			break
		}
		size, bad := strconv.Atoi(strings.TrimSuffix(count, " "))
		if err = errors.Join(err, bad); err != nil {
			if turn == "" && n > 0 {
				t.Error(err)
			}
			break
		}
		m := make([]byte, size)
		if _, err := io.ReadFull(r, m); err != nil {
			t.Error(err)
			break
		}
		if turn == "reset" && n == 1 {
			_ = c.NetConn().(*net.TCPConn).SetLinger(0)
			_ = c.NetConn().Close()
			return
		}
		s.messages = append(s.messages, string(m))
	}
	if turn == "lost" {
		_ = c.NetConn().(*net.TCPConn).SetLinger(0)
		_ = c.NetConn().Close()
		return
	}
	_ = c.Close()
}

func TestSyslogLosesNothing(t *testing.T) {
	l := newLog(t, 9)
	n := l.Checkpoint().Size
	form := regexp.MustCompile(`^<1(08|09|1[0-2]|06)>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z log\.example/1 sallyport - ([a-z]+) - (\{.*\})$`)
	for name, c := range map[string]struct {
		turns  []string
		failed int64
		twice  bool
	}{
		"a willing receiver":            {nil, 0, false},
		"one that breaks midway":        {[]string{"reset", "", "reset"}, 2, true},
		"one that took all, then broke": {[]string{"lost"}, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, roots := newSyslogd(t, c.turns...)
			p := &place{}
			cfg := config(l, p)
			cfg.Kind, cfg.Address, cfg.Roots = Syslog, s.Addr().String(), roots
			st := run(t, cfg, p, n)
			_ = s.Close()
			s.wg.Wait()
			seen := map[string]int{}
			for _, m := range s.messages {
				parts := form.FindStringSubmatch(m)
				if parts == nil {
					t.Fatalf("message %q", m)
				}
				got := lines(t, []byte(parts[3]+"\n"))
				if string(got[0].Leaf.Kind) != parts[2] {
					t.Errorf("%s is no %s", parts[2], got[0].Leaf.Kind)
				}
				seen[got[0].ID]++
			}
			complete(t, l, n, seen, c.twice)
			if st.Failed != c.failed {
				t.Errorf("%+v", st)
			}
		})
	}
	s, _ := newSyslogd(t)
	out, err := newSyslog(&Config{Address: s.Addr().String(), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := out.write(t.Context(), 0, [][]byte{[]byte("1 x")}); err == nil {
		t.Error("a receiver that nobody vouches for was trusted")
	}
}

func TestOTLPCollectorThatRejectsIsAskedAgain(t *testing.T) {
	l := newLog(t, 3)
	n := l.Checkpoint().Size
	answers := []string{`{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"no"}}`, `{"partialSuccess":{"rejectedLogRecords":2}}`, `<html>`, `{"partialSuccess":{"rejectedLogRecords":"0"}}`, ``}
	hits := 0
	r := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, answers[min(hits, len(answers)-1)])
		hits++
	}))
	defer r.Close()
	p := &place{}
	cfg := config(l, p)
	cfg.Kind, cfg.URL = OTLP, r.URL
	if st := run(t, cfg, p, n); st.Failed != 3 {
		t.Errorf("%+v", st)
	}
}

// TestAReceiverThatHangsHoldsNothingElseUp: while one batch waits for ever, the log grows, and nothing more
// is read from it.
func TestAReceiverThatHangsHoldsNothingElseUp(t *testing.T) {
	l := newLog(t, 1)
	reached, ctx := make(chan struct{}), t.Context()
	r := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		close(reached)
		_, _ = io.ReadAll(q.Body)
		<-q.Context().Done()
	}))
	defer r.Close()
	p := &place{}
	cfg := config(l, p)
	cfg.Kind, cfg.URL, cfg.Timeout = Webhook, r.URL, time.Hour
	read := 0
	cfg.Follow = func(ctx context.Context, from uint64, fn func(ledger.Entry) error) error {
		return l.Follow(ctx, from, func(e ledger.Entry) error { read++; return fn(e) })
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	<-reached
	grow(t, l, 2000)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if read > cfg.BatchRecords || e.Stats().Next != 0 {
		t.Errorf("%d records were read, the next is %d", read, e.Stats().Next)
	}
}

func TestPartsAreSentOnlyWhereConfiguredAndRecorded(t *testing.T) {
	l := newLog(t, 0)
	input := []byte(`{"subject":{"id":"bot","user":{"id":"ann"}},"resource":{"server":"mail","name":"send"}}`)
	receipt, err := l.Append(t.Context(), &action.Record{Kind: action.KindIntent, Tenant: "default", Action: "a1", TimeMs: 1, Agent: "bot", Server: "mail", Tool: "send",
		Parts: []action.PayloadPart{{Name: action.PartInputBefore, Owner: "ann", Data: input}, {Name: action.PartArguments, Owner: "ann", Data: []byte(planted)},
			{Name: action.PartReasoning, Owner: "ann", Data: []byte("thought")}}})
	if err != nil {
		t.Fatal(err)
	}
	seen := func(change func(*Config)) (string, []ledger.PartAt) {
		var got []byte
		r := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) { got, _ = io.ReadAll(q.Body) }))
		defer r.Close()
		var opened []ledger.PartAt
		p := &place{}
		cfg := config(l, p)
		cfg.Kind, cfg.URL = Webhook, r.URL
		cfg.Access = func(_ context.Context, parts []ledger.PartAt) error { opened = append(opened, parts...); return nil }
		change(&cfg)
		run(t, cfg, p, l.Checkpoint().Size)
		return string(got), opened
	}
	if got, opened := seen(func(*Config) {}); strings.Contains(got, planted) || strings.Contains(got, `"ann"`) || opened != nil {
		t.Errorf("unasked: %s, %v", got, opened)
	}
	got, opened := seen(func(c *Config) { c.Parts, c.Names = []action.PartName{action.PartArguments}, true })
	if !strings.Contains(got, planted) || !strings.Contains(got, `"names":{"agent":"bot","server":"mail","tool":"send","user":"ann"}`) || strings.Contains(got, "thought") {
		t.Errorf("asked: %s", got)
	}
	if !slices.Contains(opened, ledger.PartAt{Index: receipt.Index, Part: action.PartArguments}) || !slices.Contains(opened, ledger.PartAt{Index: receipt.Index, Part: action.PartInputBefore}) || len(opened) != 2 {
		t.Errorf("recorded: %v", opened)
	}
	if _, err := l.Opened(t.Context(), ledger.Access{Actor: "bob", Subject: "session/s", Purpose: planted, Parts: []ledger.PartAt{{Part: action.PartResult}}}); err != nil {
		t.Fatal(err)
	}
	if got, opened := seen(func(c *Config) { c.Parts = []action.PartName{action.PartDetail} }); strings.Contains(got, planted) || opened != nil {
		t.Errorf("why somebody read is sent, and makes an access of its own: %s, %v", got, opened)
	}
	if _, err := l.Erase(t.Context(), "default", "ann", "test"); err != nil {
		t.Fatal(err)
	}
	if got, _ := seen(func(c *Config) { c.Parts, c.Names = []action.PartName{action.PartArguments}, true }); strings.Contains(got, planted) || !strings.Contains(got, `"erased":true`) {
		t.Errorf("after the erasure: %s", got)
	}
	refused := 0
	if _, opened := seen(func(c *Config) {
		c.Parts = []action.PartName{action.PartArguments}
		c.Access = func(context.Context, []ledger.PartAt) error {
			if refused++; refused < 3 {
				return ledger.ErrFull
			}
			return nil
		}
	}); refused < 3 || opened != nil {
		t.Errorf("an access that cannot be recorded was not awaited: %d", refused)
	}
}
