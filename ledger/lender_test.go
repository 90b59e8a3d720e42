// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// TestPartsOpenDuringAndAfterTheReading opens each part while its cursor has the segment open, and once more
// after it was closed.
func TestPartsOpenDuringAndAfterTheReading(t *testing.T) {
	l := mustOpen(t, testConfig(t))
	defer mustClose(t, l)
	for i := range 3 {
		mustAppend(t, l, testRecord("s", i))
	}
	var entries []Entry
	var during [][]byte
	err := l.Records(context.Background(), func(e Entry) error {
		for _, p := range e.Leaf.Parts {
			data, err := e.Open(p.Name)
			if err != nil {
				return err
			}
			entries, during = append(entries, e), append(during, data)
		}
		if _, err := e.Open(action.PartExplanation); !errors.Is(err, ErrNotFound) {
			t.Errorf("a part that is not there: %v", err)
		}
		return nil
	})
	if err != nil || len(during) < 3 {
		t.Fatal(len(during), err)
	}
	i := 0
	for _, e := range entries[:1] {
		for _, p := range e.Leaf.Parts {
			data, err := e.Open(p.Name)
			if err != nil || !bytes.Equal(data, during[i]) {
				t.Errorf("part %q after the reading: %v", p.Name, err)
			}
			i++
		}
	}
}
