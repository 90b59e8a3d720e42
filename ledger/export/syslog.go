// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"time"
)

// syslog sends RFC 5424 messages over TLS, framed by octet counting (RFC 5425). Syslog has no
// acknowledgement: what was written may still lie in a buffer when a connection breaks. So each batch is a
// connection of its own, which we end first; the batch counts as taken when the receiver, having read to
// its end, closes in its turn. What a receiver loses after it has read is not seen here.
type syslog struct {
	address string
	tls     *tls.Config
	timeout time.Duration
}

func newSyslog(c *Config) (*syslog, error) {
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil || host == "" {
		return nil, errors.New("the address is not HOST:PORT")
	}
	return &syslog{c.Address, trust(c, host), c.Timeout}, nil
}

// facility is log audit (13).
const facility = 13

// message is one framed message. What stands after the header is JSON of ASCII or UTF-8 without line
// breaks.
func message(r *record, text []byte) []byte {
	severity := 6 // informational
	switch ocsfSeverity(r) {
	case 2:
		severity = 5 // notice
	case 3:
		severity = 4 // warning
	case 4:
		severity = 1 // alert
	}
	m := append(make([]byte, 0, len(text)+128), '<')
	m = strconv.AppendInt(m, int64(facility*8+severity), 10)
	m = append(m, ">1 "...)
	m = append(m, stamp(r.Leaf.LogMs)...)
	m = append(m, ' ')
	m = append(m, hostname(r.origin)...)
	m = append(m, " sallyport - "...)
	m = append(m, r.Leaf.Kind...)
	m = append(m, " - "...)
	m = append(m, text...)
	framed := strconv.AppendInt(make([]byte, 0, len(m)+8), int64(len(m)), 10)
	return append(append(framed, ' '), m...)
}

// hostname is the log's name as a HOSTNAME: at most 255 printable characters.
func hostname(origin string) string {
	if origin == "" {
		return "-"
	}
	return origin[:min(len(origin), 255)]
}

func (s *syslog) write(ctx context.Context, _ uint64, records [][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	dialer := tls.Dialer{Config: s.tls}
	raw, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return errors.New("no connection")
	}
	conn := raw.(*tls.Conn) // what a tls.Dialer dials
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for _, m := range records {
		if _, err := conn.Write(m); err != nil {
			return errors.New("the connection broke")
		}
	}
	if err := conn.CloseWrite(); err != nil {
		return errors.New("the connection broke")
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(conn, 1024)); err != nil || n > 0 {
		return errors.New("the receiver did not close as one that read all")
	}
	return nil
}
