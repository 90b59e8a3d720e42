// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/action"
)

// odd is a query whose facts name alerts.
func odd(agent, tool string, at int64, alerts ...string) *action.Query {
	q := call(agent, tool, "", at)
	q.Context.Monitor.Alerts, q.Context.Monitor.Reasons = alerts, []string{"why not"}
	return q
}

// book keeps recorded alerts.
type alertBook struct {
	fail bool
	got  []Alert
}

func (b *alertBook) record(_ context.Context, a Alert) error {
	if b.fail {
		return errors.New("disk full")
	}
	b.got = append(b.got, a)
	return nil
}

func TestAlarmsAreGrouped(t *testing.T) {
	m, b := NewAlarms(AlarmsConfig{}), &alertBook{}
	hour := time.Hour.Milliseconds()
	for i := range int64(10) {
		m.Raise(odd("a", "bank/pay", start+i*1000, Unusual))
	}
	m.Raise(odd("a", "mail/send", start, Unusual))
	m.Raise(odd("a", "bank/pay", start, "chain.spree"))
	m.Raise(odd("b", "bank/pay", start, Unusual))
	m.Flush(t.Context(), start+10_000, b.record)
	if len(b.got) != 4 {
		t.Fatalf("%d alerts: %+v", len(b.got), b.got)
	}
	m.Flush(t.Context(), start+hour+1, b.record)
	last := b.got[len(b.got)-1]
	if len(b.got) != 5 || last.Count != 9 || last.Action != "" || !strings.HasPrefix(last.Summary, "9 more like it") {
		t.Errorf("the rest of a group: %+v", last)
	}
	m.Raise(odd("a", "bank/pay", start+hour+2, Unusual))
	if m.Flush(t.Context(), start+hour+3, b.record); len(b.got) != 6 {
		t.Errorf("a new hour: %d alerts", len(b.got))
	}
}

func TestAlarmsSurviveWhatKeepsThemFromTheLedger(t *testing.T) {
	m, b := NewAlarms(AlarmsConfig{Queue: 4}), &alertBook{fail: true}
	for i := range 3 {
		m.Raise(odd(fmt.Sprint("agent", i), "bank/pay", start, Unusual))
	}
	if m.Flush(t.Context(), start, b.record); m.Stats().Waiting != 3 {
		t.Errorf("%+v", m.Stats())
	}
	b.fail = false
	if m.Flush(t.Context(), start, b.record); len(b.got) != 3 || m.Stats() != (AlarmStats{Raised: 3, Recorded: 3}) {
		t.Errorf("%d alerts, %+v", len(b.got), m.Stats())
	}

	// A crash: the intents stand in the ledger, one of the alerts does.
	n, c := NewAlarms(AlarmsConfig{}), &alertBook{}
	first, second := odd("a", "bank/pay", start, Unusual), odd("b", "bank/pay", start, Unusual)
	n.Replay(first)
	n.Replay(second)
	n.Recorded(alertOf(first))
	n.Replay(odd("a", "bank/pay", start+1000, Unusual)) // of a group that was told already
	n.Replay(call("c", "bank/pay", "", start))          // not odd
	n.Ready()
	if n.Flush(t.Context(), start+2000, c.record); len(c.got) != 1 || c.got[0].Agent != "b" {
		t.Errorf("after a crash: %+v", c.got)
	}
}

func TestWrongAlertsAreSilentForAWhile(t *testing.T) {
	m, b := NewAlarms(AlarmsConfig{}), &alertBook{}
	m.Wrong(alertOf(odd("a", "bank/pay", start, Unusual)), start)
	m.Raise(odd("a", "bank/pay", start+Mute.Milliseconds()-1, Unusual))
	if m.Flush(t.Context(), start+1, b.record); len(b.got) != 0 {
		t.Errorf("%+v", b.got)
	}
	m.Raise(odd("a", "bank/pay", start+Mute.Milliseconds(), Unusual))
	if m.Flush(t.Context(), start+1, b.record); len(b.got) != 1 {
		t.Errorf("after a week: %+v", b.got)
	}
}

