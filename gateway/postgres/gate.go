// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
)

// gate holds what the server answers until the second gate has seen it. Large results pass by pieces.
type gate struct {
	s   *session
	ctx context.Context
	id  string

	held     []item // in the order of the wire
	bytes    int
	columns  []pgproto3.FieldDescription
	failed   bool // the server answered an error
	opaque   bool
	stopped  string // hint of a piece that was withheld: nothing more goes out
	withheld bool
	sql      string // of a copy in
}

// item is one message for the client. Those with cells or text can be rewritten.
type item struct {
	msg   pgproto3.BackendMessage
	cells []cell // of a row
	text  []*string
	data  *string // of a copy out
}

// cell is one value of a row as gate two sees it.
type cell struct {
	shown any
	plain bool // its bytes on the wire are the text itself
}

// content is the result as the second gate sees it: rows, pieces of a copy, and what the server says beside them.
type content struct {
	Columns []string `json:"columns"`
	Rows    [][]any  `json:"rows"`
	Data    []string `json:"data"`
	Said    []string `json:"said"` // tags, notices and errors
}

func (g *gate) hold(i item, size int) error {
	if g.withheld {
		return nil
	}
	g.held = append(g.held, i)
	if g.bytes += size + 16; g.bytes < g.s.d.cfg.ChunkBytes {
		return nil
	}
	return g.piece()
}

// view renders what is held.
func (g *gate) view() content {
	c := content{Columns: []string{}, Rows: [][]any{}, Data: []string{}, Said: []string{}}
	for _, f := range g.columns {
		c.Columns = append(c.Columns, string(f.Name))
	}
	for _, i := range g.held {
		if i.cells != nil {
			row := make([]any, len(i.cells))
			for k, v := range i.cells {
				row[k] = v.shown
			}
			c.Rows = append(c.Rows, row)
		}
		if i.data != nil {
			c.Data = append(c.Data, *i.data)
		}
		for _, t := range i.text {
			c.Said = append(c.Said, *t)
		}
	}
	return c
}

// piece passes what is held so far through the second gate and sends what it lets through.
func (g *gate) piece() error {
	b, err := action.Canonical(g.view())
	if err != nil {
		return err
	}
	rel, err := g.s.d.cfg.Enforcer.Chunk(g.ctx, &g.s.who.Subject, g.id, enforce.Outcome{Status: action.ResultDone, Kind: "result", Content: b, Opaque: g.opaque})
	switch {
	case err != nil:
		return err
	case rel.Status != action.StatusReleased || rel.Rewritten && !g.rewrite(rel.Content):
		g.withhold(rel.Hint)
		return nil
	}
	for _, i := range g.held {
		g.s.client.Send(i.msg)
	}
	g.held, g.bytes = nil, 0
	return g.s.client.Flush()
}

// withhold lets nothing more out and asks the server to stop.
func (g *gate) withhold(hint string) {
	g.withheld, g.stopped, g.held, g.bytes = true, hint, nil, 0
	ctx, cancel := context.WithTimeout(g.ctx, startupTimeout)
	defer cancel()
	_ = g.s.up.pg.CancelRequest(ctx) // what it sends meanwhile is dropped anyway
}

func (g *gate) outcome() (enforce.Outcome, error) {
	b, err := action.Canonical(g.view())
	if err != nil {
		return enforce.Outcome{}, err
	}
	o := enforce.Outcome{Status: action.ResultDone, Kind: "result", Content: b, Opaque: g.opaque}
	if g.failed || g.withheld {
		o.Status, o.Kind = action.ResultFailed, "error"
	}
	return o, nil
}

// release sends what the second gate let through. It reports whether the client was told of an error of ours.
func (g *gate) release(rel enforce.Release) bool {
	hint := rel.Hint
	if g.withheld {
		hint = g.stopped
	}
	if g.withheld || rel.Status != action.StatusReleased || rel.Rewritten && !g.rewrite(rel.Content) {
		if hint == "" {
			hint = "It was executed. Do not repeat it."
		}
		g.s.fail(&pgproto3.ErrorResponse{Code: "42501", Message: "the result is withheld", Hint: hint})
		return true
	}
	for _, i := range g.held {
		g.s.client.Send(i.msg)
	}
	return false
}

