// SPDX-License-Identifier: Apache-2.0

// Package outbox hands what the log tells to a receiver outside: each thing at least once, in order, with pauses that
// grow while the receiver is away. What waits stands in the log, so that nothing is held in memory but one thing.
package outbox

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// SignatureHeader carries "t=SECONDS,v1=HEX": HMAC-SHA256 of "SECONDS.BODY" under the shared secret.
const SignatureHeader = "Sallyport-Signature"

// ErrRefused means that the receiver does not want this thing, now or later.
var ErrRefused = errors.New("refused")

// Config configures a Box. Follow, Load, Save and Send are required.
type Config[T any] struct {
	// Follow calls fn for each thing from an index on, in order, and waits for more until ctx ends.
	Follow func(ctx context.Context, from uint64, fn func(index uint64, thing T) error) error
	// Load and Save keep the index of the next thing to deliver.
	Load func(ctx context.Context) (uint64, error)
	Save func(ctx context.Context, next uint64) error
	// Send makes one attempt. Its errors must quote no secret.
	Send func(ctx context.Context, index uint64, thing T) error

	Pause    time.Duration // after the first failed attempt, then twice as long; 0 means 1 s
	MaxPause time.Duration // 0 means 5 min
	Refusals int           // attempts after which a thing that the receiver refuses is left out; 0 means 8
}

// Box delivers to one receiver. Its methods are safe for concurrent use.
type Box[T any] struct {
	cfg       Config[T]
	delivered atomic.Int64
	failed    atomic.Int64
	refused   atomic.Int64
	problem   atomic.Pointer[string]
}

// New checks c.
func New[T any](c Config[T]) (*Box[T], error) {
	if c.Follow == nil || c.Load == nil || c.Save == nil || c.Send == nil {
		return nil, errors.New("outbox: Follow, Load, Save and Send are required")
	}
	if c.Pause <= 0 {
		c.Pause = time.Second
	}
	if c.MaxPause <= 0 {
		c.MaxPause = 5 * time.Minute
	}
	if c.Refusals <= 0 {
		c.Refusals = 8
	}
	return &Box[T]{cfg: c}, nil
}

// Stats are numbers since the start.
type Stats struct {
	Delivered int64
	Failed    int64  // attempts
	Refused   int64  // things that were left out
	Problem   string // why the newest attempt failed; "" after one that did not
}

// Stats returns numbers since the start.
func (b *Box[T]) Stats() Stats {
	s := Stats{Delivered: b.delivered.Load(), Failed: b.failed.Load(), Refused: b.refused.Load()}
	if p := b.problem.Load(); p != nil {
		s.Problem = *p
	}
	return s
}

// Run delivers until ctx ends.
func (b *Box[T]) Run(ctx context.Context) error {
	from, err := b.cfg.Load(ctx)
	if err != nil {
		return err
	}
	err = b.cfg.Follow(ctx, from, func(index uint64, thing T) error {
		if err := b.deliver(ctx, index, thing); err != nil {
			return err
		}
		return b.cfg.Save(ctx, index+1)
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// deliver tries until the receiver has the thing, refuses it for good, or ctx ends.
func (b *Box[T]) deliver(ctx context.Context, index uint64, thing T) error {
	pause, refusals := b.cfg.Pause, 0
	for {
		err := b.cfg.Send(ctx, index, thing)
		if err == nil {
			b.delivered.Add(1)
			b.problem.Store(nil)
			return nil
		}
		b.failed.Add(1)
		why := err.Error()
		b.problem.Store(&why)
		if errors.Is(err, ErrRefused) {
			if refusals++; refusals >= b.cfg.Refusals {
				b.refused.Add(1)
				return nil
			}
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		pause = min(2*pause, b.cfg.MaxPause)
	}
}

// Client returns a client that follows no redirect, which could lead a message elsewhere.
func Client(timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Post makes one attempt to deliver JSON. No error quotes the address, which may be a secret.
func Post(ctx context.Context, c *http.Client, address string, header map[string]string, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return ErrRefused
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "sallyport")
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := c.Do(r)
	if err != nil {
		return errors.New("no answer")
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code >= 400 && code < 500 && code != http.StatusRequestTimeout && code != http.StatusTooManyRequests:
		return fmt.Errorf("status %d: %w", code, ErrRefused)
	default:
		return fmt.Errorf("status %d", code)
	}
}

// Sign is the value of SignatureHeader for body at a time.
func Sign(secret []byte, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(t + "."))
	h.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(h.Sum(nil))
}
