// SPDX-License-Identifier: Apache-2.0

// Package monitor states how much an agent, user, tool or session has done of late, and whether it does
// something for the first time. It never refuses: limits are lines of policy.
//
// # What a counter promises
//
// A counter never shows less than what happened in its window as long as its state is known. It is
// unknown, and reads MaxNumber, until Ready has said that the past was fed in, when its key had to be
// evicted, and for an action whose own contribution cannot be told (a payment without an amount, or in a
// currency that nobody counts). A threshold that forgets to look at the state therefore fails closed.
package monitor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// Key says whose doings a counter adds up.
type Key string

// The keys. An action without a user or session counts under the empty one, which all such actions share.
const (
	PerAgent   Key = "agent"
	PerUser    Key = "user"
	PerTool    Key = "tool"
	PerSession Key = "session"
	// PerRecipient counts an action under each of its recipients and hosts, and states the highest value.
	PerRecipient Key = "recipient"
)

// Window is the time that a counter looks back. It slides in steps of a twelfth: the value covers at
// least the window and at most 13/12 of it.
type Window string

// The windows.
const (
	Minute Window = "minute"
	Hour   Window = "hour"
	Day    Window = "day"
	Week   Window = "week"
	Month  Window = "month" // 30 days
)

// steps is the number of steps in a window.
const steps = 12

func (w Window) length() time.Duration {
	switch w {
	case Minute:
		return time.Minute
	case Hour:
		return time.Hour
	case Day:
		return 24 * time.Hour
	case Week:
		return 7 * 24 * time.Hour
	case Month:
		return 30 * 24 * time.Hour
	}
	return 0
}

// Counter declares one counter.
type Counter struct {
	Name   string
	Key    Key
	Window Window
	// What is "calls", "denied", "bytes" (of arguments) or "amount:CUR", money in units of 10^-Exponent of
	// the currency CUR. An amount that names no currency counts in every amount counter.
	What     string
	Exponent int             // of amounts; 0 means 2
	Effects  []action.Effect // which actions count; none means all, for amounts spend. An unknown effect always counts.
}

// Defaults are the counters that every installation keeps.
func Defaults() []Counter {
	return []Counter{
		{Name: "calls_hour", Key: PerAgent, Window: Hour, What: "calls"},
		{Name: "calls_minute", Key: PerAgent, Window: Minute, What: "calls"},
		{Name: "denied_hour", Key: PerAgent, Window: Hour, What: "denied"},
		{Name: "spend_day", Key: PerAgent, Window: Day, What: "amount:EUR"},
		{Name: "spend_day_usd", Key: PerAgent, Window: Day, What: "amount:USD"},
		{Name: "spend_payee_day", Key: PerRecipient, Window: Day, What: "amount:EUR"},
		{Name: "spend_payee_day_usd", Key: PerRecipient, Window: Day, What: "amount:USD"},
	}
}

// Config configures Counters.
type Config struct {
	Counters    []Counter // nil means Defaults
	MaxKeys     int       // counters x keys that are remembered; 0 means 65,536
	MaxReserved int       // actions that may be open at once; 0 means 65,536
	Fresh       bool      // there is no past: counters are known from the start, as after Ready
	Key         []byte    // 16 secret bytes that stay the same, without which snapshots are of no use; nil means random ones
}

// Counters is the Reserver that states action.History. All methods are safe for concurrent use and do no
// I/O.
type Counters struct {
	counters   []Counter
	currencies map[string]bool
	maxKeys    int
	maxOpen    int
	hash       hashKey
	digest     uint64 // of the declarations

	mu     sync.Mutex // guards below
	ready  bool
	latest int64 // highest time seen, unix ms
	cells  cells
	open   map[string][]booking // by action id
	ended  *endings             // nil unless a snapshot is under way, or has been loaded and the past is being fed in
}

// booking is what one action added to one cell.
type booking struct {
	counter int
	key     uint64
	step    int64
	amount  int64
}

