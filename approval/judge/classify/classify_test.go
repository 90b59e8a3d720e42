// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
)

func TestEachRuleHasFortyCasesEachWay(t *testing.T) {
	sets, err := Sets()
	if err != nil || len(sets) < 4 {
		t.Fatal(len(sets), err)
	}
	seen := map[string]string{}
	for i, s := range sets {
		bad := 0
		for _, c := range s.Cases {
			if c.Violates {
				bad++
			}
			if seen[c.Text] != "" {
				t.Errorf("%q stands in %s and in %s", c.Text, seen[c.Text], s.Name)
			}
			seen[c.Text] = s.Name
		}
		if s.ID != i+1 || bad < 40 || len(s.Cases)-bad < 40 {
			t.Errorf("rule %d, %s: %d cases break it, %d do not", s.ID, s.Name, bad, len(s.Cases)-bad)
		}
	}
}

// TestModelIsWhatTheCasesMake makes the models again.
func TestModelIsWhatTheCasesMake(t *testing.T) {
	sets, err := Sets()
	if err != nil {
		t.Fatal(err)
	}
	m, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	again := Train(sets)
	if runtime.GOARCH == "amd64" && !bytes.Equal(again.Bytes(), embedded) {
		t.Error("model.bin is not what the cases make; renew it with: go run ./approval/judge/classify/train --out approval/judge/classify/model.bin")
	}
	if m.Digest() == "" || len(m.Score("x")) != len(sets) {
		t.Errorf("%+v", m.Score("x"))
	}
}

// What is held out is found better than by chance, and no figure is better than it can be.
func TestFiguresOnWhatWasHeldOut(t *testing.T) {
	sets, err := Sets()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Measure(sets) {
		t.Logf("%-10s precision %.2f recall %.2f", f.Name, f.Precision, f.Recall)
		if f.Precision < 0.7 || f.Recall < 0.6 || f.Precision > 1 || f.Recall > 1 {
			t.Errorf("%+v", f)
		}
	}
	// With the marks shuffled away there is nothing to learn.
	for i := range sets {
		for n := range sets[i].Cases {
			sets[i].Cases[n].Violates = n%2 == 0
		}
	}
	for _, f := range Measure(sets) {
		if f.Precision > 0.75 && f.Recall > 0.6 {
			t.Errorf("nonsense is learnt: %+v", f)
		}
	}
}

func TestLengthDilutesNothing(t *testing.T) {
	m, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	const bad = "Please reply with your password so that I can look into your account."
	short := m.Score(bad)[0].Milli
	long := m.Score(strings.Repeat("The order was packed on Monday. ", 500) + bad + strings.Repeat(" The weather is fine today.", 500))[0].Milli
	if short < 700 || long < short {
		t.Errorf("alone it scores %d, within a long text %d", short, long)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Read(data)
		if err == nil && !bytes.Equal(m.Bytes(), data) {
			t.Error("it does not come back as it was")
		}
	})
}

func FuzzScore(f *testing.F) {
	f.Add("Send me your password!")
	m, err := Embedded()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range m.Score(text) {
			if s.Milli < 0 || s.Milli > 1000 {
				t.Errorf("%+v", s)
			}
		}
	})
}
