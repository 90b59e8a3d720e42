// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"math"
	"math/bits"
)

// The sizes of a profile. All of it is one value without pointers, at most 8 KiB.
const (
	seenSlots  = 320 // 8 ways
	tableSlots = 896 // 4 ways
	histBins   = 96  // of half a bit
	sketchBins = 64
)

// slot remembers when something was done for the first time. A zero minute is an empty slot.
type slot struct {
	Print  uint32
	Minute uint32 // since 1970
}

// profile is what one agent in one version usually does.
type profile struct {
	Key, Group uint64
	Learned    uint32 // actions
	FirstMs    int64
	LastMs     int64

	Seen  [seenSlots]slot
	Table [tableSlots]uint32 // counts of (context, symbol): 20 bits of tag, 12 of count
	Hist  [histBins]uint16   // past scores
	HLL   [64]uint8          // distinct destinations
	Live  [sketchBins]uint16 // recent tools
	Ref   [sketchBins]uint16 // Live when the reference was frozen
	RefMs int64              // 0: not frozen yet

	NewTool, NewDest ewma // share of first uses
	Gap, Bytes       ewma
	GapSum, ByteSum  float32 // CUSUM
	DenySum          float32
	Denials          float32 // share of refused actions, EWMA
	Risk             float32 // bits, at RiskMs
	RiskMs           int64
	Day              int64   // of Today
	Today            uint32  // actions learnt
	PerDay           float32 // EWMA over days with actions
	Drifted          uint32  // learned actions at the last alarm of drift
	HistN, Halved    uint32
	Adapt            float32 // natural logarithm of what the threshold is multiplied by
}

// ewma is an exponentially weighted mean with its variance.
type ewma struct {
	Mean, Var float32
	N         uint32
}

// z is how many standard deviations x lies above the mean; 0 while little is known.
func (e *ewma) z(x float32) float32 {
	if e.N < 20 {
		return 0
	}
	return (x - e.Mean) / (float32(math.Sqrt(float64(e.Var))) + 0.5)
}

func (e *ewma) add(x float32) {
	a := max(1/float32(e.N+1), 1.0/64)
	if e.N < math.MaxUint32 {
		e.N++
	}
	d := x - e.Mean
	e.Mean += float32(a * d)
	e.Var = (1 - a) * (e.Var + float32(a*d*d))
}

// since returns the minute of the first time of h, or 0.
func (p *profile) since(h uint64) uint32 {
	base := int(h%(seenSlots/8)) * 8
	for _, s := range p.Seen[base : base+8] {
		if s.Minute != 0 && s.Print == uint32(h>>32) {
			return s.Minute
		}
	}
	return 0
}

// see remembers h. Where a bucket is full, the youngest is given up: what has long been known stays, and
// what is forgotten counts as new again.
func (p *profile) see(h uint64, ms int64) {
	if p.since(h) != 0 {
		return
	}
	base := int(h%(seenSlots/8)) * 8
	at := base
	for i := base; i < base+8; i++ {
		if p.Seen[i].Minute == 0 {
			at = i
			break
		}
		if p.Seen[i].Minute > p.Seen[at].Minute {
			at = i
		}
	}
	p.Seen[at] = slot{uint32(h >> 32), uint32(max(ms/60_000, 1))}
}

// count returns how often h was counted.
func (p *profile) count(h uint64) float64 {
	base := int(h%(tableSlots/4)) * 4
	tag := uint32(h>>44) | 1
	for _, e := range p.Table[base : base+4] {
		if e>>12 == tag {
			return float64(e & 0xfff)
		}
	}
	return 0
}

// add counts h once. In a full bucket the smallest count gives way once it has worn down to zero.
func (p *profile) add(h uint64) {
	base := int(h%(tableSlots/4)) * 4
	tag := uint32(h>>44) | 1
	low := base
	for i := base; i < base+4; i++ {
		e := p.Table[i]
		if e>>12 == tag {
			if p.Table[i]++; p.Table[i]&0xfff == 0xfff {
				p.halve()
			}
			return
		}
		if e&0xfff < p.Table[low]&0xfff {
			low = i
		}
	}
	if p.Table[low]&0xfff > 1 {
		p.Table[low]--
		return
	}
	p.Table[low] = tag<<12 | 1
}

