// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package confine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/sys/unix"
)

// Process is a program that runs.
type Process struct {
	Listeners []net.Listener // of Spec.Ports, in their order; the caller closes them
	Bound     string         // how Spec.Limits are kept, in words; "" if there are none

	cmd   *exec.Cmd
	group *group     // nil: none
	done  chan error // closed by the goroutine that started it
}

// Available tries what the kernel offers to this user. A wall that maps to nil can be built.
func Available() map[Wall]error {
	_, files := landlockVersion()
	ns := stage("probe", nil, nil, nil, nil, nil).attempt()
	return map[Wall]error{Network: ns, Processes: ns, Files: files, Calls: seccompOffered(), Privileges: nil}
}

type stageCmd struct{ *exec.Cmd }

// stage is this program as the stage name, in namespaces of its own unless spec has no wall of them.
func stage(name string, spec *Spec, in, out, errs *os.File, extra []*os.File) stageCmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{stagePrefix + name}
	cmd.Env = []string{}
	if in != nil { // a nil *os.File in an interface is not nil
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errs
	}
	cmd.ExtraFiles = extra
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if spec == nil || slices.Contains(spec.Walls, Network) {
		uid, gid := os.Getuid(), os.Getgid()
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP}
	}
	return stageCmd{cmd}
}

func (s stageCmd) attempt() error {
	out, err := s.CombinedOutput()
	if err != nil {
		return fmt.Errorf("namespaces: %w %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Start starts what spec says with three streams. The caller must call Wait.
func Start(spec Spec, in, out, errs *os.File) (*Process, error) {
	if slices.Contains(spec.Walls, Network) != slices.Contains(spec.Walls, Processes) {
		return nil, errors.New("confine: the walls network and processes come together")
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("confine: %w", err)
	}
	bound, held, err := keep(&spec.Limits)
	if err != nil {
		return nil, errors.Join(err, unix.Close(pair[0]), unix.Close(pair[1]))
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "stage"), os.NewFile(uintptr(pair[1]), "stage")
	defer func() { _ = ours.Close() }()
	said, err := json.Marshal(&spec)
	if err != nil {
		return nil, err
	}
	p := &Process{group: held, Bound: bound, cmd: stage("outer", &spec, in, out, errs, []*os.File{theirs}).Cmd, done: make(chan error, 1)}
	if held != nil {
		p.cmd.SysProcAttr.UseCgroupFD, p.cmd.SysProcAttr.CgroupFD = true, int(held.at.Fd())
	}
	started := make(chan error)
	go func() {
		defer close(p.done)
		runtime.LockOSThread() // the kernel ends the stage when the thread that started it ends
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.done <- p.cmd.Wait()
		}
	}()
	err = <-started
	_ = theirs.Close()
	if err != nil {
		held.remove()
		return nil, fmt.Errorf("confine: %w", err)
	}
	if err := p.greet(pair[0], said, len(spec.Ports)); err != nil {
		_ = p.Kill()
		<-p.done
		held.remove()
		return nil, err
	}
	return p, nil
}

// keep makes the control group for l, if there are limits and it can be. Otherwise l stays for the program itself.
func keep(l *Limits) (bound string, g *group, err error) {
	if *l == (Limits{}) {
		return "", nil, nil
	}
	g, err = newGroup(*l)
	if err == nil {
		*l = Limits{}
		return "of all of it, by a control group", g, nil
	}
	if l.Processes > 0 && os.Getuid() == 0 {
		return "", nil, fmt.Errorf("confine: the number of processes cannot be bounded for root (%w)", err)
	}
	return fmt.Sprintf("of each program for itself (%v)", err), nil, nil
}

// greet tells the stage what to run and takes its listeners.
func (p *Process) greet(fd int, said []byte, ports int) error {
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20})
	if err := unix.Sendto(fd, said, unix.MSG_NOSIGNAL, nil); err != nil {
		return fmt.Errorf("confine: stage: %w", err)
	}
	oob := make([]byte, unix.CmsgSpace(4*16))
	ok := make([]byte, 1)
	n, oobn, _, _, err := unix.Recvmsg(fd, ok, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n != 1 {
		return fmt.Errorf("confine: the stage ended before the program started (%v)", err)
	}
	var fds []int
	if msgs, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(msgs) == 1 {
		fds, _ = unix.ParseUnixRights(&msgs[0])
	}
	if len(fds) != ports {
		return fmt.Errorf("confine: the stage gave %d listeners of %d", len(fds), ports)
	}
	for _, x := range fds {
		f := os.NewFile(uintptr(x), "listener")
		l, err := net.FileListener(f)
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("confine: listener: %w", err)
		}
		p.Listeners = append(p.Listeners, l)
	}
	return nil
}

// Wait returns the program's exit code, or 128 and its signal. With the wall Processes nothing of it runs
// any more; without, what left its process group may.
func (p *Process) Wait() (int, error) {
	err := <-p.done
	p.group.remove()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	return code(p.cmd.ProcessState.Sys().(syscall.WaitStatus)), nil
}

// PID is the process that holds the namespaces, as it is known outside of them.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the program and, with the wall Processes, all that it started.
func (p *Process) Kill() error { return p.cmd.Process.Kill() }

func code(st syscall.WaitStatus) int {
	if st.Signaled() {
		return 128 + int(st.Signal())
	}
	return st.ExitStatus()
}

// listeners makes the listeners of the stage and sends them out.
func listeners(fd int, ports []int) error {
	var files []*os.File
	var fds []int
	for _, port := range ports {
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			return err
		}
		f, err := l.File()
		if err != nil {
			return err
		}
		_ = l.Close()
		files, fds = append(files, f), append(fds, int(f.Fd()))
	}
	err := unix.Sendmsg(fd, []byte{1}, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
	for _, f := range files {
		_ = f.Close()
	}
	return err
}

// reap waits for pid and for whatever else comes to an end before it.
func reap(pid int) syscall.WaitStatus {
	for {
		var st syscall.WaitStatus
		got, err := syscall.Wait4(-1, &st, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return syscall.WaitStatus(1 << 8)
		case got == pid && (st.Exited() || st.Signaled()):
			return st
		}
	}
}

// bound is how long a stage waits for its order.
const bound = 20 * time.Second
