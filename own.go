// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrOwned means that another process owns the data directory.
var ErrOwned = errors.New("another process owns the data directory")

// dataVersion is the format of the data directory as a whole. An unknown one stops.
const dataVersion = "1"

// paths are the places within a data directory.
type paths struct {
	version, lock, run, socket, log, wal, tiles, keys, bundles, store, index, tokens, snapshots string
}

func layout(data string) paths {
	in := func(p ...string) string { return filepath.Join(append([]string{data}, p...)...) }
	return paths{version: in("VERSION"), lock: in("lock"), run: in("run"), socket: in("run", "sallyport.sock"), log: in("run", "owner.log"),
		wal: in("wal"), tiles: in("tiles"), keys: in("keys"), bundles: in("bundles"), store: in("store.db"), index: in("index.db"),
		tokens: in("tokens"), snapshots: in("snapshots")}
}

// SocketPath is where the owner of a data directory listens for thin clients.
func SocketPath(data string) string { return layout(data).socket }

// EgressSocketPath is where the egress proxy of the owner of a data directory takes connections of supervisors.
func EgressSocketPath(data string) string { return filepath.Join(layout(data).run, "egress.sock") }

// PostgresSocketPath is where the databases' door of the owner of a data directory takes connections of supervisors.
func PostgresSocketPath(data string) string { return filepath.Join(layout(data).run, "postgres.sock") }

// LogPath is where an owner that was started by a thin client writes its log.
func LogPath(data string) string { return layout(data).log }

// own makes data a data directory if it is none, and takes its lock. The lock ends with the process,
// however that ends.
func own(data string) (*os.File, error) {
	d := layout(data)
	for _, dir := range []string{data, d.run, d.wal, d.keys, d.tokens, d.tiles, d.bundles, d.snapshots} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("data directory: %w", err)
		}
	}
	info, err := os.Stat(data)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("data directory %q is open to others (mode %04o); hint: chmod 700 %s", data, info.Mode().Perm(), data)
	}
	f, err := os.OpenFile(d.lock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("data directory %q: %w", data, ErrOwned)
	}
	if err := checkVersion(d.version); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func checkVersion(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return writeDurably(path, []byte(dataVersion+"\n"))
	}
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if v := strings.TrimSpace(string(b)); v != dataVersion {
		return fmt.Errorf("data directory: %s: format %q is not %q; this build cannot read it", path, v, dataVersion)
	}
	return nil
}

// writeDurably writes a small file of mode 0600 so that a crash leaves the old one, or none, or the new
// one.
func writeDurably(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
