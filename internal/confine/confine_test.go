// SPDX-License-Identifier: Apache-2.0

//go:build linux && (amd64 || arm64)

package confine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestMain is also the confined program: it tries each way out that its arguments name.
func TestMain(m *testing.M) {
	Inside()
	if len(os.Args) > 1 && os.Args[1] == "probe" {
		for _, a := range os.Args[2:] {
			way, target, _ := strings.Cut(a, "=")
			if err := ways[way](target); err != nil {
				fmt.Printf("%s blocked: %v\n", way, err)
			} else {
				fmt.Printf("%s leaks\n", way)
			}
		}
		os.Exit(7)
	}
	os.Exit(m.Run())
}

func dial(network string) func(string) error {
	return func(target string) error {
		c, err := net.Dial(network, target)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		if _, err = c.Write([]byte("out")); err != nil || network != "udp" {
			return err
		}
		_, err = c.Read(make([]byte, 8)) // the listener answers
		return err
	}
}

func call(nr uintptr, args ...uintptr) error {
	a := append(args, 0, 0, 0, 0, 0, 0)
	if _, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}

// ways out, by name. Each acts on what the test made, and returns nil if it got out.
var ways = map[string]func(string) error{
	"tcp": dial("tcp"), "udp": dial("udp"), "ipv6": dial("tcp6"), "abstract": dial("unix"), "socket": dial("unix"),
	"door": func(target string) error {
		resp, err := http.Get(target)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	},
	"raw": func(string) error {
		_, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
		return err
	},
	"packet": func(string) error { _, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0); return err },
	"vsock":  func(string) error { _, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0); return err },
	"pair": func(target string) error {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		return unix.Sendto(fds[0], []byte("out"), 0, &unix.SockaddrUnix{Name: target})
	},
	"read":    func(path string) error { _, err := os.ReadFile(path); return err },
	"list":    func(path string) error { _, err := os.ReadDir(path); return err },
	"write":   func(path string) error { return os.WriteFile(path, nil, 0o600) },
	"link":    func(path string) error { return os.Link(path, "taken") },
	"symlink": func(path string) error { _ = os.Symlink(path, "way"); _, err := os.ReadFile("way"); return err },
	"system":  func(string) error { f, err := os.CreateTemp("/usr", "x"); closeAll(f); return err },
	"first":   func(string) error { f, err := os.Open("/proc/1/root/tmp"); closeAll(f); return err },
	"ptrace": func(string) error {
		runtime.LockOSThread()
		return call(unix.SYS_PTRACE, unix.PTRACE_TRACEME)
	},
	"memory": func(string) error {
		b := make([]byte, 8)
		iov := unix.Iovec{Base: &b[0], Len: 8}
		_, err := unix.ProcessVMReadv(os.Getpid(), []unix.Iovec{iov}, []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&b[0])), Len: 8}}, 0)
		return err
	},
	"io_uring": func(string) error {
		var params [120]byte
		return call(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params[0])))
	},
	"mount":  func(dir string) error { return unix.Mount("none", dir, "tmpfs", 0, "") },
	"keyctl": func(string) error { _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true); return err },
	"bpf":    func(string) error { return call(unix.SYS_BPF, 0, 0, 0) },
	"userns": func(string) error {
		runtime.LockOSThread()
		return unix.Unshare(unix.CLONE_NEWUTS | unix.CLONE_NEWNET)
	},
	"clone": func(string) error {
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			return errno
		}
		if pid == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		_, err := unix.Wait4(int(pid), nil, 0, nil)
		return err
	},
	"clone3": func(string) error {
		if err := call(unix.SYS_CLONE3, 0, 0); err != unix.EINVAL && err != unix.EFAULT {
			return err
		}
		return nil // the kernel looked at the arguments
	},
}

