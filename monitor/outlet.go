// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/action"
)

// The kinds of outlets.
const (
	Webhook      = "webhook"      // our own JSON, signed
	Slack        = "slack"        // an incoming webhook of Slack, or of what understands its form
	Alertmanager = "alertmanager" // POST /api/v2/alerts of Prometheus Alertmanager
)

// SignatureHeader carries "t=SECONDS,v1=HEX": HMAC-SHA256 of "SECONDS.BODY" under the shared secret.
const SignatureHeader = "Sallyport-Signature"

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
	cfg       OutletConfig
	client    *http.Client
	delivered atomic.Int64
	failed    atomic.Int64
	refused   atomic.Int64
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
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&c.Timeout, 10 * time.Second}, {&c.Pause, time.Second}, {&c.MaxPause, 5 * time.Minute}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if c.Refusals <= 0 {
		c.Refusals = 8
	}
	return &Outlet{cfg: c, client: &http.Client{Timeout: c.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
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
	return OutletStats{o.delivered.Load(), o.failed.Load(), o.refused.Load()}
}

// errRefused means that the receiver does not want this alert, now or later.
var errRefused = errors.New("refused")

// Run delivers until ctx ends.
func (o *Outlet) Run(ctx context.Context) error {
	from, err := o.cfg.Load(ctx)
	if err != nil {
		return fmt.Errorf("monitor: outlet %q: %w", o.cfg.Name, err)
	}
	err = o.cfg.Follow(ctx, from, func(index uint64, a Alert) error {
		if err := o.deliver(ctx, index, &a); err != nil {
			return err
		}
		return o.cfg.Save(ctx, index+1)
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// deliver tries until the receiver has the alert, refuses it for good, or ctx ends.
func (o *Outlet) deliver(ctx context.Context, index uint64, a *Alert) error {
	pause, refusals := o.cfg.Pause, 0
	for {
		err := o.send(ctx, index, a)
		if err == nil {
			o.delivered.Add(1)
			return nil
		}
		o.failed.Add(1)
		if errors.Is(err, errRefused) {
			if refusals++; refusals >= o.cfg.Refusals {
				o.refused.Add(1)
				return nil
			}
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		pause = min(2*pause, o.cfg.MaxPause)
	}
}

// send makes one attempt. No error quotes the address.
func (o *Outlet) send(ctx context.Context, index uint64, a *Alert) error {
	body, err := o.body(index, a)
	if err != nil {
		return errRefused
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, o.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return errRefused
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "sallyport")
	if o.cfg.Kind == Webhook {
		r.Header.Set("Idempotency-Key", "alert-"+strconv.FormatUint(index, 10))
		r.Header.Set(SignatureHeader, Sign(o.cfg.Secret, o.cfg.Now(), body))
	}
	resp, err := o.client.Do(r)
	if err != nil {
		return errors.New("no answer")
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	switch c := resp.StatusCode; {
	case c >= 200 && c < 300:
		return nil
	case c >= 400 && c < 500 && c != http.StatusRequestTimeout && c != http.StatusTooManyRequests:
		return fmt.Errorf("status %d: %w", c, errRefused)
	default:
		return fmt.Errorf("status %d", c)
	}
}

// Sign is the value of SignatureHeader for body at a time.
func Sign(secret []byte, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(t + "."))
	h.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(h.Sum(nil))
}

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
