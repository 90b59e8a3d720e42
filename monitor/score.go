// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"math"

	"github.com/sallyport/sallyport/action"
)

// Signal is one kind of oddity.
type Signal int

// The signals. Each is measured in bits: how surprising, given what the agent did before.
const (
	SignalTool        Signal = iota // which tool
	SignalSequence                  // which tool after the two before it in the session
	SignalDestination               // a destination that the agent, or the tool, never reached
	SignalClass                     // what the session holds (untrusted, secret) when this tool is used
	SignalOrigin                    // where the values come from that steer the action
	SignalVolume                    // pace and size of calls, CUSUM
	SignalDenials                   // refusals of late, CUSUM
	signals
)

// String names the signal as reports do.
func (s Signal) String() string {
	return [signals]string{"tool", "sequence", "destination", "class", "origin", "volume", "denials"}[s]
}

const (
	maxSteers = 12
	maxDests  = 8
	maxBits   = 16.0 // of one signal
)

// steer is one argument that steers an action: where it goes, what is run, which object.
type steer struct {
	Exact, Kind uint64 // context: the tool's argument; its sink at any tool
	Origin      uint64
}

// act is what an action looks like to a profile: fingerprints and numbers, no text.
type act struct {
	Agent, Base    uint64 // in its version; in any
	Group, Session uint64
	Tie            float64
	Ms, Bytes      int64

	Tool, Effect, Class uint64
	Dests               [maxDests]uint64
	Steers              [maxSteers]steer
	Ndests, Nsteers     uint8
	Typed               bool
	Matches             uint64 // selections of the rules, by bit
}

// look makes an act of q. It allocates nothing.
func (k hashKey) look(q *action.Query) (a act) {
	version, role := "", ""
	if t := &q.Subject.Attested; t.State == action.StateKnown {
		version = t.Weights
	}
	if r := q.Subject.Identity.Roles; len(r) > 0 {
		role = r[0]
	}
	a.Agent = k.text("agent", q.Subject.Tenant, q.Subject.ID, version)
	a.Base = k.text("agent", q.Subject.Tenant, q.Subject.ID)
	a.Group = k.text("group", q.Subject.Tenant, role)
	a.Session = k.text("session", q.Subject.Tenant, q.Context.Session.ID)
	a.Tie = float64(k.text("tie", q.ID)>>11) / (1 << 53)
	a.Ms, a.Bytes = q.Context.Time.UnixMilli, q.Action.Bytes
	a.Tool = k.text("tool", q.Resource.Server, q.Resource.Name)
	a.Effect = k.text("effect", string(q.Action.Effect))
	a.Typed = q.Action.Typed == action.StateKnown
	if f := &q.Context.Flow; f.State == action.StateKnown {
		a.Class = k.text("class", string(f.Session.Untrusted), string(f.Session.Secrecy))
		for i := range f.Arguments {
			v := &f.Arguments[i]
			if v.Sink == action.SinkNone {
				continue
			}
			if int(a.Nsteers) < maxSteers {
				a.Steers[a.Nsteers] = steer{k.text("steers", q.Resource.Server, q.Resource.Name, string(v.Sink)),
					k.text("steers", string(v.Sink)), k.text("origin", string(v.Origin), string(v.Selection))}
				a.Nsteers++
			}
		}
	}
	for i := range q.Action.Recipients {
		r := &q.Action.Recipients[i]
		a.dest(k.folded("to", r.Kind, r.Value))
	}
	for i := range q.Action.URLs {
		a.dest(k.text("host", q.Action.URLs[i].Host, q.Action.URLs[i].Account))
	}
	return a
}

func (a *act) dest(h uint64) {
	if int(a.Ndests) < maxDests {
		a.Dests[a.Ndests] = h
		a.Ndests++
	}
}

// folded is text with the ASCII capitals of its last part made small.
func (k hashKey) folded(kind, class, value string) uint64 {
	s := k.start()
	for _, p := range [...]string{kind, class, value} {
		s.word(uint64(len(p)))
		var w uint64
		for i := range len(p) {
			c := p[i]
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			if w = w<<8 | uint64(c); i%8 == 7 {
				s.word(w)
				w = 0
			}
		}
		s.word(w)
	}
	return s.sum()
}

// The tables of counts in a profile share one space; these words keep them apart.
const (
	inTool uint64 = iota + 1
	inPair
	inTriple
	inClass
	inEffectClass
	inSteer
	inSink
	inDest
	inNewDest
)

// share is how likely symbol is in a context that was counted in p: c of n times, smoothed with what is
// known in general.
func (p *profile) share(k hashKey, where, context, symbol uint64, general float64) float64 {
	n := p.count(k.words(where, context))
	c := min(p.count(k.words(where, context, symbol)), n)
	return (c + general) / (n + 1)
}

// noted counts symbol in its context.
func (p *profile) noted(k hashKey, where, context, symbol uint64) {
	p.add(k.words(where, context))
	p.add(k.words(where, context, symbol))
}

// usual is what an agent's own history and that of its peers say about one action.
type usual struct {
	bits  [signals]float64
	total float64
	first action.Tri // of the tool
	dest  action.Tri
	toolM uint32 // minute of the first use
	destM uint32
}

