// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
)

// beat is how often the deadlines of open actions are put off.
const beat = time.Minute

// helloTimeout is how long a relay may take to say who it is.
const helloTimeout = 10 * time.Second

// ServeRelay is the owner's half of a relay: it judges every line of both sides, each side in its order,
// until both have ended or the relay is gone. admit turns the relay's hello into who speaks to what; its
// error refuses the relay and is told to it. ServeRelay closes conn.
func (g *Gate) ServeRelay(ctx context.Context, conn io.ReadWriteCloser, admit func(ctx context.Context, h Hello) (Peer, Upstream, error)) error {
	defer conn.Close()
	out := &frameWriter{w: conn}
	timed, _ := conn.(interface{ SetReadDeadline(time.Time) error })
	if timed != nil {
		_ = timed.SetReadDeadline(time.Now().Add(helloTimeout))
	}
	in := bufio.NewReaderSize(conn, frameBuffer)
	t, body, err := readFrame(in, 256<<10)
	if err != nil {
		return fmt.Errorf("mcp: relay: %w", err)
	}
	if timed != nil {
		_ = timed.SetReadDeadline(time.Time{})
	}
	var h Hello
	if t != frameHello {
		return fmt.Errorf("mcp: relay: %w: no hello", errFrame)
	}
	if err := action.Read(body, &h, action.Limits{}); err != nil || h.Version != HelloVersion {
		_ = out.write(frameRefused, []byte("the hello is not of this version"))
		return errors.New("mcp: relay: malformed hello")
	}
	p, up, err := admit(ctx, h)
	if err != nil {
		_ = out.write(frameRefused, []byte(action.Clip(err.Error(), 1024)))
		return err
	}
	if err := out.write(frameWelcome, nil); err != nil {
		return fmt.Errorf("mcp: relay: %w", err)
	}
	s := &served{gate: g, conn: g.Conn(p, up), io: conn, in: in, out: out,
		client: newQueue(2 * g.cfg.MessageBytes), server: newQueue(2 * g.cfg.MessageBytes), relist: make(chan struct{}, 1)}
	g.mu.Lock()
	g.relays[s] = true
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.relays, s)
		g.mu.Unlock()
	}()
	return s.run(ctx)
}

// Relist tells clients behind relays that their list of tools may be another one now, where their server has said at the
// start that this can happen. Others see it with their next list, which no client may keep longer than Config.ListTTL. It
// does not wait, and is safe for concurrent use.
func (g *Gate) Relist() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for s := range g.relays {
		select {
		case s.relist <- struct{}{}:
		default: // told already, and not asked for since
		}
	}
}

// served is one relay being served.
type served struct {
	gate   *Gate
	conn   *Conn
	io     io.ReadWriteCloser
	in     io.Reader // of io
	out    *frameWriter
	client *queue // lines of the client
	server *queue // lines of the server

	relist  chan struct{}  // of one place: the client is to be told that the list of tools changed
	waiting sync.WaitGroup // requests that wait for people; started by workClient, waited for by run
}

func (s *served) run(ctx context.Context) error {
	beating, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	fail := make(chan error, 2)
	for _, work := range []func(context.Context) error{s.workClient, s.workServer} {
		wg.Go(func() {
			if err := work(ctx); err != nil {
				fail <- err
				_ = s.io.Close() // ends read below
			}
		})
	}
	wg.Go(func() { s.beat(beating) })
	stop := context.AfterFunc(ctx, func() { _ = s.io.Close() })
	err := s.read()
	stop()
	s.client.discard()
	s.server.close()
	cancel()
	wg.Wait()
	s.conn.Close(context.WithoutCancel(ctx), "the connection was lost")
	s.waiting.Wait()
	select {
	case e := <-fail:
		return e
	default:
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

// read sorts the relay's frames into the two queues until the relay has said all.
func (s *served) read() error {
	for {
		t, body, err := readFrame(s.in, frameLimit(s.gate.cfg.MessageBytes))
		if err != nil {
			return err
		}
		ok := true
		switch t {
		case frameClient, frameClientEnd:
			ok = s.client.push(frame{t, body})
		case frameServer, frameServerEnd:
			ok = s.server.push(frame{t, body})
		case frameOversize:
			var o oversize
			if err := action.Read(body, &o, action.Limits{}); err != nil {
				return err
			}
			if o.Client {
				ok = s.client.push(frame{t, body})
			} else {
				ok = s.server.push(frame{t, body})
			}
		default:
			return fmt.Errorf("%w: not a relay's", errFrame)
		}
		if !ok {
			return nil
		}
	}
}

func (s *served) workClient(ctx context.Context) error {
	for {
		f, ok := s.client.pop()
		if !ok {
			return nil
		}
		var step Step
		switch f.kind {
		case frameClientEnd:
			if err := s.out.write(frameCloseInput, nil); err != nil {
				return err
			}
			continue
		case frameOversize:
			o := readOversize(f.body)
			s.conn.malformed(ctx, "size")
			step.Reply = errorReply(rawID(o.ID), codeInvalid, fmt.Sprintf("a message of %d bytes is larger than may pass", o.Bytes))
		default:
			step = s.conn.FromClient(ctx, f.body)
		}
		if step.Later != nil {
			s.waiting.Go(func() {
				step := step.Later(ctx)
				_ = s.send(step.Forward, frameToServer, step.Reply, frameToClient) // a lost relay ends read
			})
			continue
		}
		if err := s.send(step.Forward, frameToServer, step.Reply, frameToClient); err != nil {
			return err
		}
	}
}

// workServer goes on when the relay is lost: what the server has answered is recorded all the same.
func (s *served) workServer(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	var lost error
	for {
		f, ok := s.server.pop()
		if !ok {
			return lost
		}
		var step Step
		switch f.kind {
		case frameServerEnd:
			for _, reply := range s.conn.Close(ctx, "the server has ended") {
				if err := s.out.write(frameToClient, reply); err != nil {
					return err
				}
			}
			return s.out.write(frameDone, nil) // the relay closes the connection, which ends read
		case frameOversize:
			o := readOversize(f.body)
			key, _ := idKey(rawID(o.ID))
			step = s.conn.Oversize(ctx, key, o.Bytes, o.Digest)
		default:
			step = s.conn.FromServer(ctx, "", f.body)
		}
		if lost == nil {
			if lost = s.send(step.Forward, frameToClient, step.Reply, frameToServer); lost != nil {
				_ = s.io.Close()
			}
		}
	}
}

func (s *served) send(forward []byte, to frameType, reply []byte, back frameType) error {
	if forward != nil {
		if err := s.out.write(to, forward); err != nil {
			return err
		}
	}
	if reply != nil {
		return s.out.write(back, reply)
	}
	return nil
}

func (s *served) beat(ctx context.Context) {
	t := time.NewTicker(beat)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.conn.Beat()
		case <-s.relist:
			s.conn.mu.Lock()
			tell := s.conn.relists
			s.conn.mu.Unlock()
			if tell {
				_ = s.out.write(frameToClient, []byte(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)) // a lost relay ends read
			}
		}
	}
}

// readOversize reads a body that read has validated.
func readOversize(body []byte) (o oversize) {
	_ = action.Read(body, &o, action.Limits{})
	return o
}

func rawID(id string) []byte {
	if key, err := idKey([]byte(id)); id == "" || err != nil || key == "" {
		return nil
	}
	return []byte(id)
}
