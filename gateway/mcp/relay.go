// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
)

// Hello is the first thing that a relay says. The owner trusts none of it beyond what the user of the
// relay could do anyway; Parent is checked against the kernel's view of the relay's process.
type Hello struct {
	Version int      `json:"version"` // 1
	Name    string   `json:"name"`    // the server's name; "" lets the owner derive one from Command
	Command []string `json:"command"` // of a stdio server, as it is started
	URL     string   `json:"url"`     // of an HTTP server instead; a query, which may hold a secret, is cut to its "?"
	Dir     string   `json:"dir"`     // working directory of the server
	Parent  Process  `json:"parent"`  // the client: the process that started the relay
	WaitMs  int64    `json:"wait_ms"` // how long a call may wait for people before it is answered with a ticket
}

// HelloVersion is the version of the relay's protocol.
const HelloVersion = 1

// Process names one process for ever: ids are used again, start times with them are not.
type Process struct {
	PID   int   `json:"pid"`
	Start int64 `json:"start"` // in clock ticks since boot, field 22 of /proc/PID/stat
}

// oversize is the body of frameOversize.
type oversize struct {
	Client bool   `json:"client"`
	ID     string `json:"id"` // raw id of the message, or "" if none could be read
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
}

// Relay is the thin half of `sallyport mcp`: it carries lines between a client, a server process and the
// owner, and passes nothing that the owner did not send. When the owner is lost it answers every open and
// later request with an error, lets nothing more reach the server, and Run returns ErrOwner.
type Relay struct {
	Conn      io.ReadWriteCloser // to the owner
	Hello     Hello
	ClientIn  io.Reader
	ClientOut io.Writer
	ServerIn  io.WriteCloser
	ServerOut io.Reader
	Remote    *Remote // in place of ServerIn and ServerOut, a server that is reached over HTTP

	// Kill ends a server that goes on although its input has ended and nothing that it was asked is open. It
	// is called once, Grace (0 means 10 s) after the input was closed, or as soon as nothing is open after
	// that, or after an hour at the latest. nil waits for ever, but for Remote, which is cut off.
	Kill  func()
	Grace time.Duration

	MessageBytes int           // 0 means DefaultMessageBytes
	Drain        time.Duration // how long requests are still answered after the owner was lost; 0 means 2 s

	in       io.Reader // of Conn
	frames   frameWriter
	toClient *queue
	toServer *queue
	clientMu sync.Mutex // serialises lines to the client

	mu   sync.Mutex
	open map[string][]byte // ids of the client's open requests by key; guarded by mu, as below
	lost bool

	abort   context.CancelFunc // ends Remote
	closed  chan struct{}      // the server's input was closed because the client sends no more
	closing sync.Once
}

// ErrOwner means that the owner refused the relay, was lost, or broke the protocol.
var ErrOwner = errors.New("mcp: the gate is gone")

// Run carries lines until the server has ended and everything is out, or until the owner is lost or ctx
// ends. It closes Conn and ServerIn. The goroutine that reads ClientIn ends when that does: a read of a
// terminal cannot be taken back.
func (r *Relay) Run(ctx context.Context) error {
	if r.MessageBytes == 0 {
		r.MessageBytes = DefaultMessageBytes
	}
	if r.Drain == 0 {
		r.Drain = 2 * time.Second
	}
	if r.Grace == 0 {
		r.Grace = 10 * time.Second
	}
	remote, cancel := context.WithCancel(ctx)
	defer cancel()
	if r.abort = cancel; r.Remote != nil {
		r.ServerIn = r.Remote.start(remote, r.MessageBytes)
		if r.Kill == nil {
			r.Kill = cancel
		}
	}
	r.closed = make(chan struct{})
	r.in, r.frames.w = bufio.NewReaderSize(r.Conn, frameBuffer), r.Conn
	r.open = map[string][]byte{}
	r.toClient, r.toServer = newQueue(2*r.MessageBytes), newQueue(2*r.MessageBytes)
	err := r.greet()
	if err == nil {
		err = r.carry(ctx)
	}
	if err != nil {
		r.fail(err)
		return err
	}
	return nil
}

