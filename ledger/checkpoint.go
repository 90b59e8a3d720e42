// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Checkpoint is a signed statement of the log's size and root: C2SP tlog-checkpoint in a C2SP
// signed-note, with one Ed25519 signature by a key whose name is the origin.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   [32]byte
	Note   []byte // as signed
}

// checkpointBytes bounds a checkpoint's frame; origins are bounded to fit.
const (
	checkpointBytes = 512
	maxOriginBytes  = 120
)

func checkpointText(origin string, size uint64, root hash) string {
	return origin + "\n" + strconv.FormatUint(size, 10) + "\n" + base64.StdEncoding.EncodeToString(root[:]) + "\n"
}

func signCheckpoint(s note.Signer, size uint64, root hash) (Checkpoint, error) {
	signed, err := note.Sign(&note.Note{Text: checkpointText(s.Name(), size, root)}, s)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("ledger: checkpoint %d: %w", size, err)
	}
	return Checkpoint{Origin: s.Name(), Size: size, Root: root, Note: signed}, nil
}

// ParseCheckpoint parses a checkpoint and, unless v is nil, verifies that v signed it under its own
// name as the origin. Further signatures, of witnesses, are allowed.
func ParseCheckpoint(msg []byte, v note.Verifier) (Checkpoint, error) {
	body, _, ok := strings.Cut(string(msg), "\n\n")
	if !ok {
		return Checkpoint{}, errors.New("ledger: checkpoint: not a signed note")
	}
	lines := strings.Split(body, "\n")
	if len(lines) < 3 || lines[0] == "" {
		return Checkpoint{}, errors.New("ledger: checkpoint: origin, size or root is missing")
	}
	size, err := strconv.ParseUint(lines[1], 10, 63)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return Checkpoint{}, fmt.Errorf("ledger: checkpoint: size %q", clip(lines[1]))
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != hashBytes {
		return Checkpoint{}, fmt.Errorf("ledger: checkpoint %d: root is not a hash", size)
	}
	c := Checkpoint{Origin: lines[0], Size: size, Note: append([]byte(nil), msg...)}
	copy(c.Root[:], root)
	if v == nil {
		return c, nil
	}
	if c.Origin != v.Name() {
		return c, fmt.Errorf("ledger: checkpoint %d: origin %q is not %q", size, clip(c.Origin), v.Name())
	}
	if _, err := note.Open(msg, note.VerifierList(v)); err != nil {
		return c, fmt.Errorf("ledger: checkpoint %d: signature: %w", size, err)
	}
	return c, nil
}

// newSigningKey returns a key pair in the text form of signed notes.
func newSigningKey(random io.Reader, origin string) (private, public string, err error) {
	if random == nil {
		random = rand.Reader
	}
	return note.GenerateKey(random, origin)
}

// newOrigin names a log that was given no name.
func newOrigin(random io.Reader) (string, error) {
	var b [10]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", err
	}
	return "sallyport.local/log/" + base32.EncodeToString(b[:]), nil
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}
