// SPDX-License-Identifier: Apache-2.0

// Package export sends the log's records to receivers outside, each at least once and in order.
//
// An exporter follows the log from disk behind a durable cursor, which moves only after the receiver has
// taken a batch. While a receiver is down its records wait in the log, in no memory; nothing is ever left
// out, so a receiver that refuses a batch for ever holds its own exporter up, and no other. A record that
// arrives twice carries the same id both times: "ORIGIN/INDEX". What is sent is the leaf: pseudonyms,
// words and digests. Sealed parts are never opened.
package export

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/ledger"
)

// The kinds of receivers.
const (
	File    = "file"    // lines appended to a file, which rotates by size
	Webhook = "webhook" // POST of a batch
)

// Kinds lists the kinds of receivers.
var Kinds = []string{File, Webhook}

// Config configures an Exporter.
type Config struct {
	Name   string // required
	Kind   string // required: File or Webhook
	Format string // JSONLines or CloudEvents; "" means JSONLines

	Path  string // of a File: required and absolute
	URL   string // of a Webhook: required, https; http without a token, or to loopback
	Token string // bearer token for a Webhook; "" sends none

	Origin func() string // name of the log; required
	Size   func() uint64 // of its newest checkpoint; required
	// Follow calls fn for each record from an index on, in order, and waits for more until ctx ends; required.
	Follow func(ctx context.Context, from uint64, fn func(ledger.Entry) error) error
	// Load and Save keep the log's name and the index of the next record to send; required. Load returns
	// "" if nothing was saved.
	Load func(ctx context.Context) (origin string, next uint64, err error)
	Save func(ctx context.Context, origin string, next uint64) error

	BatchRecords int           // most records of a batch; 0 means 256
	BatchBytes   int           // a batch is sent once it is as large; 0 means 256 KiB
	RotateBytes  int64         // a File that would become larger is put aside; 0 means 64 MiB
	Timeout      time.Duration // of one POST; 0 means 10 s
	Pause        time.Duration // after the first failed attempt, then twice as long; 0 means 1 s
	MaxPause     time.Duration // 0 means 1 min
}

// Stats are numbers of an Exporter.
type Stats struct {
	Next   uint64 // index of the next record to send; all before it arrived
	Failed int64  // attempts since the start
}

// outlet takes batches. What write returns nil for is safe at the receiver.
type outlet interface {
	write(ctx context.Context, first uint64, records [][]byte) error
}

// Exporter sends records to one receiver.
type Exporter struct {
	cfg    Config
	out    outlet
	encode encoder
	next   atomic.Uint64
	failed atomic.Int64
}

// New checks c.
func New(c Config) (*Exporter, error) {
	if c.Name == "" || c.Origin == nil || c.Size == nil || c.Follow == nil || c.Load == nil || c.Save == nil {
		return nil, errors.New("export: config fields Name, Origin, Size, Follow, Load and Save are required")
	}
	if c.Format == "" {
		c.Format = JSONLines
	}
	c.BatchRecords = or(c.BatchRecords, 256)
	c.BatchBytes = or(c.BatchBytes, 256<<10)
	c.RotateBytes = or(c.RotateBytes, 64<<20)
	c.Timeout, c.Pause, c.MaxPause = or(c.Timeout, 10*time.Second), or(c.Pause, time.Second), or(c.MaxPause, time.Minute)
	e := &Exporter{cfg: c, encode: encoders[c.Format]}
	if e.encode == nil {
		return nil, fmt.Errorf("export: %q: format %q is not %s or %s", c.Name, c.Format, JSONLines, CloudEvents)
	}
	switch {
	case !slices.Contains(Kinds, c.Kind):
		return nil, fmt.Errorf("export: %q: kind %q is not %s or %s", c.Name, c.Kind, File, Webhook)
	case c.Kind == File && (!filepath.IsAbs(c.Path) || c.URL != "" || c.Token != ""):
		return nil, fmt.Errorf("export: %q: a file needs an absolute path, and has no url and no token", c.Name)
	case c.Kind == File:
		e.out = &file{path: c.Path, rotate: c.RotateBytes}
		return e, nil
	case c.Path != "":
		return nil, fmt.Errorf("export: %q: a webhook has no path", c.Name)
	}
	hook, err := newWebhook(&c)
	if err != nil {
		return nil, fmt.Errorf("export: %q: %w", c.Name, err)
	}
	e.out = hook
	return e, nil
}

func or[T int | int64 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Name is the exporter's name.
func (e *Exporter) Name() string { return e.cfg.Name }

// Stats returns the exporter's numbers. It is safe for concurrent use.
func (e *Exporter) Stats() Stats { return Stats{e.next.Load(), e.failed.Load()} }

// Run sends until ctx ends. Of a log under another name than the cursor's, as after the loss of its end,
// it sends everything, under the new name: which of its entries stood in the old one is not known here.
func (e *Exporter) Run(ctx context.Context) error {
	origin := e.cfg.Origin()
	was, next, err := e.cfg.Load(ctx)
	if err != nil {
		return fmt.Errorf("export: %q: cursor: %w", e.cfg.Name, err)
	}
	if was != origin || next > e.cfg.Size() {
		next = 0
	}
	e.next.Store(next)
	var batch [][]byte
	bytes := 0
	err = e.cfg.Follow(ctx, next, func(entry ledger.Entry) error {
		size := max(e.cfg.Size(), entry.Index+1)
		b := e.encode(origin, size, entry)
		batch, bytes = append(batch, b), bytes+len(b)
		if entry.Index+1 < size && len(batch) < e.cfg.BatchRecords && bytes < e.cfg.BatchBytes {
			return nil // the next one stands in the log: it comes at once
		}
		if err := e.deliver(ctx, entry.Index+1-uint64(len(batch)), batch); err != nil {
			return err
		}
		batch, bytes = nil, 0
		e.next.Store(entry.Index + 1)
		return e.cfg.Save(ctx, origin, entry.Index+1)
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// deliver tries until the receiver has the batch or ctx ends.
func (e *Exporter) deliver(ctx context.Context, first uint64, batch [][]byte) error {
	pause := e.cfg.Pause
	for {
		if err := e.out.write(ctx, first, batch); err == nil {
			return nil
		}
		e.failed.Add(1)
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		pause = min(2*pause, e.cfg.MaxPause)
	}
}
