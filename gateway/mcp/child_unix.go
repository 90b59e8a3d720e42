// SPDX-License-Identifier: Apache-2.0

//go:build unix

package mcp

import (
	"os"
	"os/exec"
	"syscall"
)

// signal returns the number of the signal that ended the process, or 0.
func signal(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return int(w.Signal())
	}
	return 0
}

// grouped gives the process a group of its own. On a terminal the keys that end programs then reach only us,
// and we end it.
func grouped(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	orphaned(cmd.SysProcAttr)
}

// killGroup kills the process and what it started. A process that has ended and was waited for is left alone:
// its number may be another's by now.
func killGroup(p *os.Process) error {
	if err := p.Signal(syscall.Signal(0)); err != nil {
		return err
	}
	return syscall.Kill(-p.Pid, syscall.SIGKILL)
}