var _ enforce.Reserver = (*Counters)(nil)

// NewCounters checks the declarations and returns empty counters.
func NewCounters(c Config) (*Counters, error) {
	if c.Counters == nil {
		c.Counters = Defaults()
	}
	if c.MaxKeys == 0 {
		c.MaxKeys = 1 << 16
	}
	if c.MaxReserved == 0 {
		c.MaxReserved = 1 << 16
	}
	m := &Counters{counters: slices.Clone(c.Counters), currencies: map[string]bool{}, maxKeys: c.MaxKeys,
		maxOpen: c.MaxReserved, ready: c.Fresh, open: map[string][]booking{}}
	if c.Key == nil {
		c.Key = make([]byte, 16)
		_, _ = rand.Read(c.Key) // it never fails
	}
	if len(c.Key) != 16 {
		return nil, errors.New("monitor: config field Key must hold 16 bytes")
	}
	m.hash = keyFrom(c.Key)
	slices.SortFunc(m.counters, func(a, b Counter) int { return strings.Compare(a.Name, b.Name) })
	for i := range m.counters {
		if err := m.counters[i].check(); err != nil {
			return nil, err
		}
		if i > 0 && m.counters[i].Name == m.counters[i-1].Name {
			return nil, fmt.Errorf("monitor: counter %q is declared twice", m.counters[i].Name)
		}
		if cur, ok := m.counters[i].currency(); ok {
			m.currencies[cur] = true
		}
	}
	m.cells.init(c.MaxKeys)
	m.digest = m.hash.text(fmt.Sprintf("%+v %d", m.counters, steps))
	return m, nil
}

func (c *Counter) check() error {
	if c.Name == "" {
		return fmt.Errorf("monitor: a counter has no name")
	}
	if !slices.Contains([]Key{PerAgent, PerUser, PerTool, PerSession, PerRecipient}, c.Key) {
		return fmt.Errorf("monitor: counter %q: key %q is not agent, user, tool, session or recipient", c.Name, c.Key)
	}
	if c.Window.length() == 0 {
		return fmt.Errorf("monitor: counter %q: window %q is not minute, hour, day, week or month", c.Name, c.Window)
	}
	for _, e := range c.Effects {
		if !slices.Contains(e.Values(), string(e)) {
			return fmt.Errorf("monitor: counter %q: effect %q is unknown", c.Name, e)
		}
	}
	if cur, ok := c.currency(); ok {
		if len(cur) != 3 || strings.ToUpper(cur) != cur {
			return fmt.Errorf("monitor: counter %q: currency %q is not three capitals", c.Name, cur)
		}
		if c.Exponent == 0 {
			c.Exponent = 2
		}
		if c.Exponent < 0 || c.Exponent > 9 {
			return fmt.Errorf("monitor: counter %q: exponent %d is outside 1..9", c.Name, c.Exponent)
		}
		if c.Effects == nil {
			c.Effects = []action.Effect{action.EffectSpend}
		}
		return nil
	}
	if c.What != "calls" && c.What != "denied" && c.What != "bytes" {
		return fmt.Errorf("monitor: counter %q: %q is not calls, denied, bytes or amount:CUR", c.Name, c.What)
	}
	return nil
}

func (c *Counter) currency() (string, bool) { return strings.CutPrefix(c.What, "amount:") }

// counts reports whether an action of effect e falls under c.
func (c *Counter) counts(e action.Effect) bool {
	return len(c.Effects) == 0 || e == action.EffectUnknown || e == "" || slices.Contains(c.Effects, e)
}

