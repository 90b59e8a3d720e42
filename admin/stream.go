// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/index"
)

// streamWrite is how long one write to a reader may take before it is given up.
const streamWrite = 10 * time.Second

// stream sends every record of the ledger as one server-sent event, whose id is the record's index and
// whose name is its kind. A reader that comes again with Last-Event-ID, or with after, misses nothing;
// one that names neither starts with what comes next. A stream ends after StreamFor, and within StreamQuiet when
// its credential is withdrawn, its login ends, or its reader loses the role; readers come again by themselves.
func (d *desk) stream(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	from, err := d.streamFrom(r)
	if err != nil {
		return err
	}
	if err := gateway.Linger(r.Context()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), d.cfg.StreamFor)
	defer cancel()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	s := &sender{w: w, rc: http.NewResponseController(w)}
	if err := s.send([]byte("retry: 1000\n\n")); err != nil {
		return nil
	}
	events, over := make(chan []byte), make(chan struct{})
	var failed error // of the follower; read after over
	go func() {
		defer close(over)
		failed = d.cfg.Follow(ctx, from, func(e index.Entry) error {
			b, err := event(e)
			if err != nil {
				return err
			}
			select {
			case events <- b:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	d.relay(ctx, s, func() bool { return d.mayRead(r, c) }, events, over)
	cancel()
	<-over
	return cutOff(failed)
}

// cutOff tells a reader that more is to come from one that has it all: after a fault the connection is
// cut, which makes it come again.
func cutOff(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// relay passes events on until ctx or the follower ends, or the reader is gone or may no longer read.
func (d *desk) relay(ctx context.Context, s *sender, mayRead func() bool, events <-chan []byte, over <-chan struct{}) {
	quiet := time.NewTicker(d.cfg.StreamQuiet)
	defer quiet.Stop()
	for {
		var b []byte
		select {
		case <-ctx.Done():
			return
		case <-over:
			return
		case b = <-events:
		case <-quiet.C:
			b = []byte(": quiet\n\n")
		}
		if !mayRead() || s.send(b) != nil {
			return
		}
	}
}

// mayRead reports whether the reader of a stream still has a login, or a credential, that opens it.
func (d *desk) mayRead(r *http.Request, c *gateway.Caller) bool {
	if cookie, _, ok := halves(r); ok && d.cfg.Sessions != nil && len(r.Header["Authorization"]) == 0 {
		now, ok := d.cfg.Sessions.still(cookie)
		return ok && (now.Has(action.ScopeViewer) || now.Has(action.ScopeAuditor))
	}
	ch := &c.Subject.Channel
	return ch.Credential != action.CredentialToken || !d.cfg.Identities.Revoked(ch.CredID)
}

// streamFrom is the index of the first record to send.
func (d *desk) streamFrom(r *http.Request) (uint64, error) {
	q, err := queryOnly(r, "after")
	if err != nil {
		return 0, err
	}
	last, told := q.Get("after"), q.Has("after")
	if v := r.Header["Last-Event-Id"]; len(v) > 0 {
		if len(v) != 1 {
			return 0, gateway.Refuse(gateway.CodeMalformed, "Last-Event-ID is repeated")
		}
		last, told = v[0], true
	}
	if !told {
		return d.next(r.Context())
	}
	n, err := strconv.ParseUint(last, 10, 63)
	if err != nil {
		return 0, gateway.Refuse(gateway.CodeMalformed, "Last-Event-ID is not the index of a record")
	}
	return n + 1, nil
}

// next is the index behind the latest record that the view knows.
func (d *desk) next(ctx context.Context) (uint64, error) {
	p, err := d.cfg.Index.Records(ctx, index.Filter{}, 1, "")
	if err != nil {
		return 0, translate(err)
	}
	if len(p.Items) == 0 {
		return 0, nil
	}
	return p.Items[0].Index + 1, nil
}

// event is one record in the form of a server-sent event. JSON holds no line break, and a kind is a word
// of a closed list, so nothing in a record can end its event.
func event(e index.Entry) ([]byte, error) {
	r := e.Record
	if !r.Kind.Known() {
		return nil, fmt.Errorf("admin: record %d is of unknown kind %q", e.Index, action.Clip(string(r.Kind), 32))
	}
	data, err := json.Marshal(index.Step{
		Index: e.Index, Leaf: e.Leaf, TimeMs: r.TimeMs, Kind: r.Kind, Action: r.Action, Round: r.Round, Session: r.Session,
		Agent: r.Agent, User: r.User, Actor: r.Actor, Door: r.Door, Server: r.Server, Tool: r.Tool, Effect: r.Effect,
		Phase: r.Phase, Verdict: r.Verdict, Enforced: r.Enforced, Status: r.Status, Rules: r.Rules, Codes: r.Codes,
		Bundle: r.Bundle.Digest, Sequence: r.Bundle.Sequence, Grant: r.Grant, Channel: r.Channel, Grade: r.Grade,
		Separation: r.Separation, Observed: r.Observed, Durability: r.Durability, Subject: r.Subject, Count: r.Count,
	})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "id: %d\nevent: %s\ndata: %s\n\n", e.Index, r.Kind, data)
	return b.Bytes(), nil
}

// sender writes whole events, each within streamWrite.
type sender struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (s *sender) send(b []byte) error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(streamWrite))
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.rc.Flush()
}
