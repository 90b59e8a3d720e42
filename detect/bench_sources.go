// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/detect/learn"
)

// notInject is the set of benign prompts with words that attacks use, by the name that it has in data.
const notInject = "notinject"

// samples are the prompts, and the outputs as sources of their own.
func (b *bench) samples() []learn.Sample {
	out := slices.Clone(b.prompts)
	for _, o := range b.outputs {
		out = append(out, learn.Sample{Source: o.Source + " outputs", Text: o.Text, Attack: o.Injected})
	}
	return out
}

// scored are the scores of one source's attacks and benign texts.
type scored struct{ attacks, benign []float64 }

// at returns how many attacks score above the limit that one benign text in a hundred exceeds.
func (s *scored) at1() Rate {
	benign := slices.Sorted(slices.Values(s.benign))
	limit := -1.0
	if n := len(benign); n > 0 {
		limit = benign[n-1-n/100]
	}
	n := 0
	for _, a := range s.attacks {
		if a > limit {
			n++
		}
	}
	return rateOf(n, len(s.attacks))
}

func above(scores []float64, limit float64) Rate {
	n := 0
	for _, s := range scores {
		if s >= limit {
			n++
		}
	}
	return rateOf(n, len(scores))
}

// sources measures each source with the shipped model and with one that was trained without it.
func (b *bench) sources(ctx context.Context) {
	all := b.samples()
	if len(all) == 0 {
		return
	}
	by := map[string][]learn.Sample{}
	for _, s := range all {
		by[s.Source] = append(by[s.Source], s)
	}
	b.res.Sources = map[string]SourceBench{}
	for _, source := range slices.Sorted(maps.Keys(by)) {
		if ctx.Err() != nil {
			return
		}
		b.opt.Progress("source " + source)
		in, outputs := learn.Generated(learn.GeneratedTexts, 1), []learn.Sample(nil)
		for _, s := range all {
			switch {
			case s.Source == source:
			case b.isPrompt(s.Source):
				in = append(in, s)
			default:
				outputs = append(outputs, s)
			}
		}
		in = append(in, learn.Outputs(outputs, in)...)
		shipped, out := b.scores(by[source], variant{model: b.model, structure: true}), b.scores(by[source], variant{model: learn.Train(in), structure: true})
		b.res.Sources[source] = SourceBench{
			Attacks: len(shipped.attacks), Benign: len(shipped.benign),
			Recall: above(shipped.attacks, Threshold), FalseAlarms: above(shipped.benign, Threshold), RecallAt1: shipped.at1(),
			LeftOut: above(out.attacks, Threshold), LeftOutAlarms: above(out.benign, Threshold), LeftOutAt1: out.at1(),
		}
		if source == notInject {
			a, l := above(shipped.benign, Threshold), above(out.benign, Threshold)
			right, rightOut := rateOf(a.Of-a.N, a.Of), rateOf(l.Of-l.N, l.Of)
			b.res.NotInject, b.res.NotInjectLeftOut = &right, &rightOut
		}
	}
}

func (b *bench) isPrompt(source string) bool {
	return slices.ContainsFunc(b.prompts, func(s learn.Sample) bool { return s.Source == source })
}

// variant is a detector of instructions with some layers on.
type variant struct {
	structure bool
	model     *learn.Model
	signed    *signatures
	rebuff    *rebuff
}

func (v *variant) score(text string) float64 {
	if v.rebuff != nil {
		return float64(v.rebuff.score(text))
	}
	s := scanner{injection: v.structure, model: v.model, signed: v.signed, now: benchTime, room: roomFor(len(text))}
	s.text(text, "")
	return float64(s.worst)
}

// benchTime is when the signatures of a bench are valid.
var benchTime = time.Unix(1_800_000_000, 0)

func (b *bench) scores(samples []learn.Sample, v variant) (out scored) {
	for _, s := range samples {
		if x := v.score(s.Text); s.Attack {
			out.attacks = append(out.attacks, x)
		} else {
			out.benign = append(out.benign, x)
		}
	}
	return out
}

