// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/monitor"
)

// MonitorConfig configures what is counted, what is found unusual, and whom that is told.
type MonitorConfig struct {
	AlarmsPerDay float64          `yaml:"alarms_per_day" doc:"false alarms that you accept per agent and day; default 1"`
	Group        time.Duration    `yaml:"group" doc:"alerts of one kind and agent within it are told once, and once more with their number; default 1h"`
	Rules        string           `yaml:"rules" doc:"file with chains of actions in place of the embedded ones"`
	Counters     []MonitorCounter `yaml:"counters" doc:"counters beside the standing ones, for policy to cap"`
	Outlets      []MonitorOutlet  `yaml:"outlets" doc:"receivers of alerts"`
}

// MonitorCounter declares one counter, which policy finds in context.history.
type MonitorCounter struct {
	Name     string   `yaml:"name" doc:"its name"`
	Per      string   `yaml:"per" doc:"agent, user, tool, session or recipient"`
	Window   string   `yaml:"window" doc:"minute, hour, day, week or month"`
	What     string   `yaml:"what" doc:"calls, denied, bytes or amount:CUR"`
	Exponent int      `yaml:"exponent" doc:"decimals of the currency; default 2"`
	Effects  []string `yaml:"effects" doc:"which actions count; default all, for amounts spend"`
}

// MonitorOutlet is one receiver of alerts.
type MonitorOutlet struct {
	Name       string `yaml:"name" doc:"its name; the place up to which it has been told is kept under it"`
	Kind       string `yaml:"kind" doc:"webhook, slack or alertmanager"`
	URL        string `yaml:"url" doc:"its address; for alertmanager with /api/v2/alerts"`
	URLFile    string `yaml:"url_file" doc:"file with the address, where that is a secret"`
	SecretFile string `yaml:"secret_file" doc:"file with the secret that signs a webhook"`
}

func (c *MonitorConfig) check() error {
	if c.AlarmsPerDay < 0 || c.AlarmsPerDay > 1000 {
		return fmt.Errorf("config: monitor.alarms_per_day: %v is not 0 to 1000", c.AlarmsPerDay)
	}
	names := map[string]bool{}
	for _, o := range c.Outlets {
		if o.Name == "" || len(o.Name) > 64 || names[o.Name] || (o.URL == "") == (o.URLFile == "") {
			return fmt.Errorf("config: monitor.outlets: %q has no name, stands twice, or has not exactly one of url and url_file", o.Name)
		}
		names[o.Name] = true
	}
	return nil
}

// openMonitor opens counters, profiles, alarms and outlets.
func (s *Sallyport) openMonitor() (err error) {
	c := &s.Config.Monitor
	counters := monitor.Defaults()
	for _, d := range c.Counters {
		n := monitor.Counter{Name: d.Name, Key: monitor.Key(d.Per), Window: monitor.Window(d.Window), What: d.What, Exponent: d.Exponent}
		for _, e := range d.Effects {
			n.Effects = append(n.Effects, action.Effect(e))
		}
		counters = append(counters, n)
	}
	key := sha256.Sum256([]byte(s.Ledger.Fingerprint("monitor.key")))
	if s.Monitor, err = monitor.NewCounters(monitor.Config{Counters: counters, Key: key[:16]}); err != nil {
		return err
	}
	rules, err := chainsOf(s.Policy.Active().Source())
	if c.Rules != "" {
		b, rerr := os.ReadFile(c.Rules)
		if rerr != nil {
			return fmt.Errorf("monitor: rules: %w", rerr)
		}
		rules, err = monitor.ReadRules(c.Rules, b)
	}
	if err != nil {
		return err
	}
	s.Alarms = monitor.NewAlarms(monitor.AlarmsConfig{Group: c.Group})
	s.Profiles, err = monitor.NewProfiles(monitor.ProfilesConfig{Key: key[:16], Rules: rules, AlarmsPerDay: c.AlarmsPerDay, Alarm: s.Alarms.Raise, InOrder: true})
	if err != nil {
		return err
	}
	for _, o := range c.Outlets {
		out, err := s.outlet(o)
		if err != nil {
			return err
		}
		s.outlets = append(s.outlets, out)
	}
	return nil
}

// denied tells the columns that count refusals.
func (s *Sallyport) denied(q *action.Query) {
	s.Monitor.Denied(q)
	s.Profiles.Denied(q)
}

