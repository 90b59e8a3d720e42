// SPDX-License-Identifier: Apache-2.0

package modelsig

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/zeebo/blake3"
	"golang.org/x/crypto/blake2b"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

type statement struct {
	Type    string `json:"_type"`
	Subject []struct {
		Name   string            `json:"name"`
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
	PredicateType string `json:"predicateType"`
	Predicate     struct {
		Serialization struct {
			Method   string   `json:"method"`
			Hash     string   `json:"hash_type"`
			Shard    int64    `json:"shard_size"`
			Symlinks bool     `json:"allow_symlinks"`
			Ignored  []string `json:"ignore_paths"` // the signer's wish; never honoured
		} `json:"serialization"`
		Resources []struct {
			Name      string `json:"name"`
			Algorithm string `json:"algorithm"`
			Digest    string `json:"digest"`
		} `json:"resources"`
	} `json:"predicate"`
}

// manifest is what was signed: each file with its pieces in order.
type manifest struct {
	name  string
	root  string
	hash  string
	fresh func() hash.Hash
	files map[string][]piece
	shard int64 // 0 when files are whole
}

// piece is a range of a file, [start, end), and its digest; end is -1 for a whole file.
type piece struct {
	start, end int64
	digest     []byte
}

// The hashes that are understood, by the names of the Python library.
var hashes = map[string]func() hash.Hash{
	"sha256":  sha256.New,
	"blake3":  func() hash.Hash { return blake3.New() },
	"blake2b": func() hash.Hash { h, _ := blake2b.New512(nil); return h }, // errs only on a key
}

// read reads a signed statement.
func read(payload []byte) (*manifest, error) {
	var s statement
	if err := action.Read(payload, &s, action.Limits{Bytes: MaxBundleBytes}); err != nil {
		return nil, attest.RefuseFor(err, attest.Malformed, "statement")
	}
	ser := s.Predicate.Serialization
	switch {
	case s.Type != statementType || s.PredicateType != predicateType:
		return nil, attest.Refuse(attest.Unsupported, "statement: %q about %q", action.Clip(s.Type, 100), action.Clip(s.PredicateType, 100))
	case len(s.Subject) != 1 || len(s.Subject[0].Digest) != 1 || len(s.Predicate.Resources) == 0:
		return nil, attest.Refuse(attest.Malformed, "statement: not one subject with one digest, or no files")
	}
	m := &manifest{name: s.Subject[0].Name, root: s.Subject[0].Digest["sha256"], files: map[string][]piece{}}
	algorithm := ser.Hash
	switch {
	case ser.Method == "files" && ser.Shard == 0:
	case ser.Method == "shards" && ser.Shard > 0:
		m.shard = ser.Shard
		algorithm = strings.TrimSuffix(ser.Hash, "-sharded-"+strconv.FormatInt(ser.Shard, 10))
	default:
		return nil, attest.Refuse(attest.Unsupported, "statement: serialization %q with shards of %d bytes", action.Clip(ser.Method, 100), ser.Shard)
	}
	if m.hash, m.fresh = algorithm, hashes[algorithm]; m.fresh == nil {
		return nil, attest.Refuse(attest.Unsupported, "statement: hash %q", action.Clip(ser.Hash, 100))
	}
	root, folded := sha256.New(), map[string]string{}
	for _, r := range s.Predicate.Resources {
		digest, err := hex.DecodeString(r.Digest)
		if err != nil || hex.EncodeToString(digest) != r.Digest || len(digest) != m.fresh().Size() || r.Algorithm != ser.Hash {
			return nil, attest.Refuse(attest.Malformed, "statement: %q: digest or algorithm %q", action.Clip(r.Name, 200), action.Clip(r.Algorithm, 100))
		}
		root.Write(digest)
		path, p, err := m.piece(r.Name)
		if err != nil {
			return nil, err
		}
		p.digest = digest
		if other, ok := folded[fold(path)]; ok && other != path {
			return nil, attest.Refuse(attest.Malformed, "statement: %q and %q are one name on some file systems", path, other)
		}
		folded[fold(path)] = path
		m.files[path] = append(m.files[path], p)
	}
	if hex.EncodeToString(root.Sum(nil)) != m.root {
		return nil, attest.Refuse(attest.Unproved, "statement: its root digest is not that of its files")
	}
	return m, m.whole()
}

// piece splits the name of a resource.
func (m *manifest) piece(name string) (string, piece, error) {
	path, p := name, piece{end: -1}
	if m.shard > 0 {
		parts := strings.Split(name, ":")
		if len(parts) != 3 {
			return "", p, attest.Refuse(attest.Malformed, "statement: shard %q", action.Clip(name, 200))
		}
		var err1, err2 error
		path = parts[0]
		p.start, err1 = strconv.ParseInt(parts[1], 10, 64)
		p.end, err2 = strconv.ParseInt(parts[2], 10, 64)
		if err1 != nil || err2 != nil || name != path+":"+strconv.FormatInt(p.start, 10)+":"+strconv.FormatInt(p.end, 10) {
			return "", p, attest.Refuse(attest.Malformed, "statement: shard %q", action.Clip(name, 200))
		}
	}
	if !plain(path) {
		return "", p, attest.Refuse(attest.Malformed, "statement: path %q leads elsewhere or differs between file systems", action.Clip(path, 200))
	}
	return path, p, nil
}

// whole checks that the pieces of each file cover it from its start without gap or overlap.
func (m *manifest) whole() error {
	for path, pieces := range m.files {
		if _, single := m.files["."]; single && len(m.files) > 1 {
			return attest.Refuse(attest.Malformed, "statement: both a single file and a folder")
		}
		if m.shard == 0 {
			if len(pieces) != 1 {
				return attest.Refuse(attest.Malformed, "statement: %q stands twice", path)
			}
			continue
		}
		slices.SortFunc(pieces, func(a, b piece) int { return int(min(max(a.start-b.start, -1), 1)) })
		at := int64(0)
		for i, p := range pieces {
			if p.start != at || p.end <= p.start || p.end-p.start > m.shard || (i < len(pieces)-1 && p.end-p.start != m.shard) {
				return attest.Refuse(attest.Malformed, "statement: shards of %q leave gaps or overlap", path)
			}
			at = p.end
		}
	}
	return nil
}

// plain reports whether a path stays inside the folder and means the same file on every file system.
func plain(path string) bool {
	if len(path) > 4096 || !fs.ValidPath(path) || !utf8.ValidString(path) || strings.ContainsAny(path, "\\:\x7f") {
		return false
	}
	for _, r := range path {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return false
		}
	}
	for _, part := range strings.Split(path, "/") {
		if path != "." && (strings.HasSuffix(part, ".") || strings.HasSuffix(part, " ")) {
			return false
		}
	}
	return true
}

// fold maps paths that differ only in case to one.
func fold(path string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
			least = min(least, o)
		}
		return least
	}, path)
}
