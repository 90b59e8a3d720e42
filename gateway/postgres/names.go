// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sallyport/sallyport/action"
)

// fresh is a name of ours for a name of the client's. The unnamed ones stay unnamed.
func (s *session) fresh(name string) string {
	if name == "" {
		return ""
	}
	s.names++
	return s.prefix + strconv.Itoa(s.names)
}

func (s *session) serverName(kind byte, name string) (string, bool) {
	if kind == 'S' {
		if p := s.statements[name]; p != nil {
			return p.name, true
		}
		return "", false
	}
	if p := s.portals[name]; p != nil {
		return p.name, true
	}
	return "", false
}

func (s *session) forget(kind byte, name string) {
	if kind == 'S' {
		delete(s.statements, name)
	} else {
		delete(s.portals, name)
	}
}

// answer reads the server's answer to one message.
func (s *session) answer(g *gate, m pgproto3.FrontendMessage) error {
	for {
		msg, err := s.receive()
		if err != nil {
			return err
		}
		switch a := msg.(type) {
		case *pgproto3.ParseComplete:
			return g.hold(item{msg: &pgproto3.ParseComplete{}}, 0)
		case *pgproto3.BindComplete:
			return g.hold(item{msg: &pgproto3.BindComplete{}}, 0)
		case *pgproto3.CloseComplete:
			return g.hold(item{msg: &pgproto3.CloseComplete{}}, 0)
		case *pgproto3.NoData:
			s.described(m, nil)
			return g.hold(item{msg: &pgproto3.NoData{}}, 0)
		case *pgproto3.ParameterDescription:
			oids := append([]uint32(nil), a.ParameterOIDs...)
			if d, ok := m.(*pgproto3.Describe); ok && s.statements[d.Name] != nil {
				s.statements[d.Name].oids = oids
			}
			if err := g.hold(item{msg: &pgproto3.ParameterDescription{ParameterOIDs: oids}}, 0); err != nil {
				return err
			}
		case *pgproto3.RowDescription:
			c := copyColumns(a)
			s.described(m, c.Fields)
			return g.hold(item{msg: c}, 64*len(c.Fields))
		case *pgproto3.ErrorResponse, *pgproto3.NoticeResponse:
			done, err := g.take(msg, false)
			if err != nil || done {
				return err
			}
		default:
			return fmt.Errorf("the server answered %T to %T", msg, m)
		}
	}
}

// described notes the columns of a portal.
func (s *session) described(m pgproto3.FrontendMessage, c []pgproto3.FieldDescription) {
	d, ok := m.(*pgproto3.Describe)
	if !ok || d.ObjectType != 'P' || s.portals[d.Name] == nil {
		return
	}
	if c == nil {
		c = []pgproto3.FieldDescription{}
	}
	s.portals[d.Name].columns = c
}

// learn asks the server for the columns of a portal that the client did not ask for: without them nobody knows
// what a binary value is.
func (s *session) learn(g *gate, p *portal) error {
	s.up.f.Send(&pgproto3.Describe{ObjectType: 'P', Name: p.name})
	s.up.f.Send(&pgproto3.Flush{})
	if err := s.up.f.Flush(); err != nil {
		return err
	}
	for {
		msg, err := s.receive()
		if err != nil {
			return err
		}
		switch m := msg.(type) {
		case *pgproto3.RowDescription:
			p.columns = copyColumns(m).Fields
			return nil
		case *pgproto3.NoData:
			p.columns = []pgproto3.FieldDescription{}
			return nil
		case *pgproto3.ErrorResponse:
			s.skip = true
			_, err := g.take(m, false)
			return err
		}
	}
}

// deallocate is DEALLOCATE as a Close: the names on the server are ours.
func (s *session) deallocate(ctx context.Context, name string) error {
	refused, err := s.act(ctx, "query", queryArgs{SQL: "DEALLOCATE " + action.Clip(name, 64), Params: []any{}}, func(g *gate) error {
		var ms []pgproto3.FrontendMessage
		for have := range s.statements {
			if have != "" && (name == "ALL" || have == name) {
				ms = append(ms, &pgproto3.Close{ObjectType: 'S', Name: have})
			}
		}
		h := &gate{s: s}
		if _, err := s.pass(h, ms); err != nil {
			return err
		}
		if len(ms) > 0 {
			s.up.f.Send(&pgproto3.Sync{})
			if err := s.up.f.Flush(); err != nil {
				return err
			}
			if msg, err := s.receive(); err != nil {
				return err
			} else if m, ok := msg.(*pgproto3.ReadyForQuery); ok {
				s.tx, s.dirty = m.TxStatus, false
			}
		}
		return g.hold(item{msg: &pgproto3.CommandComplete{CommandTag: []byte("DEALLOCATE")}}, 0)
	})
	if err == nil && refused {
		err = s.abort(false)
	}
	if err != nil {
		return err
	}
	s.ready()
	return s.client.Flush()
}
