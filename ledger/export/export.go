// SPDX-License-Identifier: Apache-2.0

// Package export sends the log's records to receivers outside, each at least once and in order.
//
// An exporter follows the log from disk behind a durable cursor, which moves only after the receiver has
// taken a batch. While a receiver is down its records wait in the log, in no memory; nothing is ever left
// out, so a receiver that refuses a batch for ever holds its own exporter up, and no other. A record that
// arrives twice carries the same id both times: "ORIGIN/INDEX". What is sent is the leaf: pseudonyms,
// words and digests. Sealed parts are opened only where the configuration names them, and each batch of
// which parts are opened is put on record before.
package export

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// The kinds of receivers.
const (
	File    = "file"    // lines appended to a file, which rotates by size
	Webhook = "webhook" // POST of a batch
	OTLP    = "otlp"    // logs of OpenTelemetry, by OTLP/HTTP in JSON
	Splunk  = "splunk"  // HTTP Event Collector with indexer acknowledgement
	Syslog  = "syslog"  // RFC 5424 over TLS
)

// Kinds lists the kinds of receivers.
var Kinds = []string{File, Webhook, OTLP, Splunk, Syslog}

// Config configures an Exporter.
type Config struct {
	Name   string // required
	Kind   string // required: one of Kinds
	Format string // one of Formats; "" means JSONLines; an OTLP has its own and takes none

	Path    string // of a File: required and absolute
	URL     string // required but for File and Syslog: https; http without a token, or to loopback
	Token   string // bearer token, or Splunk's; "" sends none
	Address string // of a Syslog: required, HOST:PORT

	Roots       *x509.CertPool   // that receivers are trusted by; nil means the system's
	Certificate *tls.Certificate // our own; nil shows none

	Origin func() string // name of the log; required
	Size   func() uint64 // of its newest checkpoint; required
	// Follow calls fn for each record from an index on, in order, and waits for more until ctx ends; required.
	Follow func(ctx context.Context, from uint64, fn func(ledger.Entry) error) error
	// Load and Save keep the log's name and the index of the next record to send; required. Load returns
	// "" if nothing was saved.
	Load func(ctx context.Context) (origin string, next uint64, err error)
	Save func(ctx context.Context, origin string, next uint64) error

	Parts []action.PartName // sealed parts that are sent too; reasoning cannot be
	Names bool              // send the names of agents, users, servers and tools, which stand in sealed inputs
	// Access puts on record that these parts are opened, and is called before they are; required with Parts
	// or Names.
	Access func(ctx context.Context, parts []ledger.PartAt) error

	BatchRecords int           // most records of a batch; 0 means 256, or 16 where parts are sent
	BatchBytes   int           // a batch is sent once its leaves are as large; 0 means 256 KiB
	RotateBytes  int64         // a File that would become larger is put aside; 0 means 64 MiB
	Timeout      time.Duration // of one attempt; 0 means 10 s
	AckWithin    time.Duration // how long Splunk's acknowledgement may take; 0 means 1 min
	AckEvery     time.Duration // between two questions for it; 0 means 1 s
	Pause        time.Duration // after the first failed attempt, then twice as long; 0 means 1 s
	MaxPause     time.Duration // 0 means 1 min
	Now          func() time.Time
}

// Stats are numbers of an Exporter.
type Stats struct {
	Next    uint64 // index of the next record to send; all before it arrived
	Failed  int64  // attempts since the start
	Problem string // why the newest attempt failed; "" after one that did not
}

// outlet takes batches. What write returns nil for is safe at the receiver.
type outlet interface {
	write(ctx context.Context, first uint64, records [][]byte) error
}

// Exporter sends records to one receiver.
type Exporter struct {
	cfg     Config
	out     outlet
	encode  encoder
	next    atomic.Uint64
	failed  atomic.Int64
	problem atomic.Pointer[string]
}

