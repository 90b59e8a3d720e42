// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// strictPath permits every other action, and holds what it is handed to what the contract says.
type strictPath struct {
	t *testing.T
	n int
}

func (p *strictPath) Session(context.Context, *action.Subject, string, enforce.SessionOptions) (string, error) {
	return "s", nil
}

func (p *strictPath) Do(ctx context.Context, a enforce.Attempt, run func(context.Context, enforce.Admission) (enforce.Outcome, error)) (enforce.Admission, enforce.Release, error) {
	if err := action.Check(a.Arguments, action.Limits{Bytes: 32 << 20}); err != nil {
		p.t.Fatalf("the arguments are not strict: %v\n%s", err, a.Arguments)
	}
	if p.n++; p.n%2 == 0 {
		return enforce.Admission{Verdict: action.Deny, Hint: "no"}, enforce.Release{}, nil
	}
	adm := enforce.Admission{ID: "x", Verdict: action.Allow, Arguments: a.Arguments}
	o, err := run(ctx, adm)
	if err != nil {
		return adm, enforce.Release{}, err
	}
	p.strict(o.Content)
	return adm, enforce.Release{ID: "x", Verdict: action.Allow, Status: action.StatusReleased, Content: o.Content}, nil
}

func (p *strictPath) Chunk(_ context.Context, _ *action.Subject, _ string, o enforce.Outcome) (enforce.Release, error) {
	p.strict(o.Content)
	return enforce.Release{ID: "x", Verdict: action.Allow, Status: action.StatusReleased, Content: o.Content}, nil
}

func (p *strictPath) strict(content []byte) {
	if err := action.Check(content, action.Limits{Bytes: 128 << 20}); err != nil {
		p.t.Fatalf("a result is not strict: %v\n%s", err, content)
	}
}

func (p *strictPath) Malformed(context.Context, action.Door, string, string) {}

// deaf is a connection that is read from bytes and written to nowhere.
type deaf struct {
	net.Conn
	io.Reader
}

func (d deaf) Read(b []byte) (int, error)  { return d.Reader.Read(b) }
func (d deaf) Write(b []byte) (int, error) { return len(b), nil }
func (d deaf) Close() error                { return nil }

func encoded(messages ...interface {
	Encode([]byte) ([]byte, error)
}) []byte {
	var b []byte
	for _, m := range messages {
		b, _ = m.Encode(b)
	}
	return b
}

// FuzzMessages plays a client and a server that send anything: nothing panics, and all that is judged is strict JSON.
func FuzzMessages(f *testing.F) {
	ready := &pgproto3.ReadyForQuery{TxStatus: 'I'}
	columns := &pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("a"), DataTypeOID: oidInt4, Format: 1}, {Name: []byte("a"), DataTypeOID: oidText}}}
	f.Add(encoded(&pgproto3.Query{String: "SELECT 1"}, &pgproto3.Query{String: "DELETE FROM x"}, &pgproto3.Terminate{}),
		encoded(columns, &pgproto3.DataRow{Values: [][]byte{{0, 0, 0, 1}, nil}}, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}, ready))
	f.Add(encoded(&pgproto3.Parse{Name: "p", Query: "SELECT $1", ParameterOIDs: []uint32{oidNumeric}}, &pgproto3.Bind{DestinationPortal: "c", PreparedStatement: "p",
		ParameterFormatCodes: []int16{1}, Parameters: [][]byte{{0, 1, 0, 0, 0, 0, 0, 0, 0, 7}}, ResultFormatCodes: []int16{1}}, &pgproto3.Describe{ObjectType: 'P', Name: "c"},
		&pgproto3.Execute{Portal: "c"}, &pgproto3.Sync{}), encoded(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, columns,
		&pgproto3.DataRow{Values: [][]byte{{0, 0, 0, 1}, []byte("x")}}, &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}, ready))
	f.Add(encoded(&pgproto3.Query{String: "COPY x FROM STDIN"}, &pgproto3.CopyData{Data: []byte("1\tx\n")}, &pgproto3.CopyDone{}),
		encoded(&pgproto3.CopyInResponse{ColumnFormatCodes: []uint16{0}}, &pgproto3.CommandComplete{CommandTag: []byte("COPY 1")}, ready))
	f.Add(encoded(&pgproto3.Query{String: "COPY x TO STDOUT"}), encoded(&pgproto3.CopyOutResponse{}, &pgproto3.CopyData{Data: []byte("\\N\t\xff\n")}, &pgproto3.CopyDone{}, ready))
	f.Add(encoded(&pgproto3.Close{ObjectType: 'S', Name: "p"}, &pgproto3.Flush{}, &pgproto3.Sync{}), encoded(&pgproto3.CloseComplete{}, &pgproto3.ErrorResponse{Code: "42601"}, ready))
	f.Fuzz(func(t *testing.T, client, server []byte) {
		d, err := New(Config{Enforcer: &strictPath{t: t}, Authenticate: func(context.Context, string, net.Conn) (*gateway.Caller, error) { return nil, errors.New("no") },
			Read:    func(s string) Reading { return Reading{Reads: len(s)%2 == 0} },
			Observe: func(context.Context, *gateway.Caller, string) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		up := deaf{Reader: bytes.NewReader(server)}
		s := &session{d: d, conn: deaf{}, client: pgproto3.NewBackend(bytes.NewReader(client), io.Discard), statements: map[string]*prepared{}, portals: map[string]*portal{},
			who: &gateway.Caller{}, sid: "s", db: &Database{Name: "b", ReadOnly: len(client)%2 == 0}, tx: 'I', prefix: "sp_",
			up: &upstream{conn: up, f: pgproto3.NewFrontend(up, up)}}
		s.client.SetMaxBodyLen(maxMessage)
		_ = s.run(t.Context()) // how it ends is the peer's choice
	})
}

// FuzzStart plays a client before its login.
func FuzzStart(f *testing.F) {
	f.Add(encoded(&pgproto3.SSLRequest{}, &pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "bot", "database": "a", "options": "-c x=y"}}))
	f.Add(encoded(&pgproto3.GSSEncRequest{}, &pgproto3.CancelRequest{ProcessID: 1, SecretKey: []byte{0, 0, 0, 2}}))
	f.Add(encoded(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "bot", "Replication": "true"}}, &pgproto3.PasswordMessage{Password: "x"}))
	f.Fuzz(func(t *testing.T, client []byte) {
		d, err := New(Config{Enforcer: &strictPath{t: t}, Authenticate: func(context.Context, string, net.Conn) (*gateway.Caller, error) { return nil, errors.New("no") },
			Read: func(string) Reading { return Reading{} }, Observe: func(context.Context, *gateway.Caller, string) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		near, far := net.Pipe()
		go func() { _, _ = near.Write(client); _ = near.Close() }()
		go func() { _, _ = io.Copy(io.Discard, near) }()
		if s, err := d.start(t.Context(), far); s != nil {
			t.Fatalf("a client without a token has entered: %v", err)
		}
		_ = far.Close()
	})
}