// more ways, each a trick against walls that rest on names, variables or one process.
func init() {
	again := func(way string, change func(*exec.Cmd)) func(string) error {
		return func(target string) error {
			cmd := exec.Command("/proc/self/exe", "probe", way+"="+target)
			change(cmd)
			out, err := cmd.Output()
			if strings.HasPrefix(string(out), way+" leaks") {
				return nil
			}
			return fmt.Errorf("%s %w", strings.TrimSpace(string(out)), err)
		}
	}
	ways["session"] = again("tcp", func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} })
	ways["fork"] = again("session", func(*exec.Cmd) {})
	ways["preload"] = again("read", func(c *exec.Cmd) { c.Env = []string{"LD_PRELOAD=", "LD_LIBRARY_PATH=."} })
	ways["static"] = func(path string) error { // the call itself, as programs make it that no loader and no library serves
		b, err := unix.BytePtrFromString(path)
		if err != nil {
			return err
		}
		at := unix.AT_FDCWD
		fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(b)), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
		if errno != 0 {
			return errno
		}
		return unix.Close(int(fd))
	}
	ways["unset"] = func(target string) error { // a client that knows no proxy
		c := http.Client{Transport: &http.Transport{Proxy: nil}, Timeout: 5 * time.Second}
		resp, err := c.Get("http://" + target + "/")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	ways["rebind"] = func(dns string) error { // a name whose server answers with a private address
		r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "udp", dns)
		}}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		_, err := r.LookupHost(ctx, "rebind.example.")
		var e *net.DNSError
		if errors.As(err, &e) && e.IsNotFound {
			return nil // the server was heard
		}
		return err
	}
	ways["others"] = func(pid string) error { _, err := os.ReadFile("/proc/" + pid + "/environ"); return err }
	ways["signal"] = func(pid string) error {
		n, err := strconv.Atoi(pid)
		if err != nil {
			return err
		}
		return unix.Kill(n, 0)
	}
	ways["bind"] = func(path string) error {
		if err := os.Mkdir("bound", 0o700); err != nil {
			return err
		}
		return unix.Mount(filepath.Dir(path), "bound", "", unix.MS_BIND, "")
	}
	ways["root"] = func(path string) error { _, err := os.ReadFile("/proc/self/root" + path); return err }
	ways["dots"] = func(path string) error {
		_, err := os.ReadFile("../" + filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path))
		return err
	}
	ways["handle"] = func(path string) error { // a file by its handle, past its path
		h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
		if err != nil {
			return err
		}
		at, err := unix.Open(".", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		fd, err := unix.OpenByHandleAt(at, h, unix.O_RDONLY)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	}
}

func closeAll(f *os.File) {
	if f != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}
}

// world is what the ways lead to: all of it made by the test.
type world struct {
	work, secret string
	args         []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &world{work: filepath.Join(dir, "work"), secret: filepath.Join(dir, "data", "secret")}
	for _, d := range []string{w.work, filepath.Dir(w.secret)} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(w.secret, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	listen := func(way, network, addr string) {
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Logf("%s: %v", way, err)
			return
		}
		t.Cleanup(func() { _ = l.Close() })
		w.args = append(w.args, way+"="+l.Addr().String())
	}
	listen("tcp", "tcp4", "127.0.0.1:0")
	listen("ipv6", "tcp6", "[::1]:0")
	listen("fork", "tcp4", "127.0.0.1:0")
	listen("session", "tcp4", "127.0.0.1:0")
	srv := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	w.args = append(w.args, "unset="+srv.Listener.Addr().String())
	for _, way := range []string{"preload", "static", "bind", "root", "dots", "handle"} {
		w.args = append(w.args, way+"="+w.secret)
	}
	w.args = append(w.args, fmt.Sprintf("others=%d", os.Getpid()), fmt.Sprintf("signal=%d", os.Getpid()))
	listen("abstract", "unix", fmt.Sprintf("@sp%d", os.Getpid()))
	listen("socket", "unix", filepath.Join(w.work, "s"))
	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, err := net.ListenPacket("unixgram", filepath.Join(w.work, "g"))
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		b := make([]byte, 8)
		for {
			_, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(b, from)
		}
	}()
	t.Cleanup(func() { _ = u.Close(); _ = g.Close(); <-answered })
	w.args = append(w.args, "rebind="+nameServer(t), "udp="+u.LocalAddr().String(), "pair="+filepath.Join(w.work, "g"), "read="+w.secret, "list="+filepath.Dir(w.secret),
		"link="+w.secret, "symlink="+w.secret, "write="+filepath.Join(filepath.Dir(w.secret), "new"), "mount="+filepath.Dir(w.secret))
	for way := range ways {
		if !strings.Contains(" "+strings.Join(w.args, " "), " "+way+"=") && way != "ipv6" && way != "door" && way != "mount" {
			w.args = append(w.args, way)
		}
	}
	return w
}

