// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sallyport/sallyport/internal/attester"
)

// supervise measures what is about to be started, gets a lease on it and keeps that until stop is called. It returns
// nil for an agent that the owner has no reference values for: it needs none. The token is the agent's own; "" leaves it
// to the connection.
func (a *app) supervise(ctx context.Context, c *client, f *agentFlags, token string, args []string) (at *attester.Attester, stop func(), err error) {
	cfg := attester.Config{URL: "http://localhost/agents", Named: "http://localhost", Transport: c.http.Transport, Token: token,
		Kind: "supervisor", Log: attester.NewLog()}
	if cfg.Signature, cfg.Provenance, err = f.bundles(); err != nil {
		return nil, nil, err
	}
	var w *attester.Watch
	cfg.Refresh = func() error { return w.Look(ctx) }
	if at, err = attester.New(cfg); err != nil {
		return nil, nil, err
	}
	kinds, err := at.Accepted(ctx)
	if err != nil || len(kinds) == 0 {
		return nil, func() {}, err
	}
	if !slices.Contains(kinds, "supervisor") {
		return nil, nil, hinted{fmt.Errorf("the agent is attested by %q only", kinds), `"sallyport attest keep" gives evidence of that kind`}
	}
	spec, err := f.program(args)
	if err != nil {
		return nil, nil, err
	}
	spec.Progress = a.hashing()
	if err := cfg.Log.Begin(0); err != nil {
		return nil, nil, err
	}
	w = attester.NewWatch(spec, cfg.Log)
	l, err := at.Renew(ctx)
	if errors.Is(err, attester.ErrRefused) {
		return nil, nil, hinted{fmt.Errorf("no lease: %w", err), `compare with "sallyport attest measure"; the policy is attest.policy`}
	}
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprintf(a.err, "sallyport: lease %s: A%d M%d by %s, %s\n", l.ID, l.Assurance, l.Model, l.Kind, l.Status)
	keeping, end := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		at.Keep(keeping, func(err error) { fmt.Fprintf(a.err, "sallyport: the lease was not renewed: %v\n", err) })
	})
	return at, func() { end(); wg.Wait() }, nil
}
