// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

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
	var cred *unix.Ucred
	var cerr error
	err = raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, cerr); err != nil {
		return Peer{}, fmt.Errorf("gateway: peer: %w", err)
	}
	return Peer{UID: int64(cred.Uid), PID: int64(cred.Pid), Start: startOf(int64(cred.Pid))}, nil
}

// startOf returns the start of pid in clock ticks since boot, or 0.
func startOf(pid int64) uint64 {
	b, err := os.ReadFile("/proc/" + itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	return startField(b)
}

// startField returns field 22 of a stat file, or 0. The second field holds the command in brackets, which
// the process chooses, so counting begins after the last bracket.
func startField(stat []byte) uint64 {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 || !bytes.Contains(stat, []byte(") ")) {
		return 0
	}
	n, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
