// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestAnAnchorSaysWhatAMillionRecordsCost(t *testing.T) {
	for _, c := range []struct {
		n     uint64
		price float64
		want  string
	}{
		{1_000_000, 0, "1 anchors like this one cover a million records"},
		{6000, 0.1, "166.667 anchors like this one cover a million records, for 16.6667"},
		{1, 0.5, "1e+06 anchors like this one cover a million records, for 500000"},
	} {
		if got := perMillion(c.n, c.price); got != c.want {
			t.Errorf("%d at %v: %q", c.n, c.price, got)
		}
	}
}
