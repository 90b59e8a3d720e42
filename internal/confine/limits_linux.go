// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package confine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// group is a control group that bounds all of a run.
type group struct {
	dir string
	at  *os.File
}

// newGroup makes a control group with limits, below the one that this process is in or beside it. It wants the
// unified hierarchy, and a place there that belongs to this user.
func newGroup(l Limits) (*group, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	own := ""
	for line := range strings.Lines(string(b)) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			own = filepath.Join("/sys/fs/cgroup", p)
		}
	}
	if own == "" {
		return nil, errors.New("control groups: no unified hierarchy")
	}
	for _, parent := range []string{filepath.Dir(own), own} {
		if !strings.HasPrefix(parent, "/sys/fs/cgroup") {
			continue
		}
		g, gerr := makeGroup(filepath.Join(parent, fmt.Sprintf("sallyport-run-%d", os.Getpid())), l)
		if gerr == nil {
			return g, nil
		}
		err = gerr
	}
	return nil, fmt.Errorf("control groups: %w", err)
}

func makeGroup(dir string, l Limits) (*group, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	g := &group{dir: dir}
	set := func(name string, n int64) error {
		if n == 0 {
			return nil
		}
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0) // never made: it is there if the group has the controller
		if err != nil {
			return err
		}
		_, err = f.WriteString(strconv.FormatInt(n, 10))
		return errors.Join(err, f.Close())
	}
	err := errors.Join(set("memory.max", l.MemoryBytes), set("pids.max", int64(l.Processes)))
	if err == nil && l.MemoryBytes > 0 {
		_ = os.WriteFile(filepath.Join(dir, "memory.swap.max"), []byte("0"), 0) // where swap is counted
	}
	if err == nil {
		g.at, err = os.Open(dir)
	}
	if err != nil {
		g.remove()
		return nil, err
	}
	return g, nil
}

func (g *group) remove() {
	if g == nil {
		return
	}
	if g.at != nil {
		_ = g.at.Close()
	}
	_ = os.Remove(g.dir)
}

// perProgram bounds this process and what it starts, each by itself. Core dumps would hold what the program read.
func perProgram(l Limits) error {
	set := map[int]uint64{unix.RLIMIT_CORE: 0}
	if l.MemoryBytes > 0 {
		set[unix.RLIMIT_DATA] = uint64(l.MemoryBytes)
	}
	if l.Processes > 0 {
		set[unix.RLIMIT_NPROC] = uint64(l.Processes)
	}
	for what, n := range set {
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			return fmt.Errorf("limits: %w", err)
		}
	}
	return nil
}
