// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package confine

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// spaces are the namespaces of a confined program, by their names under /proc.
var spaces = []string{"user", "net", "pid", "mnt", "ipc"}

// Prove checks what a supervisor says of the program behind it, by what the kernel shows of both: supervisor (which
// started at start) and first run this very program file and are traced by nobody; first is supervisor's child; and
// all that first started is bound as walls says. Of Landlock the kernel shows nothing: the wall Files is the word of
// this program's own code, which supervisor runs.
//
// It is no proof against somebody who may trace processes of the same user: he is not behind any wall.
func Prove(supervisor int, start uint64, first int, walls []Wall) error {
	if !Alive(supervisor, start) {
		return errors.New("the supervisor is gone")
	}
	if slices.Contains(walls, Network) != slices.Contains(walls, Processes) {
		return errors.New("the walls network and processes come together")
	}
	for _, pid := range []int{supervisor, first} {
		if err := ours(pid); err != nil {
			return err
		}
	}
	if parent, _ := parentOf(first); parent != supervisor {
		return fmt.Errorf("process %d is no child of the supervisor", first)
	}
	if slices.Contains(walls, Network) {
		if err := apart(first); err != nil {
			return err
		}
	}
	programs := childrenOf(first)
	if len(programs) == 0 {
		return errors.New("the program does not run yet, or no more")
	}
	for _, pid := range programs {
		if err := bounded(pid, first, walls); err != nil {
			return err
		}
	}
	return nil
}

// Alive reports whether process pid runs that started at start, in clock ticks since boot.
func Alive(pid int, start uint64) bool {
	f, err := statOf(pid)
	return err == nil && f[0] != "Z" && f[19] == strconv.FormatUint(start, 10)
}

func procFile(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }

// statOf returns the fields of a stat file from the third on.
func statOf(pid int) ([]string, error) {
	b, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return nil, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return nil, fmt.Errorf("process %d: short stat", pid)
	}
	return f, nil
}

func parentOf(pid int) (int, error) {
	f, err := statOf(pid)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(f[1])
}

func childrenOf(pid int) (out []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		f, err := statOf(n)
		if err == nil && f[1] == strconv.Itoa(pid) && f[0] != "Z" {
			out = append(out, n)
		}
	}
	return out
}

// ours checks that a process runs the file that we run, and that nobody traces it.
func ours(pid int) error {
	var own, its unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &own); err != nil {
		return err
	}
	if err := unix.Stat(procFile(pid, "exe"), &its); err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	if own.Dev != its.Dev || own.Ino != its.Ino {
		return errors.New("it runs another build of sallyport than the owner")
	}
	st, err := statusOf(pid)
	if err == nil && st["TracerPid"] != "0" {
		err = fmt.Errorf("process %d is being traced", pid)
	}
	return err
}

// statusOf reads what the kernel says of a process, by the name of the line.
func statusOf(pid int) (map[string]string, error) {
	b, err := os.ReadFile(procFile(pid, "status"))
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		out[name] = strings.TrimSpace(value)
	}
	return out, nil
}

// apart checks that a process has namespaces of its own, of which the network has no interface but loopback.
func apart(pid int) error {
	for _, s := range spaces {
		own, err := os.Readlink("/proc/self/ns/" + s)
		if err != nil {
			return err
		}
		its, err := os.Readlink(procFile(pid, "ns/"+s))
		if err != nil {
			return fmt.Errorf("process %d: %w", pid, err)
		}
		if own == its {
			return fmt.Errorf("process %d shares the namespace %q with us", pid, s)
		}
	}
	b, err := os.ReadFile(procFile(pid, "net/dev"))
	if err != nil {
		return err
	}
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if name, _, _ := strings.Cut(line, ":"); i >= 2 && strings.TrimSpace(name) != "lo" {
			return fmt.Errorf("the network has an interface %q", strings.TrimSpace(name))
		}
	}
	return nil
}

// bounded checks one program behind the walls. What it starts inherits what is checked.
func bounded(pid, first int, walls []Wall) error {
	line, err := os.ReadFile(procFile(pid, "cmdline"))
	if err != nil || bytes.HasPrefix(line, []byte(stagePrefix)) {
		return errors.New("the walls are being built")
	}
	st, err := statusOf(pid)
	if err != nil {
		return err
	}
	want := map[Wall][][2]string{Privileges: {{"NoNewPrivs", "1"}}, Calls: {{"Seccomp", "2"}}}
	if slices.Contains(walls, Network) {
		const none = "0000000000000000"
		want[Privileges] = append(want[Privileges], [2]string{"CapPrm", none}, [2]string{"CapEff", none}, [2]string{"CapBnd", none}, [2]string{"CapAmb", none})
		for _, s := range spaces {
			a, err := os.Readlink(procFile(pid, "ns/"+s))
			if err != nil {
				return err
			}
			if b, err := os.Readlink(procFile(first, "ns/"+s)); err != nil || a != b {
				return fmt.Errorf("process %d is outside the namespace %q of the run", pid, s)
			}
		}
	}
	for _, w := range walls {
		for _, line := range want[w] {
			if st[line[0]] != line[1] {
				return fmt.Errorf("process %d: %s is %q", pid, line[0], st[line[0]])
			}
		}
	}
	if st["TracerPid"] != "0" {
		return fmt.Errorf("process %d is being traced", pid)
	}
	return nil
}
