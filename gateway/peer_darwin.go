// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

func peerOf(c net.Conn) (Peer, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return Peer{}, errors.New("gateway: peer: not a unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("gateway: peer: %w", err)
	}
	var cred *unix.Xucred
	var pid int
	var e1, e2 error
	err = raw.Control(func(fd uintptr) {
		cred, e1 = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
		pid, e2 = unix.GetsockoptInt(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERPID)
	})
	if err = errors.Join(err, e1, e2); err != nil {
		return Peer{}, fmt.Errorf("gateway: peer: %w", err)
	}
	return Peer{UID: int64(cred.Uid), PID: int64(pid), Start: startOf(pid)}, nil
}

// startOf returns the start of pid in microseconds since the epoch, or 0.
func startOf(pid int) uint64 {
	k, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil || int(k.Proc.P_pid) != pid {
		return 0
	}
	return uint64(k.Proc.P_starttime.Sec)*1_000_000 + uint64(k.Proc.P_starttime.Usec)
}
