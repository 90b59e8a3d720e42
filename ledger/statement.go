// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Sign signs a statement with the log's key, as a signed note. Its first line is what it is, in several
// words: the first line of a checkpoint is the log's name, which holds no space, so that no statement can
// ever be taken for a checkpoint. The text ends with a line break.
func (l *Log) Sign(text string) ([]byte, error) {
	first, _, ok := strings.Cut(text, "\n")
	if !ok || !strings.Contains(first, " ") || !strings.HasSuffix(text, "\n") {
		return nil, errors.New("ledger: sign: a statement begins with a line of several words and ends with a line break")
	}
	if l.cfg.ReadOnly || l.keys.signer == nil {
		return nil, ErrClosed
	}
	b, err := note.Sign(&note.Note{Text: text}, l.keys.signer)
	if err != nil {
		return nil, fmt.Errorf("ledger: sign: %w", err)
	}
	return b, nil
}

// Signed returns the text of a statement that the log with this public key signed.
func Signed(statement []byte, vkey string) (string, error) {
	v, err := readVkey([]byte(vkey))
	if err != nil {
		return "", err
	}
	n, err := note.Open(statement, note.VerifierList(v))
	if err != nil {
		return "", fmt.Errorf("%w: statement: no signature of the log", ErrVerification)
	}
	return n.Text, nil
}
