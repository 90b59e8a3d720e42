// SPDX-License-Identifier: Apache-2.0

// Package notify tells people elsewhere what waits for them: in Slack, in Teams, by mail, through a signed webhook.
//
// # What leaves
//
// Our own words, and names: the tool, the agent, the user, the rules that ask. Never an argument, a fact or a
// comment: they may hold secrets, and whoever reads a chat is not recorded. Names are an agent's or a server's, so that
// every one is bounded, its invisible characters visible, and put where the receiver renders no markup and makes no links.
//
// # What comes back
//
// A refusal, and nothing else. Whoever holds a Ticket may refuse the request that it names; approving happens where the
// person is authenticated.
package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/internal/outbox"
)

// The kinds of channels.
const (
	Slack   = "slack"   // an incoming webhook, with a button that refuses
	Teams   = "teams"   // a workflow that starts when a webhook is called
	Mail    = "mail"    // SMTP with STARTTLS
	Webhook = "webhook" // our own JSON, signed
)

// Config configures a Channel. Name, Kind, Key, Show, Follow, Load and Save are required.
type Config struct {
	Name   string   // letters, digits and dashes
	Kind   string   // Slack, Teams, Mail or Webhook
	Groups []string // tells only of requests for one of them; nil of all
	URL    string   // of Slack, Teams and Webhook; may be a secret
	Secret []byte   // of Webhook: what signs; of Slack: its signing secret, without which there is no button
	Mail   MailConfig
	Origin string // of the console, for links; "" tells without links
	Key    []byte // makes tickets; 32 bytes

	// Show returns the request of an id, and whether it still waits.
	Show func(ctx context.Context, id string) (approval.View, bool)
	// Follow calls fn with the id of each request that opens from an index of the log on, in order, until ctx ends.
	Follow func(ctx context.Context, from uint64, fn func(index uint64, id string) error) error
	Load   func(ctx context.Context) (uint64, error)
	Save   func(ctx context.Context, next uint64) error

	Now     func() time.Time // nil means time.Now
	Timeout time.Duration    // of one attempt; 0 means 10 s
	Pause   time.Duration    // see outbox.Config
}

// Channel tells one receiver. Its methods are safe for concurrent use.
type Channel struct {
	cfg    Config
	client *http.Client
	box    *outbox.Box[string]
	mailed mailed
}

// New checks c.
func New(c Config) (*Channel, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	u, err := url.Parse(c.URL)
	reached := err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http")
	switch {
	case !isName(c.Name):
		return nil, fmt.Errorf("notify: %q is no name of letters, digits and dashes", action.Clip(c.Name, 64))
	case !slices.Contains([]string{Slack, Teams, Mail, Webhook}, c.Kind):
		return nil, fmt.Errorf("notify: %s: kind %q is not slack, teams, mail or webhook", c.Name, action.Clip(c.Kind, 32))
	case c.Kind != Mail && !reached:
		return nil, fmt.Errorf("notify: %s: the address is not an http or https URL", c.Name)
	case c.Kind == Webhook && len(c.Secret) < 16:
		return nil, fmt.Errorf("notify: %s: a webhook needs a secret of at least 16 bytes", c.Name)
	case len(c.Key) < 32 || c.Show == nil:
		return nil, errors.New("notify: Key and Show are required")
	}
	if c.Kind == Mail {
		if err := c.Mail.check(); err != nil {
			return nil, fmt.Errorf("notify: %s: %w", c.Name, err)
		}
	}
	ch := &Channel{cfg: c, client: outbox.Client(c.Timeout)}
	ch.box, err = outbox.New(outbox.Config[string]{Follow: c.Follow, Load: c.Load, Save: c.Save, Send: ch.send, Pause: c.Pause})
	return ch, err
}

