// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/sallyport/sallyport/action"
)

// fullLeaf has a value in every member.
func fullLeaf() *Leaf {
	l := &Leaf{}
	fill(reflect.ValueOf(l).Elem())
	l.Format, l.Kind = formatLeaf, action.KindIntent
	return l
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("some value")
	case reflect.Int, reflect.Int64:
		v.SetInt(-42)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i))
		}
	}
}

// TestLeafIsCanonicalJSON compares with an independent encoder: a member that walk forgets or misplaces
// shows here.
func TestLeafIsCanonicalJSON(t *testing.T) {
	l := fullLeaf()
	got, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want, err := action.Canonical(l)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	back, err := DecodeLeaf(got)
	if err != nil || !reflect.DeepEqual(back, l) {
		t.Fatalf("%+v, %v", back, err)
	}
	var plain Leaf
	if err := json.Unmarshal(got, &plain, json.RejectUnknownMembers(true)); err != nil || !reflect.DeepEqual(&plain, l) {
		t.Fatalf("%+v, %v", plain, err)
	}
}

func TestDecodeLeafRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		leaf string
		want string
	}{
		"nothing":                      {``, "expected"},
		"a newer format":               {`{"_v":2,"kind":"intent"}`, "unknown format"},
		"no format":                    {`{"kind":"intent"}`, "unknown format"},
		"an unknown kind":              {`{"_v":1,"kind":"guess"}`, "unknown kind"},
		"an unknown member":            {`{"_v":1,"kind":"intent","zzz":1}`, "expected"},
		"members out of order":         {`{"_v":1,"kind":"intent","action":"a"}`, "expected"},
		"a member twice":               {`{"_v":1,"action":"a","action":"b","kind":"intent"}`, "expected"},
		"a space":                      {`{"_v":1, "kind":"intent"}`, "expected"},
		"bytes after it":               {`{"_v":1,"kind":"intent"} `, "after"},
		"an empty string":              {`{"_v":1,"action":"","kind":"intent"}`, "empty"},
		"a zero":                       {`{"_v":1,"kind":"intent","seq":0}`, "canonical"},
		"a leading zero":               {`{"_v":1,"kind":"intent","seq":01}`, "canonical"},
		"a number beyond a double":     {`{"_v":1,"kind":"intent","seq":9007199254740992}`, "canonical"},
		"false":                        {`{"_v":1,"enforced":false,"kind":"intent"}`, "expected"},
		"an empty list":                {`{"_v":1,"codes":[],"kind":"intent"}`, "expected"},
		"an empty object":              {`{"_v":1,"bundle":{},"kind":"intent"}`, "empty object"},
		"a list of empty objects":      {`{"_v":1,"kind":"intent","parts":[{}]}`, "empty object"},
		"an escape":                    {`{"_v":1,"action":"a\u0041","kind":"intent"}`, "expected"},
		"a control character":          {"{\"_v\":1,\"action\":\"a\x01\",\"kind\":\"intent\"}", "expected"},
		"a byte that is not ASCII":     {"{\"_v\":1,\"action\":\"\xc3\xa4\",\"kind\":\"intent\"}", "expected"},
		"a leaf beyond its size":       {strings.Repeat(" ", MaxLeafBytes+1), "larger"},
		"a list that does not end":     {`{"_v":1,"codes":["a"`, "expected"},
		"a list that ends in a comma":  {`{"_v":1,"codes":["a",],"kind":"intent"}`, "expected"},
		"an object in place of a text": {`{"_v":1,"action":{},"kind":"intent"}`, "expected"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := DecodeLeaf([]byte(c.leaf))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%+v, %v; want %q", l, err, c.want)
			}
		})
	}
}

func FuzzLeafRoundTrip(f *testing.F) {
	full, err := fullLeaf().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Add([]byte(`{"_v":1,"kind":"intent"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeLeaf(b)
		if err != nil {
			return
		}
		again, err := l.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%q became %q, %v", b, again, err)
		}
		if err := action.Check(b, action.Limits{}); err != nil {
			t.Fatalf("a leaf is not strict JSON: %v", err)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(nil, frameLeaf, []byte("leaf")))
	f.Add(appendFrame(nil, frameSegment, (&segmentHead{number: 1, bytes: 65536, origin: "o"}).encode()))
	f.Add(make([]byte, 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := parseFrame(b)
		if err != nil {
			return
		}
		if again := appendFrame(nil, fr.kind, fr.body); !bytes.Equal(again, b[:fr.bytes]) {
			t.Fatalf("%x became %x", b[:fr.bytes], again)
		}
		switch fr.kind {
		case frameSegment:
			if h, err := decodeSegmentHead(fr.body); err == nil && !bytes.Equal(h.encode(), fr.body) {
				t.Fatalf("%x became %x", fr.body, h.encode())
			}
		case framePayload:
			if p, err := decodePayload(fr.body); err == nil && !bytes.Equal(append(appendPayload(nil, p.part, p.kid), p.sealed...), fr.body) {
				t.Fatalf("%x is not %+v", fr.body, p)
			}
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte(checkpointText("o", 5, hash{}) + "\n— o AAAA\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		cp, err := ParseCheckpoint(b, nil)
		if err == nil && !strings.HasPrefix(string(b), strings.SplitN(checkpointText(cp.Origin, cp.Size, cp.Root), "\n", 3)[0]+"\n") {
			t.Fatalf("%q is not %+v", b, cp)
		}
	})
}

func FuzzTilePath(f *testing.F) {
	f.Add("tile/0/x001/234.p/5")
	f.Add("tile/entries/000")
	f.Fuzz(func(t *testing.T, p string) {
		if level, n, width, ok := parseTilePath(p); ok && (tilePath(level, n, width) != p || strings.Contains(p, "..")) {
			t.Fatal(p)
		}
	})
}

func FuzzProof(f *testing.F) {
	f.Add([]byte(proofHead+"\nindex 0\n\n"+checkpointText("o", 1, hash{})+"\n— o AAAA\n"), []byte("leaf"))
	l := mustOpen(f, testConfig(f))
	f.Cleanup(func() { mustClose(f, l) })
	v := l.Verifier()
	f.Fuzz(func(t *testing.T, b, leaf []byte) {
		if p, err := ParseProof(b, leaf, v); err == nil {
			t.Fatalf("a proof out of nothing: %+v", p)
		}
	})
}

func TestErrorsAreNotConfused(t *testing.T) {
	if _, err := DecodeLeaf([]byte(`{"_v":9,"kind":"intent"}`)); !errors.Is(err, ErrFormat) {
		t.Fatal(err)
	}
}
