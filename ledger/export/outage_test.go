// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// outage stands between an exporter and its receiver. By turn a connection is "refused" (closed at once), "stalled"
// (nothing is answered), or "cut" (what is sent arrives, the answer is lost); after the last turn all pass.
type outage struct {
	net.Listener
	to    string
	turns []string
	wg    sync.WaitGroup
	mu    sync.Mutex
	open  []io.Closer // guarded by mu
}

func (o *outage) keep(c io.Closer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open = append(o.open, c)
}

func newOutage(t *testing.T, to string, turns ...string) *outage {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &outage{Listener: ln, to: to, turns: turns}
	o.wg.Go(func() {
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			turn := ""
			if n < len(turns) {
				turn = turns[n]
			}
			o.wg.Go(func() { o.pass(c.(*net.TCPConn), turn) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		o.mu.Lock()
		for _, c := range o.open { // senders keep theirs for another request
			_ = c.Close()
		}
		o.mu.Unlock()
		o.wg.Wait()
	})
	return o
}

func (o *outage) pass(c *net.TCPConn, turn string) {
	defer c.Close()
	o.keep(c)
	_ = c.SetLinger(0)
	switch turn {
	case "refused":
		return
	case "stalled":
		_, _ = io.Copy(io.Discard, c) // until the sender gives up
		return
	}
	up, err := net.Dial("tcp", o.to)
	if err != nil {
		return
	}
	defer up.Close()
	o.keep(up)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(up, c)
		_ = up.(*net.TCPConn).CloseWrite()
	})
	if turn == "cut" {
		var one [1]byte
		_, _ = up.Read(one[:])
		_ = c.Close()
	} else if _, err := io.Copy(c, up); err == nil {
		_ = c.SetLinger(-1)
		_ = c.CloseWrite()
	}
	wg.Wait()
}

// otlpIDs serves a collector and counts the ids of what it took.
func otlpIDs(t *testing.T, seen func(id string)) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			ResourceLogs []struct {
				ScopeLogs []struct {
					LogRecords []struct {
						Attributes []struct {
							Key   string
							Value struct{ StringValue string }
						}
					}
				}
			}
		}
		b, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(b, &body, json.MatchCaseInsensitiveNames(true))
		}
		if err != nil {
			return // a sender that gave up
		}
		for _, r := range body.ResourceLogs[0].ScopeLogs[0].LogRecords {
			for _, a := range r.Attributes {
				if a.Key == "log.record.uid" {
					seen(a.Value.StringValue)
				}
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// TestEveryExporterOutlivesItsReceiver takes each exporter through a receiver that is down for as many attempts as half
// an hour has, one that hangs, and one whose acknowledgements are lost, while the log grows: every record arrives, what
// comes twice has one id, and appending waits for nobody.
func TestEveryExporterOutlivesItsReceiver(t *testing.T) {
	down := make([]string, 35) // 1, 2, 4 ... seconds, then a minute each, at the default pauses
	for i := range down {
		down[i] = "refused"
	}
	type peer struct {
		kind    Config
		address string
		seen    func() map[string]int
	}
	peers := map[string]func(t *testing.T) peer{}
	for _, format := range []string{JSONLines, CloudEvents} {
		peers["webhook "+format] = func(t *testing.T) peer {
			r := receive(t)
			return peer{Config{Kind: Webhook, Format: format, Token: "tok"}, r.Listener.Addr().String(), func() map[string]int { r.mu.Lock(); defer r.mu.Unlock(); return r.seen }}
		}
	}
	peers["otlp"] = func(t *testing.T) peer {
		var mu sync.Mutex
		seen := map[string]int{}
		s := otlpIDs(t, func(id string) { mu.Lock(); seen[id]++; mu.Unlock() })
		return peer{Config{Kind: OTLP}, s.Listener.Addr().String(), func() map[string]int { mu.Lock(); defer mu.Unlock(); return seen }}
	}
	peers["splunk"] = func(t *testing.T) peer {
		s := newCollector(t)
		return peer{Config{Kind: Splunk, Format: OCSF, Token: "tok", AckEvery: time.Millisecond, AckWithin: time.Second}, s.Listener.Addr().String(), func() map[string]int {
			s.mu.Lock()
			defer s.mu.Unlock()
			seen := map[string]int{}
			for _, v := range s.events {
				var e struct {
					Fields map[string]string `json:"fields"`
				}
				if err := json.Unmarshal(v, &e); err != nil {
					t.Error(err)
				}
				seen[e.Fields["id"]]++
			}
			return seen
		}}
	}
	peers["syslog"] = func(t *testing.T) peer {
		s, roots := newSyslogd(t)
		return peer{Config{Kind: Syslog, Roots: roots}, s.Addr().String(), func() map[string]int {
			s.mu.Lock()
			defer s.mu.Unlock()
			seen := map[string]int{}
			for _, m := range s.messages {
				seen[lines(t, append([]byte(m)[bytes.IndexByte([]byte(m), '{'):], '\n'))[0].ID]++
			}
			return seen
		}}
	}
	for name, open := range peers {
		for fault, turns := range map[string][]string{"down": down, "slow": {"stalled", "stalled"}, "losing acknowledgements": {"cut", "cut"}} {
			t.Run(name+" "+fault, func(t *testing.T) {
				l := newLog(t, 9)
				n := l.Checkpoint().Size
				to, p := open(t), &place{}
				between := newOutage(t, to.address, turns...)
				cfg := config(l, p)
				cfg.Kind, cfg.Format, cfg.Token, cfg.AckEvery, cfg.AckWithin, cfg.Roots = to.kind.Kind, to.kind.Format, to.kind.Token, to.kind.AckEvery, to.kind.AckWithin, to.kind.Roots
				cfg.URL = (&url.URL{Scheme: "http", Host: between.Addr().String()}).String()
				if cfg.Address = between.Addr().String(); cfg.Kind != Syslog {
					cfg.Address = ""
				} else {
					cfg.URL = ""
				}
				cfg.Timeout = 5 * time.Second
				if fault == "slow" {
					cfg.Timeout = 100 * time.Millisecond
				}
				n += 20
				var wg sync.WaitGroup
				wg.Go(func() { grow(t, l, 20) }) // while the receiver is away
				st := run(t, cfg, p, n)
				wg.Wait()
				if st.Failed < int64(len(turns)) {
					t.Errorf("%d attempts failed, there were %d faults", st.Failed, len(turns))
				}
				seen, twice := to.seen(), 0
				for i := range n {
					if seen[id(l.Origin(), i)] == 0 {
						t.Errorf("record %d is lost", i)
					}
					if seen[id(l.Origin(), i)] > 1 {
						twice++
					}
				}
				if uint64(len(seen)) != n {
					t.Errorf("%d ids of %d records: a repeat has another id", len(seen), n)
				}
				if fault == "losing acknowledgements" && twice == 0 && cfg.Kind != Syslog { // whose handshake is what is cut
					t.Error("nothing came twice: the case shows nothing")
				}
			})
		}
	}
}
