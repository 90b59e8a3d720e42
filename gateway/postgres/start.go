// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// passed are the parameters of a start that change how values look, and nothing that a statement means.
var passed = []string{"application_name", "datestyle", "intervalstyle", "timezone", "extra_float_digits", "client_min_messages",
	"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"}

// start takes a connection from its first byte to where statements may come. It returns nil without an error for a
// request to cancel.
func (d *Door) start(ctx context.Context, conn net.Conn) (*session, error) {
	_ = conn.SetDeadline(time.Now().Add(startupTimeout))
	s := &session{d: d, conn: conn, client: pgproto3.NewBackend(conn, conn), statements: map[string]*prepared{}, portals: map[string]*portal{}}
	s.client.SetMaxBodyLen(maxMessage)
	params, err := s.greet(ctx)
	if err != nil || params == nil {
		return nil, err
	}
	if s.who, err = s.login(ctx); err != nil {
		return nil, err
	}
	if s.db = d.byID[params["database"]]; s.db == nil {
		return nil, s.fatal("3D000", fmt.Sprintf("there is no database %q here", action.Clip(params["database"], 64)), "")
	}
	if err := d.cfg.Observe(ctx, s.who, s.db.Name); err != nil {
		return nil, errors.Join(err, s.fatal("57P03", "the database cannot be used now", ""))
	}
	if s.sid, err = d.cfg.Enforcer.Session(ctx, &s.who.Subject, "", enforce.SessionOptions{}); err != nil {
		return nil, errors.Join(err, s.fatal("57P03", "no session can be opened now", ""))
	}
	if s.up, err = d.connect(ctx, s.db, params); err != nil {
		return nil, errors.Join(err, s.fatal("08001", "the database cannot be reached", ""))
	}
	s.tx = 'I'
	return s, s.welcome()
}

// greet reads the messages before a login: wishes for encryption, a request to cancel, and the parameters.
func (s *session) greet(ctx context.Context) (map[string]string, error) {
	for range 4 {
		msg, err := s.client.ReceiveStartupMessage()
		if err != nil {
			s.d.cfg.Enforcer.Malformed(ctx, action.DoorEgress, source(s.conn), "malformed")
			return nil, err
		}
		switch m := msg.(type) {
		case *pgproto3.SSLRequest:
			if err := s.encrypt(ctx); err != nil {
				return nil, err
			}
		case *pgproto3.GSSEncRequest:
			if _, err := s.conn.Write([]byte{'N'}); err != nil {
				return nil, err
			}
		case *pgproto3.CancelRequest:
			s.d.cancel(ctx, m)
			return nil, nil
		case *pgproto3.StartupMessage:
			return s.parameters(m)
		}
	}
	return nil, errors.New("no start among the first messages")
}

func (s *session) encrypt(ctx context.Context) error {
	if s.d.cfg.TLS == nil || s.tls {
		_, err := s.conn.Write([]byte{'N'})
		return err
	}
	if _, err := s.conn.Write([]byte{'S'}); err != nil {
		return err
	}
	t := tls.Server(s.conn, s.d.cfg.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	s.conn, s.tls = t, true
	// A new reader: what was sent in the clear behind the wish is dropped, never read as if it had come within TLS.
	s.client = pgproto3.NewBackend(t, t)
	s.client.SetMaxBodyLen(maxMessage)
	return nil
}

// parameters keeps what is harmless of a start and refuses what changes the meaning of statements.
func (s *session) parameters(m *pgproto3.StartupMessage) (map[string]string, error) {
	out := map[string]string{"database": m.Parameters["database"]}
	if out["database"] == "" {
		out["database"] = m.Parameters["user"]
	}
	for name, v := range m.Parameters {
		low := strings.ToLower(name)
		switch {
		case low == "user" || low == "database" || low == "client_encoding" || strings.HasPrefix(low, "_pq_."):
		case low == "replication" && (v == "" || v == "false" || v == "off" || v == "no" || v == "0"):
		case slices.Contains(passed, low):
			out[low] = v
		default:
			return nil, s.fatal("0A000", fmt.Sprintf("the parameter %q cannot be set here", action.Clip(name, 64)), "")
		}
	}
	return out, nil
}

func source(c net.Conn) string {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return "socket"
	}
	return host
}

// near reports whether what crosses c stays on this machine.
func near(c net.Conn) bool {
	switch a := c.RemoteAddr().(type) {
	case *net.UnixAddr:
		return true
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	}
	return false
}