func TestAlertRecordsCanBeReadBack(t *testing.T) {
	a := alertOf(odd("a", "bank/pay", start, Unusual, "chain.spree"))
	r, err := a.Record()
	if err != nil || r.Kind != action.KindAlert || strings.Join(r.Codes, " ") != "monitor.unusual monitor.chain.spree" {
		t.Fatal(r, err)
	}
	if b, ok := ReadAlert(r.Part(action.PartDetail)); !ok || fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("%+v, want %+v", b, a)
	}
	if _, ok := ReadAlert([]byte(`{"summary":"x"}`)); ok {
		t.Error("an alert of nothing was read")
	}
}

func TestAlertsSteerNoTerminal(t *testing.T) {
	m := profiles(t, ProfilesConfig{})
	q := call("a", "srv/\x1b]0;gone\x07\u202epay\n", "", start)
	p, _ := m.Inform(t.Context(), q)
	p.Put(q)
	q.Context.Monitor.Alerts = []string{Unusual}
	a := alertOf(q)
	for _, s := range append([]string{a.Summary, a.Tool}, a.Reasons...) {
		if strings.ContainsAny(s, "\x1b\x07\u202e\n") {
			t.Errorf("%q", s)
		}
	}
	if !strings.Contains(a.Summary, "pay") || !strings.Contains(a.Reasons[0], "pay") {
		t.Errorf("%+v", a)
	}
}

// receiver is a server that can be down, slow or unwilling.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	status []int // of the next answers; then 200
	got    []*http.Request
	bodies []string
}

func receive(t *testing.T, status ...int) *receiver {
	r := &receiver{status: status}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		code := http.StatusOK
		if len(r.status) > 0 {
			code, r.status = r.status[0], r.status[1:]
		}
		if code == http.StatusOK {
			r.got, r.bodies = append(r.got, req), append(r.bodies, string(b))
		}
		w.WriteHeader(code)
	}))
	t.Cleanup(r.Close)
	return r
}

var outletSecret = []byte("a shared secret of enough bytes")

