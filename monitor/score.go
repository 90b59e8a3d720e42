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

// What a bit of each signal counts, for an action that changes nothing and for one that acts, and the bits
// that a signal may say at most: what is odd but says little about harm may not drown the others. Chosen
// on recorded runs (sallyport bench monitor).
var (
	weights = [2][signals]float64{
		{SignalTool: 0.25, SignalSequence: 0.125, SignalDestination: 1.5, SignalClass: 0.125, SignalOrigin: 0.5, SignalVolume: 1, SignalDenials: 1},
		{SignalTool: 1, SignalSequence: 0.125, SignalDestination: 1.5, SignalClass: 0.125, SignalOrigin: 1.5, SignalVolume: 1, SignalDenials: 1},
	}
	maxBits = [signals]float64{SignalTool: 12, SignalSequence: 8, SignalDestination: 12, SignalClass: 8, SignalOrigin: 12,
		SignalVolume: 10, SignalDenials: 10}
)

const (
	maxSteers = 12
	maxDests  = 8
)

// steer is one argument that steers an action: where it goes, what is run, which object.
type steer struct {
	Exact, Kind uint64 // context: the tool's argument; its sink at any tool
	Origin      uint64
	Trusted     bool
	Prior       float64 // how likely the origin is where nobody has done anything yet
}

// act is what an action looks like to a profile: fingerprints and numbers, no text.
type act struct {
	Agent, Base uint64 // in its version; in any
	Group       uint64
	Session     uint64
	Spread      [scopes]uint64 // whose actions chains look back over: of the session, the agent, the user, the tenant; 0 for nobody
	Tie         float64
	Ms, Bytes   int64

	Tool, Effect, Class uint64
	Dests               [maxDests]uint64
	Vouched             [maxDests]bool
	Steers              [maxSteers]steer
	Ndests, Nsteers     uint8
	Recipients          uint8 // of the destinations; URLs follow
	Typed, Acts         bool
	Linked              bool   // somebody vouches for a value that says where it goes
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
	a.Spread = [scopes]uint64{a.Session, k.text("agent's", q.Subject.Tenant, q.Subject.ID), 0, k.text("tenant's", q.Subject.Tenant)}
	if u := q.Subject.User.ID; u != "" {
		a.Spread[perUser] = k.text("user's", q.Subject.Tenant, u)
	}
	a.Tie = float64(k.text("tie", q.ID)>>11) / (1 << 53)
	a.Ms, a.Bytes = q.Context.Time.UnixMilli, q.Action.Bytes
	a.Tool = k.text("tool", q.Resource.Server, q.Resource.Name)
	a.Effect = k.text("effect", string(q.Action.Effect))
	a.Acts = q.Action.Effect.SideEffect()
	a.Typed = q.Action.Typed == action.StateKnown
	f := &q.Context.Flow
	if f.State == action.StateKnown {
		a.Class = k.text("class", string(f.Session.Untrusted), string(f.Session.Secrecy))
		for i := range f.Arguments {
			k.steer(&a, q, &f.Arguments[i])
		}
	}
	for i := range q.Action.Recipients {
		r := &q.Action.Recipients[i]
		a.dest(k.folded("to", r.Kind, r.Value), vouched(f, r.Pointer))
	}
	a.Recipients = a.Ndests
	for i := range q.Action.URLs {
		u := &q.Action.URLs[i]
		a.dest(k.text("host", u.Host, u.Account), vouched(f, u.Pointer))
	}
	return a
}

// steer notes an argument that steers the action. Who vouches for a value counts, if anybody does: that it
// stands in strangers' text as well says little.
func (k hashKey) steer(a *act, q *action.Query, v *action.Value) {
	if v.Sink == action.SinkNone || int(a.Nsteers) >= maxSteers {
		return
	}
	s := steer{Prior: 1.0 / 3, Trusted: trusted(v), Origin: k.text("origin", string(v.Origin))}
	kind := "looks"
	if q.Action.Effect.SideEffect() && (v.Sink == action.SinkDestination || v.Sink == action.SinkCommand || v.Sink == action.SinkCredential) {
		kind = "acts"
		if s.Prior = 1.0 / 12; v.Origin == action.OriginUntrusted {
			s.Prior = 1.0 / 50
		}
	}
	if s.Trusted {
		s.Origin = k.text("origin", "vouched")
		a.Linked = a.Linked || v.Sink == action.SinkDestination
	}
	s.Exact = k.text("steers", q.Resource.Server, q.Resource.Name, string(v.Sink))
	s.Kind = k.text("steers", kind, string(v.Sink))
	a.Steers[a.Nsteers] = s
	a.Nsteers++
}

// trusted reports whether the user, the organisation or an approved definition vouches for a value. A page
// that the user pointed at does not: he chose the page, and strangers may have chosen its words.
func trusted(v *action.Value) bool {
	for _, o := range v.Origins {
		if o == action.OriginUser || o == action.OriginTenant || o == action.OriginSchema {
			return true
		}
	}
	return false
}

// vouched is trusted of the argument at a pointer.
func vouched(f *action.Flow, pointer string) bool {
	for i := range f.Arguments {
		if f.Arguments[i].Pointer == pointer {
			return trusted(&f.Arguments[i])
		}
	}
	return false
}

