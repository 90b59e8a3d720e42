// SPDX-License-Identifier: Apache-2.0

package mcp

import "syscall"

// orphaned ends the process when we are killed ourselves: a client that kills our process group does not reach
// its group.
func orphaned(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGTERM }
