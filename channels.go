// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/approval/notify"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/store"
)

// ChannelConfig is one place where people are told of what waits for them.
type ChannelConfig struct {
	Name       string   `yaml:"name" doc:"its name; the place up to which it has been told is kept under it"`
	Kind       string   `yaml:"kind" doc:"slack, teams, mail or webhook"`
	Groups     []string `yaml:"groups" doc:"tells only of what needs one of these groups; default: everything"`
	URLFile    string   `yaml:"url_file" doc:"file with the address of a slack, teams or other webhook"`
	SecretFile string   `yaml:"secret_file" doc:"file with the secret that signs a webhook, with Slack's signing secret (no Deny button without), or with the password for mail"`
	Server     string   `yaml:"server" doc:"host:port of the mail server, which must offer STARTTLS"`
	User       string   `yaml:"user" doc:"login at the mail server"`
	From       string   `yaml:"from" doc:"address that mail comes from"`
	To         []string `yaml:"to" doc:"addresses that mail goes to"`
	CAFile     string   `yaml:"ca_file" doc:"file with the certificate authority of the mail server; default: the system's"`
	Hello      string   `yaml:"hello" doc:"our name in the mail server's greeting; default localhost"`
}

func checkChannels(list []ChannelConfig) error {
	names := map[string]bool{}
	for _, c := range list {
		if c.Name == "" || names[c.Name] {
			return fmt.Errorf("config: approval.channels: %q has no name, or stands twice", c.Name)
		}
		names[c.Name] = true
		if (c.Kind == notify.Mail) != (c.URLFile == "") {
			return fmt.Errorf("config: approval.channels: %q: url_file is for all kinds but mail", c.Name)
		}
	}
	return nil
}

// channels are the open ones.
type channels struct {
	list []*notify.Channel
	seen notify.Seen
}

// openChannels opens them. The key of their tickets comes from the owner's, so that tickets outlive a restart.
func (s *Sallyport) openChannels(key []byte) error {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("tickets of channels"))
	origin := ""
	if o := s.Config.origins(); len(o) > 0 {
		origin = o[0]
	}
	for _, c := range s.Config.Approval.Channels {
		cfg, err := c.open()
		if err != nil {
			return fmt.Errorf("approval.channels: %q: %w", c.Name, err)
		}
		cfg.Key, cfg.Origin, cfg.Now = h.Sum(nil), origin, s.Ledger.Now
		cfg.Show = func(ctx context.Context, id string) (approval.View, bool) {
			v, err := s.Approval.Show(ctx, id)
			return v, err == nil && v.State == approval.Pending
		}
		cfg.Follow = s.openedAsks
		cfg.Load, cfg.Save = s.place("default/approval/channel/" + c.Name)
		ch, err := notify.New(cfg)
		if err != nil {
			return fmt.Errorf("approval.channels: %w", err)
		}
		s.channels.list = append(s.channels.list, ch)
	}
	return nil
}

// open reads the files that a channel's configuration names.
func (c *ChannelConfig) open() (notify.Config, error) {
	cfg := notify.Config{Name: c.Name, Kind: c.Kind, Groups: c.Groups, Mail: notify.MailConfig{Server: c.Server, From: c.From, To: c.To, User: c.User, Hello: c.Hello}}
	for _, f := range []struct {
		path string
		to   func(b []byte) error
	}{
		{c.URLFile, func(b []byte) error { cfg.URL = string(b); return nil }},
		{c.SecretFile, func(b []byte) error {
			if c.Kind == notify.Mail {
				cfg.Mail.Password = string(b)
			} else {
				cfg.Secret = b
			}
			return nil
		}},
		{c.CAFile, func(b []byte) error {
			cfg.Mail.Roots = x509.NewCertPool()
			if !cfg.Mail.Roots.AppendCertsFromPEM(b) {
				return fmt.Errorf("%q holds no certificate", c.CAFile)
			}
			return nil
		}},
	} {
		if f.path == "" {
			continue
		}
		b, err := os.ReadFile(f.path)
		if b = bytes.TrimSpace(b); err == nil && len(b) == 0 {
			err = fmt.Errorf("%q is empty", f.path)
		}
		if err != nil {
			return cfg, err
		}
		if err := f.to(b); err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}

// place keeps how far a receiver has been told. It begins with what is recorded from now on.
func (s *Sallyport) place(key string) (load func(context.Context) (uint64, error), save func(context.Context, uint64) error) {
	save = func(ctx context.Context, next uint64) error {
		e, err := s.Store.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		_, err = s.Store.Put(context.WithoutCancel(ctx), key, strconv.AppendUint(nil, next, 10), e.Revision)
		return err
	}
	load = func(ctx context.Context) (uint64, error) {
		e, err := s.Store.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			n := s.Ledger.Checkpoint().Size
			return n, save(ctx, n)
		}
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseUint(string(e.Value), 10, 64)
		return min(n, s.Ledger.Checkpoint().Size), err
	}
	return load, save
}