// nameServer answers each question with "no such name".
func nameServer(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		b := make([]byte, 512)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if n > 12 {
				b[2], b[3] = b[2]|0x80, b[3]&0x70|0x83 // a response, recursion available, NXDOMAIN
				b[10], b[11] = 0, 0                    // without the additional section that was asked with
				end := 12
				for end < n && b[end] != 0 {
					end += int(b[end]) + 1
				}
				_, _ = c.WriteTo(b[:min(end+5, n)], from)
			}
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-over })
	return c.LocalAddr().String()
}

// held skips where the kernel does not offer all walls.
func held(t *testing.T) {
	t.Helper()
	for w, err := range Available() {
		if err != nil {
			t.Skipf("the kernel offers no wall %q: %v", w, err)
		}
	}
}

func (w *world) confined(t *testing.T, exe string, args ...string) (string, int) {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	p, err := Start(Spec{Path: exe, Args: append([]string{exe}, args...), Dir: w.work, Walls: Walls, Env: []string{"ONLY=this"},
		Read: []string{"/usr", "/bin", "/lib", "/lib64", "/proc", exe}, Write: []string{w.work}, Ports: []int{7117}}, null, out, out)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "door") })}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(p.Listeners[0]) }()
	code, err := p.Wait()
	_ = srv.Close()
	<-served
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b), code
}

func TestConfinedProgramFindsNoWayOut(t *testing.T) {
	held(t)
	w := newWorld(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, code := w.confined(t, exe, append([]string{"probe", "door=http://127.0.0.1:7117/"}, w.args...)...)
	t.Logf("\n%s", out)
	if code != 7 {
		t.Errorf("exit code %d, want the program's own, 7", code)
	}
	if !strings.Contains(out, "door leaks\n") {
		t.Error("the door that we serve is not reached")
	}
	// The mechanism that stops each way, by the error that it alone gives.
	mechanism := map[string]string{
		"tcp": "connection refused", "ipv6": "", "udp": "refused", // a network of its own
		"abstract": "operation not permitted", "socket": "operation not permitted", "pair": "operation not permitted", // the filter
		"raw": "operation not permitted", "packet": "operation not permitted", "vsock": "operation not permitted",
		"read": "permission denied", "list": "permission denied", "write": "permission denied", "symlink": "permission denied", // Landlock
		"fork": "connection refused", "session": "connection refused", "unset": "connection refused", "rebind": "refused",
		"preload": "permission denied", "static": "permission denied", "root": "permission denied", "dots": "permission denied",
		"others": "no such file", "signal": "no such process", "bind": "operation not permitted", "handle": "operation not permitted",
		"link": "", "first": "permission denied", "system": "permission denied", "clone3": "not implemented",
	}
	for _, a := range w.args {
		way, _, _ := strings.Cut(a, "=")
		want, ok := mechanism[way]
		if !ok {
			want = "operation not permitted"
		}
		line := ""
		for l := range strings.Lines(out) {
			if strings.HasPrefix(l, way+" ") {
				line = l
			}
		}
		if !strings.HasPrefix(line, way+" blocked: ") || !strings.Contains(line, want) {
			t.Errorf("%s: %q, want it blocked with %q", way, line, want)
		}
	}
}

func TestUnconfinedProgramShowsWhatLeaks(t *testing.T) {
	w := newWorld(t)
	if err := os.Chdir(w.work); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chdir("/") })
	for _, a := range w.args {
		way, target, _ := strings.Cut(a, "=")
		switch way {
		case "tcp", "udp", "ipv6", "abstract", "socket", "pair", "read", "list", "write", "link", "symlink", "memory", "fork", "session", "unset", "rebind",
			"preload", "static", "others", "signal", "root", "dots":
			if err := ways[way](target); err != nil {
				t.Errorf("%s is blocked without walls (%v): the suite proves nothing of it", way, err)
			}
		}
	}
}

