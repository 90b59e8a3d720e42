// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"container/list"
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// ProfilesConfig configures Profiles.
type ProfilesConfig struct {
	Key           []byte  // required: 16 secret bytes that stay the same; snapshots are of use only with them
	Rules         *Rules  // known chains of actions; nil: none
	AlarmsPerDay  float64 // false alarms that are accepted per agent and day; 0 means DefaultAlarms
	MaxAgents     int     // profiles in memory, the least recently used dropped first; 0 means 4,096
	MaxSessions   int     // sessions whose order of tools is known, and others whose chains are; 0 means 4,096
	MaxOpen       int     // actions that may be open at once; 0 means 65,536
	Fresh         bool    // there is no past, as after Ready
	InOrder       bool    // after Ready, learn in the order that Ordered tells; else as told
	Alarm         func(q *action.Query)
	WithoutSignal [signals]bool // signals that do not count; measurements leave one out
	Unweighted    bool          // every signal counts the same; measurements show what the choice of weights is worth
}

// DefaultAlarms is the number of false alarms per agent and day if nothing else is said.
const DefaultAlarms = 1.0

const (
	warmUp   = 30   // actions whose scores say nothing yet
	minHist  = 20   // scores that a rank needs
	halfLife = 15.0 // minutes
	perDay   = 200  // actions of a day that the budget assumes at least
	margin   = 2.0  // bits above everything seen, from which on an action is unusual in any case
	maxTools = 4096 // tools whose users are counted, in a group of peers
	free     = 2.0  // bits that raise no risk; with a long past, more where every eighth of its actions has more
	longPast = 500
	riskUnit = 6.0 // bits that halve what is left of the risk's scale
)

// Profiles is the Reserver that states action.Monitor: how unusual an action is for its agent, by a
// profile of fixed size for each agent in each attested version, with its peers as a prior. It learns only
// from actions that were permitted and done. A new version starts from what the one before has learnt.
// All methods are safe for concurrent use and do no I/O.
type Profiles struct {
	cfg ProfilesConfig
	key hashKey

	rules atomic.Pointer[Rules] // set with mu held

	mu       sync.Mutex // guards below
	ready    bool
	agents   map[uint64]*list.Element // of *profile
	order    *list.List               // front is the most recently used
	latest   map[uint64]uint64        // of an agent in any version: its profile
	groups   map[uint64]*group
	sessions map[uint64]*list.Element // of *trail
	trails   *list.List
	open     map[string]act // by action id

	line line // has a lock of its own, taken after mu
}

// group is what the agents of a tenant with the same role do.
type group struct {
	profile profile // only counts and past scores are kept
	agents  int64
	tools   map[uint64]int64 // agents that have used each
}

// trail is what happened in a session of late.
type trail struct {
	Key    uint64
	Prev   [2]uint64 // the last tools, the latest first
	Events [trailEvents]event
	Next   uint32
}

var _ enforce.Reserver = (*Profiles)(nil)

// NewProfiles returns profiles that know nothing.
func NewProfiles(c ProfilesConfig) (*Profiles, error) {
	if len(c.Key) != 16 {
		return nil, errors.New("monitor: config field Key must hold 16 bytes")
	}
	for _, d := range []struct {
		v   *int
		def int
	}{{&c.MaxAgents, 4096}, {&c.MaxSessions, 4096}, {&c.MaxOpen, 1 << 16}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if c.AlarmsPerDay <= 0 {
		c.AlarmsPerDay = DefaultAlarms
	}
	if c.Rules == nil {
		c.Rules = &Rules{}
	}
	if c.Alarm == nil {
		c.Alarm = func(*action.Query) {}
	}
	m := &Profiles{cfg: c, key: keyFrom(c.Key), ready: c.Fresh}
	m.rules.Store(c.Rules)
	m.reset()
	return m, nil
}

func (m *Profiles) reset() {
	m.agents, m.order, m.latest = map[uint64]*list.Element{}, list.New(), map[uint64]uint64{}
	m.groups, m.sessions, m.trails = map[uint64]*group{}, map[uint64]*list.Element{}, list.New()
	m.open, m.line.open, m.line.queue = map[string]act{}, map[string]struct{}{}, nil
}

// Ready says that the past was fed in, or that there is none. Until then nothing is known.
func (m *Profiles) Ready() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ready = true
}

