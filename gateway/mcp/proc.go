// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// ProcFS is where the kernel shows processes.
const ProcFS = "/proc"

// Parent returns the parent of process pid, with its start time, as the kernel shows it under proc
// (ProcFS).
func Parent(proc string, pid int) (Process, error) {
	fields, err := stat(proc, pid)
	if err != nil {
		return Process{}, err
	}
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return Process{}, fmt.Errorf("mcp: process %d: parent: %w", pid, err)
	}
	return Started(proc, ppid)
}

// Started returns process pid with its start time.
func Started(proc string, pid int) (Process, error) {
	fields, err := stat(proc, pid)
	if err != nil {
		return Process{}, err
	}
	start, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return Process{}, fmt.Errorf("mcp: process %d: start time: %w", pid, err)
	}
	return Process{PID: pid, Start: start}, nil
}

// stat returns the fields of /proc/PID/stat from the third on: state, parent, ... The second is the
// program's name in brackets, which the program chooses.
func stat(proc string, pid int) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil, fmt.Errorf("mcp: process %d: %w", pid, err)
	}
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return nil, fmt.Errorf("mcp: process %d: no stat", pid)
	}
	var out []string
	for _, f := range bytes.Fields(b[i+1:]) {
		out = append(out, string(f))
	}
	if len(out) < 20 {
		return nil, fmt.Errorf("mcp: process %d: short stat", pid)
	}
	return out, nil
}

// HostKey returns what a stdio client is known by: user, process and its start time, so that all servers
// of one client share one session. relay is the pid of the peer as the kernel tells it, claimed what the
// relay said of its parent; they must agree.
func HostKey(proc string, uid int64, relay int, claimed Process) (string, error) {
	p, err := Parent(proc, relay)
	if err != nil {
		return "", err
	}
	if p != claimed {
		return "", fmt.Errorf("mcp: process %d is not a child of process %d", relay, claimed.PID)
	}
	return fmt.Sprintf("stdio:%d:%d:%d", uid, p.PID, p.Start), nil
}
