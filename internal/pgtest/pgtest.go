// SPDX-License-Identifier: Apache-2.0

// Package pgtest starts a real PostgreSQL server for tests: in a folder of its own, on a port of its own, and as
// an unprivileged user where the tests run as root, since it refuses to run as root.
package pgtest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a running server. Its superuser is "boss", without a password over the unix socket; over TCP everybody
// proves himself by SCRAM-SHA-256.
type Server struct {
	Dir  string // folder of its unix socket
	Port int
	cred *syscall.Credential
	bin  string
	data string
}

// Start runs a server until the test ends. It skips the test where PostgreSQL is not installed.
func Start(t testing.TB) *Server {
	t.Helper()
	bin := binaries()
	if bin == "" {
		t.Skip("PostgreSQL is not installed")
	}
	dir, err := os.MkdirTemp("", "pg") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{Dir: dir, bin: bin, data: filepath.Join(dir, "data"), Port: freePort(t)}
	if os.Geteuid() == 0 {
		s.cred = unprivileged(t)
		if err := os.Chown(dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	s.must(t, s.command("initdb", "-D", s.data, "-U", "boss", "--no-sync", "-E", "UTF8", "--locale=C", "--auth-local=trust", "--auth-host=scram-sha-256"))
	s.run(t)
	return s
}

func binaries() string {
	if p, err := exec.LookPath("initdb"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			return filepath.Dir(p)
		}
	}
	all, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(all) == 0 {
		return ""
	}
	return filepath.Dir(all[len(all)-1])
}

func unprivileged(t testing.TB) *syscall.Credential {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	t.Skip("PostgreSQL is not installed for a user that is not root")
	return nil
}

func freePort(t testing.TB) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir, cmd.Env = s.Dir, []string{"PATH=" + s.bin + ":/usr/bin:/bin", "LANG=C", "HOME=" + s.Dir, "PGTZ=UTC"}
	if s.cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	}
	return cmd
}

func (s *Server) must(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(cmd.Path), err, out)
	}
	return string(out)
}

func (s *Server) run(t testing.TB) {
	cmd := s.command("postgres", "-D", s.data, "-p", strconv.Itoa(s.Port), "-k", s.Dir, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
		"-c", "shared_buffers=16MB", "-c", "max_connections=40", "-c", "log_min_messages=fatal", "-c", "max_prepared_transactions=5")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT) // a fast shutdown
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-done
		}
	})
	for range 400 {
		select {
		case err := <-done:
			t.Fatalf("postgres: %v\n%s", err, log.String())
		default:
		}
		if s.command("pg_isready", "-q", "-h", s.Dir, "-p", strconv.Itoa(s.Port)).Run() == nil {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("postgres does not answer\n%s", log.String())
}

// URL is how the superuser reaches a database over the unix socket.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("host=%s port=%d user=boss dbname=%s", s.Dir, s.Port, database)
}

// Exec runs statements as the superuser, each on its own, and returns what psql prints, without alignment.
func (s *Server) Exec(t testing.TB, database string, statements ...string) string {
	t.Helper()
	args := []string{"-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", s.Dir, "-p", strconv.Itoa(s.Port), "-U", "boss", "-d", database}
	for _, st := range statements {
		args = append(args, "-c", st)
	}
	return strings.TrimSpace(s.must(t, s.command("psql", args...)))
}

// TLS has the server speak TLS, too, from its next connection on, with the certificate and the key of two files.
func (s *Server) TLS(t testing.TB, cert, key string) {
	t.Helper()
	for from, to := range map[string]string{cert: "server.crt", key: "server.key"} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(s.data, to)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if s.cred != nil {
			if err := os.Chown(path, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Exec(t, "postgres", "ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
	for range 400 {
		if s.Exec(t, "postgres", "SHOW ssl") == "on" {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("postgres does not speak TLS")
}
