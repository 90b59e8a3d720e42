// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/internal/outbox"
)

var noon = time.Unix(1_800_000_000, 0)

// receiver is a real server that keeps what it is sent.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	heads  []http.Header
	status []int // of the next answers; then 200
}

func receive(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.bodies, r.heads = append(r.bodies, string(b)), append(r.heads, q.Header)
		if len(r.status) > 0 {
			w.WriteHeader(r.status[0])
			r.status = r.status[1:]
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// hostile is a request whose names were chosen by somebody who wants to be clicked.
func hostile() approval.View {
	return approval.View{ID: "ask1", State: approval.Pending, Title: "crm/delete: destroys something", Agent: "<!channel> *bot* [x](https://evil.example)\r\nBcc: eve@evil.example",
		ExpiresMs: noon.UnixMilli(), Needs: []approval.Need{{Rule: "r", Channel: action.RankOperator, Quorum: 2, Group: "treasury"}},
		Shown: &approval.Shown{Tool: approval.ShownTool{Key: "crm/delete\u202e\x00", Effect: action.EffectDestroy}, Requester: approval.Requester{User: "kim"},
			Rules: []approval.ShownRule{{ID: "a.b", Reason: "it destroys"}}, Arguments: []string{`{"password": "hunter2"}`}}}
}

func open(t *testing.T, c Config, views map[string]approval.View, ids ...string) *Channel {
	t.Helper()
	if c.Key == nil {
		c.Key = []byte(strings.Repeat("k", 32))
	}
	c.Now = func() time.Time { return noon }
	c.Pause = time.Millisecond
	if c.Show == nil {
		c.Show = func(_ context.Context, id string) (approval.View, bool) {
			v, ok := views[id]
			return v, ok && v.State == approval.Pending
		}
	}
	c.Follow = func(ctx context.Context, from uint64, fn func(uint64, string) error) error {
		for i := int(from); i < len(ids); i++ {
			if err := fn(uint64(i), ids[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if c.Load == nil {
		c.Load = func(context.Context) (uint64, error) { return 0, nil }
		c.Save = func(context.Context, uint64) error { return nil }
	}
	ch, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func TestMessagesHoldNoValuesAndNoMarkup(t *testing.T) {
	for _, kind := range []string{Slack, Teams, Webhook} {
		t.Run(kind, func(t *testing.T) {
			r := receive(t)
			ch := open(t, Config{Name: "ops", Kind: kind, URL: r.URL, Secret: []byte("0123456789abcdef"), Origin: "https://sally.example"}, map[string]approval.View{"ask1": hostile()}, "ask1")
			if err := ch.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(r.bodies) != 1 {
				t.Fatalf("%d messages", len(r.bodies))
			}
			b := r.bodies[0]
			if strings.Contains(b, "hunter2") || strings.Contains(b, "\u202e") || strings.Contains(b, `\u202e`) || strings.Contains(b, `\u0000`) || strings.Contains(b, `\r`) {
				t.Errorf("it tells too much: %s", b)
			}
			if strings.Contains(b, "mrkdwn") || strings.Contains(b, `"TextBlock"`) {
				t.Errorf("the receiver renders it: %s", b)
			}
			for _, want := range []string{"crm/delete: destroys something", "kim", "it destroys", "treasury", "https://sally.example/console/#/request/ask1"} {
				if !strings.Contains(b, want) {
					t.Errorf("no %q in %s", want, b)
				}
			}
			if kind == Webhook {
				if got := r.heads[0].Get(outbox.SignatureHeader); got != outbox.Sign([]byte("0123456789abcdef"), noon, []byte(b)) {
					t.Errorf("signature %q", got)
				}
			} else if kind == Slack && !strings.Contains(b, denyAction) || kind == Teams && !strings.Contains(b, "#/refuse/sd_") {
				t.Errorf("it cannot be refused: %s", b)
			}
		})
	}
}

func TestWhatNoLongerWaitsIsNotTold(t *testing.T) {
	r := receive(t)
	granted, other := hostile(), hostile()
	granted.State = approval.Granted
	other.Needs[0].Group = "legal"
	ch := open(t, Config{Name: "ops", Kind: Teams, URL: r.URL, Groups: []string{"treasury"}},
		map[string]approval.View{"a": hostile(), "b": granted, "c": other}, "a", "b", "c", "gone")
	if err := ch.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.bodies) != 1 {
		t.Errorf("%d messages for one request that waits here", len(r.bodies))
	}
}

func TestAReceiverThatIsAwayIsToldLater(t *testing.T) {
	r := receive(t)
	r.status = []int{500, 429, 503}
	saved := uint64(0)
	ch := open(t, Config{Name: "ops", Kind: Teams, URL: r.URL, Load: func(context.Context) (uint64, error) { return 0, nil },
		Save: func(_ context.Context, n uint64) error { saved = n; return nil }}, map[string]approval.View{"a": hostile(), "b": hostile()}, "a", "b")
	if err := ch.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := ch.Stats(); len(r.bodies) != 5 || st.Delivered != 2 || st.Failed != 3 || st.Problem != "" || saved != 2 {
		t.Errorf("%d attempts, %+v, saved %d", len(r.bodies), st, saved)
	}
	r.status = []int{404, 404, 404, 404, 404, 404, 404, 404}
	if err := ch.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := ch.Stats(); st.Refused != 1 {
		t.Errorf("who refuses for good holds up the others: %+v", st)
	}
	where := r.URL
	r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := ch.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if st := ch.Stats(); st.Problem == "" || strings.Contains(st.Problem, where) {
		t.Errorf("problem %q", st.Problem)
	}
}

func TestTicketsNameOneRequestOfOneChannel(t *testing.T) {
	one := open(t, Config{Name: "ops", Kind: Teams, URL: "https://x.example"}, nil)
	two := open(t, Config{Name: "legal", Kind: Teams, URL: "https://x.example"}, nil)
	foreign := open(t, Config{Name: "ops", Kind: Teams, URL: "https://x.example", Key: []byte(strings.Repeat("x", 32))}, nil)
	good := one.Ticket("ask1", "ann@example.com")
	if id, to, err := one.Redeem(good); err != nil || id != "ask1" || to != "ann@example.com" || ChannelOf(good) != "ops" {
		t.Fatal(id, to, err)
	}
	raw := []byte(good)
	for i := range raw {
		was := raw[i]
		for _, c := range []byte("AB.z") {
			if raw[i] = c; c != was {
				if _, _, err := one.Redeem(string(raw)); err == nil {
					t.Fatalf("character %d may be %q", i, c)
				}
			}
		}
		raw[i] = was
	}
	for name, ticket := range map[string]string{"another channel's": two.Ticket("ask1", ""), "another owner's": foreign.Ticket("ask1", ""), "nothing": "", "a long one": "sd_" + strings.Repeat("a", 2000),
		"one that is moved": strings.Replace(two.Ticket("ask1", ""), ".legal.", ".ops.", 1)} {
		if _, _, err := one.Redeem(ticket); !errors.Is(err, ErrTicket) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// pressed is what Slack sends.
func pressed(secret string, at time.Time, payload string) (stamp, sig string, body []byte) {
	body = []byte(url.Values{"payload": {payload}}.Encode())
	stamp = strconv.FormatInt(at.Unix(), 10)
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte("v0:" + stamp + ":" + string(body)))
	return stamp, "v0=" + hex.EncodeToString(h.Sum(nil)), body
}

func TestPressesCountOnceFromSlackAndNow(t *testing.T) {
	const secret = "8f742231b10e8888abcd99yyyzzz85a5"
	ch := open(t, Config{Name: "ops", Kind: Slack, URL: "https://hooks.slack.example/x", Secret: []byte(secret)}, nil)
	payload := func(id, value string) string {
		return `{"type":"block_actions","user":{"id":"U1","username":"ann"},"team":{"id":"T1"},"actions":[{"action_id":"` + id + `","value":"` + value + `","type":"button"}],"response_url":"https://hooks.slack.example/r"}`
	}
	good := payload(denyAction, ch.Ticket("ask1", ""))
	for _, c := range []struct {
		name   string
		secret string
		at     time.Time
		body   string
		want   error
	}{
		{"a press", secret, noon, good, nil},
		{"the same again", secret, noon, good, ErrForged},
		{"another second", secret, noon.Add(time.Second), good, nil},
		{"an old one", secret, noon.Add(-slackWindow - time.Second), good, ErrForged},
		{"one of tomorrow", secret, noon.Add(slackWindow + time.Second), good, ErrForged},
		{"another secret", secret + "x", noon, good, ErrForged},
		{"an approval", secret, noon.Add(2 * time.Second), payload("sallyport-approve", ch.Ticket("ask1", "")), ErrTicket},
		{"no ticket", secret, noon.Add(3 * time.Second), payload(denyAction, "ask1"), ErrTicket},
		{"another form", secret, noon.Add(4 * time.Second), `{"type":"view_submission"}`, ErrTicket},
		{"names that stand twice", secret, noon.Add(5 * time.Second), strings.Replace(good, `{"type"`, `{"type":"x","type"`, 1), ErrTicket},
	} {
		stamp, sig, body := pressed(c.secret, c.at, c.body)
		p, err := ch.Press(seen, stamp, sig, body)
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || p.Request != "ask1" || p.Who != "T1/U1") {
			t.Errorf("%s: %+v, %v", c.name, p, err)
		}
	}
	stamp, sig, body := pressed(secret, noon.Add(9*time.Second), good)
	if _, err := ch.Press(seen, stamp, sig, append(body, "&x=y"...)); !errors.Is(err, ErrForged) {
		t.Errorf("a body that was not signed: %v", err)
	}
}

var seen = &Seen{}

func TestAnswersGoWhereTheChannelIsOnly(t *testing.T) {
	own, other := receive(t), receive(t)
	ch := open(t, Config{Name: "ops", Kind: Slack, URL: own.URL, Secret: []byte("s")}, nil)
	for _, at := range []string{own.URL + "/r", other.URL + "/r", "", "://"} {
		if err := ch.Answered(t.Context(), Pressed{answer: at}, "Denied."); err != nil {
			t.Error(err)
		}
	}
	if len(own.bodies) != 1 || len(other.bodies) != 0 {
		t.Errorf("%d and %d answers", len(own.bodies), len(other.bodies))
	}
}

func TestSeenIsBounded(t *testing.T) {
	var s Seen
	for i := range maxSeen {
		if !s.first(strconv.Itoa(i), noon) {
			t.Fatal(i)
		}
	}
	if s.first("one more", noon) || !s.first("later", noon.Add(3*slackWindow)) {
		t.Error("what is remembered has no bound, or none that ends")
	}
}

func FuzzPress(f *testing.F) {
	ch, err := New(Config{Name: "ops", Kind: Slack, URL: "https://x.example", Secret: []byte("s"), Key: make([]byte, 32), Now: func() time.Time { return noon },
		Show:   func(context.Context, string) (approval.View, bool) { return approval.View{}, false },
		Follow: func(context.Context, uint64, func(uint64, string) error) error { return nil }, Load: func(context.Context) (uint64, error) { return 0, nil }, Save: func(context.Context, uint64) error { return nil }})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{"type":"block_actions","user":{"id":"U"},"actions":[{"action_id":"sallyport-deny","value":"sd_a.b.c.d"}]}`)
	f.Fuzz(func(t *testing.T, payload string) {
		stamp, sig, body := pressed("s", noon, payload)
		if p, err := ch.Press(&Seen{}, stamp, sig, body); err == nil {
			t.Fatalf("%+v", p)
		}
		_, _, _ = ch.Redeem(payload)
		_ = ChannelOf(payload)
	})
}
