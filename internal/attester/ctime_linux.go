// SPDX-License-Identifier: Apache-2.0

package attester

import "syscall"

func ctime(s *syscall.Stat_t) int64 { return s.Ctim.Nano() }
