// SPDX-License-Identifier: Apache-2.0

// Package storetest holds what every backend of package store must do: one suite of tests and one of
// benchmarks.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/store"
)

// Run tests a backend. open returns an empty store of its own for every call and closes it in a cleanup
// of t if the test has not.
func Run(t *testing.T, open func(t testing.TB) store.Store) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s store.Store)
	}{
		{"revisions grow with every write and guard the next", revisions},
		{"a hundred writers with one revision have one winner", race},
		{"a hundred counters of ten steps lose no step", counters},
		{"lists are in order of bytes and page without gaps", lists},
		{"prefixes hold no more than they say", prefixes},
		{"values are copied on the way in and out", copies},
		{"values up to the limit come back whole and larger ones are refused", sizes},
		{"malformed keys are refused by every method", keys},
		{"watches tell every change of their prefix in order", watches},
		{"a watch that falls behind is closed and others go on", overflow},
		{"watches end with their context and with the store", ends},
		{"a done context changes nothing", cancelled},
		{"a closed store answers only that it is closed", closed},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// RunDurable tests a backend that outlives its process. open opens the same place again and again; the
// test closes each store before it opens the next.
func RunDurable(t *testing.T, open func(t testing.TB) store.Store) {
	ctx := context.Background()
	s := open(t)
	var last uint64
	for i := range 50 {
		last = put(t, s, fmt.Sprintf("default/k/%02d", i), []byte{byte(i)}, 0)
	}
	must(t, s.Delete(ctx, "default/k/49", last))
	must(t, s.Close())

	s = open(t)
	got, err := s.List(ctx, "default/k/", "", 0)
	must(t, err)
	if len(got) != 49 || got[48].Key != "default/k/48" || !bytes.Equal(got[48].Value, []byte{48}) {
		t.Fatalf("after reopening: %d entries, want 49", len(got))
	}
	// The deleted key had the highest revision: one that came again would let an old compare-and-swap win.
	if again := put(t, s, "default/k/49", nil, 0); again <= last {
		t.Errorf("after reopening: revision %d was given again, last was %d", again, last)
	}
	must(t, s.Close())
}

func revisions(t *testing.T, s store.Store) {
	ctx := context.Background()
	if _, err := s.Get(ctx, "default/a"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("get of a missing key: %v, want ErrNotFound", err)
	}
	if _, err := s.Put(ctx, "default/a", nil, 7); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("put of a missing key at revision 7: %v, want ErrConflict", err)
	}
	one := put(t, s, "default/a", []byte("1"), 0)
	if one == 0 {
		t.Fatal("a stored entry has revision 0")
	}
	if _, err := s.Put(ctx, "default/a", []byte("2"), 0); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("create of an existing key: %v, want ErrConflict", err)
	}
	other := put(t, s, "default/b", nil, 0)
	two := put(t, s, "default/a", []byte("2"), one)
	if !(one < other && other < two) {
		t.Fatalf("revisions %d, %d, %d do not grow over the store", one, other, two)
	}
	if err := s.Delete(ctx, "default/a", one); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("delete at an old revision: %v, want ErrConflict", err)
	}
	if e, err := s.Get(ctx, "default/a"); err != nil || string(e.Value) != "2" || e.Revision != two || e.Key != "default/a" {
		t.Fatalf("get: %+v, %v", e, err)
	}
	must(t, s.Delete(ctx, "default/a", two))
	if err := s.Delete(ctx, "default/a", two); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("delete of a missing key: %v, want ErrNotFound", err)
	}
	if three := put(t, s, "default/a", nil, 0); three <= two {
		t.Fatalf("a key made again has revision %d, not above %d", three, two)
	}
}

func race(t *testing.T, s store.Store) {
	rev := put(t, s, "default/cas", []byte("start"), 0)
	var won, lost, made atomic.Int64
	parallel(100, func(i int) {
		_, err := s.Put(context.Background(), "default/cas", []byte{byte(i)}, rev)
		switch {
		case err == nil:
			won.Add(1)
		case errors.Is(err, store.ErrConflict):
			lost.Add(1)
		default:
			t.Errorf("put: %v", err)
		}
		if _, err := s.Put(context.Background(), "default/once", []byte{byte(i)}, 0); err == nil {
			made.Add(1)
		}
	})
	if won.Load() != 1 || lost.Load() != 99 || made.Load() != 1 {
		t.Fatalf("%d won, %d conflicted, %d created; want 1, 99, 1", won.Load(), lost.Load(), made.Load())
	}
}

