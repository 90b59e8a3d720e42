// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"context"
	"net"
	"net/http"

	"github.com/sallyport/sallyport/action"
)

// exchange is the gate's own state of one request.
type exchange struct {
	gate      *Gate
	door      action.Door
	source    string
	principal *principal
	bytes     int64
	polls     int
	challenge string // for an answer that wants a credential; "" for the plain one
}

type exchangeKey struct{}

// exchangeFrom returns nil outside a gate, where only the limits of single requests hold.
func exchangeFrom(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

func (x *exchange) grow(n int64) error {
	if x == nil || x.principal == nil {
		return nil
	}
	if err := x.gate.quota.grow(x.principal, n); err != nil {
		return err
	}
	x.bytes += n
	return nil
}

// light is the size up to which JSON is read at once.
const light = 64 << 10

// parse calls read, which reads n bytes of JSON. Reading takes many times the memory of the bytes and a
// core, so large bodies take turns: one at a time for each caller, one a core for all.
func (x *exchange) parse(ctx context.Context, n int, read func() error) error {
	if x == nil || n <= light {
		return read()
	}
	for _, turn := range []chan struct{}{x.principal.heavy, x.gate.heavy} {
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return read()
}

// fetches bounds how many stored results are read at once; their size is not known before.
const fetches = 16

// Fetch calls read, which brings something of unknown size into memory and returns its bytes. Few are
// read at once, and then the bytes count against the caller's quota until the request ends. The error is
// read's own, the context's, or the problem too-many-open or busy.
func Fetch(ctx context.Context, read func() (bytes int, err error)) error {
	x := exchangeFrom(ctx)
	if x == nil {
		_, err := read()
		return err
	}
	select {
	case x.gate.fetch <- struct{}{}:
		defer func() { <-x.gate.fetch }()
	case <-ctx.Done():
		return ctx.Err()
	}
	n, err := read()
	if err != nil {
		return err
	}
	return x.grow(int64(n))
}

func (x *exchange) leave() { x.gate.quota.leave(x.principal, x.bytes, x.polls) }

// Linger counts the request among those of its caller that wait, until it ends. A handler calls it
// before it waits for a person or opens a stream. The error is the problem too-many-open.
func Linger(ctx context.Context) error {
	x := exchangeFrom(ctx)
	if x == nil {
		return nil
	}
	if err := x.gate.quota.linger(x.principal); err != nil {
		return err
	}
	x.polls++
	return nil
}

// watched knows whether the answer has begun, and whose it is.
type watched struct {
	http.ResponseWriter
	x     *exchange
	wrote bool
	taken bool // hijacked: there is nobody left to answer
}

func (w *watched) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.wrote = true
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(b []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(b)
}

// Unwrap gives http.ResponseController the connection's own writer.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack hands the connection to the handler, which answers on it from then on.
func (w *watched) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.wrote, w.taken = true, true
	}
	return c, rw, err
}

// Flush sends what was written so far.
func (w *watched) Flush() {
	w.wrote = true
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}