func (r *Relay) greet() error {
	body, err := json.Marshal(r.Hello)
	if err != nil {
		return err
	}
	if err := r.frames.write(frameHello, body); err != nil {
		return fmt.Errorf("%w: %w", ErrOwner, err)
	}
	t, body, err := readFrame(r.in, 4096)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrOwner, err)
	case t == frameRefused:
		return fmt.Errorf("%w: refused: %s", ErrOwner, body)
	case t != frameWelcome:
		return fmt.Errorf("%w: no welcome", ErrOwner)
	}
	return nil
}

// carry runs the five streams of a relay and returns when the owner says that everything is out.
func (r *Relay) carry(ctx context.Context) error {
	done := make(chan error, 8) // one place for every sender below
	var wg sync.WaitGroup
	run := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				done <- err
			}
		})
	}
	go r.fromClient(func(err error) { // ends with ClientIn, see Run
		select {
		case done <- err:
		default: // the first error ends the relay
		}
	})
	run(r.fromServer)
	run(r.writeClient)
	run(r.writeServer)
	over := make(chan struct{})
	run(func() error { return r.outlive(over) })
	finished := make(chan struct{})
	run(func() error {
		err := r.fromOwner()
		if err == nil {
			close(finished)
		}
		return err
	})
	var err error
	select {
	case <-finished:
	case err = <-done:
	case <-ctx.Done():
		err = fmt.Errorf("mcp: relay: %w", ctx.Err())
	}
	r.mu.Lock()
	r.lost = err != nil
	r.mu.Unlock()
	if err == nil {
		r.toClient.close()
	} else {
		r.toClient.discard()
	}
	r.toServer.discard()
	close(over)
	_ = r.ServerIn.Close()
	_ = r.Conn.Close()
	if err != nil {
		r.abort()
		if c, ok := r.ServerOut.(io.Closer); ok {
			_ = c.Close()
		}
	}
	wg.Wait()
	return err
}

// fromClient sends the client's lines to the owner; once the owner is lost it answers them. It reports the
// loss and reads on, because a client that gets no answer waits for ever.
func (r *Relay) fromClient(report func(error)) {
	in := newLineReader(r.ClientIn, r.MessageBytes)
	for {
		l, err := in.next()
		if err != nil {
			if err := r.frames.write(frameClientEnd, nil); err != nil {
				report(fmt.Errorf("%w: %w", ErrOwner, err))
			}
			return
		}
		id, request := l.id, true
		if !l.oversize {
			var scan idScanner
			scan.write(l.bytes)
			id, request = scan.id(), scan.method
		}
		switch {
		case !r.note(id, request):
			if id != nil && request {
				r.answer(id)
			}
			continue
		case l.oversize:
			err = r.tooLong(l, true)
		default:
			err = r.frames.write(frameClient, l.bytes)
		}
		if err != nil {
			report(fmt.Errorf("%w: %w", ErrOwner, err))
		}
	}
}

// note remembers an open request and reports whether the owner is still there.
func (r *Relay) note(id []byte, request bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost {
		return false
	}
	if key, err := idKey(id); request && id != nil && err == nil && len(r.open) < 4*DefaultPending {
		r.open[key] = append([]byte(nil), id...)
	}
	return true
}

func (r *Relay) tooLong(l line, client bool) error {
	body, err := json.Marshal(oversize{Client: client, ID: string(l.id), Bytes: l.size, Digest: l.digest})
	if err != nil {
		return err
	}
	return r.frames.write(frameOversize, body)
}

// lastGrace bounds how long a server may work on for a client that sends no more.
const lastGrace = time.Hour

// outlive kills a server that does not end by itself.
func (r *Relay) outlive(over <-chan struct{}) error {
	select {
	case <-over:
		return nil
	case <-r.closed:
	}
	last := time.Now().Add(lastGrace)
	for t := time.NewTicker(r.Grace); ; {
		select {
		case <-over:
			t.Stop()
			return nil
		case <-t.C:
		}
		r.mu.Lock()
		busy := len(r.open) > 0
		r.mu.Unlock()
		if r.Kill != nil && (!busy || time.Now().After(last)) {
			t.Stop()
			r.Kill()
			return nil
		}
	}
}

