// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"os"
	"testing"
)

func TestStartTimeIsNotTheProcessesToChoose(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21\n"
	for _, c := range []struct {
		name, stat string
		want       uint64
	}{
		{"a plain name", "7 (sh)" + rest, 4711},
		{"a name with blanks and brackets", "7 (a) S 1 1 1 (b) c)" + rest, 4711},
		{"a name that imitates a whole line", "7 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 99 20)" + rest, 4711},
		{"a short line", "7 (sh) S 1 2", 0},
		{"no name", "7 sh" + rest, 0},
		{"nothing", "", 0},
	} {
		if got := startField([]byte(c.stat)); got != c.want {
			t.Errorf("%s: %d", c.name, got)
		}
	}
	if own := startOf(int64(os.Getpid())); own == 0 || own != startOf(int64(os.Getpid())) {
		t.Errorf("own start %d", own)
	}
	if gone := startOf(1 << 30); gone != 0 {
		t.Errorf("a process that is not there started at %d", gone)
	}
}

func FuzzStartField(f *testing.F) {
	f.Add([]byte("7 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"))
	f.Add([]byte(")"))
	f.Fuzz(func(_ *testing.T, b []byte) { startField(b) })
}
