// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
)

// Alert is what an alert says, in words and numbers. It is sealed with its record.
type Alert struct {
	Summary string        `json:"summary"` // one sentence
	Alerts  []string      `json:"alerts"`  // ids of rules, or Unusual
	Reasons []string      `json:"reasons"`
	Risk    int           `json:"risk_milli"`
	P       int           `json:"p_milli"`
	Tenant  string        `json:"tenant"`
	Agent   string        `json:"agent"`
	User    string        `json:"user"`
	Session string        `json:"session"`
	Action  string        `json:"action"`
	Server  string        `json:"server"`
	Tool    string        `json:"tool"`
	Effect  action.Effect `json:"effect"`
	TimeMs  int64         `json:"time_ms"`
	Count   int64         `json:"count"` // alerts that this one stands for
}

// group names what is one matter to whoever reads alerts: the same agent, the same kinds, and for an
// unusual action the same tool.
func (a *Alert) group() string {
	tool := ""
	if slices.Contains(a.Alerts, Unusual) {
		tool = action.ToolKey(a.Server, a.Tool)
	}
	return strings.Join([]string{a.Tenant, a.Agent, strings.Join(a.Alerts, " "), tool}, "\x00")
}

// alertOf is the alert of an action whose facts name some.
func alertOf(q *action.Query) Alert {
	m := &q.Context.Monitor
	a := Alert{Alerts: slices.Clone(m.Alerts), Reasons: slices.Clone(m.Reasons), Risk: m.Risk, P: m.P, Tenant: q.Subject.Tenant,
		Agent: visible(q.Subject.ID, 256), User: visible(q.Subject.User.ID, 256), Session: q.Context.Session.ID, Action: q.ID,
		Server: visible(q.Resource.Server, 256), Tool: visible(q.Resource.Name, 256), Effect: q.Action.Effect, TimeMs: q.Context.Time.UnixMilli, Count: 1}
	why := "unusual for this agent"
	if len(a.Reasons) > 0 {
		why = a.Reasons[0]
	}
	a.Summary = fmt.Sprintf("agent %q, %s: %s", action.Clip(a.Agent, 64), visible(q.Resource.ID, 128), why)
	return a
}

// Record is a as a record of the ledger.
func (a *Alert) Record() (*action.Record, error) {
	b, err := action.Canonical(a)
	if err != nil {
		return nil, err
	}
	r := &action.Record{Kind: action.KindAlert, Tenant: a.Tenant, TimeMs: a.TimeMs, Action: a.Action, Session: a.Session,
		Agent: a.Agent, User: a.User, Server: a.Server, Tool: a.Tool, Effect: a.Effect, Status: action.StatusNone, Count: a.Count,
		Parts: []action.PayloadPart{{Name: action.PartDetail, Owner: cmp.Or(a.User, a.Agent), Data: b}}}
	for _, id := range a.Alerts {
		r.Codes = append(r.Codes, "monitor."+id)
	}
	return r, nil
}

// ReadAlert reads what was sealed with an alert; ok is false for one that is not the monitor's.
func ReadAlert(detail []byte) (a Alert, ok bool) {
	err := action.Read(detail, &a, action.Limits{})
	return a, err == nil && a.Summary != "" && len(a.Alerts) > 0
}

// AlarmsConfig configures Alarms. Its zero value is ready.
type AlarmsConfig struct {
	Group time.Duration // alerts of one group within it are one record, and one more with their number; 0 means 1 h
	Queue int           // alerts that wait for the ledger; 0 means 1,024. What does not fit joins its group
}

// Mute is how long a group stays silent after a person called one of its alerts wrong.
const Mute = 7 * 24 * time.Hour

// Alarms turns alarms into alert records, grouped. Its methods are safe for concurrent use.
type Alarms struct {
	cfg  AlarmsConfig
	wake chan struct{}

	mu     sync.Mutex // guards below
	groups map[string]*heap
	queue  []Alert
	past   map[string]Alert // by action: alarms of an earlier process that may have no record
	stats  AlarmStats
}

// heap is one group of alerts.
type heap struct {
	until int64 // unix ms: alerts before are counted only
	muted bool
	n     int64 // counted
	last  Alert
}

// AlarmStats are numbers since the start.
type AlarmStats struct {
	Raised   int64 // alarms
	Recorded int64 // alert records
	Waiting  int64 // alerts that are not in the ledger yet
}

// maxGroups bounds the groups that are told apart.
const maxGroups = 8192

// NewAlarms returns Alarms without a past.
func NewAlarms(c AlarmsConfig) *Alarms {
	if c.Group <= 0 {
		c.Group = time.Hour
	}
	if c.Queue <= 0 {
		c.Queue = 1024
	}
	return &Alarms{cfg: c, wake: make(chan struct{}, 1), groups: map[string]*heap{}, past: map[string]Alert{}}
}