// New checks c.
func New(c Config) (*Exporter, error) {
	if c.Name == "" || c.Origin == nil || c.Size == nil || c.Follow == nil || c.Load == nil || c.Save == nil {
		return nil, errors.New("export: config fields Name, Origin, Size, Follow, Load and Save are required")
	}
	if err := c.content(); err != nil {
		return nil, fmt.Errorf("export: %q: %w", c.Name, err)
	}
	c.BatchBytes = or(c.BatchBytes, 256<<10)
	c.RotateBytes = or(c.RotateBytes, 64<<20)
	c.Timeout, c.Pause, c.MaxPause = or(c.Timeout, 10*time.Second), or(c.Pause, time.Second), or(c.MaxPause, time.Minute)
	c.AckWithin, c.AckEvery = or(c.AckWithin, time.Minute), or(c.AckEvery, time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	e := &Exporter{cfg: c}
	if err := e.open(); err != nil {
		return nil, fmt.Errorf("export: %q: %w", c.Name, err)
	}
	return e, nil
}

// content checks what is sent of sealed parts.
func (c *Config) content() error {
	opens := c.Names || len(c.Parts) > 0
	if opens && c.Access == nil {
		return errors.New("config field Access is required where sealed parts are sent")
	}
	for i, p := range c.Parts {
		switch {
		case p == action.PartReasoning:
			return errors.New("reasoning is opened by two people, never sent")
		case !slices.Contains(p.Values(), string(p)) || slices.Contains(c.Parts[:i], p):
			return fmt.Errorf("part %q is none, or stands twice", action.Clip(string(p), 32))
		}
	}
	c.BatchRecords = or(c.BatchRecords, 256)
	if opens {
		c.BatchRecords = min(c.BatchRecords, 16)
	}
	return nil
}

// open chooses outlet and format.
func (e *Exporter) open() error {
	c := &e.cfg
	switch {
	case !slices.Contains(Kinds, c.Kind):
		return fmt.Errorf("kind %q is not %s", action.Clip(c.Kind, 32), strings.Join(Kinds, ", "))
	case (c.Kind == File) != (c.Path != ""), c.Kind == File && !filepath.IsAbs(c.Path):
		return errors.New("a file, and nothing else, needs an absolute path")
	case (c.Kind == Syslog) != (c.Address != ""):
		return errors.New("a syslog, and nothing else, needs an address")
	case (c.Kind == File || c.Kind == Syslog) && (c.URL != "" || c.Token != ""):
		return errors.New("a file and a syslog have no url and no token")
	case c.Kind == OTLP && c.Format != "":
		return errors.New("an otlp has a format of its own")
	}
	if c.Format == "" {
		c.Format = JSONLines
	}
	form := encoders[c.Format]
	if form == nil {
		return fmt.Errorf("format %q is not %s", action.Clip(c.Format, 32), strings.Join(Formats, ", "))
	}
	e.encode = form
	switch c.Kind {
	case File:
		e.out = &file{path: c.Path, rotate: c.RotateBytes}
		return nil
	case Syslog:
		out, err := newSyslog(c)
		e.out, e.encode = out, func(r *record) []byte { return message(r, form(r)) }
		return err
	}
	scheme := "Bearer"
	if c.Kind == Splunk {
		scheme = "Splunk"
	}
	post, err := newPoster(c, scheme)
	if err != nil {
		return err
	}
	switch c.Kind {
	case OTLP:
		e.out, e.encode = newOTLP(post), otlpRecord
	case Splunk:
		out, err := newSplunk(c, post)
		if err != nil {
			return err
		}
		e.out, e.encode = out, func(r *record) []byte { return out.envelope(r, form(r), "sallyport:"+c.Format) }
	default:
		e.out = &webhook{post: post, events: c.Format == CloudEvents}
	}
	return nil
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
func (e *Exporter) Stats() Stats {
	s := Stats{Next: e.next.Load(), Failed: e.failed.Load()}
	if p := e.problem.Load(); p != nil {
		s.Problem = *p
	}
	return s
}

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
	var batch []ledger.Entry
	bytes := 0
	err = e.cfg.Follow(ctx, next, func(entry ledger.Entry) error {
		size := max(e.cfg.Size(), entry.Index+1)
		batch, bytes = append(batch, entry), bytes+len(entry.Raw)
		if entry.Index+1 < size && len(batch) < e.cfg.BatchRecords && bytes < e.cfg.BatchBytes {
			return nil // the next one stands in the log: it comes at once
		}
		if err := e.deliver(ctx, origin, size, batch); err != nil {
			return err
		}
		clear(batch)
		batch, bytes = batch[:0], 0
		e.next.Store(entry.Index + 1)
		return e.cfg.Save(ctx, origin, entry.Index+1)
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// deliver tries until the receiver has the batch or ctx ends. Parts are opened once.
func (e *Exporter) deliver(ctx context.Context, origin string, size uint64, batch []ledger.Entry) error {
	var records [][]byte
	for wait := e.cfg.Pause; ; wait = min(2*wait, e.cfg.MaxPause) {
		var err error
		if records == nil {
			records, err = e.records(ctx, origin, size, batch)
		}
		if err == nil {
			err = e.out.write(ctx, batch[0].Index, records)
		}
		if err == nil {
			e.problem.Store(nil)
			return nil
		}
		e.failed.Add(1)
		why := err.Error()
		e.problem.Store(&why)
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// pause waits, or errs if ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