// rewrite puts the texts of a released content back into what is held. It reports false if the content has not the
// shape that was handed in.
func (g *gate) rewrite(released []byte) bool {
	var c content
	if action.Read(released, &c, action.Limits{}) != nil {
		return false
	}
	was := g.view()
	if len(c.Rows) != len(was.Rows) || len(c.Data) != len(was.Data) || len(c.Said) != len(was.Said) {
		return false
	}
	for n := range g.held {
		i := &g.held[n]
		if i.cells != nil {
			if !i.setRow(c.Rows[0]) {
				return false
			}
			c.Rows = c.Rows[1:]
		}
		if i.data != nil {
			if *i.data != c.Data[0] {
				i.msg = &pgproto3.CopyData{Data: []byte(c.Data[0])}
			}
			c.Data = c.Data[1:]
		}
		for k := range i.text {
			*i.text[k] = c.Said[0]
			c.Said = c.Said[1:]
		}
	}
	return true
}

// setRow replaces the cells that differ: by the new text where the wire carries text, else by NULL.
func (i *item) setRow(row []any) bool {
	m, ok := i.msg.(*pgproto3.DataRow)
	if !ok || len(row) != len(i.cells) {
		return false
	}
	for k, v := range row {
		if same(v, i.cells[k].shown) {
			continue
		}
		s, text := v.(string)
		if text && i.cells[k].plain {
			m.Values[k] = []byte(s)
		} else {
			m.Values[k] = nil
		}
	}
	return true
}

func same(a, b any) bool {
	x, err1 := action.Canonical(a)
	y, err2 := action.Canonical(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// collect reads the server's answer: to ReadyForQuery for a simple query, else to the end of one Execute.
func (g *gate) collect(simple bool) error {
	for {
		msg, err := g.s.receive()
		if err != nil {
			return err
		}
		done, err := g.take(msg, simple)
		if err != nil || done {
			return err
		}
	}
}

// take holds one message of the server.
func (g *gate) take(msg pgproto3.BackendMessage, simple bool) (done bool, err error) {
	switch m := msg.(type) {
	case *pgproto3.RowDescription:
		c := copyColumns(m)
		g.columns = c.Fields
		return false, g.hold(item{msg: c}, 64*len(c.Fields))
	case *pgproto3.DataRow:
		i, size := g.row(m)
		return false, g.hold(i, size)
	case *pgproto3.CommandComplete:
		return !simple, g.hold(item{msg: &pgproto3.CommandComplete{CommandTag: bytes.Clone(m.CommandTag)}}, 16)
	case *pgproto3.EmptyQueryResponse:
		return !simple, g.hold(item{msg: &pgproto3.EmptyQueryResponse{}}, 0)
	case *pgproto3.PortalSuspended:
		return !simple, g.hold(item{msg: &pgproto3.PortalSuspended{}}, 0)
	case *pgproto3.ErrorResponse:
		g.failed = true
		e := *m
		return !simple, g.hold(item{msg: &e, text: spoken(&e)}, len(e.Message)+len(e.Detail))
	case *pgproto3.NoticeResponse:
		e := pgproto3.NoticeResponse(*m)
		return false, g.hold(item{msg: &e, text: spoken((*pgproto3.ErrorResponse)(&e))}, len(e.Message)+len(e.Detail))
	case *pgproto3.CopyOutResponse:
		return false, g.hold(item{msg: &pgproto3.CopyOutResponse{OverallFormat: m.OverallFormat, ColumnFormatCodes: append([]uint16(nil), m.ColumnFormatCodes...)}}, 16)
	case *pgproto3.CopyData:
		return false, g.copied(m)
	case *pgproto3.CopyDone:
		return false, g.hold(item{msg: &pgproto3.CopyDone{}}, 0)
	case *pgproto3.CopyInResponse:
		return false, g.copyIn(m)
	case *pgproto3.ReadyForQuery:
		g.s.tx = m.TxStatus
		return simple, nil
	}
	return false, errors.New("the server sent a message that does not belong here")
}

// spoken are the fields of an error or notice that may hold data.
func spoken(e *pgproto3.ErrorResponse) []*string {
	return []*string{&e.Message, &e.Detail, &e.Hint, &e.Where, &e.InternalQuery, &e.ColumnName, &e.TableName, &e.ConstraintName}
}

func (g *gate) copied(m *pgproto3.CopyData) error {
	data := bytes.Clone(m.Data)
	shown, plain := asText(data)
	g.opaque = g.opaque || !plain
	return g.hold(item{msg: &pgproto3.CopyData{Data: data}, data: &shown}, len(data))
}

func copyColumns(m *pgproto3.RowDescription) *pgproto3.RowDescription {
	c := &pgproto3.RowDescription{Fields: make([]pgproto3.FieldDescription, len(m.Fields))}
	for i, f := range m.Fields {
		f.Name = bytes.Clone(f.Name)
		c.Fields[i] = f
	}
	return c
}

// row copies a row and renders its cells.
func (g *gate) row(m *pgproto3.DataRow) (item, int) {
	r := &pgproto3.DataRow{Values: make([][]byte, len(m.Values))}
	i := item{msg: r, cells: make([]cell, len(m.Values))}
	size := 0
	for k, v := range m.Values {
		size += len(v) + 8
		if v == nil {
			continue
		}
		r.Values[k] = bytes.Clone(v)
		var oid uint32
		var format int16
		if k < len(g.columns) {
			oid, format = g.columns[k].DataTypeOID, g.columns[k].Format
		}
		shown, plain, clear := render(oid, format, r.Values[k])
		g.opaque = g.opaque || !clear
		i.cells[k] = cell{said(shown), plain}
	}
	return i, size
}

// said turns numbers into text, so that a released content can be compared with what was handed in.
func said(v any) any {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10)
	case []any:
		for i := range v {
			v[i] = said(v[i])
		}
	}
	return v
}