// outlet opens one receiver. It begins with what is recorded from now on.
func (s *Sallyport) outlet(o MonitorOutlet) (*monitor.Outlet, error) {
	cfg := monitor.OutletConfig{Name: o.Name, Kind: o.Kind, URL: o.URL, Now: s.Ledger.Now, Follow: s.alertsTo(o.Name)}
	for file, to := range map[string]func(b []byte){
		o.URLFile:    func(b []byte) { cfg.URL = string(b) },
		o.SecretFile: func(b []byte) { cfg.Secret = b },
	} {
		if file == "" {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("monitor: outlet %q: %w", o.Name, err)
		}
		to(bytes.TrimSpace(b))
	}
	cfg.Load, cfg.Save = s.place("default/monitor/outlet/" + o.Name)
	return monitor.NewOutlet(cfg)
}

// alertsTo follows the alerts of the log for a receiver outside. That it is told what was sealed with one is on
// record before.
func (s *Sallyport) alertsTo(name string) func(ctx context.Context, from uint64, fn func(uint64, monitor.Alert) error) error {
	return func(ctx context.Context, from uint64, fn func(uint64, monitor.Alert) error) error {
		return s.Ledger.Follow(ctx, from, func(e ledger.Entry) error {
			if e.Leaf.Kind != action.KindAlert || e.Leaf.Subject != "" {
				return nil
			}
			if len(e.Leaf.Parts) > 0 {
				if _, err := s.Ledger.Opened(ctx, ledger.Access{Actor: "outlet:" + name, Subject: "outlet", Parts: []ledger.PartAt{{Index: e.Index, Part: action.PartDetail}}}); err != nil {
					return err
				}
			}
			a, ok := alertIn(e)
			if !ok {
				return nil
			}
			return fn(e.Index, a)
		})
	}
}

// alertIn reads the alert of an entry. One that is not the monitor's says what its codes say; a verdict of
// a person on an alert is none.
func alertIn(e ledger.Entry) (a monitor.Alert, ok bool) {
	l := e.Leaf
	if l.Kind != action.KindAlert || l.Subject != "" {
		return a, false
	}
	detail, err := e.Open(action.PartDetail)
	if err == nil {
		if a, ok = monitor.ReadAlert(detail); ok {
			return a, true
		}
	}
	return monitor.Alert{Summary: strings.Join(l.Codes, ", "), Alerts: l.Codes, Tenant: l.Tenant, TimeMs: l.TimeMs, Count: 1}, true
}

// restoreAlert feeds an alert record of an earlier process to the grouping.
func (s *Sallyport) restoreAlert(e ledger.Entry, fresh bool) {
	if e.Leaf.Subject == "" {
		if a, ok := alertIn(e); ok {
			s.Alarms.Recorded(a)
		}
		return
	}
	detail, err := e.Open(action.PartDetail)
	var v verdictOnAlert
	if err == nil && action.Read(detail, &v, action.Limits{}) == nil && v.Wrong {
		s.calledWrong(v.Alert, e.Leaf.TimeMs, fresh)
	}
}

// calledWrong silences an alert's kind; of one of drift it renews the reference.
func (s *Sallyport) calledWrong(a monitor.Alert, ms int64, fresh bool) {
	s.Alarms.Wrong(a, ms)
	if fresh && slices.Contains(a.Alerts, monitor.Drift) {
		s.Profiles.Refreeze(a.Tenant, a.Agent, ms)
	}
}

// monitorJobs are what the monitor does in the background.
func (s *Sallyport) monitorJobs() []func(context.Context) error {
	jobs := []func(context.Context) error{s.snapshots, s.keepPast, func(ctx context.Context) error {
		return s.Alarms.Run(ctx, s.Ledger.Now, func(ctx context.Context, a monitor.Alert) error {
			r, err := a.Record()
			if err == nil {
				_, err = s.Ledger.Append(ctx, r)
			}
			return err
		})
	}}
	for _, o := range s.outlets {
		jobs = append(jobs, o.Run)
	}
	return jobs
}

func (s *Sallyport) seal(body []byte) string { return s.Ledger.Fingerprint("monitor.snapshot", body) }

func (s *Sallyport) snapshotPath() string {
	return filepath.Join(layout(s.Config.Data).snapshots, "monitor")
}

