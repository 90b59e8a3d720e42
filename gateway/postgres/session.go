// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// session is one connection. One goroutine owns it; only cancel looks at up from another.
type session struct {
	d      *Door
	conn   net.Conn
	client *pgproto3.Backend
	tls    bool
	who    *gateway.Caller
	sid    string
	db     *Database
	up     *upstream
	key    cancelKey
	prefix string // of our names on the server

	tx       byte // state of the server's transaction: I, T or E
	readOnly bool // the server's session was set to read-only by us
	dirty    bool // the server has got something since its last ReadyForQuery
	skip     bool // after an error: what comes before Sync is ignored
	names    int

	statements map[string]*prepared // by the client's name
	portals    map[string]*portal
	queue      []pgproto3.FrontendMessage // of the extended protocol, not yet sent
}

func (s *session) close() {
	s.d.mu.Lock()
	delete(s.d.cancels, s.key)
	s.d.mu.Unlock()
	_ = s.up.conn.Close()
}

// run takes messages until the client leaves.
func (s *session) run(ctx context.Context) error {
	for {
		msg, err := s.client.Receive()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if s.skip {
			if _, ok := msg.(*pgproto3.Sync); !ok {
				if _, ok := msg.(*pgproto3.Terminate); ok {
					return nil
				}
				continue
			}
		}
		switch m := msg.(type) {
		case *pgproto3.Terminate:
			return nil
		case *pgproto3.Query:
			err = s.simple(ctx, m.String)
		case *pgproto3.Parse:
			err = s.keep(&pgproto3.Parse{Name: m.Name, Query: m.Query, ParameterOIDs: append([]uint32(nil), m.ParameterOIDs...)})
		case *pgproto3.Bind:
			err = s.keep(copyBind(m))
		case *pgproto3.Describe:
			err = s.keep(&pgproto3.Describe{ObjectType: m.ObjectType, Name: m.Name})
		case *pgproto3.Close:
			err = s.keep(&pgproto3.Close{ObjectType: m.ObjectType, Name: m.Name})
		case *pgproto3.Execute:
			err = s.execute(ctx, &pgproto3.Execute{Portal: m.Portal, MaxRows: m.MaxRows})
		case *pgproto3.Flush:
			if err = s.drain(ctx, len(s.queue)); err == nil {
				err = s.client.Flush()
			}
		case *pgproto3.Sync:
			err = s.sync(ctx)
		case *pgproto3.FunctionCall:
			s.fail(&pgproto3.ErrorResponse{Code: "0A000", Message: "calls of functions by number are not passed on"})
			s.ready()
			err = s.client.Flush()
		case *pgproto3.CopyData, *pgproto3.CopyDone, *pgproto3.CopyFail: // left over from a copy that was refused
		default:
			return fmt.Errorf("a message %T in the middle of a session", msg)
		}
		if err != nil {
			return err
		}
	}
}

func (s *session) ready() { s.client.Send(&pgproto3.ReadyForQuery{TxStatus: s.tx}) }

// fail tells the client of an error of ours.
func (s *session) fail(e *pgproto3.ErrorResponse) {
	e.Severity, e.SeverityUnlocalized, e.Message = "ERROR", "ERROR", "sallyport: "+e.Message
	s.client.Send(e)
}

// attempt is an action of this connection.
func (s *session) attempt(tool string, args any) (enforce.Attempt, error) {
	b, err := action.Canonical(args)
	if err != nil {
		return enforce.Attempt{}, err
	}
	sep, grade, walls := s.d.cfg.Standing(s.who)
	return enforce.Attempt{Subject: s.who.Subject, Session: s.sid, Name: "sql." + tool, Type: "tool", Server: s.db.Name, Tool: tool,
		Arguments: b, Grade: grade, Separation: sep, Confined: walls, Roots: []string{}}, nil
}

// act takes one action through both gates. run is called at most once, with the gate that results pass by pieces;
// it returns what is left for the end. Then release is sent to the client, or the refusal is.
func (s *session) act(ctx context.Context, tool string, args any, run func(g *gate) error) (refused bool, err error) {
	a, err := s.attempt(tool, args)
	if err != nil {
		s.d.cfg.Enforcer.Malformed(ctx, action.DoorEgress, s.who.Subject.ID, "malformed")
		s.fail(&pgproto3.ErrorResponse{Code: "22021", Message: "the statement is no valid text"})
		return true, nil
	}
	g := &gate{s: s, ctx: ctx}
	var broken error
	adm, rel, err := s.d.cfg.Enforcer.Do(ctx, a, func(ctx context.Context, adm enforce.Admission) (enforce.Outcome, error) {
		if adm.Rewritten {
			broken = errRewritten
			return enforce.Outcome{}, broken
		}
		g.id = adm.ID
		if broken = run(g); broken != nil {
			return enforce.Outcome{}, broken
		}
		return g.outcome()
	})
	switch {
	case errors.Is(broken, errRewritten):
		s.fail(&pgproto3.ErrorResponse{Code: "42501", Message: "the statement may only run in another form"})
		return true, nil
	case broken != nil:
		return false, broken // the connection is lost
	case err != nil:
		s.d.cfg.Log.Warn("an action could not be judged or recorded", "error", err.Error())
		s.fail(&pgproto3.ErrorResponse{Code: "58000", Message: "the statement could not be judged or recorded; its result is withheld",
			Hint: "It may have been executed. Ask before you repeat it."})
		return true, nil
	case adm.Verdict != action.Allow:
		s.fail(refusal(adm))
		return true, nil
	}
	return g.release(rel), nil
}

