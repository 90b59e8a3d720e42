// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/action"
)

// BenchmarkPayload opens the input and the explanation of records far apart, as a replay of single decisions does:
// records of about 9 KiB, 6 KiB of it the input.
func BenchmarkPayload(b *testing.B) {
	dir := b.TempDir()
	l := mustOpen(b, Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Origin: "test.example/log", MinFreeBytes: 1})
	defer mustClose(b, l)
	const records = 4096
	done := make(chan error, 64)
	for w := range 64 {
		go func() {
			var err error
			for i := w; i < records && err == nil; i += 64 {
				r := testRecord("s", i)
				r.Session = ""
				r.Parts = []action.PayloadPart{{Name: action.PartInputBefore, Owner: "ann", Data: bytes.Repeat([]byte("i"), 6<<10)},
					{Name: action.PartArguments, Owner: "ann", Data: bytes.Repeat([]byte("a"), 2<<10)}, {Name: action.PartExplanation, Owner: "ann", Data: bytes.Repeat([]byte("e"), 600)}}
				_, err = l.Append(b.Context(), r)
			}
			done <- err
		}()
	}
	for range 64 {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	for i := uint64(0); b.Loop(); i++ {
		for _, part := range []action.PartName{action.PartInputBefore, action.PartExplanation} {
			if _, err := l.Payload(b.Context(), i*2654435761%records, part); err != nil {
				b.Fatal(err)
			}
		}
	}
}
