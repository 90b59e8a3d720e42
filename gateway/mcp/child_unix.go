// SPDX-License-Identifier: Apache-2.0

//go:build unix

package mcp

import (
	"os"
	"syscall"
)

// signal returns the number of the signal that ended the process, or 0.
func signal(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return int(w.Signal())
	}
	return 0
}