// loadProfiles returns the number of records that the profiles know already. Without a usable snapshot
// they are learnt from the whole log again.
func (s *Sallyport) loadProfiles() uint64 {
	b, err := os.ReadFile(s.snapshotPath())
	if err != nil {
		return 0
	}
	n, err := s.Profiles.Load(b, s.Ledger.Checkpoint().Size, s.seal)
	if err != nil {
		return 0
	}
	return n
}

// snapshots writes the profiles down now and then, and at the end. A failed one leaves the one before.
func (s *Sallyport) snapshots(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			_ = s.snapshot()
			return nil
		case <-tick.C:
			_ = s.snapshot()
		}
	}
}

func (s *Sallyport) snapshot() error {
	return writeDurably(s.snapshotPath(), s.Profiles.Snapshot(func() uint64 { return s.Ledger.Checkpoint().Size }, s.seal))
}

// alerts is the people's view of single alerts.
type alerts struct{ *Sallyport }

// verdictOnAlert is what a person says of an alert. It is sealed with its record.
type verdictOnAlert struct {
	Alert  monitor.Alert `json:"alert"`
	Wrong  bool          `json:"wrong"`
	Reason string        `json:"reason"`
}

// Alert reads the alert at an index of the ledger.
func (a alerts) Alert(_ context.Context, index uint64) (monitor.Alert, error) {
	e, err := a.Ledger.Read(index)
	if errors.Is(err, ledger.ErrNotFound) {
		return monitor.Alert{}, admin.ErrNoAlert
	}
	if err != nil {
		return monitor.Alert{}, err
	}
	al, ok := alertIn(e)
	if !ok {
		return al, admin.ErrNoAlert
	}
	return al, nil
}

// raised are the alerts that the record at index tells of, as rules are counted by.
func (a alerts) raised(index uint64) []string {
	e, err := a.Ledger.Read(index)
	if err != nil {
		return nil
	}
	return e.Leaf.Codes
}

// Acknowledge records what a person says of an alert. One that is wrong silences its kind for a while.
func (a alerts) Acknowledge(ctx context.Context, index uint64, by string, wrong bool, reason string) error {
	al, err := a.Alert(ctx, index)
	if err != nil {
		return err
	}
	detail, err := action.Canonical(verdictOnAlert{al, wrong, reason})
	if err != nil {
		return err
	}
	now := a.Ledger.Now().UnixMilli()
	r := &action.Record{Kind: action.KindAlert, Tenant: al.Tenant, TimeMs: now, Agent: al.Agent, Actor: by, Status: action.StatusNone,
		Subject: strconv.FormatUint(index, 10), Codes: []string{"monitor.acknowledged"}, Rules: a.raised(index),
		Parts: []action.PayloadPart{{Name: action.PartDetail, Owner: by, Data: detail}}}
	if wrong {
		r.Codes[0] = codeAlertWrong
	}
	if _, err := a.Ledger.Append(ctx, r); err != nil {
		return err
	}
	if wrong {
		a.calledWrong(al, now, true)
	}
	return nil
}

// monitorMetrics counts alarms, alerts and what the outlets did. An outlet's name is the operator's own.
func (s *Sallyport) monitorMetrics(reg *prometheus.Registry) {
	counter := func(name, help string, labels prometheus.Labels, value func() int64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sallyport_" + name, Help: help, ConstLabels: labels},
			func() float64 { return float64(value()) }))
	}
	counter("alarms_total", "Actions whose facts name an alert, since the start.", nil, func() int64 { return s.Alarms.Stats().Raised })
	counter("alerts_total", "Alert records, grouped, since the start.", nil, func() int64 { return s.Alarms.Stats().Recorded })
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sallyport_alerts_waiting", Help: "Alerts that the log does not hold yet."},
		func() float64 { return float64(s.Alarms.Stats().Waiting) }))
	for _, o := range s.outlets {
		l := prometheus.Labels{"outlet": o.Name()}
		counter("alert_deliveries_total", "Alerts that an outlet delivered.", l, func() int64 { return o.Stats().Delivered })
		counter("alert_delivery_failures_total", "Attempts of an outlet that failed.", l, func() int64 { return o.Stats().Failed })
		counter("alert_delivery_refusals_total", "Alerts that a receiver refused and an outlet left out.", l, func() int64 { return o.Stats().Refused })
	}
}
