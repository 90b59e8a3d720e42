// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// serverTools is the folder of PostgreSQL's programs, "" if there is none: on Debian they are not on the path.
func serverTools() string {
	if p, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(p)
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is well-formed
	if len(found) == 0 {
		return ""
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1])
}

func postgresMissing() string {
	if serverTools() == "" {
		return "not run: PostgreSQL is not installed"
	}
	return ""
}

// openPostgres starts a server of its own on a socket in dir and inserts a row in a transaction of its own,
// synchronous_commit on, over 64 connections. The server refuses to run as root and then runs as nobody.
func openPostgres(ctx context.Context, dir string, payload int) (run peerRun, err error) {
	data, tools := filepath.Join(dir, "data"), serverTools()
	if err := os.Mkdir(data, 0o700); err != nil {
		return run, err
	}
	as, err := unprivileged(dir, data)
	if err != nil {
		return run, err
	}
	setUp := exec.CommandContext(ctx, filepath.Join(tools, "initdb"), "-D", data, "-A", "trust", "-U", "bench", "-E", "UTF8", "--no-locale")
	setUp.SysProcAttr, setUp.Dir = as, dir
	if out, err := setUp.CombinedOutput(); err != nil {
		return run, fmt.Errorf("initdb: %w: %s", err, out)
	}
	server := exec.Command(filepath.Join(tools, "postgres"), "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "max_connections=100")
	server.SysProcAttr, server.Dir = as, dir
	if err := server.Start(); err != nil {
		return run, err
	}
	stop := func() error {
		_ = server.Process.Signal(syscall.SIGINT) // it may have ended by itself
		err := server.Wait()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil
		}
		return err
	}
	pool, err := connect(ctx, dir)
	if err != nil {
		return run, errors.Join(err, stop())
	}
	return peerRun{
		append: func(ctx context.Context, writer int, n int64) error {
			b, err := contents(writer, n, payload)
			if err == nil {
				_, err = pool.Exec(ctx, `INSERT INTO records (body) VALUES ($1)`, b)
			}
			return err
		},
		cpu:  func() time.Duration { return familyCPU(server.Process.Pid) },
		disk: diskUse(data),
		close: func() error {
			pool.Close()
			return stop()
		},
	}, nil
}

func connect(ctx context.Context, dir string) (*pgxpool.Pool, error) {
	pool, err := pgxpool.New(ctx, "user=bench dbname=postgres pool_max_conns=64 host="+dir)
	if err != nil {
		return nil, err
	}
	for range 100 {
		if _, err = pool.Exec(ctx, `CREATE TABLE records (id bigserial PRIMARY KEY, body bytea NOT NULL)`); err == nil {
			return pool, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	pool.Close()
	return nil, err
}

// unprivileged gives the folders to nobody if we are root.
func unprivileged(dirs ...string) (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	err = errors.Join(err1, err2)
	for _, d := range dirs {
		err = errors.Join(err, os.Chown(d, uid, gid))
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, err
}

// familyCPU sums what a process, its children and those of them that ended have used, by Linux's /proc.
func familyCPU(pid int) time.Duration {
	all, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well-formed
	var ticks int64
	for _, name := range all {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it ended meanwhile
		}
		// The fields after the name, which stands in parentheses: state, parent, ... utime 11, stime 12, cutime 13, cstime 14.
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(f) < 15 {
			continue
		}
		self := name == fmt.Sprintf("/proc/%d/stat", pid)
		if f[1] != strconv.Itoa(pid) && !self {
			continue
		}
		for i := 11; i < 13; i++ {
			n, _ := strconv.ParseInt(f[i], 10, 64)
			ticks += n
		}
		if self {
			for i := 13; i < 15; i++ {
				n, _ := strconv.ParseInt(f[i], 10, 64)
				ticks += n
			}
		}
	}
	return time.Duration(ticks) * time.Second / 100 // USER_HZ, 100 on every platform of Go's
}
