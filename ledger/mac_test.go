// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"
)

func TestCommitmentIsHMAC(t *testing.T) {
	for _, data := range [][]byte{nil, []byte("a"), bytes.Repeat([]byte("b"), 63), bytes.Repeat([]byte("c"), 64), bytes.Repeat([]byte("d"), 5000)} {
		for _, n := range []int{0, 1, saltBytes, sha256.BlockSize} {
			salt := bytes.Repeat([]byte{0x5a, 7}, n)[:n]
			m := hmac.New(sha256.New, salt)
			m.Write(data)
			if want, got := base64url.EncodeToString(m.Sum(nil)), commitment(salt, data); got != want {
				t.Errorf("salt of %d bytes, %d bytes of data: %q, want %q", n, len(data), got, want)
			}
		}
	}
}

func TestFingerprintIsMac(t *testing.T) {
	key := []byte("a key of some length that is no secret")
	m := newKeyedMac(key)
	lists := [][][]byte{{}, {nil}, {[]byte("a")}, {[]byte("a"), []byte("bc")}, {[]byte("ab"), []byte("c")}, {bytes.Repeat([]byte("x"), 300)}}
	seen := map[string]bool{}
	for range 2 { // the second time with states that were used before
		for _, parts := range lists {
			want := base64url.EncodeToString(mac(key, append([][]byte{[]byte("label")}, parts...)...))
			if got := m.text("label", parts); got != want {
				t.Errorf("%q: %q, want %q", parts, got, want)
			}
			seen[want] = true
		}
	}
	if len(seen) != len(lists) {
		t.Errorf("%d prints of %d lists", len(seen), len(lists))
	}
}

func FuzzPlainLengthAgreesWithPlain(f *testing.F) {
	for _, s := range []string{"", "abcdefgh", "abcdefg\"ijklmnop", "0123456\\", "01234567\x7f", "\x1f1234567", " !#[]~~~", "\x80aaaaaaa", "aaaaaaa\xff"} {
		f.Add(s)
		f.Add(strings.Repeat("x", 5) + s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := 0
		for want < len(s) && plain(s[want]) {
			want++
		}
		if got := plainLength(s); got != want {
			t.Errorf("%q: %d, want %d", s, got, want)
		}
	})
}

// TestPlainLengthKnowsEveryByte puts every byte at every place of a word.
func TestPlainLengthKnowsEveryByte(t *testing.T) {
	for b := range 256 {
		for at := range 8 {
			s := []byte("abcdefghabc")
			s[at] = byte(b)
			want := at
			if plain(byte(b)) {
				want = len(s)
			}
			if got := plainLength(string(s)); got != want {
				t.Errorf("byte %#x at %d: %d, want %d", b, at, got, want)
			}
		}
	}
}