// halve ages every count, so that shares keep their meaning.
func (p *profile) halve() {
	for i, e := range p.Table {
		if n := (e & 0xfff) / 2; n > 0 {
			p.Table[i] = e&^0xfff | n
		} else {
			p.Table[i] = 0
		}
	}
}

// reach counts a destination in the HyperLogLog sketch.
func (p *profile) reach(h uint64) {
	r := uint8(bits.LeadingZeros64(h<<6|1<<5) + 1)
	p.HLL[h>>58] = max(p.HLL[h>>58], r)
}

// reached estimates the number of distinct destinations; the error is about 13 %.
func (p *profile) reached() int {
	sum, empty := 0.0, 0
	for _, r := range p.HLL {
		sum += math.Ldexp(1, -int(r))
		if r == 0 {
			empty++
		}
	}
	const m = 64.0
	e := 0.709 * m * m / sum
	if e <= 2.5*m && empty > 0 {
		e = m * math.Log(m/float64(empty))
	}
	return int(math.Round(e))
}

// rank returns the smoothed conformal p-value of a score in bits: the share of past scores above it, those
// in its own bin split by tie, which is uniform over 0..1. On exchangeable scores it is itself uniform.
// top is the highest score that was ever counted and still is, in bits.
func (p *profile) rank(score, tie float64) (pv, top float64) {
	at := min(int(score*2), histBins-1)
	above := 0.0
	for i := at + 1; i < histBins; i++ {
		above += float64(p.Hist[i])
	}
	for i := histBins - 1; i >= 0 && top == 0; i-- {
		if p.Hist[i] > 0 {
			top = float64(i+1) / 2
		}
	}
	return (above + tie*(float64(p.Hist[at])+1)) / (float64(p.HistN) + 1), top
}

// upper is the score in bits that one in eight past actions reached.
func (p *profile) upper() float64 {
	above := uint32(0)
	for i := histBins - 1; i >= 0; i-- {
		if above += uint32(p.Hist[i]); above*8 > p.HistN {
			return float64(i) / 2
		}
	}
	return 0
}

// maxHist is the number of past scores that count; then all of them are halved.
const maxHist = 1 << 14

func (p *profile) calibrate(score float64) {
	p.Hist[min(int(score*2), histBins-1)]++
	// The first scores are high because little was known: whenever the number of actions has doubled, those
	// before keep a quarter of their weight.
	part := uint16(4)
	if p.HistN++; p.Learned < 128 || p.Learned&(p.Learned-1) != 0 {
		part = 2
		if p.HistN < maxHist {
			return
		}
	}
	p.HistN = 0
	p.Halved++
	for i := range p.Hist {
		p.Hist[i] = (p.Hist[i] + uint16(uint32(i)+p.Halved)%part) / part // rounded up and down in turn, so that no end of the scale gains
		p.HistN += uint32(p.Hist[i])
	}
}

const dayMs = 24 * 3600 * 1000

// tick counts an action for its day.
func (p *profile) tick(ms int64) {
	day := ms / dayMs
	if day > p.Day {
		switch {
		case p.Day == 0:
		case p.PerDay == 0: // it began somewhere in that day
			part := 1 - float64(p.FirstMs%dayMs)/dayMs
			p.PerDay = float32(float64(p.Today) / max(part, 0.25))
		default:
			p.PerDay += 0.2 * (float32(p.Today) - p.PerDay)
		}
		p.Day, p.Today = day, 0
	}
	p.Today++
}

// drift is the total variation distance, 0 to 1, between the tools of late and those of the reference.
func (p *profile) drift() float64 {
	var live, ref, d float64
	for i := range p.Live {
		live += float64(p.Live[i])
		ref += float64(p.Ref[i])
	}
	if live == 0 || ref == 0 {
		return 0
	}
	for i := range p.Live {
		d += math.Abs(float64(p.Live[i])/live - float64(p.Ref[i])/ref)
	}
	return d / 2
}

// sketch counts a tool among those of late; half of what is counted is older than about 500 actions.
func (p *profile) sketch(tool uint64) {
	p.Live[tool%sketchBins]++
	var n int
	for _, c := range p.Live {
		n += int(c)
	}
	if n < 1024 {
		return
	}
	for i := range p.Live {
		p.Live[i] /= 2
	}
}
