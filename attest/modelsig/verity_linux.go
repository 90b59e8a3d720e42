// SPDX-License-Identifier: Apache-2.0

package modelsig

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// measureVerity is FS_IOC_MEASURE_VERITY: _IOWR('f', 134, struct fsverity_digest).
const measureVerity = 0xc0046686

// kernelVerity returns the kernel's digest of a file that fs-verity seals with SHA-256; an error for any other.
func kernelVerity(fd uintptr) ([]byte, error) {
	var d [4 + 64]byte // algorithm, size, digest
	binary.NativeEndian.PutUint16(d[2:], 64)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, measureVerity, uintptr(unsafe.Pointer(&d[0]))); errno != 0 {
		return nil, errno
	}
	if binary.NativeEndian.Uint16(d[:]) != 1 || binary.NativeEndian.Uint16(d[2:]) != 32 {
		return nil, errors.New("modelsig: sealed with another hash than SHA-256")
	}
	return d[4:36], nil
}
