// SPDX-License-Identifier: Apache-2.0

// Command sallyport-hook is `sallyport hook` alone: a host starts it before and after every tool call, so
// it is small. It carries one event to the owner and answers in the host's dialect; every failure blocks.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/sallyport/sallyport/gateway/hook"
	"github.com/sallyport/sallyport/gateway/hook/shim"
	"github.com/sallyport/sallyport/internal/confine"
)

const blocked = 2

func main() {
	if len(os.Args) != 4 || os.Args[1] != "--data" || !filepath.IsAbs(os.Args[2]) {
		fmt.Fprintln(os.Stderr, "usage: sallyport-hook --data DIR NAME; installed by: sallyport hooks install NAME")
		os.Exit(blocked)
	}
	os.Exit(run(os.Args[2], hook.Host(os.Args[3])))
}

func run(data string, host hook.Host) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := &shim.Shim{Host: host, Data: data, Inside: confine.Here, In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	if exe, err := os.Executable(); err == nil {
		s.Start = func(ctx context.Context) error {
			return shim.StartOwner(ctx, filepath.Join(filepath.Dir(exe), "sallyport"), data)
		}
	}
	return s.Run(ctx)
}
