// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package mcp

import (
	"os"
	"os/exec"
)

// signal returns 0: processes here do not end by signals.
func signal(*os.ProcessState) int { return 0 }

func grouped(*exec.Cmd) {}

// killGroup kills the process alone.
func killGroup(p *os.Process) error { return p.Kill() }
