// SPDX-License-Identifier: Apache-2.0

//go:build !linux || !(amd64 || arm64)

package confine

import (
	"errors"
	"net"
	"os"
)

var errSystem = errors.New("confine: only Linux on amd64 and arm64 has these walls")

// Inside does nothing here: no stage is ever started.
func Inside() {}

// Available says that there is no wall.
func Available() map[Wall]error {
	out := map[Wall]error{}
	for _, w := range Walls {
		out[w] = errSystem
	}
	return out
}

// Process is a program that runs.
type Process struct {
	Listeners []net.Listener
	Bound     string
}

// Start refuses.
func Start(Spec, *os.File, *os.File, *os.File) (*Process, error) { return nil, errSystem }

// Wait returns an exit code.
func (p *Process) Wait() (int, error) { return 0, errSystem }

// Kill does nothing.
func (p *Process) Kill() error { return errSystem }

// PID is never asked for.
func (p *Process) PID() int { return 0 }

// Prove proves nothing here.
func Prove(int, uint64, int, []Wall) error { return errSystem }

// Alive knows no process here.
func Alive(int, uint64) bool { return false }

// Here is never so.
func Here() bool { return false }
