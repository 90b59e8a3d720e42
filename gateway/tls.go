// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// KeyPair is a certificate chain and its key in two files of PEM. Files that were replaced are taken up by the next
// handshake; while what is there cannot be used, the last good pair is. Its methods are safe for concurrent use.
type KeyPair struct {
	Cert, Key string
	Now       func() time.Time // nil means time.Now
	Failed    func(error)      // told once of each change that cannot be used; may be nil

	mu     sync.Mutex // guards below
	pair   *tls.Certificate
	stamp  [2]os.FileInfo // of the files when they were read last
	looked time.Time
}

// looking is how often files are looked at, however many handshakes there are.
const looking = time.Second

// Certificate returns the pair in force. It errs only while there never was one.
func (k *KeyPair) Certificate() (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now
	if k.Now != nil {
		now = k.Now
	}
	at := now()
	if k.pair != nil && at.Sub(k.looked) < looking && !at.Before(k.looked) {
		return k.pair, nil
	}
	k.looked = at
	is := [2]os.FileInfo{stampOf(k.Cert), stampOf(k.Key)}
	if k.pair != nil && same(is[0], k.stamp[0]) && same(is[1], k.stamp[1]) {
		return k.pair, nil
	}
	pair, err := tls.LoadX509KeyPair(k.Cert, k.Key)
	if err == nil && pair.Leaf != nil && at.After(pair.Leaf.NotAfter) {
		err = fmt.Errorf("the certificate ended at %s", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if err != nil && k.pair == nil {
		return nil, err
	}
	k.stamp = is
	if err == nil {
		k.pair = &pair
	} else if k.Failed != nil {
		k.Failed(fmt.Errorf("tls: certificate %q: %w", k.Cert, err))
	}
	return k.pair, nil
}

func stampOf(path string) os.FileInfo {
	f, err := os.Stat(path)
	if err != nil {
		return nil // the file itself will say why
	}
	return f
}

func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// EitherListener takes TLS and plain connections at one address: the first byte tells them apart. A plain one is
// closed unless Plain lets its peer in. Connections say by TLSState what they are.
type EitherListener struct {
	net.Listener
	Config *tls.Config
	Plain  func(peer net.Addr) bool // nil lets nobody in
}

// Accept returns the next connection. What it speaks is found out by its first read.
func (l *EitherListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &eitherConn{Conn: c, l: l}, nil
}

// errPlain ends a connection that may not be plain.
var errPlain = errors.New("gateway: only TLS is spoken here")

// eitherConn becomes one or the other with its first byte: who connects speaks first.
type eitherConn struct {
	net.Conn
	l *EitherListener

	once sync.Once
	io   net.Conn                 // set by begin
	tls  atomic.Pointer[tls.Conn] // io, where it is TLS
	err  error
}

// recordHandshake is the first byte of TLS: the type of its first record.
const recordHandshake = 22

func (c *eitherConn) begin() error {
	c.once.Do(func() {
		var head [1]byte
		if _, c.err = c.Conn.Read(head[:]); c.err != nil {
			return
		}
		again := &prefixed{Conn: c.Conn, head: head[:]}
		switch {
		case head[0] == recordHandshake:
			t := tls.Server(again, c.l.Config)
			if c.err = t.Handshake(); c.err == nil {
				c.io = t
				c.tls.Store(t)
			}
		case c.l.Plain != nil && c.l.Plain(c.RemoteAddr()):
			c.io = again
		default:
			c.err = errPlain
		}
	})
	return c.err
}

// Read reads what was sent, decrypted where it is TLS.
func (c *eitherConn) Read(b []byte) (int, error) {
	if err := c.begin(); err != nil {
		return 0, err
	}
	return c.io.Read(b)
}

// Write writes b.
func (c *eitherConn) Write(b []byte) (int, error) {
	if err := c.begin(); err != nil {
		return 0, err
	}
	return c.io.Write(b)
}

// Close closes the connection, and says so within TLS.
func (c *eitherConn) Close() error {
	if t := c.tls.Load(); t != nil {
		return t.Close()
	}
	return c.Conn.Close()
}

// TLSState is the state of TLS on the connection; nil if it is plain or has not begun.
func (c *eitherConn) TLSState() *tls.ConnectionState {
	t := c.tls.Load()
	if t == nil {
		return nil
	}
	s := t.ConnectionState()
	return &s
}

// prefixed reads head once more before the connection goes on.
type prefixed struct {
	net.Conn
	head []byte
}

// Read reads what was taken off before, then the connection.
func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.head) > 0 {
		n := copy(b, p.head)
		p.head = p.head[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// StateOf is the state of TLS on a connection of this package's listeners, or of crypto/tls; nil if it is plain.
func StateOf(c net.Conn) *tls.ConnectionState {
	switch x := c.(type) {
	case *tls.Conn:
		s := x.ConnectionState()
		return &s
	case interface{ TLSState() *tls.ConnectionState }:
		return x.TLSState()
	}
	return nil
}
