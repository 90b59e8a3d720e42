// SPDX-License-Identifier: Apache-2.0

// Package postgres is the door for agents that speak to a PostgreSQL server: the wire protocol, version 3, on both
// sides, and the two gates around every statement in between.
//
// # What is an action
//
// The text of a simple query, whole, whatever number of statements it holds; a bound statement with its parameters,
// when it is executed; a statement that is only prepared; a piece of what COPY carries in. Nothing reaches the server
// before its action was admitted, and no row, notice or error of it reaches the agent before the second gate.
//
// # Trust
//
// The agent proves itself with its token, which crosses only TLS, loopback or a unix socket. The server is reached
// with our credentials, which the agent never sees. Names of prepared statements and cursors are ours on the server's
// side, so that SQL cannot put another statement behind a name that was judged. Where a statement is known to read
// only, or the database is declared so, the server's session is read-only too: what a recogniser overlooks, the
// server refuses.
package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// Path is the part of enforce.Enforcer that this door uses.
type Path interface {
	Session(ctx context.Context, s *action.Subject, host string, o enforce.SessionOptions) (string, error)
	Do(ctx context.Context, a enforce.Attempt, execute func(context.Context, enforce.Admission) (enforce.Outcome, error)) (enforce.Admission, enforce.Release, error)
	Chunk(ctx context.Context, s *action.Subject, id string, o enforce.Outcome) (enforce.Release, error)
	Malformed(ctx context.Context, door action.Door, source, code string)
}

// Reading is what the door needs to know of a text to keep the server's session as narrow as it is.
type Reading struct {
	Reads      bool   // every statement was understood, changes nothing, and none steers a transaction
	Deallocate string // the one statement is DEALLOCATE of this name; "ALL" for all
}

// Database is one database as agents see it.
type Database struct {
	Name     string // as agents name it, and the server in policies
	ReadOnly bool   // the server's sessions are read-only, whatever a policy says
	// Connect returns the configuration of a new connection, our credentials in it.
	Connect func() (*pgconn.Config, error)
}

// Config wires a Door. Fields without a default are required.
type Config struct {
	Enforcer     Path
	Authenticate func(ctx context.Context, token string, from net.Conn) (*gateway.Caller, error)
	Read         func(statement string) Reading
	Databases    []Database
	// Observe is told of a database before its first statement in a connection, so that its tools are known.
	Observe func(ctx context.Context, c *gateway.Caller, database string) error

	TLS        *tls.Config                                                         // nil: tokens are taken over loopback and unix sockets only
	Standing   func(c *gateway.Caller) (action.Separation, action.Grade, []string) // nil: unknown, proxy, none
	MaxConns   int                                                                 // 0 means 64
	ChunkBytes int                                                                 // of a result that is held at once; 0 means 1 MiB
	Log        *slog.Logger                                                        // nil: nobody reads it
}

// Door serves agents. Its methods are safe for concurrent use.
type Door struct {
	cfg  Config
	byID map[string]*Database

	mu      sync.Mutex // guards cancels
	cancels map[cancelKey]*session
}

type cancelKey struct {
	pid    uint32
	secret string
}

// The bounds of what a client may send.
const (
	maxMessage     = 8 << 20
	maxRow         = 64 << 20
	maxStatements  = 1024 // prepared at a time, and cursors
	startupTimeout = 15 * time.Second
	copyPiece      = 256 << 10
)

// New returns a door over cfg.
func New(cfg Config) (*Door, error) {
	if cfg.Enforcer == nil || cfg.Authenticate == nil || cfg.Read == nil || cfg.Observe == nil {
		return nil, errors.New("postgres: Enforcer, Authenticate, Read and Observe are required")
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 64
	}
	if cfg.ChunkBytes == 0 {
		cfg.ChunkBytes = 1 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Standing == nil {
		cfg.Standing = func(*gateway.Caller) (action.Separation, action.Grade, []string) {
			return action.SeparationUnknown, action.GradeProxy, nil
		}
	}
	d := &Door{cfg: cfg, byID: map[string]*Database{}, cancels: map[cancelKey]*session{}}
	for i := range cfg.Databases {
		db := &cfg.Databases[i]
		if db.Name == "" || db.Connect == nil || d.byID[db.Name] != nil {
			return nil, fmt.Errorf("postgres: database %q has no name or no Connect, or stands twice", db.Name)
		}
		d.byID[db.Name] = db
	}
	return d, nil
}

// Serve answers on l until ctx ends, then closes what is open and waits for it.
func (d *Door) Serve(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	free := make(chan struct{}, d.cfg.MaxConns)
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() {
				time.Sleep(20 * time.Millisecond) // out of file descriptors
				continue
			}
			return fmt.Errorf("postgres: %w", err)
		}
		select {
		case free <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-free }()
			d.serve(ctx, conn)
		})
	}
}

// serve is one connection, from its first byte to its end.
func (d *Door) serve(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	s, err := d.start(ctx, conn)
	if err != nil {
		d.cfg.Log.Info("a connection ended before it began", "error", err.Error())
		return
	}
	if s == nil { // it was a request to cancel
		return
	}
	defer s.close()
	unhook := context.AfterFunc(ctx, func() { _ = s.up.conn.Close() })
	defer unhook()
	if err := s.run(ctx); err != nil {
		d.cfg.Log.Info("a connection ended", "error", err.Error())
	}
}