func (r *Relay) fromServer() error {
	next := newLineReader(r.ServerOut, r.MessageBytes).next
	if r.Remote != nil {
		next = r.Remote.next
	}
	for {
		l, err := next()
		switch {
		case err != nil:
			err = r.frames.write(frameServerEnd, nil)
		case l.oversize:
			err = r.tooLong(l, false)
		default:
			if err = r.frames.write(frameServer, l.bytes); err == nil {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrOwner, err)
		}
		if !l.oversize {
			return nil
		}
	}
}

// fromOwner sorts the owner's frames into the two queues. It waits for a slow client, as a pipe would, but
// not for the server: one that does not read while it writes would stop everything.
func (r *Relay) fromOwner() error {
	for {
		t, body, err := readFrame(r.in, frameLimit(r.MessageBytes))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrOwner, err)
		}
		switch t {
		case frameToClient:
			r.toClient.push(frame{t, body})
		case frameToServer, frameCloseInput:
			if err := r.toServer.offer(frame{t, body}); err != nil {
				return err
			}
		case frameDone:
			return nil
		default:
			return fmt.Errorf("%w: a frame that is not the owner's", ErrOwner)
		}
	}
}

func (r *Relay) writeClient() error {
	for {
		f, ok := r.toClient.pop()
		if !ok {
			return nil
		}
		var scan idScanner
		scan.write(f.body)
		if id := scan.id(); id != nil && !scan.method {
			key, _ := idKey(id)
			r.mu.Lock()
			delete(r.open, key)
			r.mu.Unlock()
		}
		if err := r.writeLine(f.body); err != nil {
			return fmt.Errorf("mcp: client: %w", err)
		}
	}
}

func (r *Relay) writeLine(b []byte) error {
	r.clientMu.Lock()
	defer r.clientMu.Unlock()
	_, err := r.ClientOut.Write(append(b[:len(b):len(b)], '\n'))
	return err
}

func (r *Relay) writeServer() error {
	for {
		f, ok := r.toServer.pop()
		if !ok {
			return nil
		}
		if f.kind == frameCloseInput {
			_ = r.ServerIn.Close() // the server is told to end; its own end follows
			r.closing.Do(func() { close(r.closed) })
			continue
		}
		if _, err := r.ServerIn.Write(append(f.body[:len(f.body):len(f.body)], '\n')); err != nil {
			return nil // the server has ended or is about to: frameServerEnd tells the owner
		}
	}
}

// fail closes the door: every open request is answered with an error, and so is every one that still comes
// within Drain.
func (r *Relay) fail(err error) {
	r.mu.Lock()
	started := r.lost
	r.lost = true
	ids := r.open
	r.open = nil
	r.mu.Unlock()
	_ = r.Conn.Close()
	_ = r.ServerIn.Close()
	for _, id := range ids {
		r.answer(id)
	}
	if !started { // the client's lines are not being read yet
		go r.fromClient(func(error) {})
	}
	if errors.Is(err, ErrOwner) {
		time.Sleep(r.Drain)
	}
}

func (r *Relay) answer(id []byte) {
	_ = r.writeLine(errorReply(id, codeInternal, "Sallyport's gate is gone: nothing passes without it; a request that was open may have been executed"))
}

// Name derives a server's name from its command: the last part of the package or program, in the letters
// that a tool key takes.
func Name(command []string) string {
	pick := ""
	for _, a := range command {
		if strings.HasPrefix(a, "-") {
			continue
		}
		base := a[strings.LastIndexByte(a, '/')+1:]
		if at := strings.IndexByte(base, '@'); at > 0 {
			base = base[:at]
		}
		switch base {
		case "", "npx", "uvx", "node", "python", "python3", "bunx", "pnpm", "dlx", "docker", "run", "env", "sh", "bash":
			continue
		}
		pick = base
		break
	}
	return nameOf(pick)
}

// nameOf writes s in the letters that a tool key takes.
func nameOf(s string) string {
	b := []byte(action.Clip(strings.ToLower(s), 64))
	for i, ch := range b {
		if (ch < 'a' || ch > 'z') && (ch < '0' || ch > '9') && ch != '-' && ch != '_' && ch != '.' {
			b[i] = '-'
		}
	}
	if len(b) == 0 {
		return "server"
	}
	return string(b)
}