// share is what q adds to c; known is false if that cannot be told.
func (m *Counters) share(c *Counter, q *action.Query) (n int64, known bool) {
	if !c.counts(q.Action.Effect) {
		return 0, true
	}
	switch c.What {
	case "calls":
		return 1, true
	case "denied":
		return 0, true
	case "bytes":
		return max(q.Action.Bytes, 0), true
	}
	if len(q.Action.Amounts) == 0 {
		return 0, q.Action.Effect != action.EffectSpend
	}
	own, _ := c.currency()
	for _, a := range q.Action.Amounts {
		cur := strings.ToUpper(a.Currency)
		if cur != "" && cur != own {
			if !m.currencies[cur] {
				return 0, false // nobody counts it: paying in it must not go around every cap
			}
			continue
		}
		v, ok := scale(a, c.Exponent)
		if !ok || n > action.MaxNumber-v {
			return 0, false
		}
		n += v
	}
	return n, true
}

// scale returns the magnitude of a in units of 10^-exponent, rounded up. A negative amount counts as
// positive: a refund is not a way to buy room under a cap.
func scale(a action.Amount, exponent int) (int64, bool) {
	if a.Overflow != action.No || a.Minor == math.MinInt64 || a.Exponent < 0 || a.Exponent > 18 {
		return 0, false
	}
	v := max(a.Minor, -a.Minor)
	for e := a.Exponent; e < exponent; e++ {
		if v > action.MaxNumber/10 {
			return 0, false
		}
		v *= 10
	}
	for e := a.Exponent; e > exponent; e-- {
		v = v/10 + min(v%10, 1)
	}
	return v, v <= action.MaxNumber
}

// key is the keyed hash under which q, on behalf of who, counts in counter i.
func (m *Counters) key(i int, q *action.Query, who string) uint64 {
	return m.hash.text(m.counters[i].Name, q.Subject.Tenant, who)
}

// keys are the hashes under which q counts in counter i, each once.
func (m *Counters) keys(i int, q *action.Query) []uint64 {
	if m.counters[i].Key != PerRecipient {
		return []uint64{m.key(i, q, m.counters[i].who(q))}
	}
	var out []uint64
	add := func(who string) {
		if k := m.key(i, q, who); !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	for _, r := range q.Action.Recipients {
		add("to " + r.Kind + " " + strings.ToLower(r.Value))
	}
	for _, u := range q.Action.URLs {
		add("host " + u.Host + " " + u.Account)
	}
	if len(out) == 0 {
		add("")
	}
	return out
}

func (c *Counter) who(q *action.Query) string {
	switch c.Key {
	case PerUser:
		return q.Subject.User.ID
	case PerTool:
		return action.ToolKey(q.Resource.Server, q.Resource.Name)
	case PerSession:
		return q.Context.Session.ID
	}
	return q.Subject.ID
}

// Ready says that the past was fed in with Restore, Settle and Denied, or that there is none. Until then
// every counter is unknown.
func (m *Counters) Ready() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ready, m.ended = true, nil
}

// Inform states every counter for q's keys: what was counted and what other open actions have reserved.
// The action's own booking is left out, at both gates.
func (m *Counters) Inform(_ context.Context, q *action.Query) (action.Part, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return action.History{State: action.StateKnown, Counters: m.values(q)}, nil
}

// values needs mu.
func (m *Counters) values(q *action.Query) []action.Counter {
	m.latest = max(m.latest, q.Context.Time.UnixMilli)
	own := m.open[q.ID]
	out := make([]action.Counter, len(m.counters))
	for i := range m.counters {
		c := &m.counters[i]
		out[i] = action.Counter{Name: c.Name, Window: string(c.Window), State: action.StateUnknown, Value: action.MaxNumber}
		if _, known := m.share(c, q); !known || !m.ready {
			continue
		}
		if v, ok := m.value(i, q, own); ok {
			out[i].State, out[i].Value = action.StateKnown, min(max(v, 0), action.MaxNumber)
		}
	}
	return out
}

// value is the highest value of counter i over q's keys, without q's own bookings. It needs mu.
func (m *Counters) value(i int, q *action.Query, own []booking) (highest int64, known bool) {
	c := &m.counters[i]
	for _, key := range m.keys(i, q) {
		v, ok := m.cells.value(key, m.step(c), m.latest)
		if !ok {
			return 0, false
		}
		for _, b := range own {
			if b.counter == i && b.key == key && m.step(c)-b.step <= steps {
				v -= b.amount
			}
		}
		highest = max(highest, v)
	}
	return highest, true
}

