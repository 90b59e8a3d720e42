// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package confine

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refused are calls that answer "operation not permitted" whatever their arguments.
var refused = []uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP, unix.SYS_PROCESS_MADVISE,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN,
	unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_UNSHARE, unix.SYS_SETNS,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT, unix.SYS_SWAPON,
	unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME,
}

// offsets in struct seccomp_data; of an argument the low half, on little-endian machines.
const (
	offCall, offArch, offArg = 0, 4, 16
	allow                    = unix.SECCOMP_RET_ALLOW
	kill                     = 0x80000000 // SECCOMP_RET_KILL_PROCESS
	notPermitted             = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	noSuchCall               = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)

	newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
		unix.CLONE_NEWPID | unix.CLONE_NEWNET
)

type program []unix.SockFilter

func (p *program) add(code uint16, jt, jf uint8, k uint32) {
	*p = append(*p, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

func (p *program) load(off uint32) { p.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, off) }
func (p *program) mask(k uint32)   { p.add(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, 0, 0, k) }
func (p *program) end(v uint32)    { p.add(unix.BPF_RET|unix.BPF_K, 0, 0, v) }

// unless skips the next n instructions if the loaded value is not k.
func (p *program) unless(k uint32, n uint8) { p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, n, k) }

// call appends what is checked of one call; body must end in a return on every way.
func (p *program) call(nr int, body func(*program)) {
	var b program
	body(&b)
	p.unless(uint32(nr), uint8(len(b)))
	*p = append(*p, b...)
}

func filter() program {
	arch := uint32(unix.AUDIT_ARCH_X86_64)
	if runtime.GOARCH == "arm64" {
		arch = unix.AUDIT_ARCH_AARCH64
	}
	var p program
	p.load(offArch)
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 1, 0, arch)
	p.end(kill) // calls of another architecture have other numbers
	p.load(offCall)
	p.add(unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K, 0, 1, 0x40000000)
	p.end(kill) // x32
	for _, nr := range refused {
		p.unless(nr, 1)
		p.end(notPermitted)
	}
	p.unless(unix.SYS_CLONE3, 1)
	p.end(noSuchCall) // its flags lie in memory: libraries fall back to clone
	p.call(unix.SYS_CLONE, func(b *program) {
		b.load(offArg)
		b.mask(newNamespaces)
		b.unless(0, 1)
		b.end(allow)
		b.end(notPermitted)
	})
	p.call(unix.SYS_IOCTL, func(b *program) {
		b.load(offArg + 8)
		b.unless(unix.TIOCSTI, 1) // types into the user's terminal
		b.end(notPermitted)
		b.unless(unix.TIOCLINUX, 1)
		b.end(notPermitted)
		b.end(allow)
	})
	p.call(unix.SYS_SOCKETPAIR, func(b *program) {
		b.load(offArg + 8)
		b.mask(0xf)
		b.unless(unix.SOCK_DGRAM, 1) // one of a pair can still send to any path
		b.end(notPermitted)
		b.end(allow)
	})
	p.call(unix.SYS_SOCKET, socketCalls)
	p.end(allow)
	return p
}

// socketCalls lets streams and datagrams of IP pass, and the netlink family that lists interfaces.
func socketCalls(b *program) {
	b.load(offArg)
	b.unless(unix.AF_NETLINK, 4)
	b.load(offArg + 16)
	b.unless(unix.NETLINK_ROUTE, 1)
	b.end(allow)
	b.end(notPermitted)
	b.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 2, 0, unix.AF_INET)
	b.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 1, 0, unix.AF_INET6)
	b.end(notPermitted)
	b.load(offArg + 8)
	b.mask(0xf)
	b.unless(unix.SOCK_STREAM, 1)
	b.end(allow)
	b.unless(unix.SOCK_DGRAM, 1)
	b.end(allow)
	b.end(notPermitted)
}

// seccomp binds the calling thread, which needs no_new_privs.
func seccomp() error {
	p := filter()
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, 1, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 { // SECCOMP_SET_MODE_FILTER
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

// seccompOffered asks whether the kernel can answer a call with an error.
func seccompOffered() error {
	ret := uint32(unix.SECCOMP_RET_ERRNO)
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, 2, 0, uintptr(unsafe.Pointer(&ret))); errno != 0 { // SECCOMP_GET_ACTION_AVAIL
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}
