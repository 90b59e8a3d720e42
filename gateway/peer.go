// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"net"
	"os"
	"strconv"
)

// Peer is the process at the other end of a unix socket, as the kernel named it when it connected. A
// process may hand its socket to another one; Peer stays the one that connected.
type Peer struct {
	UID   int64
	PID   int64
	Start uint64 // start time of PID in the kernel's own units, so that a reused PID differs; 0 when unknown
}

// PeerListener accepts connections of a unix socket with the peer's credentials. Serve it with a server
// whose ConnContext is the function of this package.
type PeerListener struct {
	net.Listener
	// Allow says who may connect; others are closed at once. Nil means only this process's own uid.
	Allow func(Peer) bool
}

// Accept returns the next permitted connection. It returns an error only when the listener fails: a peer
// that the kernel cannot name is closed like one that is not allowed.
func (l *PeerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p, err := peerOf(c)
		if err == nil && l.allowed(p) {
			return &peerConn{Conn: c, peer: p}, nil
		}
		_ = c.Close()
	}
}

func (l *PeerListener) allowed(p Peer) bool {
	if l.Allow != nil {
		return l.Allow(p)
	}
	return p.UID == int64(os.Geteuid())
}

type peerConn struct {
	net.Conn
	peer Peer
}

// CloseWrite keeps half-closing possible for callers that look for it.
func (c *peerConn) CloseWrite() error {
	if u, ok := c.Conn.(*net.UnixConn); ok {
		return u.CloseWrite()
	}
	return c.Conn.Close()
}

type peerKey struct{}

// ConnContext puts the credentials of a PeerListener's connection into the context of its requests. It has the shape
// of http.Server.ConnContext.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if p, ok := PeerOf(c); ok {
		return context.WithValue(ctx, peerKey{}, p)
	}
	return ctx
}

// PeerOf returns the process at the other end of a PeerListener's connection, also where that is wrapped in
// connections that name what they wrap (NetConn).
func PeerOf(c net.Conn) (Peer, bool) {
	for {
		if p, ok := c.(*peerConn); ok {
			return p.peer, true
		}
		within, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return Peer{}, false
		}
		c = within.NetConn()
	}
}

// PeerFrom returns the process at the other end, if the request came over a PeerListener.
func PeerFrom(ctx context.Context) (Peer, bool) {
	p, ok := ctx.Value(peerKey{}).(Peer)
	return p, ok
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
