// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/internal/replaybench"
	"github.com/sallyport/sallyport/ledger"
)

// replayOwner starts an owner with the embedded defaults over a temporary folder.
func (a *app) replayOwner(ctx context.Context, detector string) (o *replaybench.Owner, err error) {
	dir, err := os.MkdirTemp("", "sallyport-bench-")
	if err != nil {
		return nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	cfg := sallyport.DefaultConfig()
	cfg.Data, cfg.Gateway.Listen, cfg.Admin.Listen = dir, "127.0.0.1:0", "none"
	cfg.Detect.Injection = detector
	s, err := sallyport.Open(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	l, err := s.Listen()
	if err != nil {
		return nil, errors.Join(err, s.Close(), remove())
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 2)
	go func() { ended <- s.Run(ctx) }()
	go func() { ended <- s.Serve(ctx, l) }()
	people := newClient(dir)
	agents := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
	return &replaybench.Owner{
		Agents:    &replaybench.Door{URL: "http://" + l.Agents.Addr().String(), HTTP: agents},
		People:    &replaybench.Door{URL: "http://localhost/people", HTTP: people.http},
		Decisions: func(ctx context.Context, fn func(replaybench.Decided) error) error { return decisionsOf(ctx, s, fn) },
		Redecide: func(ctx context.Context, q *action.Query) (action.Decision, error) {
			return s.Policy.Active().Redecide(ctx, q)
		},
		Close: func() error {
			agents.CloseIdleConnections()
			people.http.CloseIdleConnections()
			cancel()
			return errors.Join(<-ended, <-ended, s.Close(), remove())
		},
	}, nil
}

// decisionsOf reads every decision of gate one from the ledger.
func decisionsOf(ctx context.Context, s *sallyport.Sallyport, fn func(replaybench.Decided) error) error {
	return s.Ledger.Records(ctx, func(e ledger.Entry) error {
		l := e.Leaf
		if l.Kind != action.KindIntent && l.Kind != action.KindDecision || l.Phase != action.Before {
			return nil
		}
		b, err := e.Open(action.PartInputBefore)
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.Index, err)
		}
		q, err := action.ReadQuery(b)
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.Index, err)
		}
		return fn(replaybench.Decided{Action: l.Action, Input: q, Verdict: l.Verdict, Rules: l.Rules})
	})
}
