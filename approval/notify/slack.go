// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/internal/outbox"
)

// words are a text in which Slack renders nothing.
type words struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

type slackButton struct {
	Type   string `json:"type"`
	Text   words  `json:"text"`
	Action string `json:"action_id"`
	URL    string `json:"url,omitzero"`
	Value  string `json:"value,omitzero"`
	Style  string `json:"style,omitzero"`
}

type slackBlock struct {
	Type     string        `json:"type"`
	Text     *words        `json:"text,omitzero"`
	Elements []slackButton `json:"elements,omitzero"`
}

type slackMessage struct {
	Text   string       `json:"text"` // of the notification; our words only, since here markup counts
	Blocks []slackBlock `json:"blocks"`
}

// denyAction is the one action of ours.
const denyAction = "sallyport-deny"

func (c *Channel) slack(n *Notice) slackMessage {
	plain := func(s string) words { return words{"plain_text", s} }
	text := plain(strings.Join(n.lines(), "\n"))
	m := slackMessage{Text: "An agent waits for an approval.", Blocks: []slackBlock{{Type: "section", Text: &text}}}
	var buttons []slackButton
	if n.Look != "" {
		buttons = append(buttons, slackButton{Type: "button", Text: plain("Look at it"), Action: "sallyport-look", URL: n.Look})
	}
	if len(c.cfg.Secret) > 0 {
		buttons = append(buttons, slackButton{Type: "button", Text: plain("Deny"), Action: denyAction, Value: c.Ticket(n.ID, ""), Style: "danger"})
	}
	if len(buttons) > 0 {
		m.Blocks = append(m.Blocks, slackBlock{Type: "actions", Elements: buttons})
	}
	return m
}

// The bounds of what comes from Slack.
const (
	slackWindow   = 5 * time.Minute // as Slack's documentation says: older requests may be replays
	maxSlackBytes = 64 << 10
	maxSeen       = 4096
)

// ErrForged means that a request does not come from Slack, or is a repeat.
var ErrForged = errors.New("notify: not a fresh request of the channel")

// Pressed is a button that somebody pressed.
type Pressed struct {
	Request string // id of the request to refuse
	Who     string // team and user, as Slack names them
	answer  string // address at which Slack takes an answer
}

// Seen remembers what came from Slack, so that nothing counts twice. Its zero value is ready.
type Seen struct {
	mu   sync.Mutex // guards below
	seen map[string]time.Time
}

// first reports whether a signature comes for the first time within the window. When too many come it refuses.
func (s *Seen) first(sig string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[string]time.Time{}
	}
	if _, ok := s.seen[sig]; ok {
		return false
	}
	if len(s.seen) >= maxSeen {
		for k, at := range s.seen {
			if now.Sub(at) > 2*slackWindow {
				delete(s.seen, k)
			}
		}
		if len(s.seen) >= maxSeen {
			return false
		}
	}
	s.seen[sig] = now
	return true
}

// Press reads a request of Slack's interactivity: body under the headers X-Slack-Request-Timestamp and
// X-Slack-Signature. Only the button that refuses is known.
func (c *Channel) Press(seen *Seen, stamp, signature string, body []byte) (Pressed, error) {
	if c.cfg.Kind != Slack || len(c.cfg.Secret) == 0 || len(body) > maxSlackBytes {
		return Pressed{}, ErrForged
	}
	h := hmac.New(sha256.New, c.cfg.Secret)
	h.Write([]byte("v0:" + stamp + ":"))
	h.Write(body)
	if !hmac.Equal([]byte("v0="+hex.EncodeToString(h.Sum(nil))), []byte(signature)) {
		return Pressed{}, ErrForged
	}
	now := c.cfg.Now()
	sec, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || now.Sub(time.Unix(sec, 0)).Abs() > slackWindow || !seen.first(signature, now) {
		return Pressed{}, ErrForged
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form["payload"]) != 1 {
		return Pressed{}, ErrTicket
	}
	var p struct {
		Type string `json:"type"`
		User struct {
			ID string `json:"id"`
		} `json:"user"`
		Team struct {
			ID string `json:"id"`
		} `json:"team"`
		Actions []struct {
			ID    string `json:"action_id"`
			Value string `json:"value"`
		} `json:"actions"`
		Answer string `json:"response_url"`
	}
	raw := []byte(form.Get("payload"))
	if action.Check(raw, action.Limits{Bytes: maxSlackBytes}) != nil || json.Unmarshal(raw, &p) != nil ||
		p.Type != "block_actions" || len(p.Actions) != 1 || p.Actions[0].ID != denyAction || p.User.ID == "" {
		return Pressed{}, ErrTicket
	}
	id, _, err := c.Redeem(p.Actions[0].Value)
	return Pressed{Request: id, Who: word(p.Team.ID, 32) + "/" + word(p.User.ID, 32), answer: p.Answer}, err
}

// Answered says in Slack how it ended, in our own words. It goes where the channel's own messages go, and nowhere else.
func (c *Channel) Answered(ctx context.Context, p Pressed, text string) error {
	own, err1 := url.Parse(c.cfg.URL)
	to, err2 := url.Parse(p.answer)
	if errors.Join(err1, err2) != nil || to.Host != own.Host || to.Scheme != own.Scheme {
		return nil
	}
	b, err := action.Canonical(struct {
		Replace bool         `json:"replace_original"`
		Text    string       `json:"text"`
		Blocks  []slackBlock `json:"blocks"`
	}{true, text, []slackBlock{{Type: "section", Text: &words{"plain_text", text}}}})
	if err != nil {
		return err
	}
	return outbox.Post(ctx, &http.Client{Timeout: 2 * time.Second, CheckRedirect: c.client.CheckRedirect}, p.answer, nil, b)
}