func counters(t *testing.T, s store.Store) {
	ctx := context.Background()
	put(t, s, "default/n", []byte("0"), 0)
	parallel(20, func(int) {
		for done := 0; done < 10; {
			e, err := s.Get(ctx, "default/n")
			if err != nil {
				t.Errorf("get: %v", err)
				return
			}
			var n int
			fmt.Sscan(string(e.Value), &n)
			_, err = s.Put(ctx, "default/n", fmt.Append(nil, n+1), e.Revision)
			if err == nil {
				done++
			} else if !errors.Is(err, store.ErrConflict) {
				t.Errorf("put: %v", err)
				return
			}
		}
	})
	if e, _ := s.Get(ctx, "default/n"); string(e.Value) != "200" {
		t.Fatalf("counter is %s, want 200", e.Value)
	}
}

func lists(t *testing.T, s store.Store) {
	ctx := context.Background()
	want := []string{"default/", "default/A", "default/a", "default/a b", "default/a/b", "default/a\"%_*", "default/ä", "default/\U0010ffff"}
	for _, k := range want {
		put(t, s, k, []byte(k), 0)
	}
	slices.Sort(want)
	for limit := 1; limit <= len(want)+1; limit++ {
		var got []string
		for after := ""; ; {
			page, err := s.List(ctx, "default/", after, limit)
			must(t, err)
			if len(page) > limit {
				t.Fatalf("a page of %d, limit %d", len(page), limit)
			}
			if len(page) == 0 {
				break
			}
			for _, e := range page {
				got = append(got, e.Key)
				if string(e.Value) != e.Key || e.Revision == 0 {
					t.Fatalf("entry %+v", e)
				}
			}
			after = got[len(got)-1]
		}
		if !slices.Equal(got, want) {
			t.Fatalf("pages of %d: %q, want %q", limit, got, want)
		}
	}
	if _, err := s.List(ctx, "", "", -1); err == nil {
		t.Error("a negative limit is accepted")
	}
}

func prefixes(t *testing.T, s store.Store) {
	for _, k := range []string{"default/token/1", "default/tokens/2", "other/token/3", "default_token", "defaulu/1"} {
		put(t, s, k, nil, 0)
	}
	for prefix, n := range map[string]int{"": 5, "default/": 2, "default/token/": 1, "default%": 0, "default/t_k": 0, "default": 3, "z": 0} {
		got, err := s.List(context.Background(), prefix, "", 0)
		must(t, err)
		if len(got) != n {
			t.Errorf("prefix %q: %d entries, want %d", prefix, len(got), n)
		}
	}
	got, err := s.List(context.Background(), "default/", "a", 0)
	must(t, err)
	if len(got) != 2 {
		t.Errorf("after a key before the prefix: %d entries, want 2", len(got))
	}
	got, err = s.List(context.Background(), "default/", "z", 0)
	must(t, err)
	if len(got) != 0 {
		t.Errorf("after a key beyond the prefix: %d entries, want 0", len(got))
	}
}

func copies(t *testing.T, s store.Store) {
	v := []byte("before")
	put(t, s, "default/v", v, 0)
	copy(v, "XXXXXX")
	e, err := s.Get(context.Background(), "default/v")
	must(t, err)
	copy(e.Value, "YYYYYY")
	if e, _ = s.Get(context.Background(), "default/v"); string(e.Value) != "before" {
		t.Fatalf("the stored value became %q", e.Value)
	}
}

func sizes(t *testing.T, s store.Store) {
	ctx := context.Background()
	full := bytes.Repeat([]byte{0, 0xff, 'x', '\n'}, store.MaxValueBytes/4)
	rev := put(t, s, "default/large", full, 0)
	if _, err := s.Put(ctx, "default/large", append(full, 0), rev); !errors.Is(err, store.ErrLarge) {
		t.Fatalf("one byte above the limit: %v, want ErrLarge", err)
	}
	e, err := s.Get(ctx, "default/large")
	must(t, err)
	if !bytes.Equal(e.Value, full) || e.Revision != rev {
		t.Fatal("the largest value came back changed")
	}
	put(t, s, "default/empty", nil, 0)
	if e, err := s.Get(ctx, "default/empty"); err != nil || len(e.Value) != 0 {
		t.Fatalf("an empty value: %+v, %v", e, err)
	}
}

