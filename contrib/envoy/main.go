// SPDX-License-Identifier: Apache-2.0

// Command sallyport-envoy decides for an Envoy proxy: it serves ext_authz and ext_proc (gRPC) and asks a sallyport
// owner over its public API.
//
//	sallyport-envoy --listen unix:/run/sallyport-envoy.sock --gateway http://127.0.0.1:7117 --token-file FILE
//
// # Failure model
//
// Without a decision of the owner nothing is permitted and nothing is returned. Envoy must be told the same of its
// filter (failure_mode_allow: false, which is its default). The listener has no credential of its own: use a unix
// socket that only Envoy can reach, or loopback.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sallyport-envoy:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("sallyport-envoy", flag.ContinueOnError)
	listen := f.String("listen", "127.0.0.1:7121", `address of the gRPC server: "unix:PATH", or a loopback address`)
	gateway := f.String("gateway", "http://127.0.0.1:7117", "the owner's address for agents")
	token := f.String("token-file", "", "file with the token of this gateway's agent; scopes agent (ext_proc) and authzen (ext_authz)")
	server := f.String("server", "envoy", "name of the tools' server under which ext_proc's requests are decided")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *token == "" || f.NArg() > 0 {
		return errors.New("--token-file is required, and there are no other arguments")
	}
	if err := checkGateway(*gateway); err != nil {
		return err
	}
	l, err := open(*listen)
	if err != nil {
		return err
	}
	srv := newServer(newOwner(*gateway, *token), *server, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	defer context.AfterFunc(ctx, srv.Stop)()
	return srv.Serve(l)
}

// maxMessage is what Envoy may buffer and send, in bytes.
const maxMessage = 16 << 20

func newServer(o *owner, server string, log *slog.Logger) *grpc.Server {
	s := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxConcurrentStreams(1024))
	authv3.RegisterAuthorizationServer(s, &authz{owner: o, log: log})
	procv3.RegisterExternalProcessorServer(s, &proc{owner: o, server: server, log: log})
	return s
}

// checkGateway keeps the token off networks where it could be read.
func checkGateway(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("--gateway %q is no base address", s)
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--gateway %q would get the token in the clear; use https", s)
	}
	return nil
}

func open(addr string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		old := syscall.Umask(0o177)
		defer syscall.Umask(old)
		return net.Listen("unix", path)
	}
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("--listen %q is neither unix:PATH nor a loopback address", addr)
	}
	return net.Listen("tcp", addr)
}
