// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"bytes"
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgproto3"
)

// prepared is a statement under the client's name.
type prepared struct {
	name  string // on the server
	sql   string
	oids  []uint32 // of its parameters, as far as they are known
	asked []uint32
}

// portal is a bound statement under the client's name.
type portal struct {
	name    string // on the server
	stmt    *prepared
	params  []any
	columns []pgproto3.FieldDescription // with the formats that rows come in; nil until the server has described it
}

func copyBind(m *pgproto3.Bind) *pgproto3.Bind {
	b := &pgproto3.Bind{DestinationPortal: m.DestinationPortal, PreparedStatement: m.PreparedStatement,
		ParameterFormatCodes: append([]int16(nil), m.ParameterFormatCodes...), ResultFormatCodes: append([]int16(nil), m.ResultFormatCodes...)}
	for _, p := range m.Parameters {
		b.Parameters = append(b.Parameters, bytes.Clone(p))
	}
	return b
}

// keep queues a message. The server gets it with the action that it belongs to.
func (s *session) keep(m pgproto3.FrontendMessage) error {
	if len(s.queue) >= maxStatements {
		return fmt.Errorf("more than %d messages without a Sync", maxStatements)
	}
	s.queue = append(s.queue, m)
	return nil
}

// broke tells the client of an error of ours and ignores what comes before Sync.
func (s *session) broke(e *pgproto3.ErrorResponse) error {
	if e != nil {
		s.fail(e)
	}
	was := s.skip
	s.skip, s.queue = true, nil
	if was { // the server ignores everything up to Sync already
		return nil
	}
	return s.abort(true)
}

// sync ends a batch.
func (s *session) sync(ctx context.Context) error {
	if err := s.drain(ctx, len(s.queue)); err != nil {
		return err
	}
	s.up.f.Send(&pgproto3.Sync{})
	if err := s.up.f.Flush(); err != nil {
		return err
	}
	for {
		msg, err := s.receive()
		if err != nil {
			return err
		}
		switch m := msg.(type) {
		case *pgproto3.ErrorResponse: // of the commit, say; its text stands for itself
			s.told(m)
		case *pgproto3.ReadyForQuery:
			s.tx, s.dirty, s.skip, s.queue = m.TxStatus, false, false, nil
			s.closedTransaction()
			s.ready()
			return s.client.Flush()
		}
	}
}

// told passes an error on that came outside of an action, without what it may quote of the data.
func (s *session) told(e *pgproto3.ErrorResponse) {
	s.client.Send(&pgproto3.ErrorResponse{Severity: e.Severity, SeverityUnlocalized: e.SeverityUnlocalized, Code: e.Code,
		Message: "the server refused this (" + e.Code + ")", Position: e.Position})
}

