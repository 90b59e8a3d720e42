// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// leafHashes reads an entry bundle by the specification only.
func leafHashes(b []byte) (out [][]byte, err error) {
	var bundle api.EntryBundle
	if err := bundle.UnmarshalText(b); err != nil {
		return nil, err
	}
	for _, e := range bundle.Entries {
		out = append(out, rfc6962.DefaultHasher.HashLeaf(e))
	}
	return out, nil
}

// TestErasureOfTenThousandRecordsLeavesEveryCheckGreen erases a person of 10,000 records, and asks before and after:
// tessera's fsck over the tiles, a witness (which must go on from what it saw before), verify with its cosignature, and
// verify against the checkpoint that was kept. Then no byte of what was recorded of that person is in the directory.
func TestErasureOfTenThousandRecordsLeavesEveryCheckGreen(t *testing.T) {
	const n, writers, planted = 10_000, 64, "PLANTED-17c2-quince"
	dir, cfg := logConfig(t)
	vkey := keyed(t, cfg)
	w, at, _ := start(t, vkey)
	cfg.SegmentBytes, cfg.Witnesses, cfg.Publish = 4<<20, []ledger.Witness{at}, 0
	l := openLog(t, cfg)
	stop := run(t, l)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := i; j < n; j += writers {
				r := record(j, "")
				r.Session = fmt.Sprintf("s-%d", i)
				r.Parts = []action.PayloadPart{{Name: action.PartArguments, Owner: "eve", Data: fmt.Appendf(nil, `{"note":"%s %d"}`, planted, j)},
					{Name: action.PartResult, Owner: "eve", Data: []byte(planted)}}
				if _, err := l.Append(t.Context(), r); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	seen := uint64(0)
	green := func(when string, old ...[]byte) {
		t.Helper()
		add(t, l, int(n+l.Checkpoint().Size), action.DurabilityWitnessed) // returns once the witness cosigned what covers it
		if err := l.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		if rec := post(t, w, ask(t, l, seen)); rec.Code != 200 && rec.Code != 409 { // 409: it has seen more already
			t.Errorf("%s: the witness says %d %s", when, rec.Code, rec.Body)
		}
		seen = l.Checkpoint().Size
		if err := fsck.New(l.Origin(), l.Verifier(), client.FileFetcher{Root: cfg.Tiles}, leafHashes, fsck.Opts{N: 2}).Check(t.Context()); err != nil {
			t.Errorf("%s: fsck: %v", when, err)
		}
		rep, err := ledger.Verify(t.Context(), ledger.Source{Dir: dir}, ledger.Options{Vkey: vkey, Witnesses: []string{w.Vkey()}, Old: old})
		if err != nil || !rep.OK || rep.Parts.Sealed != 2*n {
			t.Errorf("%s: verify: %v", when, err)
		}
		if _, err := l.Payload(t.Context(), n/2, action.PartArguments); (when == "after") != errors.Is(err, ledger.ErrErased) {
			t.Errorf("%s: a part: %v", when, err)
		}
	}
	green("before")
	kept := l.Checkpoint().Note
	if _, err := l.Erase(t.Context(), "default", "eve", "olga"); err != nil {
		t.Fatal(err)
	}
	green("after", kept)
	stop()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(planted)) {
			t.Errorf("%s still holds it", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
