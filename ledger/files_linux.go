// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"time"

	"golang.org/x/sys/unix"
)

// Sync leaves out metadata such as the time of change: within a preallocated segment that is one write
// to the device less.
func (f realFile) Sync() error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

func (f realFile) Lock() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

func (realDisk) Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(min(st.Bavail, 1<<40)) * st.Bsize, nil
}

// pause sleeps in the kernel: the runtime's timers overshoot by up to a millisecond when nothing else
// runs, which is more than what is measured.
func pause(d time.Duration) {
	ts := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&ts, nil) // cut short by a signal, the caller sleeps again
}

// processCPU is what the process has used of its processors, user and system; 0 where nobody says.
func processCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
