// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"errors"

	"golang.org/x/crypto/sha3"
)

// What follows is the encoding and the trie of Ethereum's yellow paper, appendices B to D, as far as a proof of a
// receipt needs them.

// rlpItem is a string, or a list if it has been read as one.
type rlpItem struct {
	text []byte
	list []rlpItem
	is   bool // a list
}

func rlpText(b []byte) []byte {
	if len(b) == 1 && b[0] < 0x80 {
		return b
	}
	return append(rlpHead(0x80, len(b)), b...)
}

// rlpList joins items that are encoded already.
func rlpList(items ...[]byte) []byte {
	body := bytes.Join(items, nil)
	return append(rlpHead(0xc0, len(body)), body...)
}

func rlpHead(base byte, n int) []byte {
	if n < 56 {
		return []byte{base + byte(n)}
	}
	size := bigEndian(uint64(n))
	return append([]byte{base + 55 + byte(len(size))}, size...)
}

// rlpNumber encodes a number without leading zeros.
func rlpNumber(n uint64) []byte { return rlpText(bigEndian(n)) }

func bigEndian(n uint64) []byte {
	var b []byte
	for ; n > 0; n >>= 8 {
		b = append([]byte{byte(n)}, b...)
	}
	return b
}

var errRLP = errors.New("anchor: ethereum: malformed RLP")

const maxRLPDepth = 8

// readRLP reads exactly one item, in the one encoding that it may have.
func readRLP(data []byte) (rlpItem, error) {
	item, rest, err := rlpNext(data, 0)
	if err == nil && len(rest) > 0 {
		err = errRLP
	}
	return item, err
}

func rlpNext(data []byte, depth int) (item rlpItem, rest []byte, err error) {
	if len(data) == 0 || depth > maxRLPDepth {
		return item, nil, errRLP
	}
	if data[0] < 0x80 {
		return rlpItem{text: data[:1]}, data[1:], nil
	}
	base := byte(0x80)
	if data[0] >= 0xc0 {
		base, item.is = 0xc0, true
	}
	body, rest, err := rlpBody(data, base)
	if err != nil {
		return item, nil, err
	}
	if !item.is {
		if len(body) == 1 && body[0] < 0x80 {
			return item, nil, errRLP // it stands for itself
		}
		item.text = body
		return item, rest, nil
	}
	for len(body) > 0 {
		var child rlpItem
		if child, body, err = rlpNext(body, depth+1); err != nil {
			return item, nil, err
		}
		item.list = append(item.list, child)
	}
	return item, rest, nil
}

func rlpBody(data []byte, base byte) (body, rest []byte, err error) {
	n, data := int(data[0]-base), data[1:]
	if n > 55 {
		wide := n - 55
		if wide > 4 || len(data) < wide || data[0] == 0 {
			return nil, nil, errRLP
		}
		n = 0
		for _, b := range data[:wide] {
			n = n<<8 | int(b)
		}
		if n < 56 {
			return nil, nil, errRLP
		}
		data = data[wide:]
	}
	if len(data) < n {
		return nil, nil, errRLP
	}
	return data[:n], data[n:], nil
}

// number reads an item that is a number of at most 8 bytes.
func (i *rlpItem) number() (uint64, error) {
	if i.is || len(i.text) > 8 || len(i.text) > 0 && i.text[0] == 0 {
		return 0, errRLP
	}
	var n uint64
	for _, b := range i.text {
		n = n<<8 | uint64(b)
	}
	return n, nil
}

func keccak(b []byte) []byte {
	h := sha3.NewLegacyKeccak256()
	_, _ = h.Write(b) // a hash never fails
	return h.Sum(nil)
}

// leafOf is a value in the trie under its key in half bytes.
type leafOf struct{ key, value []byte }

func nibbles(key []byte) []byte {
	out := make([]byte, 0, 2*len(key))
	for _, b := range key {
		out = append(out, b>>4, b&15)
	}
	return out
}

// compact is the hex prefix encoding: whether the node is a leaf, and its piece of the path.
func compact(path []byte, leaf bool) []byte {
	flag := byte(0)
	if leaf {
		flag = 2
	}
	if len(path)%2 == 1 {
		path = append([]byte{flag + 1}, path...)
	} else {
		path = append([]byte{flag, 0}, path...)
	}
	out := make([]byte, len(path)/2)
	for i := range out {
		out[i] = path[2*i]<<4 | path[2*i+1]
	}
	return out
}

