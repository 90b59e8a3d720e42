// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// The errors of keys and backends.
var (
	ErrKey     = errors.New("store: malformed key")
	ErrFull    = errors.New("store: full")
	ErrClosed  = errors.New("store: closed")
	ErrDamaged = errors.New("store: damaged or no store")
	ErrLocked  = errors.New("store: held by another process")
)

// The bounds of a Store's keys and answers.
const (
	MaxKeyBytes  = 512
	DefaultLimit = 1000 // of List, where the caller names none
	WatchBuffer  = 1024 // events that a reader of Watch may fall behind
)

// CheckKey reports whether key may name an entry: 1 to MaxKeyBytes bytes of valid UTF-8 without control
// characters. The error wraps ErrKey and never quotes more than a few characters of the key.
func CheckKey(key string) error {
	if key == "" {
		return fmt.Errorf("%w: empty", ErrKey)
	}
	return CheckPrefix(key)
}

// CheckPrefix reports whether prefix may select entries: as CheckKey, but it may be empty.
func CheckPrefix(prefix string) error {
	if len(prefix) > MaxKeyBytes {
		return fmt.Errorf("%w: %d bytes are more than %d", ErrKey, len(prefix), MaxKeyBytes)
	}
	if !utf8.ValidString(prefix) {
		return fmt.Errorf("%w: invalid UTF-8", ErrKey)
	}
	for i, r := range prefix {
		if unicode.IsControl(r) {
			return fmt.Errorf("%w: control character %U at byte %d", ErrKey, r, i)
		}
	}
	return nil
}

// CheckList reports whether the arguments of List are in bounds, and returns the limit that holds.
func CheckList(prefix, after string, limit int) (int, error) {
	if err := CheckPrefix(prefix); err != nil {
		return 0, err
	}
	if err := CheckPrefix(after); err != nil {
		return 0, err
	}
	if limit < 0 {
		return 0, fmt.Errorf("store: limit %d is negative", limit)
	}
	if limit == 0 {
		limit = DefaultLimit
	}
	return limit, nil
}