var errRewritten = errors.New("rewritten")

// refusal is what the agent reads: no more than Admission lets it know.
func refusal(adm enforce.Admission) *pgproto3.ErrorResponse {
	e := &pgproto3.ErrorResponse{Code: "42501", Message: "the statement is not permitted", Hint: adm.Hint}
	if adm.Verdict == action.Ask {
		e.Message = "the statement needs a person's approval"
		if adm.Ticket != "" {
			e.Hint = strings.TrimSpace(adm.Hint + " It waits as " + adm.Ticket + " (sallyport approvals approve " + adm.Ticket +
				"). Once approved, send exactly the same statement again.")
		}
	}
	return e
}

// abort brings the server's transaction to where a failed statement leaves it, as the client will be told. Within
// the extended protocol the server then ignores what comes before Sync.
func (s *session) abort(extended bool) error {
	if s.tx != 'T' && !(extended && s.dirty) {
		return nil
	}
	if extended {
		s.up.f.Send(&pgproto3.Parse{Name: s.prefix + "x", Query: "refused by sallyport"})
		s.up.f.Send(&pgproto3.Flush{})
	} else {
		s.up.f.Send(&pgproto3.Query{String: "refused by sallyport"})
	}
	if err := s.up.f.Flush(); err != nil {
		return err
	}
	for {
		msg, err := s.receive()
		if err != nil {
			return err
		}
		switch m := msg.(type) {
		case *pgproto3.ErrorResponse:
			if extended {
				return nil
			}
		case *pgproto3.ReadyForQuery:
			s.tx = m.TxStatus
			return nil
		}
	}
}

// receive returns the server's next message, but for those that come at any time: a changed setting is passed on, a
// notification is dropped, since no action asked for it.
func (s *session) receive() (pgproto3.BackendMessage, error) {
	for {
		msg, err := s.up.f.Receive()
		if err != nil {
			return nil, fmt.Errorf("database %q: %w", s.db.Name, err)
		}
		switch m := msg.(type) {
		case *pgproto3.ParameterStatus:
			s.client.Send(&pgproto3.ParameterStatus{Name: m.Name, Value: m.Value})
		case *pgproto3.NotificationResponse:
		default:
			return msg, nil
		}
	}
}

// narrow makes the server's session read-only before something that only reads, and gives it back before anything
// else. It does nothing within a transaction or among messages that the server has got already.
func (s *session) narrow(r Reading) error {
	want := r.Reads
	if s.db.ReadOnly || s.tx != 'I' || s.dirty || want == s.readOnly {
		return nil
	}
	value := "off"
	if want {
		value = "on"
	}
	name := s.prefix + "m"
	s.up.f.Send(&pgproto3.Parse{Name: name, Query: "SET default_transaction_read_only = " + value})
	s.up.f.Send(&pgproto3.Bind{DestinationPortal: name, PreparedStatement: name})
	s.up.f.Send(&pgproto3.Execute{Portal: name})
	s.up.f.Send(&pgproto3.Close{ObjectType: 'S', Name: name})
	s.up.f.Send(&pgproto3.Sync{})
	if err := s.up.f.Flush(); err != nil {
		return err
	}
	var failed error
	for {
		msg, err := s.receive()
		if err != nil {
			return err
		}
		switch m := msg.(type) {
		case *pgproto3.ErrorResponse:
			failed = fmt.Errorf("database %q: the session cannot be made read-only: %s", s.db.Name, m.Message)
		case *pgproto3.ReadyForQuery:
			s.readOnly = want
			return failed
		}
	}
}

// simple is one Query message: one action, whatever number of statements it holds.
func (s *session) simple(ctx context.Context, text string) error {
	if err := s.drain(ctx, len(s.queue)); err != nil || s.skip {
		return err
	}
	delete(s.statements, "") // the server forgets it too
	reading := s.d.cfg.Read(text)
	if reading.Deallocate != "" {
		return s.deallocate(ctx, reading.Deallocate)
	}
	refused, err := s.act(ctx, "query", queryArgs{SQL: text, Params: []any{}}, func(g *gate) error {
		g.sql = text
		if err := s.narrow(reading); err != nil {
			return err
		}
		s.up.f.Send(&pgproto3.Query{String: text})
		if err := s.up.f.Flush(); err != nil {
			return err
		}
		return g.collect(true)
	})
	if err != nil {
		return err
	}
	if refused {
		if err := s.abort(false); err != nil {
			return err
		}
	}
	s.dirty = false
	s.closedTransaction()
	s.ready()
	return s.client.Flush()
}

// closedTransaction forgets the cursors that the server has forgotten.
func (s *session) closedTransaction() {
	if s.tx == 'I' {
		clear(s.portals)
	}
}

// queryArgs are the arguments of an action as policy sees them.
type queryArgs struct {
	SQL    string `json:"sql"`
	Params []any  `json:"params"`
}

// copyArgs is a piece of what COPY carries in.
type copyArgs struct {
	SQL  string `json:"sql"`
	Data string `json:"data"`
}