func keys(t *testing.T, s store.Store) {
	ctx := context.Background()
	for name, key := range map[string]string{
		"empty": "", "a line break": "default/a\nb", "a zero byte": "default/\x00", "delete": "a\x7f", "a C1 control": "a\u0085",
		"invalid UTF-8": "a\xff", "too long": strings.Repeat("k", store.MaxKeyBytes+1),
	} {
		if _, err := s.Get(ctx, key); !errors.Is(err, store.ErrKey) {
			t.Errorf("get with %s key: %v, want ErrKey", name, err)
		}
		if _, err := s.Put(ctx, key, nil, 0); !errors.Is(err, store.ErrKey) {
			t.Errorf("put with %s key: %v, want ErrKey", name, err)
		}
		if err := s.Delete(ctx, key, 1); !errors.Is(err, store.ErrKey) {
			t.Errorf("delete with %s key: %v, want ErrKey", name, err)
		}
		if key == "" {
			continue
		}
		if _, err := s.List(ctx, key, "", 1); !errors.Is(err, store.ErrKey) {
			t.Errorf("list with %s prefix: %v, want ErrKey", name, err)
		}
		if _, err := s.Watch(ctx, key); !errors.Is(err, store.ErrKey) {
			t.Errorf("watch with %s prefix: %v, want ErrKey", name, err)
		}
	}
	put(t, s, strings.Repeat("k", store.MaxKeyBytes), nil, 0)
}

func watches(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	put(t, s, "default/w/before", nil, 0)
	w, err := s.Watch(ctx, "default/w/")
	must(t, err)
	var want []string
	for i := range 20 {
		key := fmt.Sprintf("default/w/%d", i)
		rev := put(t, s, key, []byte("v"), 0)
		put(t, s, fmt.Sprintf("default/other/%d", i), nil, 0)
		want = append(want, fmt.Sprintf("%s %d %q false", key, rev, "v"))
		if i%2 == 0 {
			must(t, s.Delete(ctx, key, rev))
			want = append(want, key+" gone")
		}
	}
	var last uint64
	for i, line := range want {
		e := receive(t, w)
		if e.Revision <= last {
			t.Fatalf("event %d: revision %d after %d", i, e.Revision, last)
		}
		last = e.Revision
		got := fmt.Sprintf("%s %d %q %v", e.Key, e.Revision, e.Value, e.Deleted)
		if e.Deleted {
			got = e.Key + " gone"
		}
		if got != line {
			t.Fatalf("event %d: %s, want %s", i, got, line)
		}
	}
}

func overflow(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	slow, err := s.Watch(ctx, "default/")
	must(t, err)
	narrow, err := s.Watch(ctx, "default/rare")
	must(t, err)
	rev := uint64(0)
	for range store.WatchBuffer + 1 {
		rev = put(t, s, "default/busy", nil, rev)
	}
	put(t, s, "default/rare", nil, 0)
	n := 0
	for range slow {
		n++
	}
	if n != store.WatchBuffer {
		t.Errorf("the slow watch got %d events before it closed, want %d", n, store.WatchBuffer)
	}
	if e := receive(t, narrow); e.Key != "default/rare" {
		t.Errorf("the other watch got %q", e.Key)
	}
}

func ends(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(context.Background())
	a, err := s.Watch(ctx, "default/")
	must(t, err)
	b, err := s.Watch(context.Background(), "")
	must(t, err)
	cancel()
	for range a {
		t.Error("an event without a change")
	}
	must(t, s.Close())
	for range b {
		t.Error("an event without a change")
	}
	if _, err := s.Watch(context.Background(), ""); !errors.Is(err, store.ErrClosed) {
		t.Errorf("watch of a closed store: %v, want ErrClosed", err)
	}
}

func cancelled(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Put(ctx, "default/a", nil, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v, want the context's error", err)
	}
	if _, err := s.Get(context.Background(), "default/a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a put with a done context wrote: %v", err)
	}
	if _, err := s.Watch(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("watch: %v, want the context's error", err)
	}
}

func closed(t *testing.T, s store.Store) {
	ctx := context.Background()
	must(t, s.Close())
	must(t, s.Close())
	_, err1 := s.Get(ctx, "default/a")
	_, err2 := s.Put(ctx, "default/a", nil, 0)
	_, err3 := s.List(ctx, "", "", 0)
	for i, err := range []error{err1, err2, err3, s.Delete(ctx, "default/a", 1)} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("call %d: %v, want ErrClosed", i, err)
		}
	}
}

func put(t testing.TB, s store.Store, key string, value []byte, rev uint64) uint64 {
	t.Helper()
	next, err := s.Put(context.Background(), key, value, rev)
	if err != nil {
		t.Fatalf("put %q at %d: %v", key, rev, err)
	}
	return next
}

func receive(t testing.TB, w <-chan store.Event) store.Event {
	t.Helper()
	select {
	case e, ok := <-w:
		if !ok {
			t.Fatal("the watch ended early")
		}
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event came")
	}
	return store.Event{}
}

func parallel(n int, run func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { run(i) })
	}
	wg.Wait()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