// follow is a ledger with alerts at the even indexes; it ends once end alerts were taken.
func follow(alerts []Alert) func(context.Context, uint64, func(uint64, Alert) error) error {
	return func(_ context.Context, from uint64, fn func(uint64, Alert) error) error {
		for i, a := range alerts {
			if at := uint64(2 * i); at >= from {
				if err := fn(at, a); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

func outlet(t *testing.T, kind, url string, alerts []Alert, cursor *uint64) *Outlet {
	t.Helper()
	o, err := NewOutlet(OutletConfig{Name: "o", Kind: kind, URL: url, Secret: outletSecret, Now: func() time.Time { return time.UnixMilli(start) },
		Follow: follow(alerts), Load: func(context.Context) (uint64, error) { return *cursor, nil },
		Save: func(_ context.Context, n uint64) error { *cursor = n; return nil }, Pause: time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOutletsLoseNothing(t *testing.T) {
	alerts := []Alert{alertOf(odd("a", "bank/pay", start, Unusual)), alertOf(odd("b", "bank/pay", start, Unusual)), alertOf(odd("c", "bank/pay", start, Unusual))}
	for name, c := range map[string]struct {
		status  []int
		want    string // the agents, in order
		refused int64
	}{
		"a willing receiver":                 {nil, "abc", 0},
		"one that is down for a while":       {[]int{503, 503, 502, 500, 429, 408}, "abc", 0},
		"one that redirects for a while":     {[]int{302, 307}, "abc", 0},
		"one that goes down in between":      {[]int{200, 503, 200}, "abc", 0},
		"one that refuses one alert forever": {[]int{200, 400, 400, 400, 400, 400, 400, 400, 400}, "ac", 1},
		"one that refuses for a while":       {[]int{404, 404, 404}, "abc", 0},
	} {
		r, cursor := receive(t, c.status...), uint64(0)
		o := outlet(t, Webhook, r.URL, alerts, &cursor)
		if err := o.Run(t.Context()); err != nil {
			t.Fatal(name, err)
		}
		var got strings.Builder
		for i, b := range r.bodies {
			var d delivered
			if err := action.Read([]byte(b), &d, action.Limits{}); err != nil {
				t.Fatal(err)
			}
			got.WriteString(d.Alert.Agent)
			if sign := r.got[i].Header.Get(SignatureHeader); sign != Sign(outletSecret, time.UnixMilli(start), []byte(b)) {
				t.Errorf("%s: signature %q", name, sign)
			}
		}
		if got.String() != c.want || cursor != 5 || o.Stats().Refused != c.refused {
			t.Errorf("%s: %q delivered, cursor %d, %+v", name, got.String(), cursor, o.Stats())
		}
	}
}

func TestOutletsGoOnWhereTheyStopped(t *testing.T) {
	alerts := []Alert{alertOf(odd("a", "bank/pay", start, Unusual)), alertOf(odd("b", "bank/pay", start, Unusual))}
	cursor := uint64(0)
	ctx, cancel := context.WithCancel(t.Context())
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		cancel() // we are stopped while the receiver is down
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer down.Close()
	if err := outlet(t, Webhook, down.URL, alerts, &cursor).Run(ctx); err != nil || cursor != 0 {
		t.Fatal(err, cursor)
	}
	r := receive(t)
	if err := outlet(t, Webhook, r.URL, alerts, &cursor).Run(t.Context()); err != nil || len(r.got) != 2 || cursor != 3 {
		t.Errorf("%v, %d delivered, cursor %d", err, len(r.got), cursor)
	}
	if err := outlet(t, Webhook, r.URL, alerts, &cursor).Run(t.Context()); err != nil || len(r.got) != 2 {
		t.Errorf("%v: delivered again: %d", err, len(r.got))
	}
}

func TestOutletsGiveUpOnASlowAttempt(t *testing.T) {
	hung := make(chan struct{})
	var first atomic.Bool
	first.Store(true)
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if first.CompareAndSwap(true, false) {
			<-hung
		}
	}))
	defer s.Close()
	defer close(hung)
	cursor := uint64(0)
	o := outlet(t, Webhook, s.URL, []Alert{alertOf(odd("a", "bank/pay", start, Unusual))}, &cursor)
	o.client.Timeout = 50 * time.Millisecond
	if err := o.Run(t.Context()); err != nil || cursor != 1 || o.Stats().Failed == 0 {
		t.Errorf("%v, cursor %d, %+v", err, cursor, o.Stats())
	}
}

func TestOutletsSpeakTheirReceiversForm(t *testing.T) {
	a := alertOf(odd("a", "bank/pay", start, Unusual))
	a.Summary, a.Reasons = "agent <!channel> *bold*", []string{"one", "two <https://evil.example|click>"}
	for kind, want := range map[string][]string{
		Slack:        {`{"text":`, "&lt;!channel&gt;", "two &lt;https:"},
		Alertmanager: {`"alertname":"Sallyport"`, `"agent":"a"`, `"startsAt":"20`, `"tool":"bank/pay"`, `"record":"0"`},
		Webhook:      {`"index":0`, `"summary":"agent <!channel> *bold*"`},
	} {
		r, cursor := receive(t), uint64(0)
		if err := outlet(t, kind, r.URL, []Alert{a}, &cursor).Run(t.Context()); err != nil || len(r.bodies) != 1 {
			t.Fatal(kind, err)
		}
		for _, w := range want {
			if !strings.Contains(r.bodies[0], w) {
				t.Errorf("%s: %s does not hold %s", kind, r.bodies[0], w)
			}
		}
	}
}

func TestOutletsAreCheckedBeforeTheyStart(t *testing.T) {
	cursor := uint64(0)
	good := outlet(t, Webhook, "https://hooks.example/x", nil, &cursor).cfg
	for name, change := range map[string]func(c *OutletConfig){
		"no name":             func(c *OutletConfig) { c.Name = "" },
		"another kind":        func(c *OutletConfig) { c.Kind = "pager" },
		"an address of files": func(c *OutletConfig) { c.URL = "file:///etc/passwd" },
		"a short secret":      func(c *OutletConfig) { c.Secret = []byte("short") },
		"no log":              func(c *OutletConfig) { c.Follow = nil },
	} {
		c := good
		change(&c)
		if _, err := NewOutlet(c); err == nil || strings.Contains(err.Error(), "passwd") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAlarmsRunUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, b := NewAlarms(AlarmsConfig{}), &alertBook{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx, time.Now, b.record) }()
		m.Raise(odd("a", "bank/pay", time.Now().UnixMilli(), Unusual))
		m.Raise(odd("a", "bank/pay", time.Now().UnixMilli()+1, Unusual))
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		m.Raise(odd("b", "bank/pay", time.Now().UnixMilli(), Unusual))
		cancel()
		if err := <-done; err != nil || len(b.got) != 3 || b.got[1].Count != 1 {
			t.Errorf("%v: %+v", err, b.got)
		}
	})
}
