// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package attester

import "syscall"

func ctime(*syscall.Stat_t) int64 { return 0 }