// openedAsks calls fn for each request that opens, once the desk shows it: its record comes first.
func (s *Sallyport) openedAsks(ctx context.Context, from uint64, fn func(index uint64, id string) error) error {
	return s.Ledger.Follow(ctx, from, func(e ledger.Entry) error {
		l := e.Leaf
		if l.Kind != action.KindApproval || !slices.Contains(l.Codes, approval.CodeOpened) {
			return nil
		}
		for range 50 {
			_, err := s.Approval.Show(ctx, l.Grant)
			if !errors.Is(err, approval.ErrNotFound) || s.Ledger.Now().UnixMilli()-l.TimeMs > 2000 {
				break
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
		return fn(e.Index, l.Grant)
	})
}

func (s *Sallyport) channelJobs() (jobs []func(context.Context) error) {
	for _, c := range s.channels.list {
		jobs = append(jobs, c.Run)
	}
	return jobs
}

func (c *channels) named(name string) (*notify.Channel, bool) {
	i := slices.IndexFunc(c.list, func(ch *notify.Channel) bool { return ch.Name() == name })
	if i < 0 {
		return nil, false
	}
	return c.list[i], true
}

// refuser is how somebody counts who answers from a channel: as the bearer of a word that can only refuse.
func refuser(ch *notify.Channel, who string) approval.Actor {
	if who == "" {
		who = ch.Name()
	}
	return approval.Actor{ID: ch.Kind() + ":" + who, Channel: action.RankBearer, Credential: "channel:" + ch.Name()}
}

// Ticket implements admin.Channels.
func (c *channels) Ticket(ticket string) (string, approval.Actor, error) {
	ch, ok := c.named(notify.ChannelOf(ticket))
	if !ok {
		return "", approval.Actor{}, notify.ErrTicket
	}
	id, to, err := ch.Redeem(ticket)
	if err != nil {
		return "", approval.Actor{}, err
	}
	return id, refuser(ch, to), nil
}

// Press implements admin.Channels.
func (c *channels) Press(name, stamp, signature string, body []byte) (string, approval.Actor, func(context.Context, string), error) {
	ch, ok := c.named(name)
	if !ok {
		return "", approval.Actor{}, nil, notify.ErrForged
	}
	p, err := ch.Press(&c.seen, stamp, signature, body)
	if err != nil {
		return "", approval.Actor{}, nil, err
	}
	return p.Request, refuser(ch, p.Who), func(ctx context.Context, text string) { _ = ch.Answered(ctx, p, text) }, nil
}

// ChannelStatus is how one channel does.
type ChannelStatus struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	Delivered int64  `json:"delivered"`
	Failed    int64  `json:"failed"`
	Refused   int64  `json:"refused"`
	Problem   string `json:"problem"` // why the newest attempt failed
}

// ChannelsStatus is how all channels do.
type ChannelsStatus struct {
	Items []ChannelStatus `json:"items"`
}

func (s *Sallyport) channelStatus(w http.ResponseWriter, _ *http.Request, _ *gateway.Caller) error {
	out := ChannelsStatus{Items: []ChannelStatus{}}
	for _, c := range s.channels.list {
		st := c.Stats()
		out.Items = append(out.Items, ChannelStatus{c.Name(), c.Kind(), st.Delivered, st.Failed, st.Refused, st.Problem})
	}
	return gateway.WriteJSON(w, http.StatusOK, out)
}

// channelMetrics counts what the channels did. A channel's name is the operator's own.
func (s *Sallyport) channelMetrics(reg *prometheus.Registry) {
	for _, c := range s.channels.list {
		l := prometheus.Labels{"channel": c.Name()}
		for name, v := range map[string]struct {
			help  string
			value func() int64
		}{
			"approval_notices_total":         {"Requests that a channel told of, or that no longer waited at their turn.", func() int64 { return c.Stats().Delivered }},
			"approval_notice_failures_total": {"Attempts of a channel that failed.", func() int64 { return c.Stats().Failed }},
			"approval_notice_refusals_total": {"Requests that a receiver would not be told of and a channel left out.", func() int64 { return c.Stats().Refused }},
		} {
			reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sallyport_" + name, Help: v.help, ConstLabels: l},
				func() float64 { return float64(v.value()) }))
		}
	}
}
