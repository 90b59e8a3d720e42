// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
)

// fillLog appends n records of a few sessions.
func fillLog(t testing.TB, l *Log, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		mustAppend(t, l, testRecord(fmt.Sprintf("s%d", i%3), i))
	}
}

// bundleHasher is how a stranger reads our entry bundles: by the specification only.
func bundleHasher(b []byte) ([][]byte, error) {
	var bundle api.EntryBundle
	if err := bundle.UnmarshalText(b); err != nil {
		return nil, err
	}
	var out [][]byte
	for _, e := range bundle.Entries {
		h := rfc6962.DefaultHasher.HashLeaf(e)
		out = append(out, h)
	}
	return out, nil
}

func TestTilesPassTheFsckOfTessera(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	cfg.SegmentBytes = 4 << 20
	l := mustOpen(t, cfg)
	size := 0
	for _, grow := range []int{1, 2, 250, 3, 1, 300, 256} {
		fillLog(t, l, size, grow)
		size += grow
		if size%2 == 0 { // a restart between two publications resumes from the tiles
			mustClose(t, l)
			l = mustOpen(t, cfg)
		}
		if err := l.Publish(ctx); err != nil {
			t.Fatal(err)
		}
		web := httptest.NewServer(l.Handler())
		base, err := url.Parse(web.URL + "/log/")
		if err != nil {
			t.Fatal(err)
		}
		remote, err := client.NewHTTPFetcher(base, http.DefaultClient)
		if err != nil {
			t.Fatal(err)
		}
		for name, fetcher := range map[string]fsck.Fetcher{"files": client.FileFetcher{Root: cfg.Tiles}, "http": remote} {
			if err := fsck.New(l.Origin(), l.Verifier(), fetcher, bundleHasher, fsck.Opts{N: 2}).Check(ctx); err != nil {
				t.Fatalf("size %d, %s: %v", size, name, err)
			}
		}
		web.Close()
	}
	if err := l.Rebuild(ctx); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
}

func TestProofsAgreeWithAnotherImplementation(t *testing.T) {
	const most = 600
	var leaves []hash
	for i := range most {
		leaves = append(leaves, leafHash(fmt.Append(nil, i)))
	}
	n := nodes(func(level uint, index uint64) (hash, error) {
		var t tree
		for _, h := range leaves[index<<level:][:1<<level] {
			t.add(h)
		}
		return t.root(), nil
	})
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	roots := make([]hash, most+1)
	r := factory.NewEmptyRange(0)
	var own tree
	roots[0] = own.root()
	for i, h := range leaves {
		if err := r.Append(h[:], nil); err != nil {
			t.Fatal(err)
		}
		want, err := r.GetRootHash(nil)
		own.add(h)
		roots[i+1] = own.root()
		if err != nil || string(want) != string(roots[i+1][:]) {
			t.Fatalf("root of %d leaves differs", i+1)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		size := 1 + random.Uint64N(most)
		index := random.Uint64N(size)
		hashes, err := n.inclusion(index, size)
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaves[index][:], slicesOf(hashes), roots[size][:]); err != nil {
			t.Fatalf("inclusion %d in %d: %v", index, size, err)
		}
		if err := VerifyInclusion(leaves[index], index, size, hashes, roots[size]); err != nil {
			t.Fatal(err)
		}
		if VerifyInclusion(leaves[index], (index+1)%(size+1), size, hashes, roots[size]) == nil || size > 1 && VerifyInclusion(leaves[index], index, size, hashes[1:], roots[size]) == nil {
			t.Fatalf("a wrong proof of %d in %d is accepted", index, size)
		}
		old := 1 + random.Uint64N(size)
		hashes, err = n.consistency(old, size)
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.VerifyConsistency(rfc6962.DefaultHasher, old, size, slicesOf(hashes), roots[old][:], roots[size][:]); err != nil {
			t.Fatalf("consistency %d in %d: %v", old, size, err)
		}
		if err := VerifyConsistency(old, size, roots[old], roots[size], hashes); err != nil {
			t.Fatal(err)
		}
		if old < size && (VerifyConsistency(old, size, roots[old-1], roots[size], hashes) == nil || VerifyConsistency(old, size, roots[old], roots[size-1], hashes) == nil) {
			t.Fatalf("a wrong consistency proof %d in %d is accepted", old, size)
		}
	}
}

func slicesOf(hs []hash) [][]byte {
	var out [][]byte
	for _, h := range hs {
		out = append(out, h[:])
	}
	return out
}

func TestProveGivesAProofForAStranger(t *testing.T) {
	ctx := context.Background()
	l := mustOpen(t, testConfig(t))
	defer mustClose(t, l)
	fillLog(t, l, 0, 300)
	first := l.Checkpoint()
	for _, index := range []uint64{0, 1, 255, 256, 299} {
		p, err := l.Prove(ctx, index)
		if err != nil {
			t.Fatal(err)
		}
		e, err := l.Read(index)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseProof(p.Marshal(), e.Raw, l.Verifier())
		if err != nil || back.Index != index {
			t.Fatal(back, err)
		}
		if _, err := ParseProof(p.Marshal(), append(e.Raw, ' '), l.Verifier()); err == nil {
			t.Fatal("a proof holds for another leaf")
		}
		fillLog(t, l, 300+int(index), 1)
	}
	cp, hashes, err := l.Consistency(ctx, first.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := VerifyConsistency(first.Size, cp.Size, first.Root, cp.Root, hashes); err != nil {
		t.Fatal(err)
	}
}

func TestHandlerServesOnlyTheLog(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	defer mustClose(t, l)
	fillLog(t, l, 0, 5)
	if err := l.Publish(ctx); err != nil {
		t.Fatal(err)
	}
	fillLog(t, l, 5, 5)
	if err := l.Publish(ctx); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Tiles, "private"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"/log/checkpoint": 200, "/log/tile/0/000.p/10": 200, "/log/tile/0/000.p/5": 200, "/log/tile/entries/000.p/5": 200,
		"/log/tile/0/000.p/11": 404, "/log/tile/0/000": 404, "/log/private": 404, "/log/tile/../private": 404,
		"/log/tile/0/../../private": 404, "/log/tile/0/00.p/5": 404, "/log/tile/0/000.p/05": 404, "/log/": 404, "/": 404,
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "http://x/", nil)
		r.URL.Path = path
		l.Handler().ServeHTTP(w, r)
		if w.Code != want || strings.HasPrefix(path, "/log/tile/0/") && want == 200 && w.Body.Len()%32 != 0 {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
	w := httptest.NewRecorder()
	l.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "http://x/log/checkpoint", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Error(w.Code)
	}
}