// verdict is what the profiles say of one action.
type verdict struct {
	usual
	p       float64 // conformal p-value; 1 if there is nothing to compare with
	known   bool    // there is
	unusual bool
	risk    float64 // bits
	learned uint32
	days    int64
	peers   int64 // other agents of the group
	using   int64 // of them, using the tool
	reached int
	rules   *Rules
	chains  uint64 // of rules, those that a completes, by number
	drift   float64
	refMs   int64
}

// judge needs mu. At the first gate it looks for chains, and closes what matches left open in a. It changes
// nothing else and allocates nothing.
func (m *Profiles) judge(a *act, gate bool) (v verdict) {
	p, g := m.profileOf(a), m.groups[a.Group]
	peers := &nobody.profile
	if g != nil {
		peers = &g.profile
	}
	t := m.trailAt(a.Session)
	v.usual = m.key.score(p, peers, a, t.Prev)
	if v.rules = m.rules.Load(); gate {
		if v.first != action.Yes {
			a.Matches &^= v.rules.tool
		}
		if v.dest != action.Yes {
			a.Matches &^= v.rules.dest
		}
		v.chains = m.completed(v.rules, a)
	}
	for s, off := range m.cfg.WithoutSignal {
		if off {
			v.bits[s] = 0
		}
	}
	if v.total = a.weigh(&v.usual); m.cfg.Unweighted {
		v.total = 0
		for _, b := range v.bits {
			v.total += b
		}
	}
	v.p, v.learned = 1, p.Learned
	if p.FirstMs > 0 {
		v.days = days(a.Ms, p.FirstMs)
	}
	ordinary := free
	if scale := p; p.HistN >= minHist || peers.HistN >= minHist {
		if p.HistN < minHist {
			scale = peers
		}
		var top float64
		v.p, top = scale.rank(v.total, a.Tie)
		v.known = true
		v.unusual = scale == p && (v.p <= m.threshold(p) || v.total > top+margin) // one that still learns is new to everything
		if scale == p && p.HistN >= longPast {
			ordinary = max(free, p.upper())
		}
	}
	v.risk = p.decayed(a.Ms) + max(0, v.total-ordinary)
	if p.RefMs != 0 {
		v.drift, v.refMs = p.drift(), p.RefMs
	}
	if g != nil {
		v.using, v.peers = g.tools[a.Tool], g.agents
		if p.Key == a.Agent {
			v.peers--
		}
		if v.first == action.No {
			v.using--
		}
		v.using = min(max(v.using, 0), v.peers)
	}
	if v.dest == action.Yes {
		v.reached = p.reached()
	}
	return v
}

// What nobody has done, nowhere.
var (
	nobody  = &group{}
	nowhere trail
)

// profileOf needs mu. An agent in a new version is judged by the one before.
func (m *Profiles) profileOf(a *act) *profile {
	if e, ok := m.agents[a.Agent]; ok {
		return e.Value.(*profile)
	}
	if e, ok := m.agents[m.latest[a.Base]]; ok {
		return e.Value.(*profile)
	}
	return &nobody.profile
}

// rate is how many of an agent's actions may be unusual without being an attack.
func (m *Profiles) rate(p *profile) float64 {
	n := float64(p.PerDay)
	if n < 1 { // the first day: at the pace so far it would be
		n = max(float64(p.Today)*dayMs/float64(max(p.LastMs-p.FirstMs, dayMs/24)), perDay)
	}
	return min(m.cfg.AlarmsPerDay/n, 0.05)
}

// threshold is the p-value at which an action of p is unusual. Scores of real traffic are not quite
// exchangeable, so it follows the alarms that there were, within a factor of maxAdapt.
func (m *Profiles) threshold(p *profile) float64 {
	return min(m.rate(p)*math.Exp(float64(p.Adapt)), 0.05)
}

