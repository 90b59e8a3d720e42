// SPDX-License-Identifier: Apache-2.0

package classify

import "math"

const (
	epochs = 200
	rate   = 0.5
	decay  = 1e-4
	folds  = 5
)

// sample is a case as a model sees it. Those of other rules count less.
type sample struct {
	f      []uint16
	y      float64
	weight float64
}

// Train makes the model of sets. The same sets give the same bytes on one architecture.
func Train(sets []Set) *Model {
	m := &Model{}
	for i := range sets {
		held := heldOut(sets, i)
		l := fit(samples(sets, i, -1))
		l.id = sets[i].ID
		l.a, l.b = platt(held)
		m.rules = append(m.rules, l)
	}
	again, err := Read(m.Bytes())
	if err != nil {
		return m // not a number, which no set of finite cases gives
	}
	return again
}

// samples are the cases of sets[of] and, as examples of text that does not break it, those of the others; without
// those of one fold, -1 for all.
func samples(sets []Set, of, without int) []sample {
	var out []sample
	bad, good := 0.0, 0.0
	for s := range sets {
		for n, c := range sets[s].Cases {
			if s == of && n%folds == without {
				continue
			}
			x := sample{f: features(c.Text), weight: 1}
			if s != of {
				x.weight = 0.3
			} else if c.Violates {
				x.y = 1
			}
			if x.y == 1 {
				bad += x.weight
			} else {
				good += x.weight
			}
			out = append(out, x)
		}
	}
	for i := range out {
		if out[i].y == 1 {
			out[i].weight *= good / max(bad, 1)
		}
	}
	return out
}

// fit is logistic regression by gradient descent, one sample at a time, in their order.
func fit(of []sample) linear {
	var w [buckets]float64
	bias := 0.0
	for e := range epochs {
		step := rate / (1 + 0.05*float64(e))
		for _, s := range of {
			if len(s.f) == 0 {
				continue
			}
			norm := 1 / math.Sqrt(float64(len(s.f)))
			z := bias
			for _, i := range s.f {
				z += w[i] * norm
			}
			g := step * s.weight * (s.y - sigmoid(z)) * norm
			for _, i := range s.f {
				w[i] += g - step*decay*w[i]
			}
			bias += g * 0.1
		}
	}
	var l linear
	top := 0.0
	for _, v := range w {
		top = max(top, math.Abs(v))
	}
	if top == 0 {
		return l
	}
	l.scale = float32(top / 127)
	for i, v := range w {
		l.weight[i] = int8(math.Round(v / top * 127))
	}
	return l
}

// seen is a case that the model which scored it was not trained on.
type seen struct {
	score float64
	bad   bool
}

// heldOut scores each case of sets[of] with a model of the other folds.
func heldOut(sets []Set, of int) []seen {
	var out []seen
	for k := range folds {
		l := fit(samples(sets, of, k))
		l.a = 1
		for n, c := range sets[of].Cases {
			if n%folds == k {
				out = append(out, seen{l.raw(c.Text), c.Violates})
			}
		}
	}
	return out
}

func (l *linear) raw(text string) float64 {
	worst := math.Inf(-1)
	for _, p := range passages(text) {
		f := features(p)
		sum := 0
		for _, i := range f {
			sum += int(l.weight[i])
		}
		if len(f) > 0 {
			worst = max(worst, float64(l.scale)*float64(sum)/math.Sqrt(float64(len(f))))
		}
	}
	if math.IsInf(worst, -1) {
		return 0
	}
	return worst
}

// platt fits the chance of a violation to scores of cases that were held out.
func platt(of []seen) (a, b float64) {
	a = 1
	for range 2000 {
		da, db := 0.0, 0.0
		for _, s := range of {
			y := 0.0
			if s.bad {
				y = 1
			}
			e := y - sigmoid(a*s.score+b)
			da += e * s.score
			db += e
		}
		a += 0.5 * da / float64(max(len(of), 1))
		b += 0.5 * db / float64(max(len(of), 1))
	}
	return a, b
}

// Figure is what a rule's model is worth on cases that it has not seen.
type Figure struct {
	ID        int     `json:"id"`
	Name      string  `json:"name"`
	Rule      string  `json:"rule"`
	Bad       int     `json:"violating"`
	Good      int     `json:"following"`
	Precision float64 `json:"precision"` // at a chance of a half
	Recall    float64 `json:"recall"`
	Sure      float64 `json:"precision_at_800"` // at a chance of 0.8
	SureFound float64 `json:"recall_at_800"`
}

// Measure holds out a fifth of the cases five times. The calibration is fitted to the same scores, so that the
// figures at a chance flatter it a little; the order of scores does not.
func Measure(sets []Set) []Figure {
	var out []Figure
	for i := range sets {
		held := heldOut(sets, i)
		a, b := platt(held)
		f := Figure{ID: sets[i].ID, Name: sets[i].Name, Rule: sets[i].Rule}
		for _, s := range held {
			if s.bad {
				f.Bad++
			} else {
				f.Good++
			}
		}
		f.Precision, f.Recall = worth(held, a, b, 0.5)
		f.Sure, f.SureFound = worth(held, a, b, 0.8)
		out = append(out, f)
	}
	return out
}

func worth(held []seen, a, b, at float64) (precision, recall float64) {
	hit, alarms, bad := 0.0, 0.0, 0.0
	for _, s := range held {
		alarm := sigmoid(a*s.score+b) >= at
		if alarm {
			alarms++
		}
		if s.bad {
			bad++
			if alarm {
				hit++
			}
		}
	}
	return hit / max(alarms, 1), hit / max(bad, 1)
}
