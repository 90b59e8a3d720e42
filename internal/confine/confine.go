// SPDX-License-Identifier: Apache-2.0

// Package confine starts a program that has no way to the network but the sockets that we serve, and sees no
// files but those that it is granted.
//
// # The walls
//
// Network: user and network namespaces of its own, in which there is loopback and no route. The listeners in
// there are made by the inner stage and served by the outer one, so that nothing inside holds a connection to
// the owner. Processes: a PID namespace, whose end kills all of it, with a /proc of its own. Files: Landlock.
// Calls: a seccomp filter. Privileges: no_new_privs, and no capability.
//
// # Failure model
//
// What the kernel offers is tried first, by Available. A wall that was ordered and cannot be built ends the
// inner stage before the program starts. The filter is a denylist: a hole in a call of the kernel that is on
// no list is a hole here, too.
package confine

// Wall is one thing that holds a program.
type Wall string

// The walls.
const (
	Network    Wall = "network"
	Processes  Wall = "processes"
	Files      Wall = "files"
	Calls      Wall = "calls"
	Privileges Wall = "privileges"
)

// Walls are all of them, in the order in which they are built.
var Walls = []Wall{Network, Processes, Files, Calls, Privileges}

// Spec is what runs, and between which walls.
type Spec struct {
	Path  string   `json:"path"` // of the program, absolute
	Args  []string `json:"args"` // with its name as the first
	Env   []string `json:"env"`  // all of its environment
	Dir   string   `json:"dir"`  // where it starts, absolute
	Walls []Wall   `json:"walls"`
	Read  []string `json:"read"`  // paths that it may read and execute; those that do not exist are left out
	Write []string `json:"write"` // paths that it may change, too; they must exist
	Ports []int    `json:"ports"` // of 127.0.0.1 inside, which are served from outside; with the wall Network only

	Limits Limits `json:"limits"`
}

// Limits bound what the program uses. 0 bounds nothing. Where no control group can be made, each program has them
// for itself: many small programs may use more together.
type Limits struct {
	MemoryBytes int64 `json:"memory_bytes"`
	Processes   int   `json:"processes"` // and threads
}
