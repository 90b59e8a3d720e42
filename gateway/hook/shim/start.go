// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// readAhead keeps what was read, for an answer that must be given before the reader is done.
type readAhead struct {
	mu sync.Mutex
	b  []byte // guarded by mu
}

func (r *readAhead) set(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.b = b
}

func (r *readAhead) body() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b
}

// ownerEnvironment is what an owner that a hook starts may see of the hook's environment. SALLYPORT_*
// stays behind: the policy is the owner's configuration.
var ownerEnvironment = []string{"HOME", "PATH", "USER", "LOGNAME", "LANG", "TMPDIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"}

// StartOwner starts an owner of data in the background by running program, and waits until its socket
// answers or ctx ends.
func StartOwner(ctx context.Context, program, data string) error {
	run := filepath.Join(data, "run")
	if err := os.MkdirAll(run, 0o700); err != nil {
		return errors.New("its data directory cannot be made")
	}
	log, err := os.OpenFile(filepath.Join(run, "owner.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return errors.New("its log cannot be opened")
	}
	defer log.Close()
	cmd := exec.Command(program, "up", "--background", "--data", data)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); slices.Contains(ownerEnvironment, name) {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	if err := cmd.Start(); err != nil {
		return errors.New("its program cannot be run")
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var d net.Dialer
		if conn, err := d.DialContext(ctx, "unix", filepath.Join(run, "sallyport.sock")); err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return errors.New("it does not answer; see " + log.Name())
		case <-ended:
			ended = nil // another one may be starting: the lock lets one of them win
		case <-tick.C:
		}
	}
}
