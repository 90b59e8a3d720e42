// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package sqlite

import (
	"fmt"
	"os"
)

// acquire opens path. Where there is no flock, the owner's lock on its data directory has to do.
func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: lock: %w", err)
	}
	return f, nil
}
