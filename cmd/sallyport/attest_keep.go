// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/attester"
)

func (a *app) attestKeepCommand() *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use: "keep [--tpm PATH] [--model DIR] ... -- COMMAND [ARGUMENT...]", Args: cobra.MinimumNArgs(1),
		Short: "Run an agent, measure it, and keep its lease",
		Long: `Measure a program, its command line, scripts, packages, prompts, tools and model, prove the result to the owner, and run the
program. Of our environment it sees a few harmless variables, and those of --env, which are measured. Inside, SALLYPORT_URL is a door of its own and SALLYPORT_TOKEN opens it; each request is passed on under the lease, with
a proof of possession. SALLYPORT_PASSWORD is for the egress proxy and the databases; it is dead when the lease is. The lease is renewed before it lapses. What has changed on disk since is measured again, and what
is not a reference value ends the lease: the owner denies what the agent asks from then on.

Over the socket the owner sees that this process measures, by the kernel's word (A2: software measured; it does not
withstand local root). With --url it is the agent's own word (A1). With --tpm a chip holds the log of measurements (A3; a
software TPM is a test and counts as A1). The exit code is the program's own.`,
		Example: "  sallyport attest keep --token-file billing.token --script agent.py -- python3 agent.py\n  sallyport attest keep --tpm /dev/tpmrm0 --agent billing --url http://gateway:7117 --token-file t -- ./agent",
		RunE:    func(cmd *cobra.Command, args []string) error { return a.attestKeep(cmd.Context(), &f, args) },
	}
	f.connect(cmd)
	f.chip(cmd)
	f.measured(cmd)
	cmd.Flags().StringVar(&f.signature, "model-signature", "", "bundle of the model's signature (model.sig)")
	cmd.Flags().BoolVar(&f.software, "software", false, "claim no more than a key in software")
	return cmd
}

func (a *app) attestKeep(ctx context.Context, f *agentFlags, args []string) error {
	at, closeAll, err := a.attester(ctx, f, args)
	if err != nil {
		return err
	}
	defer closeAll()
	l, err := at.Renew(ctx)
	if errors.Is(err, attester.ErrRefused) {
		return hinted{fmt.Errorf("no lease: %w", err), `compare with "sallyport attest measure"; the policy is attest.policy`}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.err, "sallyport: lease %s: A%d M%d by %s, %s\n", l.ID, l.Assurance, l.Model, l.Kind, l.Status)
	door, secret, err := leaseDoor(at, f)
	if err != nil {
		return err
	}
	keeping, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		at.Keep(keeping, func(err error) { fmt.Fprintf(a.err, "sallyport: the lease was not renewed: %v\n", err) })
	})
	wg.Go(func() { _ = door.serve() })
	defer wg.Wait()
	defer stop()
	defer func() { _ = door.Close() }()
	password, err := at.Derived(ctx)
	if err != nil {
		return err
	}
	return runChild(args, append(slices.Concat(runEnv(f.env), quiet), "SALLYPORT_URL="+door.url, "SALLYPORT_TOKEN="+secret, "SALLYPORT_PASSWORD="+password, "NO_PROXY=127.0.0.1,localhost"))
}

// leaseListener is the door of one child.
type leaseListener struct {
	http.Server
	l   net.Listener
	url string
}

func (d *leaseListener) serve() error { return d.Serve(d.l) }

// leaseDoor opens a door on loopback that passes requests on under the lease, for whoever knows its secret.
func leaseDoor(at *attester.Attester, f *agentFlags) (*leaseListener, string, error) {
	secret, err := attester.Secret()
	if err != nil {
		return nil, "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	target := &url.URL{Scheme: "http", Host: "localhost", Path: "/agents"}
	if f.url != "" {
		if target, err = url.Parse(strings.TrimSuffix(f.url, "/")); err != nil {
			return nil, "", errors.Join(err, l.Close())
		}
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Transport: at, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = target.Host
	}}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if subtle.ConstantTimeCompare([]byte(given), []byte(secret)) != 1 {
			http.Error(w, "this door belongs to another program", http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	})
	d := &leaseListener{l: l, url: "http://" + l.Addr().String()}
	d.Handler, d.ReadHeaderTimeout = h, 10*time.Second
	return d, secret, nil
}

// runChild runs a program in our place: signals go on to it, and its code is ours.
func runChild(args, env []string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdin, os.Stdout, os.Stderr, env
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return err
	}
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s)
			case <-over:
				return
			}
		}
	})
	err := cmd.Wait()
	close(over)
	wg.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if code := exit.ExitCode(); code >= 0 {
			return &exitCode{code, nil}
		}
		return &exitCode{exitError, err}
	}
	return err
}