// trie encodes the node over leaves, all of which agree in the first at half bytes, and keeps those nodes that are
// named by their hash in nodes.
func trie(leaves []leafOf, at int, nodes map[string][]byte) []byte {
	if len(leaves) == 1 {
		return rlpList(rlpText(compact(leaves[0].key[at:], true)), rlpText(leaves[0].value))
	}
	same := at
	for same < len(leaves[0].key) && sameNibble(leaves, same) {
		same++
	}
	if same > at {
		return rlpList(rlpText(compact(leaves[0].key[at:same], false)), refer(trie(leaves, same, nodes), nodes))
	}
	items := make([][]byte, 17)
	items[16] = rlpText(nil)
	for n := range byte(16) {
		var under []leafOf
		for _, l := range leaves {
			if at < len(l.key) && l.key[at] == n {
				under = append(under, l)
			}
		}
		items[n] = rlpText(nil)
		if len(under) > 0 {
			items[n] = refer(trie(under, at+1, nodes), nodes)
		}
	}
	for _, l := range leaves {
		if len(l.key) == at {
			items[16] = rlpText(l.value)
		}
	}
	return rlpList(items...)
}

func sameNibble(leaves []leafOf, at int) bool {
	for _, l := range leaves[1:] {
		if at >= len(l.key) || l.key[at] != leaves[0].key[at] {
			return false
		}
	}
	return true
}

// refer is how a parent names a node: short ones by themselves, others by their hash.
func refer(node []byte, nodes map[string][]byte) []byte {
	if len(node) < 32 {
		return node
	}
	h := keccak(node)
	nodes[string(h)] = node
	return rlpText(h)
}

// trieProof returns the root over leaves and the nodes from it to the value under key.
func trieProof(leaves []leafOf, key []byte) (root []byte, proof [][]byte, err error) {
	nodes := map[string][]byte{}
	top := trie(leaves, 0, nodes)
	root = keccak(top)
	nodes[string(root)] = top
	_, err = walk(root, nibbles(key), func(hash []byte) []byte {
		node := nodes[string(hash)]
		proof = append(proof, node)
		return node
	})
	return root, proof, err
}

var errTrie = errors.New("anchor: ethereum: the proof does not lead to a value")

// walk follows path from a root, asks for each node that is named by a hash, and returns the value.
func walk(root, path []byte, node func(hash []byte) []byte) ([]byte, error) {
	next := rlpItem{text: root}
	for range 2*len(path) + 2 {
		if !next.is {
			raw := node(next.text)
			if len(next.text) != 32 || !bytes.Equal(keccak(raw), next.text) {
				return nil, errTrie
			}
			var err error
			if next, err = readRLP(raw); err != nil {
				return nil, err
			}
		}
		switch len(next.list) {
		case 17:
			if len(path) == 0 {
				return valueOf(next.list[16])
			}
			next, path = next.list[path[0]], path[1:]
		case 2:
			piece := nibbles(next.list[0].text)
			if next.list[0].is || len(piece) < 2 || piece[0] > 3 || piece[0]%2 == 0 && piece[1] != 0 {
				return nil, errTrie
			}
			leaf := piece[0] >= 2
			piece = piece[2-piece[0]%2:]
			if !bytes.HasPrefix(path, piece) {
				return nil, errTrie
			}
			path = path[len(piece):]
			if leaf {
				if len(path) > 0 {
					return nil, errTrie
				}
				return valueOf(next.list[1])
			}
			next = next.list[1]
		default:
			return nil, errTrie
		}
		if !next.is && len(next.text) == 0 {
			return nil, errTrie
		}
	}
	return nil, errTrie
}

func valueOf(i rlpItem) ([]byte, error) {
	if i.is || len(i.text) == 0 {
		return nil, errTrie
	}
	return i.text, nil
}

// trieValue verifies a proof: it returns the value under key in the trie with this root.
func trieValue(root, key []byte, proof [][]byte) ([]byte, error) {
	n := 0
	value, err := walk(root, nibbles(key), func([]byte) []byte {
		if n >= len(proof) {
			return nil
		}
		n++
		return proof[n-1]
	})
	if err == nil && n != len(proof) {
		return nil, errTrie // nodes that prove nothing
	}
	return value, err
}
