// SPDX-License-Identifier: Apache-2.0

package attest

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
)

// Replace puts data in the place of the file at path: a reader, and a start after a crash, finds the old content or the
// new one, never a part.
func Replace(path string, data []byte) error {
	tmp := filepath.Join(filepath.Dir(path), ".new-"+rand.Text()[:12])
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
