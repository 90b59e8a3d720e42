// SPDX-License-Identifier: Apache-2.0

package learn

import (
	"math"
	"math/rand/v2"
	"sort"
)

// Sample is one text to learn from.
type Sample struct {
	Source string
	Text   string
	Attack bool // somewhere in it stand orders to a model
}

// Chosen by the mean recall on sources that were left out; docs/detection.md has the figures.
const (
	epochs = 10
	rate   = 0.1
	decay  = 0.01
	folds  = 5
)

// row is a sample as features.
type row struct {
	words  [][perWord]uint16
	attack float32
	weight float32
}

func rows(samples []Sample) []row {
	out := make([]row, len(samples))
	type class struct {
		source string
		attack bool
	}
	count := map[class]int{}
	for _, s := range samples {
		count[class{s.Source, s.Attack}]++
	}
	for i, s := range samples {
		var r Reader
		w := &out[i].words
		Words(s.Text, func(start, end int, h, stem uint32) {
			var f [perWord]uint16
			r.features(&f, h, stem, opens(s.Text, start))
			*w = append(*w, f)
		})
		if s.Attack {
			out[i].attack = 1
		}
		// A large source counts for more than a small one, but not by as much as it is larger.
		out[i].weight = float32(math.Min(3, math.Sqrt(400/float64(count[class{s.Source, s.Attack}]))))
	}
	return out
}

// peak is the window of r that scores highest under w.
func (r *row) peak(w []float32) (first, end int, score float32) {
	var sum [ring]float32
	score = float32(math.Inf(-1))
	try := func(n int) {
		for _, l := range windows {
			l := min(int(l), n)
			if s := (sum[n%ring] - sum[(n-l)%ring]) * norm[l]; s > score {
				first, end, score = n-l, n, s
			}
			if l == n {
				break
			}
		}
	}
	for i := range r.words {
		s := sum[i%ring]
		for _, f := range r.words[i] {
			s += w[f]
		}
		if sum[(i+1)%ring] = s; (i+1)%stride == 0 {
			try(i + 1)
		}
	}
	if len(r.words) > 0 {
		try(len(r.words))
	}
	return first, end, score
}

// fit learns weights: logistic regression on the highest window of each text, by AdaGrad; they are the mean of
// those after each epoch of the second half, which sway less with single texts. What is learnt depends on the
// rows and on nothing else.
func fit(data []row) []float32 {
	bias, w := float32(0), make([]float32, weights)
	grad := make([]float32, weights)
	order := make([]int, 0, len(data))
	for i := range data {
		if len(data[i].words) > 0 {
			order = append(order, i)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	mean := make([]float32, weights)
	for epoch := range epochs {
		r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, i := range order {
			d := &data[i]
			first, end, score := d.peak(w)
			p := float32(1 / (1 + math.Exp(-float64(score+bias))))
			g := (p - d.attack) * d.weight
			bias -= 0.02 * g
			if g > -0.02 && g < 0.02 {
				continue
			}
			g *= norm[end-first]
			for k := first; k < end; k++ {
				for _, f := range d.words[k] {
					if f == 0 {
						continue
					}
					x := g + decay*w[f]
					grad[f] += x * x
					w[f] -= rate * x / float32(math.Sqrt(float64(grad[f])+1e-2))
				}
			}
		}
		if epoch >= epochs/2 {
			for i := range mean {
				mean[i] += w[i] / (epochs - epochs/2)
			}
		}
	}
	return mean
}

// quantised is w as a model without a tail.
func quantised(w []float32) *Model {
	most := float32(0)
	for _, x := range w {
		most = max(most, x, -x)
	}
	m := &Model{scale: most / 127}
	if most == 0 {
		m.scale = 1
	}
	for i, x := range w {
		m.weight[i] = int8(math.Round(float64(x / m.scale)))
	}
	return m
}

// Train learns a model from samples. Its tail is calibrated on benign samples that the model which scored
// them had not seen, each kind of benign text by itself, and the highest counts.
func Train(samples []Sample) *Model {
	all := rows(samples)
	m := quantised(fit(all))
	by, pooled := map[string][]float64{}, []float64{}
	fold := folded(samples)
	for k := range folds {
		var in []row
		for i := range all {
			if fold[i] != k {
				in = append(in, all[i])
			}
		}
		held := quantised(fit(in))
		for i := range all {
			if fold[i] == k && !samples[i].Attack && len(all[i].words) > 0 {
				s := float64(held.Score(samples[i].Text).Score)
				by[samples[i].Source] = append(by[samples[i].Source], s)
				pooled = append(pooled, s)
			}
		}
	}
	for i, p := range tailP {
		m.tail[i] = float32(upper(pooled, p))
		for _, scores := range by {
			if float64(len(scores))*p >= 1 {
				m.tail[i] = max(m.tail[i], float32(upper(scores, p)))
			}
		}
		if i > 0 {
			m.tail[i] = max(m.tail[i], m.tail[i-1]+0.01)
		}
	}
	return m
}

// folded assigns samples to folds, neighbours of one source to the same: they may share text.
func folded(samples []Sample) []int {
	count, seen, out := map[string]int{}, map[string]int{}, make([]int, len(samples))
	for _, s := range samples {
		count[s.Source]++
	}
	for i, s := range samples {
		out[i] = seen[s.Source] * folds / count[s.Source]
		seen[s.Source]++
	}
	return out
}

// upper is the score that at most a share p of scores exceeds, one more that was not seen counted in.
func upper(scores []float64, p float64) float64 {
	if len(scores) == 0 {
		return 0
	}
	sort.Float64s(scores)
	i := int(math.Ceil(float64(len(scores)+1)*(1-p))) - 1
	return scores[min(max(i, 0), len(scores)-1)]
}