// score measures a in bits against p, with the profile of p's peers as the prior. It reads memory only,
// allocates nothing and changes nothing.
func (k hashKey) score(p, peers *profile, a *act, prev [2]uint64) (u usual) {
	const floor = 1.0 / 64
	byPeers := peers.share(k, inTool, 0, a.Tool, floor)
	p0 := p.share(k, inTool, 0, a.Tool, byPeers)
	p1 := p.share(k, inPair, prev[0], a.Tool, p0)
	p2 := p.share(k, inTriple, k.words(prev[0], prev[1]), a.Tool, p1)
	u.set(SignalTool, surprise(p0))
	u.set(SignalSequence, surprise(p2)-surprise(p0))

	general := peers.share(k, inEffectClass, a.Effect, a.Class, floor)
	u.set(SignalClass, surprise(p.share(k, inClass, a.Tool, a.Class, p.share(k, inEffectClass, a.Effect, a.Class, general))))
	for i := range a.Steers[:a.Nsteers] {
		s := &a.Steers[i]
		general := p.share(k, inSink, s.Kind, s.Origin, peers.share(k, inSink, s.Kind, s.Origin, 1.0/8))
		u.set(SignalOrigin, surprise(p.share(k, inSteer, s.Exact, s.Origin, general)))
	}

	u.first, u.dest = action.Yes, action.TriUnknown
	if u.toolM = p.since(a.Tool); u.toolM != 0 {
		u.first = action.No
	}
	if a.Typed {
		u.dest = action.No
	}
	for i, d := range a.Dests[:a.Ndests] {
		k.reaches(p, a, d, i == 0, &u)
	}
	k.flows(p, a, &u)
	for _, b := range u.bits {
		u.total += b
	}
	return u
}

// reaches adds what is known of one destination.
func (k hashKey) reaches(p *profile, a *act, d uint64, first bool, u *usual) {
	anywhere := p.share(k, inNewDest, 0, 1, 0.5)
	here := p.share(k, inNewDest, a.Tool, 1, anywhere)
	since := p.since(d)
	switch {
	case since == 0:
		u.set(SignalDestination, surprise(here))
		u.dest, u.destM = action.Yes, 0
	case p.since(k.words(inDest, a.Tool, d)) == 0:
		u.set(SignalDestination, surprise(here)/2)
	}
	if since != 0 && u.dest != action.Yes && (first || since > u.destM) {
		u.destM = since
	}
}

// flows adds pace, size and refusals.
func (k hashKey) flows(p *profile, a *act, u *usual) {
	gap, size := p.next(a)
	const slack = 6
	u.set(SignalVolume, float64(max(gap, size))-slack)
	u.set(SignalDenials, float64(p.DenySum)-slack)
}

// next is where the sums of pace and size would stand after a.
func (p *profile) next(a *act) (gap, size float32) {
	const allowance = 1
	gap, size = p.GapSum, p.ByteSum
	if p.LastMs != 0 {
		gap = max(0, gap-p.Gap.z(log2(a.Ms-p.LastMs))-allowance)
	}
	return min(gap, 2*maxBits), min(max(0, size+p.Bytes.z(log2(a.Bytes))-allowance), 2*maxBits)
}

func log2(n int64) float32 { return float32(math.Log2(float64(max(n, 0)) + 1)) }

func (u *usual) set(s Signal, bits float64) { u.bits[s] = max(u.bits[s], min(max(bits, 0), maxBits)) }

func surprise(p float64) float64 { return -math.Log2(max(p, 1e-9)) }

// learn adds a to p and to its peers. Only what was permitted and done may be learnt.
func (k hashKey) learn(p, peers *profile, a *act, prev [2]uint64, score float64) {
	for _, of := range [...]*profile{p, peers} {
		of.noted(k, inTool, 0, a.Tool)
		of.noted(k, inEffectClass, a.Effect, a.Class)
		for i := range a.Steers[:a.Nsteers] {
			of.noted(k, inSink, a.Steers[i].Kind, a.Steers[i].Origin)
		}
		if p.Learned >= warmUp {
			of.calibrate(score)
		}
	}
	p.noted(k, inPair, prev[0], a.Tool)
	p.noted(k, inTriple, k.words(prev[0], prev[1]), a.Tool)
	p.noted(k, inClass, a.Tool, a.Class)
	for i := range a.Steers[:a.Nsteers] {
		p.noted(k, inSteer, a.Steers[i].Exact, a.Steers[i].Origin)
	}
	for _, d := range a.Dests[:a.Ndests] {
		fresh := uint64(0)
		if p.since(d) == 0 {
			fresh = 1
		}
		p.noted(k, inNewDest, 0, fresh)
		p.noted(k, inNewDest, a.Tool, fresh)
		p.see(d, a.Ms)
		p.see(k.words(inDest, a.Tool, d), a.Ms)
		p.reach(d)
	}
	p.see(a.Tool, a.Ms)
	p.see(k.words(inClass, a.Class, a.Tool), a.Ms)
	p.GapSum, p.ByteSum = p.next(a)
	if p.LastMs != 0 {
		p.Gap.add(log2(a.Ms - p.LastMs))
	}
	p.Bytes.add(log2(a.Bytes))
	p.refuse(false)
	if p.FirstMs == 0 {
		p.FirstMs = a.Ms
	}
	p.LastMs = max(p.LastMs, a.Ms)
	p.Learned++
	p.tick(a.Ms)
	p.sketch(a.Tool)
}

// refuse counts whether an action was refused: a CUSUM of the log likelihood that refusals became three
// times as frequent.
func (p *profile) refuse(refused bool) {
	usual := min(max(p.Denials, 0.01), 0.3)
	if refused {
		p.DenySum = min(p.DenySum+float32(math.Log2(3)), 2*maxBits)
		p.Denials += 0.02 * (1 - p.Denials)
		return
	}
	p.DenySum = max(0, p.DenySum+float32(math.Log2(float64((1-min(3*usual, 0.95))/(1-usual)))))
	p.Denials -= float32(0.02 * p.Denials)
}
