// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package confine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"github.com/go-json-experiment/json"
	"golang.org/x/sys/unix"
)

// stagePrefix begins the name under which this program starts itself.
const stagePrefix = "sallyport-confined-"

// Inside takes over if the process is a stage, and does not return then. A program that uses this package
// calls it first in main.
func Inside() {
	name, ok := strings.CutPrefix(os.Args[0], stagePrefix)
	if !ok || len(os.Args) != 1 {
		return
	}
	var err error
	exit := 0
	switch name {
	case "probe":
		err = namespaces()
	case "outer":
		exit, err = outer()
	case "inner":
		err = inner()
	default:
		err = errors.New("no such stage")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "sallyport: confine: %s\n", err)
		exit = 1
	}
	os.Exit(exit)
}

// namespaces makes the new ones usable: mounts that do not spread, a /proc of these processes, loopback.
func namespaces() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return nil
}

// outer is the first process of the namespaces. It makes the listeners, starts the inner stage and ends with
// it; the kernel then ends the rest.
func outer() (int, error) {
	const fd = 3
	syscall.CloseOnExec(fd)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(bound.Seconds())})
	buf := make([]byte, 1<<20)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return 0, err
	}
	var spec Spec
	if err := json.Unmarshal(buf[:n], &spec); err != nil {
		return 0, err
	}
	var ports []int
	if slices.Contains(spec.Walls, Network) {
		if err := namespaces(); err != nil {
			return 0, err
		}
		ports = spec.Ports
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args, cmd.Env = []string{stagePrefix + "inner"}, []string{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdin, os.Stdout, os.Stderr, []*os.File{r}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGQUIT) // the terminal's signals are the program's
	if err := listeners(fd, ports); err != nil {
		return 0, fmt.Errorf("listeners: %w", err)
	}
	_ = unix.Close(fd)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	_ = r.Close()
	if _, err := w.Write(buf[:n]); err != nil {
		return 0, err
	}
	_ = w.Close()
	return code(reap(cmd.Process.Pid)), nil
}

// inner builds the walls around its own thread and becomes the program. The kernel keeps of a process that
// calls exec the thread that called, with what binds it.
func inner() error {
	f := os.NewFile(3, "spec")
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	_ = f.Close()
	if err != nil {
		return err
	}
	var spec Spec
	if err := json.Unmarshal(b, &spec); err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := os.Chdir(spec.Dir); err != nil {
		return err
	}
	if err := unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("descriptors: %w", err)
	}
	if err := perProgram(spec.Limits); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if slices.Contains(spec.Walls, Network) {
		if err := dropCapabilities(); err != nil {
			return err
		}
	}
	if slices.Contains(spec.Walls, Files) {
		if err := landlock(spec.Read, spec.Write); err != nil {
			return err
		}
	}
	if slices.Contains(spec.Walls, Calls) {
		if err := seccomp(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%q: %w", spec.Path, syscall.Exec(spec.Path, spec.Args, spec.Env))
}

// dropCapabilities leaves the thread without any, and exec without a way to get one: as user 0, too.
func dropCapabilities() error {
	for c := uintptr(0); c <= 63; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("capabilities: bounding set: %w", err)
		}
	}
	const noRoot = 0x3 // SECBIT_NOROOT and its lock
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, noRoot, 0, 0, 0); err != nil {
		return fmt.Errorf("capabilities: secure bits: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("capabilities: ambient set: %w", err)
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if _, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&none[0])), 0); errno != 0 {
		return fmt.Errorf("capabilities: %w", errno)
	}
	return nil
}