func (a *act) dest(h uint64, vouched bool) {
	if int(a.Ndests) < maxDests {
		a.Dests[a.Ndests], a.Vouched[a.Ndests] = h, vouched
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

// likely is share with a prior that eight observations outweigh.
func (p *profile) likely(k hashKey, where, context, symbol uint64, general float64) float64 {
	n := p.count(k.words(where, context))
	c := min(p.count(k.words(where, context, symbol)), n)
	return (c + 8*general) / (n + 8)
}

// noted counts symbol in its context.
func (p *profile) noted(k hashKey, where, context, symbol uint64) {
	p.add(k.words(where, context))
	p.add(k.words(where, context, symbol))
}

// weigh sums the bits of the signals up. A first use counts in full, whatever the action does.
func (a *act) weigh(u *usual) (sum float64) {
	w := &weights[0]
	if a.Acts {
		w = &weights[1]
	}
	for s, b := range u.bits {
		sum += w[s] * b
	}
	if u.first == action.Yes {
		sum += (firstUse - w[SignalTool]) * u.bits[SignalTool]
	}
	return sum
}

const firstUse = 1.0

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
	u.first, u.dest = action.Yes, action.TriUnknown
	if u.toolM = p.since(a.Tool); u.toolM != 0 {
		u.first = action.No
	}
	if a.Typed {
		u.dest = action.No
	}
	if u.first == action.Yes {
		u.set(SignalTool, p.NewTool.novelty())
	} else {
		p0 := p.share(k, inTool, 0, a.Tool, floor)
		p1 := p.share(k, inPair, prev[0], a.Tool, p0)
		p2 := p.share(k, inTriple, k.words(prev[0], prev[1]), a.Tool, p1)
		u.set(SignalTool, surprise(p0))
		u.set(SignalSequence, surprise(p2)-surprise(p0))
	}
	general := peers.share(k, inEffectClass, a.Effect, a.Class, floor)
	u.set(SignalClass, surprise(p.share(k, inClass, a.Tool, a.Class, p.share(k, inEffectClass, a.Effect, a.Class, general))))
	for i := range a.Steers[:a.Nsteers] {
		if s := &a.Steers[i]; !s.Trusted {
			general := p.likely(k, inSink, s.Kind, s.Origin, peers.likely(k, inSink, s.Kind, s.Origin, s.Prior))
			bits := surprise(p.likely(k, inSteer, s.Exact, s.Origin, general))
			if a.Linked {
				bits /= 2
			}
			u.set(SignalOrigin, bits)
		}
	}
	for i, d := range a.Dests[:a.Ndests] {
		k.reaches(p, a, d, i, &u)
	}
	k.flows(p, a, &u)
	return u
}

// reaches adds what is known of destination i. A new one that somebody vouches for is a quarter as odd, and half as odd
// is a recipient beside whom such a value stands: the address of somebody whom the user named.
func (k hashKey) reaches(p *profile, a *act, d uint64, i int, u *usual) {
	here := p.likely(k, inNewDest, a.Tool, 1, math.Exp2(-p.NewDest.novelty()))
	since := p.since(d)
	bits := surprise(here)
	if a.Vouched[i] {
		bits /= 4
	} else if a.Linked && i < int(a.Recipients) {
		bits /= 2
	}
	switch {
	case since == 0:
		u.set(SignalDestination, bits)
		u.dest, u.destM = action.Yes, 0
	case p.since(k.words(inDest, a.Tool, d)) == 0:
		u.set(SignalDestination, bits/2)
	}
	if since != 0 && u.dest != action.Yes && (i == 0 || since > u.destM) {
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
	return min(gap, 32), min(max(0, size+p.Bytes.z(log2(a.Bytes))-allowance), 32)
}

func log2(n int64) float32 { return float32(math.Log2(float64(max(n, 0)) + 1)) }

func (u *usual) set(s Signal, bits float64) {
	u.bits[s] = max(u.bits[s], min(max(bits, 0), maxBits[s]))
}

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
	p.NewTool.add(one(p.since(a.Tool) == 0))
	for _, d := range a.Dests[:a.Ndests] {
		fresh := uint64(one(p.since(d) == 0))
		p.NewDest.add(float32(fresh))
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

func one(yes bool) float32 {
	if yes {
		return 1
	}
	return 0
}

// novelty is how surprising one more first use is, given how frequent they were of late; without a past,
// one in sixteen.
func (e *ewma) novelty() float64 {
	n := float64(min(e.N, 4096))
	return surprise((float64(e.Mean)*n + 0.5) / (n + 8))
}

// refuse counts whether an action was refused: a CUSUM of the log likelihood that refusals became three
// times as frequent.
func (p *profile) refuse(refused bool) {
	usual := min(max(p.Denials, 0.01), 0.3)
	if refused {
		p.DenySum = min(p.DenySum+float32(math.Log2(3)), 32)
		p.Denials += 0.02 * (1 - p.Denials)
		return
	}
	p.DenySum = max(0, p.DenySum+float32(math.Log2(float64((1-min(3*usual, 0.95))/(1-usual)))))
	p.Denials -= float32(0.02 * p.Denials)
}