// Raise takes the alarm of q. It never blocks.
func (m *Alarms) Raise(q *action.Query) {
	a := alertOf(q)
	m.mu.Lock()
	m.raise(a)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// raise needs mu.
func (m *Alarms) raise(a Alert) {
	m.stats.Raised++
	g, known := m.groups[a.group()]
	if known && (a.TimeMs < g.until || len(m.queue) >= m.cfg.Queue) {
		if g.last.Action != a.Action { // an action that was asked first and then allowed is one
			g.n++
			g.last = a
		}
		return
	}
	m.open(&a)
	m.queue = append(m.queue, a)
}

// open begins a group with a. It needs mu.
func (m *Alarms) open(a *Alert) {
	if len(m.groups) >= maxGroups {
		for key, g := range m.groups {
			if g.until <= a.TimeMs && g.n == 0 {
				delete(m.groups, key)
			}
		}
	}
	if len(m.groups) >= maxGroups {
		clear(m.groups) // what was counted is in the facts of the actions themselves
	}
	m.groups[a.group()] = &heap{until: a.TimeMs + m.cfg.Group.Milliseconds(), last: *a}
}

// Replay takes the query of a recorded decision or intent of an earlier process, Recorded an alert
// record, in the order of the ledger. Ready then raises what a crash kept from being recorded.
func (m *Alarms) Replay(q *action.Query) {
	if len(q.Context.Monitor.Alerts) == 0 {
		return
	}
	a := alertOf(q)
	m.mu.Lock()
	defer m.mu.Unlock()
	if g, known := m.groups[a.group()]; !known || a.TimeMs >= g.until {
		m.past[a.Action] = a
	}
}

// Recorded see Replay.
func (m *Alarms) Recorded(a Alert) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.past, a.Action)
	for id, p := range m.past {
		if p.group() == a.group() {
			delete(m.past, id)
		}
	}
	if a.Action != "" {
		m.open(&a)
	}
}

// Ready see Replay.
func (m *Alarms) Ready() {
	m.mu.Lock()
	defer m.mu.Unlock()
	left := make([]Alert, 0, len(m.past))
	for _, a := range m.past {
		left = append(left, a)
	}
	clear(m.past)
	slices.SortFunc(left, func(a, b Alert) int {
		return cmp.Or(cmp.Compare(a.TimeMs, b.TimeMs), strings.Compare(a.Action, b.Action))
	})
	for _, a := range left {
		m.raise(a)
	}
}

// Wrong silences a's group until Mute after ms: its alarms are counted, stated and decided on, but make
// no record of their own.
func (m *Alarms) Wrong(a Alert, ms int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a.TimeMs = ms
	m.open(&a)
	g := m.groups[a.group()]
	g.until, g.muted = ms+Mute.Milliseconds(), true
}

// Stats returns numbers since the start.
func (m *Alarms) Stats() AlarmStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	s.Waiting = int64(len(m.queue))
	return s
}

// Since returns the time, unix ms, of the oldest alert that is not in the ledger yet, or now if there is none.
func (m *Alarms) Since(now int64) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.queue {
		now = min(now, m.queue[i].TimeMs)
	}
	return now
}

// Run records alerts with record until ctx ends. What cannot be recorded is tried again.
func (m *Alarms) Run(ctx context.Context, now func() time.Time, record func(context.Context, Alert) error) error {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		m.Flush(ctx, now().UnixMilli(), record)
		select {
		case <-ctx.Done():
			m.Flush(context.WithoutCancel(ctx), now().UnixMilli(), record)
			return nil
		case <-m.wake:
		case <-tick.C:
		}
	}
}

// Flush is one turn of Run: it records what waits, and one alert with the number of further ones for each
// group whose time is over.
func (m *Alarms) Flush(ctx context.Context, ms int64, record func(context.Context, Alert) error) {
	m.mu.Lock()
	for _, g := range m.groups {
		if g.n > 0 && g.until <= ms && len(m.queue) < m.cfg.Queue {
			a := g.last
			a.Summary = fmt.Sprintf("%d more like it, the last: %s", g.n, a.Summary)
			a.Count, a.Action, g.n = g.n, "", 0
			m.queue = append(m.queue, a)
		}
	}
	waiting := m.queue
	m.mu.Unlock()
	done := 0
	for _, a := range waiting {
		if record(ctx, a) != nil {
			break
		}
		done++
	}
	m.mu.Lock()
	m.queue = slices.Delete(m.queue, 0, done)
	m.stats.Recorded += int64(done)
	m.mu.Unlock()
}