// layers measures each of Rebuff's four layers on all sources together: without it, and by itself. The
// signatures are those of every other attack of a source, without what also stands in a benign text, as
// somebody who signs by hand would leave it out; the rows are of the other half. Canaries are planted here.
func (b *bench) layers(ctx context.Context) {
	all := b.samples()
	if len(all) == 0 {
		return
	}
	var list []Signature
	var test []learn.Sample
	odd, harmless := map[string]int{}, map[uint32]bool{}
	for _, s := range all {
		if !s.Attack {
			triples(s.Text, func(h uint32, _, _ int) { harmless[h] = true })
		}
	}
	for i, s := range all {
		if s.Attack {
			if odd[s.Source]++; odd[s.Source]%2 == 1 {
				if sig, err := sign("bench-"+strconv.Itoa(i), s.Text, "bench", benchTime.Add(time.Hour), harmless); err == nil && len(list) < maxSignatures {
					list = append(list, sig)
				}
				continue
			}
		}
		test = append(test, s)
	}
	signed, err := newSignatures(list)
	if err != nil {
		signed = nil
	}
	for _, row := range []struct {
		layer, with string
		v           variant
	}{
		{"all", "all", variant{true, b.model, signed, nil}},
		{"heuristic", "without", variant{false, b.model, signed, nil}}, {"heuristic", "alone", variant{true, nil, nil, nil}},
		{"model", "without", variant{true, nil, signed, nil}}, {"model", "alone", variant{false, b.model, nil, nil}},
		{"similarity", "without", variant{true, b.model, nil, nil}}, {"similarity", "alone", variant{false, nil, signed, nil}},
		{"rebuff_heuristic", "alone", variant{rebuff: newRebuff()}},
	} {
		if ctx.Err() != nil {
			return
		}
		b.opt.Progress("layer " + row.layer + " " + row.with)
		limit := float64(Threshold)
		if row.v.rebuff != nil {
			limit = 750
		}
		start, size := time.Now(), 0
		s := b.scores(test, row.v)
		took := time.Since(start)
		for _, t := range test {
			size += len(t.Text)
		}
		b.res.Layers = append(b.res.Layers, LayerRow{row.layer, row.with, s.at1(), above(s.attacks, limit), above(s.benign, limit),
			float64(took.Nanoseconds()) / 1000 / (float64(size) / 1024)})
	}
	b.res.Layers = append(b.res.Layers, b.canaryRows(test)...)
}

// canaryRows plants canaries in the benign texts, in clear and encoded, and looks for them there and in the
// texts as they were. Without the layer nothing is found.
func (b *bench) canaryRows(test []learn.Sample) []LayerRow {
	d := &Detector{print: func(label string, parts ...[]byte) string { return label + string(bytes.Join(parts, []byte{0})) }, canaries: true}
	name, err := d.Canary("bench", "bench")
	if err != nil {
		return nil
	}
	var found, alarms Rate
	size := 0
	start := time.Now()
	for i, t := range test {
		if t.Attack {
			continue
		}
		hidden := [4]string{name, backwards(name), rotate(name), name[:16] + "\u200b" + name[16:]}[i%4]
		for _, text := range [2]string{t.Text + " " + hidden, t.Text} {
			s := scanner{canary: canary{detector: d, tenant: "bench"}, room: roomFor(len(text))}
			hit := slices.ContainsFunc(s.text(text, ""), func(h hit) bool { return h.class == classCanary })
			size += len(text)
			if text != t.Text {
				count(&found, hit)
			} else {
				count(&alarms, hit)
			}
		}
	}
	us := float64(time.Since(start).Nanoseconds()) / 1000 / max(float64(size)/1024, 1e-9)
	return []LayerRow{{"canary", "alone", found, found, alarms, us}, {"canary", "without", rateOf(0, found.Of), rateOf(0, found.Of), rateOf(0, alarms.Of), 0}}
}
