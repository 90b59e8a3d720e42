// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.TrimPrefix(s, "0x"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPublishedTrieHasItsRoot uses two of the examples "trieanyorder" of github.com/ethereum/tests, and the root of nothing.
func TestPublishedTrieHasItsRoot(t *testing.T) {
	for want, values := range map[string]map[string]string{
		"5991bb8c6514148a29db676a14ac506cd2cd5775ace63c30a4fe457715e9ac84": {"do": "verb", "horse": "stallion", "doge": "coin", "dog": "puppy"},
		"8aad789dff2f538bca5d8ea56e8abe10f4c7ba3a5dea95fea4cd6e7c3a1168d3": {"doe": "reindeer", "dog": "puppy", "dogglesworth": "cat"},
	} {
		var leaves []leafOf
		for k, v := range values {
			leaves = append(leaves, leafOf{nibbles([]byte(k)), []byte(v)})
		}
		for k, v := range values {
			root, proof, err := trieProof(leaves, []byte(k))
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(root); got != want {
				t.Fatal(got)
			}
			provesOnly(t, root, proof, k, v)
		}
	}
	if got := hex.EncodeToString(keccak(rlpText(nil))); got != "56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421" {
		t.Error(got)
	}
}

// provesOnly holds that a proof shows its value, no key that has none, and nothing once a byte of it is another.
func provesOnly(t *testing.T, root []byte, proof [][]byte, key, value string) {
	t.Helper()
	if got, err := trieValue(root, []byte(key), proof); err != nil || string(got) != value {
		t.Errorf("%s: %q, %v", key, got, err)
	}
	for _, other := range []string{"d", "dogs", "cat", ""} {
		if got, err := trieValue(root, []byte(other), proof); err == nil {
			t.Errorf("the proof of %s shows %q as %q", key, other, got)
		}
	}
	for i := range proof {
		for j := range proof[i] {
			bad := bytes.Clone(proof[i])
			bad[j] ^= 1
			changed := append([][]byte{}, proof...)
			changed[i] = bad
			if got, err := trieValue(root, []byte(key), changed); err == nil {
				t.Errorf("%s: byte %d of node %d changed: %q", key, j, i, got)
			}
		}
	}
	if _, err := trieValue(root, []byte(key), append(proof, proof[0])); err == nil {
		t.Error("a node too many passes")
	}
}

// TestPublishedBlockHasItsHash encodes the first block of the main chain out of its published fields.
func TestPublishedBlockHasItsHash(t *testing.T) {
	zero := make([]byte, 32)
	empty := unhex(t, "56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421")
	header := rlpList(rlpText(zero), rlpText(unhex(t, "1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347")), rlpText(make([]byte, 20)),
		rlpText(unhex(t, "d7f8974fb5ac78d9ac099b9ad5018bedc2ce0a72dad1827a1709da30580f0544")), rlpText(empty), rlpText(empty), rlpText(make([]byte, 256)),
		rlpNumber(0x400000000), rlpNumber(0), rlpNumber(5000), rlpNumber(0), rlpNumber(0),
		rlpText(unhex(t, "11bbe8db4e347b4e8c937c1c8370e4b5ed33adb3db69cbdb7a38e1e50b1b82fa")), rlpText(zero), rlpText(unhex(t, "0000000000000042")))
	if got := hex.EncodeToString(keccak(header)); got != "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3" {
		t.Error(got)
	}
}

func TestTrieOfManyReceiptsProvesEachOfThem(t *testing.T) {
	for _, n := range []int{1, 2, 3, 16, 127, 128, 129, 300} {
		var leaves []leafOf
		for i := range n {
			leaves = append(leaves, leafOf{nibbles(rlpNumber(uint64(i))), []byte(strings.Repeat(fmt.Sprint("receipt ", i), 4+i%7))})
		}
		for i := range n {
			root, proof, err := trieProof(leaves, rlpNumber(uint64(i)))
			if err != nil {
				t.Fatal(n, i, err)
			}
			if got, err := trieValue(root, rlpNumber(uint64(i)), proof); err != nil || !bytes.Equal(got, leaves[i].value) {
				t.Fatal(n, i, string(got), err)
			}
			if got, err := trieValue(root, rlpNumber(uint64(i+1)), proof); err == nil {
				t.Fatal(n, i, string(got))
			}
		}
	}
}

func TestRLPHasOneEncoding(t *testing.T) {
	for name, bad := range map[string]string{
		"nothing": "", "a byte as a string": "8101", "a short string in the long form": "b801ff", "a length with a zero": "b90038" + strings.Repeat("00", 56),
		"cut off": "83ffff", "something behind it": "8080", "a list that ends within a string": "c283ff", "deep": strings.Repeat("c1", 12) + "c0",
		"a length of five bytes": "bc0100000000",
	} {
		if i, err := readRLP(unhex(t, bad)); err == nil {
			t.Errorf("%s: %+v", name, i)
		}
	}
}

func FuzzRLP(f *testing.F) {
	f.Add(unhex(f, "c88363617483646f67"))
	f.Add(unhex(f, "b838"+strings.Repeat("61", 56)))
	var again func(i rlpItem) []byte
	again = func(i rlpItem) []byte {
		if !i.is {
			return rlpText(i.text)
		}
		var items [][]byte
		for _, c := range i.list {
			items = append(items, again(c))
		}
		return rlpList(items...)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := readRLP(data)
		if err != nil {
			return
		}
		if got := again(i); !bytes.Equal(got, data) {
			t.Fatalf("%x is read as what encodes as %x", data, got)
		}
	})
}