func (m *Counters) step(c *Counter) int64 {
	return m.latest / (c.Window.length().Milliseconds() / steps)
}

// Reserve books q if every counter still has the value that q holds, else it returns ErrStale. Booking
// an id again replaces its booking.
func (m *Counters) Reserve(_ context.Context, q *action.Query) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Equal(m.values(q), q.Context.History.Counters) || q.Context.History.State != action.StateKnown {
		return enforce.ErrStale
	}
	return m.book(q)
}

// Restore books an action of an earlier process without comparing anything. Settle or nothing follows.
func (m *Counters) Restore(_ context.Context, q *action.Query) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latest = max(m.latest, q.Context.Time.UnixMilli)
	if !m.ready && m.ended.has(q.ID, endSettled) {
		return nil // the snapshot has it, and its end
	}
	return m.book(q)
}

// book needs mu. A share that cannot be told is booked as nothing: whoever decided on the query saw
// MaxNumber for it.
func (m *Counters) book(q *action.Query) error {
	if _, again := m.open[q.ID]; !again && len(m.open) >= m.maxOpen {
		return fmt.Errorf("monitor: more than %d actions are open", m.maxOpen)
	}
	m.free(m.open[q.ID], "")
	books := []booking{}
	for i := range m.counters {
		c := &m.counters[i]
		n, known := m.share(c, q)
		if n == 0 || !known {
			continue
		}
		for _, key := range m.keys(i, q) {
			b := booking{counter: i, key: key, step: m.step(c), amount: n}
			m.cells.add(b.key, b.step, n, m.expiry(c))
			books = append(books, b)
		}
	}
	m.open[q.ID] = books
	return nil
}

func (m *Counters) expiry(c *Counter) int64 {
	l := c.Window.length().Milliseconds()
	return m.latest + l + l/steps
}

// free gives back bookings; keep names the kind of counter that holds on to its own.
func (m *Counters) free(books []booking, keep string) {
	for _, b := range books {
		if c := &m.counters[b.counter]; c.What != keep {
			m.cells.add(b.key, b.step, -b.amount, 0)
		}
	}
}

// Settle ends q's reservation. Done and unknown keep what was booked. Failed frees it if the action never
// ran or if we saw ourselves that it failed, though a call that ran stays a call; a failure that is only
// claimed frees nothing. Any other status means that the action never ran.
func (m *Counters) Settle(_ context.Context, q *action.Query, s action.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	books, ok := m.open[q.ID]
	if !ok {
		return
	}
	delete(m.open, q.ID)
	m.ended.note(q.ID, endSettled)
	switch s {
	case action.StatusDone, action.StatusUnknown, action.StatusReleased, action.StatusWithheld, action.StatusHeld:
	case action.StatusFailed:
		if q.Phase != action.After {
			m.free(books, "")
		} else if q.Context.Enforcement.Observed == action.Yes {
			m.free(books, "calls")
		}
	default:
		m.free(books, "")
	}
}

// Yield gives back what was booked for an action that has not ended. Its end changes nothing any more.
func (m *Counters) Yield(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if books, ok := m.open[id]; ok {
		m.free(books, "")
		m.open[id] = []booking{}
	}
}

// Denied counts a refused action in the counters of what was denied.
func (m *Counters) Denied(q *action.Query) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latest = max(m.latest, q.Context.Time.UnixMilli)
	if !m.ready && m.ended.has(q.ID, endDenied) {
		return
	}
	m.ended.note(q.ID, endDenied)
	for i := range m.counters {
		if c := &m.counters[i]; c.What == "denied" && c.counts(q.Action.Effect) {
			for _, key := range m.keys(i, q) {
				m.cells.add(key, m.step(c), 1, m.expiry(c))
			}
		}
	}
}