// copyIn lets the client send, judges what it sends piece by piece, and passes it on.
func (g *gate) copyIn(m *pgproto3.CopyInResponse) error {
	s := g.s
	s.client.Send(&pgproto3.CopyInResponse{OverallFormat: m.OverallFormat, ColumnFormatCodes: append([]uint16(nil), m.ColumnFormatCodes...)})
	if err := s.client.Flush(); err != nil {
		return err
	}
	var piece bytes.Buffer
	refused := false
	for {
		msg, err := s.client.Receive()
		if err != nil {
			return err
		}
		switch m := msg.(type) {
		case *pgproto3.CopyData:
			if refused {
				continue
			}
			piece.Write(m.Data)
			if piece.Len() < copyPiece {
				continue
			}
			if refused, err = g.carry(&piece); err != nil {
				return err
			}
		case *pgproto3.CopyDone:
			if !refused && piece.Len() > 0 {
				if refused, err = g.carry(&piece); err != nil {
					return err
				}
			}
			if refused {
				s.up.f.Send(&pgproto3.CopyFail{Message: "refused by sallyport"})
			} else {
				s.up.f.Send(&pgproto3.CopyDone{})
			}
			return s.up.f.Flush()
		case *pgproto3.CopyFail:
			s.up.f.Send(&pgproto3.CopyFail{Message: strings.ToValidUTF8(m.Message, "")})
			return s.up.f.Flush()
		case *pgproto3.Flush, *pgproto3.Sync: // to be ignored, says the protocol
		default:
			s.up.f.Send(&pgproto3.CopyFail{Message: "an unexpected message"})
			return s.up.f.Flush()
		}
	}
}

// carry takes a piece of a copy through the gates as an action of its own.
func (g *gate) carry(piece *bytes.Buffer) (refused bool, err error) {
	shown, _ := asText(piece.Bytes())
	a, err := g.s.attempt("copy", copyArgs{SQL: g.sql, Data: shown})
	if err != nil {
		return true, nil
	}
	var broken error
	adm, rel, err := g.s.d.cfg.Enforcer.Do(g.ctx, a, func(_ context.Context, adm enforce.Admission) (enforce.Outcome, error) {
		if adm.Rewritten {
			return enforce.Outcome{}, errRewritten
		}
		g.s.up.f.Send(&pgproto3.CopyData{Data: piece.Bytes()})
		broken = g.s.up.f.Flush()
		return enforce.Outcome{Status: action.ResultDone, Content: []byte("null")}, broken
	})
	piece.Reset()
	if broken != nil {
		return true, broken
	}
	return err != nil || adm.Verdict != action.Allow || rel.Status != action.StatusReleased, nil
}