// drain sends the first n queued messages, each with an action of its own where it tells the server a statement.
func (s *session) drain(ctx context.Context, n int) error {
	for range n {
		if s.skip || len(s.queue) == 0 {
			return nil
		}
		m := s.queue[0]
		s.queue = s.queue[1:]
		var err error
		switch m := m.(type) {
		case *pgproto3.Parse:
			err = s.single(ctx, "prepare", queryArgs{SQL: m.Query, Params: []any{}}, m)
		case *pgproto3.Bind:
			var p *portal
			if p, err = s.bound(m); err != nil || p == nil {
				return err
			}
			err = s.single(ctx, "query", queryArgs{SQL: p.stmt.sql, Params: p.params}, m)
		default:
			err = s.forward(m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// single is an action of one message that is not executed yet.
func (s *session) single(ctx context.Context, tool string, args queryArgs, m pgproto3.FrontendMessage) error {
	refused, err := s.act(ctx, tool, args, func(g *gate) error {
		_, err := s.pass(g, []pgproto3.FrontendMessage{m})
		return err
	})
	if err != nil {
		return err
	}
	if refused {
		return s.broke(nil)
	}
	return nil
}

// forward sends a Describe or Close, which tell the server no statement.
func (s *session) forward(m pgproto3.FrontendMessage) error {
	g := &gate{s: s}
	if _, err := s.pass(g, []pgproto3.FrontendMessage{m}); err != nil {
		return err
	}
	for _, i := range g.held {
		if e, ok := i.msg.(*pgproto3.ErrorResponse); ok {
			s.told(e)
			continue
		}
		s.client.Send(i.msg)
	}
	return nil
}

// execute runs a portal: one action, with the messages that led to it.
func (s *session) execute(ctx context.Context, m *pgproto3.Execute) error {
	parse, bind := s.lead(m.Portal)
	if err := s.drain(ctx, s.foreign(m.Portal, parse, bind)); err != nil || s.skip {
		return err
	}
	lead := s.queue
	s.queue = nil
	p, err := s.leads(m.Portal, lead)
	if err != nil || p == nil {
		return err
	}
	sql := p.stmt.sql
	refused, err := s.act(ctx, "query", queryArgs{SQL: sql, Params: p.params}, func(g *gate) error {
		g.sql = sql
		if err := s.narrow(s.d.cfg.Read(sql)); err != nil {
			return err
		}
		if ok, err := s.pass(g, lead); err != nil || !ok {
			return err
		}
		p := s.portals[m.Portal]
		if p.columns == nil {
			if err := s.learn(g, p); err != nil || g.failed {
				return err
			}
		}
		g.columns = p.columns
		s.up.f.Send(&pgproto3.Execute{Portal: p.name, MaxRows: m.MaxRows})
		s.up.f.Send(&pgproto3.Flush{})
		if err := s.up.f.Flush(); err != nil {
			return err
		}
		s.dirty = true
		if err := g.collect(false); err != nil {
			return err
		}
		s.skip = s.skip || g.failed
		return nil
	})
	if err != nil {
		return err
	}
	if refused {
		return s.broke(nil)
	}
	return nil
}

// lead returns where in the queue the portal's Bind stands and the Parse of its statement; -1 for none.
func (s *session) lead(name string) (parse, bind int) {
	parse, bind = -1, -1
	for i := len(s.queue) - 1; i >= 0; i-- {
		switch m := s.queue[i].(type) {
		case *pgproto3.Bind:
			if bind < 0 && m.DestinationPortal == name {
				bind = i
			}
		case *pgproto3.Parse:
			if bind >= 0 && m.Name == s.queue[bind].(*pgproto3.Bind).PreparedStatement {
				return i, bind
			}
		}
	}
	return parse, bind
}

// foreign counts the queued messages up to the last one that does not lead to the portal.
func (s *session) foreign(portal string, parse, bind int) int {
	n := 0
	for i, m := range s.queue {
		own := i == parse || i == bind
		if d, ok := m.(*pgproto3.Describe); ok {
			own = d.ObjectType == 'S' && parse >= 0 && i > parse && d.Name == s.queue[parse].(*pgproto3.Parse).Name ||
				d.ObjectType == 'P' && bind >= 0 && i > bind && d.Name == portal
		}
		if !own {
			n = i + 1
		}
	}
	return n
}

// leads returns the portal as it will be once the server has got lead.
func (s *session) leads(name string, lead []pgproto3.FrontendMessage) (*portal, error) {
	var stmt *prepared
	for _, m := range lead {
		switch m := m.(type) {
		case *pgproto3.Parse:
			stmt = &prepared{sql: m.Query, oids: m.ParameterOIDs}
		case *pgproto3.Bind:
			if stmt == nil {
				return s.bound(m)
			}
			return s.bind(m, stmt)
		}
	}
	if p := s.portals[name]; p != nil {
		return p, nil
	}
	return nil, s.broke(&pgproto3.ErrorResponse{Code: "34000", Message: "there is no cursor of this name"})
}

// bound makes the portal of a Bind whose statement the server has.
func (s *session) bound(b *pgproto3.Bind) (*portal, error) {
	stmt := s.statements[b.PreparedStatement]
	if stmt == nil {
		return nil, s.broke(&pgproto3.ErrorResponse{Code: "26000", Message: "there is no prepared statement of this name"})
	}
	return s.bind(b, stmt)
}

func (s *session) bind(b *pgproto3.Bind, stmt *prepared) (*portal, error) {
	p := &portal{stmt: stmt, params: []any{}}
	if n := len(b.ParameterFormatCodes); n > 1 && n != len(b.Parameters) {
		return nil, s.broke(&pgproto3.ErrorResponse{Code: "08P01", Message: "the formats of the parameters do not match their number"})
	}
	for i, v := range b.Parameters {
		var oid uint32
		if i < len(stmt.oids) {
			oid = stmt.oids[i]
		}
		if v == nil {
			p.params = append(p.params, nil)
			continue
		}
		shown, _, _ := render(oid, formatAt(b.ParameterFormatCodes, i), v)
		p.params = append(p.params, shown)
	}
	return p, nil
}

func formatAt(codes []int16, i int) int16 {
	switch {
	case len(codes) == 0:
		return 0
	case len(codes) == 1:
		return codes[0]
	case i < len(codes):
		return codes[i]
	}
	return 0
}

// pass sends messages to the server under our names and holds its answers. ok is false if the server refused one:
// it ignores the rest up to Sync, and so do we.
func (s *session) pass(g *gate, ms []pgproto3.FrontendMessage) (ok bool, err error) {
	for _, m := range ms {
		if ok, err := s.passOne(g, m); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

func (s *session) passOne(g *gate, m pgproto3.FrontendMessage) (ok bool, err error) {
	var done func()
	switch m := m.(type) {
	case *pgproto3.Parse:
		if m.Name != "" && (s.statements[m.Name] != nil || len(s.statements) >= maxStatements) {
			return s.refuse(g, "42P05", "the name is taken, or there are too many prepared statements")
		}
		stmt := &prepared{name: s.fresh(m.Name), sql: m.Query, oids: m.ParameterOIDs}
		delete(s.statements, m.Name)
		done = func() { s.statements[m.Name] = stmt }
		s.up.f.Send(&pgproto3.Parse{Name: stmt.name, Query: m.Query, ParameterOIDs: m.ParameterOIDs})
	case *pgproto3.Bind:
		p, err := s.bound(m)
		if err != nil || p == nil {
			return false, err
		}
		if m.DestinationPortal != "" && (s.portals[m.DestinationPortal] != nil || len(s.portals) >= maxStatements) {
			return s.refuse(g, "42P03", "the name is taken, or there are too many cursors")
		}
		p.name = s.fresh(m.DestinationPortal)
		done = func() { s.portals[m.DestinationPortal] = p }
		s.up.f.Send(&pgproto3.Bind{DestinationPortal: p.name, PreparedStatement: p.stmt.name, ParameterFormatCodes: m.ParameterFormatCodes,
			Parameters: m.Parameters, ResultFormatCodes: m.ResultFormatCodes})
	case *pgproto3.Describe:
		name, found := s.serverName(m.ObjectType, m.Name)
		if !found {
			return s.refuse(g, "26000", "there is nothing of this name to describe")
		}
		s.up.f.Send(&pgproto3.Describe{ObjectType: m.ObjectType, Name: name})
	case *pgproto3.Close:
		name, found := s.serverName(m.ObjectType, m.Name)
		if !found { // closing what is not there is no error
			return true, g.hold(item{msg: &pgproto3.CloseComplete{}}, 0)
		}
		done = func() { s.forget(m.ObjectType, m.Name) }
		s.up.f.Send(&pgproto3.Close{ObjectType: m.ObjectType, Name: name})
	}
	s.up.f.Send(&pgproto3.Flush{})
	if err := s.up.f.Flush(); err != nil {
		return false, err
	}
	s.dirty = true
	if err := s.answer(g, m); err != nil {
		return false, err
	}
	if g.failed {
		s.skip = true
		return false, nil
	}
	if done != nil {
		done()
	}
	return true, nil
}

// refuse answers a message that the server must not get.
func (s *session) refuse(g *gate, code, message string) (bool, error) {
	g.failed = true
	s.skip, s.queue = true, nil
	err := g.hold(item{msg: &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Message: "sallyport: " + message}}, 0)
	if err == nil {
		err = s.abort(true)
	}
	return false, err
}