// login asks for the token and takes it only where nobody can listen.
func (s *session) login(ctx context.Context) (*gateway.Caller, error) {
	if !s.tls && !near(s.conn) {
		return nil, s.fatal("28000", "a token is taken over TLS only", "connect with sslmode=require")
	}
	t := gateway.StateOf(s.conn)
	if _, known := gateway.PeerOf(s.conn); known || t != nil && len(t.PeerCertificates) > 0 {
		// A connection or certificate that proves an agent needs no password beside it; any other does not stand in its way.
		if c, err := s.d.cfg.Authenticate(ctx, "", s.conn); err == nil && c.Has(action.ScopeAgent) && c.Subject.ID != "" {
			c.Subject.Channel.Door = action.DoorEgress
			return c, nil
		}
	}
	s.client.Send(&pgproto3.AuthenticationCleartextPassword{})
	if err := errors.Join(s.client.Flush(), s.client.SetAuthType(pgproto3.AuthTypeCleartextPassword)); err != nil {
		return nil, err
	}
	msg, err := s.client.Receive()
	if err != nil {
		return nil, err
	}
	m, ok := msg.(*pgproto3.PasswordMessage)
	if !ok {
		return nil, errors.New("no password came")
	}
	var c *gateway.Caller
	if err = gateway.ErrUnauthenticated; m.Password != "" { // none is what stands for a certificate
		c, err = s.d.cfg.Authenticate(ctx, m.Password, s.conn)
	}
	if err != nil || !c.Has(action.ScopeAgent) || c.Subject.ID == "" {
		s.d.cfg.Enforcer.Malformed(ctx, action.DoorEgress, source(s.conn), "unauthenticated")
		return nil, errors.Join(gateway.ErrUnauthenticated, s.fatal("28P01", "the password is no token of an agent", `make one with "sallyport tokens create"`))
	}
	c.Subject.Channel.Door = action.DoorEgress
	return c, nil
}

// welcome tells the client that statements may come, with a key of ours to cancel by.
func (s *session) welcome() error {
	var b [12]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	s.key = cancelKey{binary.BigEndian.Uint32(b[:4]) >> 1, string(b[4:8])}
	s.prefix = "sp_" + hex.EncodeToString(b[8:]) + "_"
	s.d.mu.Lock()
	s.d.cancels[s.key] = s
	s.d.mu.Unlock()
	s.client.Send(&pgproto3.AuthenticationOk{})
	for k, v := range s.up.status {
		s.client.Send(&pgproto3.ParameterStatus{Name: k, Value: v})
	}
	s.client.Send(&pgproto3.BackendKeyData{ProcessID: s.key.pid, SecretKey: []byte(s.key.secret)})
	s.client.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if err := s.client.Flush(); err != nil {
		return err
	}
	return s.conn.SetDeadline(time.Time{})
}

// fatal ends a connection that has not begun.
func (s *session) fatal(code, message, hint string) error {
	s.client.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: "sallyport: " + message, Hint: hint})
	return errors.Join(errors.New(message), s.client.Flush())
}

// upstream is our connection to the server.
type upstream struct {
	conn   net.Conn
	f      *pgproto3.Frontend
	pg     *pgconn.PgConn // taken apart; only for requests to cancel
	status map[string]string
}

// connect opens a connection for one client. Its encoding and the meaning of strings are fixed, because statements
// are read by them.
func (d *Door) connect(ctx context.Context, db *Database, params map[string]string) (*upstream, error) {
	cfg, err := db.Connect()
	if err != nil {
		return nil, err
	}
	if cfg.RuntimeParams == nil {
		cfg.RuntimeParams = map[string]string{}
	}
	for _, name := range passed {
		if v, ok := params[name]; ok {
			cfg.RuntimeParams[name] = v
		}
	}
	cfg.RuntimeParams["client_encoding"], cfg.RuntimeParams["standard_conforming_strings"] = "UTF8", "on"
	if db.ReadOnly {
		cfg.RuntimeParams["default_transaction_read_only"] = "on"
	}
	ctx, cancel := context.WithTimeout(ctx, startupTimeout)
	defer cancel()
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("database %q: %w", db.Name, err)
	}
	h, err := pg.Hijack()
	if err != nil {
		return nil, err
	}
	h.Frontend.SetMaxBodyLen(maxRow)
	return &upstream{conn: h.Conn, f: h.Frontend, pg: pg, status: h.ParameterStatuses}, nil
}

// cancel passes a request to cancel on, if its key is that of a connection of ours.
func (d *Door) cancel(ctx context.Context, m *pgproto3.CancelRequest) {
	d.mu.Lock()
	s := d.cancels[cancelKey{m.ProcessID, string(m.SecretKey)}]
	d.mu.Unlock()
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, startupTimeout)
	defer cancel()
	if err := s.up.pg.CancelRequest(ctx); err != nil {
		d.cfg.Log.Info("a request to cancel could not be passed on", "error", err.Error())
	}
}
