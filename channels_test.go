// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/tools"
)

// chat is a server that takes what is told.
type chat struct {
	t    *testing.T
	srv  *httptest.Server
	dir  string
	told chan string // path and body of each message
}

const signingSecret = "8f742231b10e8888abcd99yyyzzz85a5"

func openChat(t *testing.T) *chat {
	c := &chat{t: t, dir: t.TempDir(), told: make(chan string, 64)}
	c.srv = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		c.told <- r.URL.Path + " " + string(b)
	}))
	t.Cleanup(c.srv.Close)
	return c
}

func (c *chat) file(name, content string) string {
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

func (c *chat) channels() []ChannelConfig {
	return []ChannelConfig{
		{Name: "ops", Kind: "slack", URLFile: c.file("slack", c.srv.URL+"/slack"), SecretFile: c.file("signing", signingSecret)},
		{Name: "floor", Kind: "teams", URLFile: c.file("teams", c.srv.URL+"/teams")},
	}
}

// next is the next message to a path.
func (c *chat) next(t *testing.T, path string) string {
	t.Helper()
	for {
		select {
		case m := <-c.told:
			if body, ok := strings.CutPrefix(m, path+" "); ok {
				return body
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("nothing is told to %s", path)
		}
	}
}

// waits makes an agent ask for something that needs a person, and returns the request.
func waits(t *testing.T, s *Sallyport, n int) approval.View {
	t.Helper()
	ctx := t.Context()
	if _, err := s.Tokens.CreateAgent(ctx, identity.AgentSpec{ID: "cleaner", By: "test"}); err != nil && !errors.Is(err, identity.ErrExists) {
		t.Fatal(err)
	}
	d, err := tools.ReadDefinition([]byte(`{"name":"delete_customer","description":"Deletes","inputSchema":{"type":"object"},"annotations":{"destructiveHint":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tools.Observe(ctx, tools.Upstream{Server: "crm", Transport: tools.Stdio, Command: []string{"crm"}}, []tools.Definition{d}); err != nil {
		t.Fatal(err)
	}
	secret, _, err := s.Tokens.Issue(ctx, identity.TokenSpec{Agent: "cleaner", User: "kim", Scopes: []action.Scope{action.ScopeAgent}, By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Tokens.Authenticate(ctx, secret)
	if err != nil {
		t.Fatal(err)
	}
	sub := p.Subject
	sub.Channel.Door = action.DoorAPI
	sess, err := s.Enforcer.Session(ctx, &sub, fmt.Sprint("host", n), enforce.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	answer, _, err := s.Enforcer.Do(ctx, enforce.Attempt{Subject: sub, Session: sess, Name: "tools/call", Type: "tool", Server: "crm", Tool: "delete_customer",
		Arguments: fmt.Appendf(nil, `{"id":"%d","note":"hunter2"}`, n), Grade: action.GradeProxy, Separation: action.SeparationUID},
		func(context.Context, enforce.Admission) (enforce.Outcome, error) {
			return enforce.Outcome{}, errors.New("it ran")
		})
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.Approval.List(ctx, approval.Filter{State: approval.Pending, Session: sess})
	if err != nil || len(list) != 1 {
		t.Fatalf("%d requests wait: %+v, %v", len(list), answer, err)
	}
	return list[0]
}

// chatsTellAndRefuse goes from an action that asks, through real servers, to the refusal on record.
func chatsTellAndRefuse(t *testing.T, f *front) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for _, job := range f.s.channelJobs() {
		go func() { done <- job(ctx) }()
	}
	defer func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}()
	one := waits(t, f.s, 1)
	told := f.in.next(t, "/slack")
	if strings.Contains(told, "hunter2") || !strings.Contains(told, "/console/#/request/"+one.ID) {
		t.Errorf("Slack is told %s", told)
	}
	ticket := regexp.MustCompile(`sd_[A-Za-z0-9_.-]+`).FindString(told)
	body := url.Values{"payload": {`{"type":"block_actions","user":{"id":"U1"},"team":{"id":"T1"},"actions":[{"action_id":"sallyport-deny","value":"` + ticket + `"}],"response_url":"` + f.in.srv.URL + `/answer"}`}}.Encode()
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	press := func(secret string) int {
		h := hmac.New(sha256.New, []byte(secret))
		h.Write([]byte("v0:" + stamp + ":" + body))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.at+"/v1/channels/ops/press", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("X-Slack-Request-Timestamp", stamp)
		r.Header.Set("X-Slack-Signature", "v0="+hex.EncodeToString(h.Sum(nil)))
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	for _, c := range []struct {
		secret string
		want   int
		state  approval.State
	}{{"another", 401, approval.Pending}, {signingSecret, 200, approval.Refused}, {signingSecret, 401, approval.Refused}} {
		if got := press(c.secret); got != c.want {
			t.Errorf("a press signed with %q: %d, not %d", c.secret, got, c.want)
		}
		if v, err := f.s.Approval.Show(t.Context(), one.ID); err != nil || v.State != c.state {
			t.Errorf("then it is %s: %v", v.State, err)
		}
	}
	if v, _ := f.s.Approval.Show(t.Context(), one.ID); v.Answers[0].Approver != "slack:T1/U1" || v.Answers[0].Approve {
		t.Errorf("%+v", v.Answers)
	}
	if answer := f.in.next(t, "/answer"); !strings.Contains(answer, "Denied") {
		t.Errorf("Slack is answered %s", answer)
	}
	two := waits(t, f.s, 2)
	for id := ""; id != two.ID; { // it was told of the first one too
		ticket = regexp.MustCompile(`sd_[A-Za-z0-9_.-]+`).FindString(f.in.next(t, "/teams"))
		var err error
		if id, _, err = f.s.channels.Ticket(ticket); err != nil {
			t.Fatal(err)
		}
	}
	_, who, err := f.s.channels.Ticket(ticket)
	if err != nil || who.Channel != action.RankBearer || who.ID != "teams:floor" {
		t.Fatalf("%+v, %v", who, err)
	}
	if st := f.s.channels.list[0].Stats(); st.Problem != "" || st.Delivered == 0 {
		t.Errorf("%+v", st)
	}
}
