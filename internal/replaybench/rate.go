// SPDX-License-Identifier: Apache-2.0

package replaybench

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
)

// Rate is a share with its counts.
type Rate struct {
	N, Of int
}

// Value is the share; 0 of nothing is 0.
func (r Rate) Value() float64 {
	if r.Of == 0 {
		return 0
	}
	return float64(r.N) / float64(r.Of)
}

func (r *Rate) add(hit bool) {
	r.Of++
	if hit {
		r.N++
	}
}

func (r *Rate) plus(s Rate) {
	r.N += s.N
	r.Of += s.Of
}

// wilson is the 95 % interval of a share of independent trials; of nothing it is everything.
func (r Rate) wilson() [2]float64 {
	if r.Of == 0 {
		return [2]float64{0, 1}
	}
	const z = 1.959964
	n, p := float64(r.Of), r.Value()
	mid := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	return [2]float64{max(0, mid-half), min(1, mid+half)}
}

// resamples is how often tasks are drawn again.
const resamples = 1000

// interval is the wider one, at each end, of Wilson's and of a bootstrap over the users' tasks: runs of one
// task resemble each other, so that Wilson alone is too narrow; with few tasks or at 0 and 1 the bootstrap
// is. The draws are the same in every run.
func (t *Tally) interval(rate int) [2]float64 {
	w := t.all[rate].wilson()
	var of []Rate
	for _, k := range slices.Sorted(maps.Keys(t.tasks)) {
		if r := t.tasks[k][rate]; r.Of > 0 {
			of = append(of, r)
		}
	}
	if len(of) < 2 {
		return w
	}
	random := rand.New(rand.NewPCG(1, uint64(rate)))
	values := make([]float64, resamples)
	for i := range values {
		var sum Rate
		for range of {
			sum.plus(of[random.IntN(len(of))])
		}
		values[i] = sum.Value()
	}
	slices.Sort(values)
	return [2]float64{min(w[0], values[resamples*25/1000]), max(w[1], values[resamples*975/1000-1])}
}
