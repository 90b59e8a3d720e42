// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/gateway"
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

// ClientOf returns what a stdio client is known by: user, process and its start time, so that all servers
// of one client share one session. p is the relay as the kernel tells it, claimed what the relay said of its
// parent; they must agree. A shell that only runs the one command ("sh -c ...") is not the client: whoever
// started it is. Where the kernel shows no processes every relay is a client of its own.
func ClientOf(proc string, p gateway.Peer, claimed Process) (string, error) {
	if runtime.GOOS != "linux" {
		return fmt.Sprintf("stdio:%d:relay:%d:%d", p.UID, p.PID, p.Start), nil
	}
	relay, err := Started(proc, int(p.PID))
	if err != nil {
		return "", err
	}
	if p.Start != 0 && uint64(relay.Start) != p.Start {
		return "", fmt.Errorf("mcp: process %d is not the one that connected", p.PID)
	}
	client, err := Parent(proc, relay.PID)
	if err != nil {
		return "", err
	}
	if client != claimed {
		return "", fmt.Errorf("mcp: process %d is not a child of process %d", relay.PID, claimed.PID)
	}
	for range maxShells {
		if !oneCommand(proc, client.PID) {
			break
		}
		up, err := Parent(proc, client.PID)
		if err != nil || up.PID <= 1 {
			break
		}
		client = up
	}
	return fmt.Sprintf("stdio:%d:%d:%d", p.UID, client.PID, client.Start), nil
}

const maxShells = 8

// oneCommand reports whether a process is a shell that was started to run one command.
func oneCommand(proc string, pid int) bool {
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return false
	}
	argv := strings.Split(string(b), "\x00")
	switch filepath.Base(argv[0]) {
	case "sh", "dash", "bash", "zsh", "ash", "ksh", "fish":
		return len(argv) > 1 && strings.HasPrefix(argv[1], "-") && strings.HasSuffix(argv[1], "c")
	}
	return false
}
