// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// RelayPath is where relays connect on the owner's unix socket, with an HTTP upgrade to relayProtocol.
const (
	RelayPath     = "/relay/mcp"
	relayProtocol = "sallyport-relay/1"
)

// RelayDoor is the owner's entrance for `sallyport mcp`. Gate is required.
type RelayDoor struct {
	Gate *Gate

	// Upstream says which server a hello stands for: its vetted zone, and whether its name may be used. It
	// may refuse; the text of its error goes to the relay. up is what the hello says. nil takes up as it is.
	Upstream func(ctx context.Context, c *gateway.Caller, up Upstream) (Upstream, error)

	// Separation says what keeps the caller from approving its own asks. nil means none.
	Separation func(c *gateway.Caller) action.Separation

	// Host names the client behind a relay, so that all servers of one client share one session. nil means
	// ClientOf over ProcFS.
	Host func(p gateway.Peer, claimed Process) (string, error)
}

// Route returns the door's route. It belongs on the unix socket only: a caller without a kernel-proved
// process is refused.
func (d *RelayDoor) Route() gateway.Route {
	return gateway.Route{Pattern: "POST " + RelayPath, Scopes: []action.Scope{action.ScopeAgent}, Door: action.DoorMCP, Wait: -1, Serve: d.serve}
}

func (d *RelayDoor) serve(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	peer, ok := gateway.PeerFrom(r.Context())
	if !ok {
		return gateway.Refuse(gateway.CodeScope, "a relay connects over the unix socket")
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), relayProtocol) {
		return gateway.Refuse(gateway.CodeMalformed, "the upgrade must be to %s", relayProtocol)
	}
	if err := gateway.Linger(r.Context()); err != nil {
		return err
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Time{})
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+relayProtocol+"\r\n\r\n"); err != nil {
		return nil
	}
	// A relay that fails has told its client; there is nobody left to tell here.
	_ = d.Gate.ServeRelay(r.Context(), &upgraded{Conn: conn, r: rw.Reader}, func(ctx context.Context, h Hello) (Peer, Upstream, error) {
		return d.admit(ctx, c, peer, h)
	})
	return nil
}

func (d *RelayDoor) admit(ctx context.Context, c *gateway.Caller, peer gateway.Peer, h Hello) (Peer, Upstream, error) {
	up, folders, err := h.upstream()
	if err != nil {
		return Peer{}, up, err
	}
	host := d.Host
	if host == nil {
		host = func(p gateway.Peer, claimed Process) (string, error) { return ClientOf(ProcFS, p, claimed) }
	}
	key, err := "", error(nil)
	if c.Walls != nil { // the process that connected is the supervisor, and all servers of one run share a session
		key = "run:" + c.Walls.Run
	} else if key, err = host(peer, h.Parent); err != nil {
		d.Gate.cfg.Enforcer.Malformed(ctx, action.DoorMCP, fmt.Sprintf("uid:%d", peer.UID), "parent")
		return Peer{}, up, err
	}
	if d.Upstream != nil {
		if up, err = d.Upstream(ctx, c, up); err != nil {
			return Peer{}, up, err
		}
	}
	// The folders of a server bound calls of that server only. Were they the session's, an agent could start one
	// more relay with other folders and widen what its other servers may do.
	sid, err := d.Gate.cfg.Enforcer.Session(ctx, &c.Subject, key, enforce.SessionOptions{})
	if err != nil {
		return Peer{}, up, errors.New("the session cannot be opened")
	}
	sep := action.SeparationNone
	if d.Separation != nil {
		sep = d.Separation(c)
	}
	return Peer{Subject: c.Subject, Session: sid, Source: fmt.Sprintf("uid:%d", peer.UID), Grade: c.Grade(action.GradeProxy), Separation: sep,
		Confined: c.Held(), Roots: folders,
		Patience: time.Duration(min(max(h.WaitMs, 0), MaxPatience.Milliseconds())) * time.Millisecond}, up, nil
}

// maxFolders bounds the folders of a server. Those beyond it count as outside.
const maxFolders = 64

// upstream is the server that a hello names, and its folders, never nil.
func (h *Hello) upstream() (up Upstream, folders []string, err error) {
	up, folders = Upstream{Name: h.Name, Command: h.Command, URL: h.URL}, []string{}
	if (len(h.Command) == 0) == (h.URL == "") {
		return up, nil, errors.New("a hello names either a command or a URL")
	}
	if h.URL != "" {
		if err := checkRemote(h.URL); err != nil {
			return up, nil, err
		}
	} else {
		found, args := Roots(h.Command, h.Dir)
		folders, up.Roots = append(folders, found[:min(len(found), maxFolders)]...), args
	}
	if up.Name == "" {
		if up.Name = Name(h.Command); h.URL != "" {
			up.Name = RemoteName(h.URL)
		}
	}
	if len(up.Name) > 64 || strings.ContainsAny(up.Name, "/ \t\r\n\x00") {
		return up, nil, fmt.Errorf("server %q: not a name", action.Clip(up.Name, 64))
	}
	return up, folders, nil
}

// upgraded is a connection whose first bytes may already be in a buffer.
type upgraded struct {
	net.Conn
	r *bufio.Reader
}

func (u *upgraded) Read(p []byte) (int, error) { return u.r.Read(p) }

// DialRelay upgrades a connection to the owner's socket for a Relay, with a credential where the header holds one. It closes
// conn on an error.
func DialRelay(conn net.Conn, credential http.Header) (io.ReadWriteCloser, error) {
	u, err := dialRelay(conn, credential)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: %w", ErrOwner, err)
	}
	return u, nil
}

func dialRelay(conn net.Conn, credential http.Header) (*upgraded, error) {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	req, err := http.NewRequest(http.MethodPost, "http://localhost"+RelayPath, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, credential)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", relayProtocol)
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(conn, 64<<10)
	res, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
		_ = res.Body.Close()
		return nil, fmt.Errorf("%s: %s", res.Status, b)
	}
	return &upgraded{Conn: conn, r: r}, conn.SetDeadline(time.Time{})
}
