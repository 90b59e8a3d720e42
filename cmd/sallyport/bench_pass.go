// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/gateway/mcp"
)

// benchPassCommand serves the relay's door with a gate that judges and records nothing: processes, socket
// and framing are those of an owner, so that the difference to one is what judging costs. It is never
// told where to serve: it makes a folder of its own, so that it cannot take an owner's place. It ends
// with its standard input.
func (a *app) benchPassCommand() *cobra.Command {
	return &cobra.Command{
		Use: "passthrough", Short: "What latency compares with: an owner's plumbing without its gates", Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return scratch("", func(dir string) error { return a.passThrough(cmd.Context(), dir) })
		},
	}
}

func (a *app) passThrough(ctx context.Context, dir string) error {
	socket := sallyport.SocketPath(dir)
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return err
	}
	gate, err := gateway.New(gateway.Config{Auth: passAnyone{}, Malformed: func(context.Context, action.Door, string, string) {}})
	if err != nil {
		return err
	}
	door := &mcp.RelayDoor{Gate: mcp.Passthrough()}
	h, err := gate.Handler(door.Route())
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	srv := gateway.Server(h)
	srv.ConnContext = gateway.ConnContext
	served := make(chan error, 1)
	go func() { served <- srv.Serve(&gateway.PeerListener{Listener: l}) }() // only this process's own uid
	fmt.Fprintln(a.out, dir)
	_, _ = io.Copy(io.Discard, a.in)
	stop, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if srv.Shutdown(stop) != nil {
		_ = srv.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// passAnyone takes whom the listener let in.
type passAnyone struct{}

func (passAnyone) Authenticate(context.Context, *http.Request) (*gateway.Caller, error) {
	s := action.NewQuery(action.Before).Subject
	s.ID, s.Scopes, s.Channel.CredID = "bench", []action.Scope{action.ScopeAgent}, "bench"
	return &gateway.Caller{Subject: s, Name: s.ID}, nil
}