func isName(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

// Name is the channel's name.
func (c *Channel) Name() string { return c.cfg.Name }

// Kind is the channel's kind.
func (c *Channel) Kind() string { return c.cfg.Kind }

// Stats returns numbers since the start. Requests that no longer waited when their turn came count as delivered.
func (c *Channel) Stats() outbox.Stats { return c.box.Stats() }

// Run tells until ctx ends.
func (c *Channel) Run(ctx context.Context) error {
	if err := c.box.Run(ctx); err != nil {
		return fmt.Errorf("notify: %s: %w", c.cfg.Name, err)
	}
	return nil
}

// send makes one attempt to tell of a request.
func (c *Channel) send(ctx context.Context, _ uint64, id string) error {
	v, waits := c.cfg.Show(ctx, id)
	if !waits || v.Shown == nil || !c.concerns(&v) {
		return nil
	}
	n := c.notice(&v)
	if c.cfg.Kind == Mail {
		return c.mail(ctx, &n)
	}
	var body any
	header := map[string]string{}
	switch c.cfg.Kind {
	case Slack:
		body = c.slack(&n)
	case Teams:
		body = teams(&n)
	default:
		body = n
	}
	b, err := action.Canonical(body)
	if err != nil {
		return outbox.ErrRefused
	}
	if c.cfg.Kind == Webhook {
		header["Idempotency-Key"] = "approval-" + id
		header[outbox.SignatureHeader] = outbox.Sign(c.cfg.Secret, c.cfg.Now(), b)
	}
	return outbox.Post(ctx, c.client, c.cfg.URL, header, b)
}

// concerns reports whether the channel's people are among those who may answer.
func (c *Channel) concerns(v *approval.View) bool {
	return len(c.cfg.Groups) == 0 || slices.ContainsFunc(v.Needs, func(n approval.Need) bool {
		return slices.Contains(c.cfg.Groups, n.Group) || n.To != "" && slices.Contains(c.cfg.Groups, n.To)
	})
}

// Notice is what a channel tells; a webhook's body is one.
type Notice struct {
	ID        string   `json:"id"`
	Title     string   `json:"title"`
	Agent     string   `json:"agent"`
	User      string   `json:"user"`
	Tool      string   `json:"tool"`
	Effect    string   `json:"effect"`
	Rules     []string `json:"rules"` // at most five, each with its reason
	Needs     []string `json:"needs"` // whose approval is needed
	ExpiresMs int64    `json:"expires_ms"`
	Look      string   `json:"look"`   // address of the request in the console; "" where it is not known
	Refuse    string   `json:"refuse"` // address where it can be refused, after a click; "" for none
}

const maxRules = 5

func (c *Channel) notice(v *approval.View) Notice {
	n := Notice{ID: v.ID, Title: word(v.Title, 200), Agent: word(v.Agent, 80), User: word(v.Shown.Requester.User, 80), Tool: word(v.Shown.Tool.Key, 120),
		Effect: string(v.Shown.Tool.Effect), Rules: []string{}, Needs: []string{}, ExpiresMs: v.ExpiresMs}
	for _, r := range v.Shown.Rules[:min(maxRules, len(v.Shown.Rules))] {
		n.Rules = append(n.Rules, word(r.ID, 80)+": "+word(r.Reason, 200))
	}
	for _, need := range v.Needs[:min(maxRules, len(v.Needs))] {
		who := fmt.Sprintf("%d by %s", max(need.Quorum, 1), need.Channel)
		if need.Group != "" {
			who += " of " + word(need.Group, 80)
		}
		n.Needs = append(n.Needs, who)
	}
	if c.cfg.Origin != "" {
		n.Look = c.cfg.Origin + "/console/#/request/" + url.PathEscape(v.ID)
		if c.cfg.Kind != Slack {
			n.Refuse = c.link(v.ID, "")
		}
	}
	return n
}

// link is the address of the page that asks whether to refuse. The ticket stands in the fragment, which no server sees,
// no log keeps and nothing that fetches links ahead sends.
func (c *Channel) link(id, to string) string {
	return c.cfg.Origin + "/console/#/refuse/" + c.Ticket(id, to)
}

// lines are a notice as plain text.
func (n *Notice) lines() []string {
	out := []string{n.Title, "Agent: " + n.Agent}
	if n.User != "" {
		out = append(out, "For: "+n.User)
	}
	out = append(out, "Tool: "+n.Tool+" ("+n.Effect+")")
	for _, r := range n.Rules {
		out = append(out, "Asked by "+r)
	}
	for _, need := range n.Needs {
		out = append(out, "Needs approval: "+need)
	}
	return append(out, "Until: "+time.UnixMilli(n.ExpiresMs).UTC().Format("2006-01-02 15:04:05 MST"))
}

// word is a name as a person may be shown it: bounded, in one line, with nothing invisible.
func word(s string, n int) string {
	return action.Clip(strings.Join(strings.Fields(approval.Visible(action.Clip(s, n))), " "), 4*n)
}

// ticketPrefix begins every ticket.
const ticketPrefix = "sd_"

// ErrTicket means that a ticket is none of ours.
var ErrTicket = errors.New("notify: not a ticket")

// Ticket names a request and to whom the channel sent it; "" means everybody there. Whoever holds it may refuse the
// request, once: a refused request does not wait any more. It is worth nothing when the request has ended.
func (c *Channel) Ticket(id, to string) string {
	enc := base64.RawURLEncoding.EncodeToString
	body := enc([]byte(id)) + "." + c.cfg.Name + "." + enc([]byte(to))
	return ticketPrefix + body + "." + enc(c.mac(body))
}

func (c *Channel) mac(body string) []byte {
	h := hmac.New(sha256.New, c.cfg.Key)
	_, _ = fmt.Fprintf(h, "refuse %d:%s", len(body), body)
	return h.Sum(nil)
}

// ChannelOf is the name of the channel that a ticket says to come from. Nothing of it is proved.
func ChannelOf(ticket string) string {
	if parts := strings.Split(ticket, "."); len(parts) == 4 && len(ticket) <= maxTicket {
		return parts[1]
	}
	return ""
}

const maxTicket = 1024

// Redeem returns what a ticket names.
func (c *Channel) Redeem(ticket string) (id, to string, err error) {
	body, ok := strings.CutPrefix(ticket, ticketPrefix)
	parts := strings.Split(body, ".")
	if !ok || len(ticket) > maxTicket || len(parts) != 4 || parts[1] != c.cfg.Name {
		return "", "", ErrTicket
	}
	dec := base64.RawURLEncoding.Strict()
	mac, err1 := dec.DecodeString(parts[3])
	name, err2 := dec.DecodeString(parts[0])
	who, err3 := dec.DecodeString(parts[2])
	if errors.Join(err1, err2, err3) != nil || !hmac.Equal(mac, c.mac(strings.Join(parts[:3], "."))) {
		return "", "", ErrTicket
	}
	return string(name), string(who), nil
}