func TestConfinedProgramLeavesNothingBehind(t *testing.T) {
	held(t)
	w := newWorld(t)
	// A child that outlives its parent holds the output open; it would write after two seconds.
	out, code := w.confined(t, "/bin/sh", "-c", "env; (setsid sh -c 'sleep 2; echo late > late' &) ; kill -9 $$")
	if code != 128+9 {
		t.Errorf("exit code %d, want that of a killed program", code)
	}
	if !strings.Contains(out, "ONLY=this\n") || strings.Contains(out, "HOME=") {
		t.Errorf("environment is not the one ordered:\n%s", out)
	}
	b, _ := os.ReadDir("/proc")
	for _, e := range b {
		if dir, err := os.Readlink(filepath.Join("/proc", e.Name(), "cwd")); err == nil && dir == w.work {
			t.Errorf("process %s still runs in the workspace", e.Name())
		}
	}
}

func TestProgramDoesNotStartWithoutAnOrderedWall(t *testing.T) {
	held(t)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	dir := t.TempDir()
	p, err := Start(Spec{Path: "/bin/sh", Args: []string{"sh", "-c", "echo ran > ran"}, Dir: dir, Walls: Walls, Write: []string{dir, dir + "/absent"}}, null, null, null)
	if err != nil {
		t.Fatal(err)
	}
	if code, err := p.Wait(); err != nil || code != 1 {
		t.Errorf("code %d, %v, want 1", code, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("the program ran")
	}
}

func TestMemoryOfAProgramIsBounded(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	for bytes, fits := range map[int64]bool{0: true, 64 << 20: false, 2 << 30: true} {
		// tail keeps what has no line in it: 200 MB.
		p, err := Start(Spec{Path: "/bin/bash", Args: []string{"bash", "-c", "set -o pipefail; head -c 200000000 /dev/zero | tail -n 1 | cat > /dev/null"}, Dir: t.TempDir(),
			Walls: []Wall{Privileges}, Env: []string{"PATH=/usr/bin:/bin"}, Limits: Limits{MemoryBytes: bytes}}, null, null, null)
		if err != nil {
			t.Fatal(err)
		}
		if (p.Bound == "") != (bytes == 0) {
			t.Errorf("%d bytes: bound by %q", bytes, p.Bound)
		}
		if code, err := p.Wait(); err != nil || (code == 0) != fits {
			t.Errorf("%d bytes: code %d, %v", bytes, code, err)
		}
	}
}

func TestProcessesOfARunAreBounded(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	// dash ends at the first fork that fails.
	p, err := Start(Spec{Path: "/bin/sh", Args: []string{"sh", "-c", "i=0; while [ $i -lt 60 ]; do sleep 2 & i=$((i+1)); done"}, Dir: t.TempDir(),
		Walls: []Wall{Privileges}, Env: []string{"PATH=/usr/bin:/bin"}, Limits: Limits{Processes: 20}}, null, null, null)
	if err != nil {
		if os.Getuid() != 0 || !strings.Contains(err.Error(), "cannot be bounded for root") {
			t.Fatal(err)
		}
		return // a bound that would not hold is refused
	}
	if code, err := p.Wait(); err != nil || code == 0 {
		t.Errorf("bound by %q: code %d, %v", p.Bound, code, err)
	}
}