const (
	maxAdapt  = 1.5 // a factor of 4.5
	settled   = 50  // actions after which the threshold follows the alarms
	adaptRate = 0.4 // by which an alarm lowers the logarithm of the threshold
)

// adapt lowers the threshold a little after an alarm, and raises it a very little after anything else, so
// that in the long run there are as many alarms as the budget allows.
func (m *Profiles) adapt(p *profile, unusual bool) {
	step := adaptRate * m.rate(p)
	if unusual {
		step -= adaptRate
	}
	p.Adapt = float32(min(max(float64(p.Adapt)+step, -maxAdapt), maxAdapt))
}

func (p *profile) decayed(ms int64) float64 {
	if p.RiskMs == 0 {
		return 0
	}
	return float64(p.Risk) * math.Exp2(-float64(max(ms-p.RiskMs, 0))/(halfLife*60_000))
}

func days(now, then int64) int64 { return max(now-then, 0) / (24 * 3600 * 1000) }

// Inform states how unusual q is. At gate two it judges the action as it was at gate one.
func (m *Profiles) Inform(_ context.Context, q *action.Query) (action.Part, error) {
	a, under := m.look(q, false, false)
	m.mu.Lock()
	m.stillUnder(under, &a, q, false, false)
	if was, ok := m.open[q.ID]; ok {
		a = was
	}
	if !m.ready {
		m.mu.Unlock()
		return action.UnknownMonitor(), nil
	}
	v := m.judge(&a, q.Phase != action.After)
	m.mu.Unlock()
	return m.part(q, &v, a.Ms), nil
}

// part puts v into facts and words.
func (m *Profiles) part(q *action.Query, v *verdict, ms int64) action.Monitor {
	p := action.Monitor{State: action.StateKnown, Learning: action.TriOf(v.learned < warmUp+minHist), FirstTool: v.first, FirstDest: v.dest,
		P: milli(v.p), Risk: milli(1 - math.Exp2(-v.risk/riskUnit))}
	if !v.known { // there is nothing to compare with: the numbers are the worst, the first uses are known
		p.State, p.Risk, p.P = action.StateUnknown, action.MaxMilli, 0
	}
	if v.toolM != 0 {
		p.ToolAgeD = days(ms, int64(v.toolM)*60_000)
	}
	if v.dest == action.No && v.destM != 0 {
		p.DestAgeD = days(ms, int64(v.destM)*60_000)
	}
	if v.peers > 0 {
		p.PeerShare = int(v.using * action.MaxMilli / v.peers)
	}
	p.Alerts = v.rules.names(v.chains)
	if v.drift > maxDrift {
		p.Alerts = append(p.Alerts, Drift)
	}
	if v.unusual {
		p.Alerts = append(p.Alerts, Unusual)
	}
	if len(p.Alerts) > 0 || v.first == action.Yes || v.dest == action.Yes || v.known && (v.p <= 0.05 || p.Risk >= action.MaxMilli/2) {
		p.Reasons = m.reasons(q, v)
	}
	return p
}

func milli(x float64) int { return int(math.Round(min(max(x, 0), 1) * action.MaxMilli)) }

// Reserve notes that q is on its way, and passes its alarm on. Nothing is compared: a profile is no cap.
func (m *Profiles) Reserve(ctx context.Context, q *action.Query) error {
	if err := m.Restore(ctx, q); err != nil {
		return err
	}
	if len(q.Context.Monitor.Alerts) > 0 {
		m.cfg.Alarm(q)
	}
	return nil
}

// Restore notes an intent of an earlier process.
func (m *Profiles) Restore(_ context.Context, q *action.Query) error {
	a, under := m.look(q, false, true)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stillUnder(under, &a, q, false, true)
	if _, again := m.open[q.ID]; again {
		return nil // from a snapshot
	}
	if len(m.open) >= m.cfg.MaxOpen {
		return errors.New("monitor: too many actions are open")
	}
	m.open[q.ID] = a
	m.line.reserved(q.ID)
	m.note(&a)
	return nil
}

