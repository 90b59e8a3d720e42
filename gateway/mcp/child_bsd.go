// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package mcp

import "syscall"

// orphaned does nothing: only the end of its input tells the process here that we were killed.
func orphaned(*syscall.SysProcAttr) {}
