// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/internal/outbox"
)

// The kinds of outlets.
const (
	Webhook      = "webhook"      // our own JSON, signed
	Slack        = "slack"        // an incoming webhook of Slack, or of what understands its form
	Alertmanager = "alertmanager" // POST /api/v2/alerts of Prometheus Alertmanager
)

// SignatureHeader carries the signature of a webhook, as Sign makes it.
const SignatureHeader = outbox.SignatureHeader

// OutletConfig configures an Outlet.
type OutletConfig struct {
	Name   string // required
	Kind   string // required: Webhook, Slack or Alertmanager
	URL    string // required: http or https
	Secret []byte // required of a webhook: at least 16 bytes
	// Follow calls fn for each alert record from an index on, in order, and waits for more until ctx ends.
	Follow func(ctx context.Context, from uint64, fn func(index uint64, a Alert) error) error
	// Load and Save keep the index of the next record to deliver.
	Load func(ctx context.Context) (uint64, error)
	Save func(ctx context.Context, next uint64) error
	Now  func() time.Time

	Timeout  time.Duration // of one attempt; 0 means 10 s
	Pause    time.Duration // after the first failed attempt, then twice as long; 0 means 1 s
	MaxPause time.Duration // 0 means 5 min
	Refusals int           // attempts after which an alert that the receiver refuses (4xx) is left out; 0 means 8
}

// Outlet delivers alerts to one receiver, each at least once and in order. While the receiver is down they
// wait in the ledger.
type Outlet struct {
	cfg    OutletConfig
	client *http.Client
	box    *outbox.Box[Alert]
}

// NewOutlet checks c.
func NewOutlet(c OutletConfig) (*Outlet, error) {
	u, err := url.Parse(c.URL)
	switch {
	case c.Name == "" || c.Follow == nil || c.Load == nil || c.Save == nil || c.Now == nil:
		return nil, errors.New("monitor: outlet: config fields Name, Follow, Load, Save and Now are required")
	case !slices.Contains([]string{Webhook, Slack, Alertmanager}, c.Kind):
		return nil, fmt.Errorf("monitor: outlet %q: kind %q is not webhook, slack or alertmanager", c.Name, c.Kind)
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("monitor: outlet %q: the address is not an http or https URL", c.Name) // which may be a secret
	case c.Kind == Webhook && len(c.Secret) < 16:
		return nil, fmt.Errorf("monitor: outlet %q: a webhook needs a secret of at least 16 bytes", c.Name)
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	o := &Outlet{cfg: c, client: outbox.Client(c.Timeout)}
	o.box, err = outbox.New(outbox.Config[Alert]{Follow: c.Follow, Load: c.Load, Save: c.Save,
		Send:  func(ctx context.Context, index uint64, a Alert) error { return o.send(ctx, index, &a) },
		Pause: c.Pause, MaxPause: c.MaxPause, Refusals: c.Refusals})
	return o, err
}

// OutletStats are numbers since the start.
type OutletStats struct {
	Delivered int64
	Failed    int64 // attempts
	Refused   int64 // alerts that were left out
}

// Name is the outlet's name.
func (o *Outlet) Name() string { return o.cfg.Name }

// Stats returns numbers since the start.
func (o *Outlet) Stats() OutletStats {
	st := o.box.Stats()
	return OutletStats{st.Delivered, st.Failed, st.Refused}
}

// Run delivers until ctx ends.
func (o *Outlet) Run(ctx context.Context) error {
	if err := o.box.Run(ctx); err != nil {
		return fmt.Errorf("monitor: outlet %q: %w", o.cfg.Name, err)
	}
	return nil
}

// send makes one attempt.
func (o *Outlet) send(ctx context.Context, index uint64, a *Alert) error {
	body, err := o.body(index, a)
	if err != nil {
		return outbox.ErrRefused
	}
	header := map[string]string{}
	if o.cfg.Kind == Webhook {
		header["Idempotency-Key"] = "alert-" + strconv.FormatUint(index, 10)
		header[SignatureHeader] = Sign(o.cfg.Secret, o.cfg.Now(), body)
	}
	return outbox.Post(ctx, o.client, o.cfg.URL, header, body)
}

// Sign is the value of SignatureHeader for body at a time.
func Sign(secret []byte, at time.Time, body []byte) string { return outbox.Sign(secret, at, body) }

// delivered is the body of a webhook.
type delivered struct {
	Index uint64 `json:"index"` // of the record in the ledger
	Alert Alert  `json:"alert"`
}

// alertmanagerAlert is one alert in the form of Alertmanager's API.
type alertmanagerAlert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    string            `json:"startsAt"`
}

func (o *Outlet) body(index uint64, a *Alert) ([]byte, error) {
	switch o.cfg.Kind {
	case Slack:
		text := "*Sallyport alert " + strconv.FormatUint(index, 10) + "*: " + plain(a.Summary)
		for _, r := range a.Reasons[min(1, len(a.Reasons)):] {
			text += "\n• " + plain(r)
		}
		return action.Canonical(map[string]string{"text": text})
	case Alertmanager:
		return action.Canonical([]alertmanagerAlert{{
			Labels: map[string]string{"alertname": "Sallyport", "kind": strings.Join(a.Alerts, ","), "agent": a.Agent,
				"tool": action.ToolKey(a.Server, a.Tool), "tenant": a.Tenant},
			Annotations: map[string]string{"summary": a.Summary, "description": strings.Join(a.Reasons, "\n"),
				"record": strconv.FormatUint(index, 10), "risk_milli": strconv.Itoa(a.Risk), "session": a.Session},
			StartsAt: time.UnixMilli(a.TimeMs).UTC().Format(time.RFC3339),
		}})
	}
	return action.Canonical(delivered{index, *a})
}

// plain takes the meaning from Slack's control characters: names come from servers and agents.
func plain(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "*", "∗", "_", "＿", "`", "'", "~", "∼").Replace(s)
}