// end learns how the action id ended. It needs mu.
func (m *Profiles) end(id string, s action.Status) {
	a, ok := m.open[id]
	if !ok {
		return
	}
	delete(m.open, id)
	switch s {
	case action.StatusDone, action.StatusReleased, action.StatusWithheld, action.StatusHeld:
	case action.StatusFailed, action.StatusUnknown:
		m.worry(&a, 0)
		return
	default:
		return
	}
	v := m.worry(&a, 0)
	p, g := m.profile(&a), m.group(a.Group)
	t := m.trail(a.Session)
	if p.since(a.Tool) == 0 && (len(g.tools) < maxTools || g.tools[a.Tool] > 0) {
		g.tools[a.Tool]++
	}
	if v.known && p.Learned > settled {
		m.adapt(p, v.unusual)
	}
	m.key.learn(p, &g.profile, &a, t.Prev, v.total)
	t.Prev[1], t.Prev[0] = t.Prev[0], a.Tool
	if p.Learned == freezeAt {
		p.Ref, p.RefMs = p.Live, a.Ms
	}
}

// What the live profile does of late is held against a reference that is frozen after freezeAt learned
// actions: whoever changes an agent's ways slowly enough to be learnt is seen all the same. The reference
// stands in the sealed snapshot, and the signed log gives it again. Above maxDrift, a share of calls, it is
// an alarm.
const (
	freezeAt = 500
	maxDrift = 0.5
)

// Refreeze takes what an agent does of late as its reference: a person has called an alarm of drift wrong.
func (m *Profiles) Refreeze(tenant, agent string, ms int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.agents[m.latest[m.key.text("agent", tenant, agent)]]; ok {
		p := e.Value.(*profile)
		p.Ref, p.RefMs = p.Live, ms
	}
}

// worry raises the risk of a's agent by how unusual a was, and by extra bits.
func (m *Profiles) worry(a *act, extra float64) verdict {
	v := m.judge(a, false)
	p := m.profile(a)
	p.Risk, p.RiskMs = float32(min(v.risk+extra, 64)), max(a.Ms, p.RiskMs)
	return v
}

// Asked passes on the alarm of an action that waits for a person.
func (m *Profiles) Asked(q *action.Query) {
	if len(q.Context.Monitor.Alerts) > 0 {
		m.cfg.Alarm(q)
	}
}

// profile returns a's profile, making it if there is none. It needs mu.
func (m *Profiles) profile(a *act) *profile {
	if e, ok := m.agents[a.Agent]; ok {
		m.order.MoveToFront(e)
		return e.Value.(*profile)
	}
	p := &profile{}
	if e, ok := m.agents[m.latest[a.Base]]; ok {
		*p = *e.Value.(*profile)
	}
	p.Key, p.Group = a.Agent, a.Group
	m.put(p, a.Base)
	return p
}

// put needs mu.
func (m *Profiles) put(p *profile, base uint64) {
	for len(m.agents) >= m.cfg.MaxAgents {
		old := m.order.Back()
		gone := old.Value.(*profile)
		if g := m.groups[gone.Group]; g != nil {
			g.agents--
		}
		delete(m.agents, gone.Key)
		m.order.Remove(old)
	}
	if len(m.latest) >= 2*m.cfg.MaxAgents {
		clear(m.latest) // a new version then starts from nothing
	}
	m.latest[base] = p.Key
	m.agents[p.Key] = m.order.PushFront(p)
	m.group(p.Group).agents++
}

// group returns the peers of a key, making them if there are none. It needs mu.
func (m *Profiles) group(key uint64) *group {
	g := m.groups[key]
	if g == nil {
		if len(m.groups) >= m.cfg.MaxAgents {
			clear(m.groups)
		}
		g = &group{tools: map[uint64]int64{}}
		m.groups[key] = g
	}
	return g
}
