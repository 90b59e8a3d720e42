// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// An upload is a body that is too large to be judged in one piece. It is judged in windows, each an action of its own
// within the request's: with the end of the window before, so that nothing hides at a border. By default all of it
// lies in a spool and every window has passed before the first byte leaves. For a host with StreamUploads a window
// leaves as soon as it has passed: what went before a window that is refused is out then, and the request is cut.
type upload struct {
	p       *Proxy
	who     *gateway.Caller
	session string
	to      target
	url     string
	enc     string // Content-Encoding
	patient func() // puts off the deadline for the next window; not nil

	src    io.Reader // of a streamed one: what the agent sends
	length int64     // of a streamed one, as the request says; -1 where it does not
	held   *spool    // of one that is spooled
	sum    string    // of it
	ended  chan struct{}
	err    error // why a streamed one ended early; set before ended is closed
}

// patience is a response writer whose request may take longer than most.
type patience interface {
	extend()
	abandon() // ends a read of the request's body that is under way
}

// takeUpload begins with what was read of a body. The host's entry says how it goes on.
func (p *Proxy) takeUpload(w http.ResponseWriter, r *http.Request, to target, who *gateway.Caller, session string, begin []byte) (*upload, error) {
	u := &upload{p: p, who: who, session: session, to: to, url: to.scheme + "://" + to.authority() + r.URL.EscapedPath(),
		enc: r.Header.Get("Content-Encoding"), patient: func() {}, length: r.ContentLength}
	if pw, ok := w.(patience); ok {
		u.patient = pw.extend
	}
	u.src = io.MultiReader(bytes.NewReader(begin), r.Body)
	if p.cfg.Host(to.host).StreamUploads {
		return u, nil
	}
	limit := int64(p.cfg.Limits.UploadBytes)
	if r.ContentLength > limit {
		return nil, refuse("too_large")
	}
	return u, u.spool(limit)
}

// spool reads the whole body.
func (u *upload) spool(limit int64) error {
	s, err := newSpool(u.p.cfg.SpoolDir, u.p.cfg.Random)
	if err != nil {
		return err
	}
	u.held = s
	sum := sha256.New()
	for next := int64(0); ; {
		if s.size >= next {
			u.patient()
			next += int64(u.p.cfg.Limits.WindowBytes)
		}
		if !u.p.spooled(spoolChunk) {
			return errTooMany
		}
		n, err := io.CopyN(io.MultiWriter(s, sum), u.src, spoolChunk)
		u.p.spooled(int(n) - spoolChunk)
		switch {
		case s.size > limit:
			return refuse("too_large")
		case errors.Is(err, io.EOF):
			u.sum = hex.EncodeToString(sum.Sum(nil))
			return nil
		case err != nil:
			return refuse("slow_body")
		}
	}
}

// spooled books n bytes of all spools; it reports whether they fit.
func (p *Proxy) spooled(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > 0 && p.spool+int64(n) > int64(p.cfg.Limits.SpoolBytes) {
		return false
	}
	p.spool += int64(n)
	return true
}

// close gives back what a spool takes.
func (u *upload) close() {
	if u.held != nil {
		u.held.close()
		u.p.spooled(-int(u.held.size))
	}
}

// facts are what the request's own action says of the body.
func (u *upload) facts() body {
	var o object
	o.open()
	if u.held == nil {
		o.str("upload", "streamed")
	} else {
		o.str("upload", "spooled")
		o.raw("bytes", strconv.AppendInt(nil, u.held.size, 10))
		o.str("sha256", u.sum)
	}
	return body{formOther, o.close(), false}
}

// open judges a spooled body, or begins to send a streamed one, and gives out to be sent a body.
func (u *upload) open(ctx context.Context, out *http.Request, id string) error {
	if u.held == nil {
		pr, pw := io.Pipe()
		out.Body, out.ContentLength = pr, u.length
		u.ended = make(chan struct{})
		go func() { // ends with the body, or with the pipe; wait waits for it
			defer close(u.ended)
			u.err = u.windows(ctx, id, u.src, u.enc != "" && u.enc != "identity", pw)
			_ = pw.CloseWithError(u.err)
		}()
		return nil
	}
	if err := u.judgeSpool(ctx, id); err != nil {
		return err
	}
	r, err := u.held.reader()
	if err != nil {
		return err
	}
	out.Body, out.ContentLength = io.NopCloser(r), u.held.size
	return nil
}

// judgeSpool judges what the body unpacks to; where that cannot be found out, its bytes.
func (u *upload) judgeSpool(ctx context.Context, id string) error {
	raw, err := u.held.reader()
	if err != nil {
		return err
	}
	if u.enc == "" || u.enc == "identity" {
		return u.windows(ctx, id, raw, false, io.Discard)
	}
	limit := int64(u.p.cfg.Limits.UploadBytes)
	plain, done, err := unpacker(u.enc, raw, u.p.cfg.Limits.UploadBytes)
	if err == nil {
		defer done()
		bounded := &io.LimitedReader{R: plain, N: limit + 1}
		if err = u.windows(ctx, id, bounded, false, io.Discard); err == nil && bounded.N > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, errPacked) {
			return err
		}
	}
	if raw, err = u.held.reader(); err != nil {
		return err
	}
	return u.windows(ctx, id, raw, true, io.Discard)
}

// wait waits until a streamed body is no longer read, and says why it ended early.
func (u *upload) wait(w http.ResponseWriter, r *http.Request) error {
	if u.ended == nil {
		return nil
	}
	select {
	case <-u.ended:
	default: // the host has answered before it had everything
		if pw, ok := w.(patience); ok {
			pw.abandon()
		} else {
			_ = r.Body.Close()
		}
		<-u.ended
	}
	var refused *refusal
	if errors.As(u.err, &refused) {
		return refused
	}
	return nil
}

// windows judges src window by window and writes each to out once it has passed.
func (u *upload) windows(ctx context.Context, id string, src io.Reader, packed bool, out io.Writer) error {
	size := u.p.cfg.Limits.WindowBytes
	buf, tail := make([]byte, 0, size), ""
	for offset, last := int64(0), false; !last; {
		u.patient()
		n, err := io.ReadFull(src, buf[len(buf):size])
		buf = buf[:len(buf)+n]
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			last = true
		case err != nil:
			return err
		}
		now, then := cutRune(buf, last)
		if len(now) > 0 {
			if tail, err = u.judge(ctx, now, offset, tail, packed); err != nil {
				return err
			}
			if err := u.p.cfg.Enforcer.Heartbeat(&u.who.Subject, id); err != nil {
				return err
			}
			if _, err := out.Write(now); err != nil {
				return err
			}
		}
		offset += int64(len(now))
		buf = append(make([]byte, 0, size), then...)
	}
	return ctx.Err()
}

// judge passes one window through both gates. It returns the end of what was judged.
func (u *upload) judge(ctx context.Context, data []byte, offset int64, tail string, packed bool) (string, error) {
	b := body{form: formOther, value: inBase64(data), opaque: true}
	text := ""
	if !packed && textual(data) {
		text = string(data)
		b = body{formText, quoted(text), false}
	}
	var o object
	o.open()
	o.str("method", "SEND")
	o.str("url", u.url)
	o.raw("offset", strconv.AppendInt(nil, offset, 10))
	o.raw("body", b.value)
	if text != "" && tail != "" {
		o.str("with_previous", tail+text[:min(len(text), tailBytes)])
	}
	o.raw("opaque", boolean(b.opaque))
	o.credentials(nil, nil)
	adm, _, err := u.p.cfg.Enforcer.Do(ctx, u.p.attempt(u.who, u.session, "http/upload", "SEND", u.to, o.close()),
		func(_ context.Context, adm enforce.Admission) (enforce.Outcome, error) {
			if adm.Rewritten {
				return enforce.Outcome{}, errRewrite
			}
			return enforce.Outcome{Status: action.ResultDone, Kind: "result", Content: []byte("null")}, nil
		})
	switch {
	case err != nil:
		return "", u.p.fault(err)
	case adm.Verdict != action.Allow:
		return "", decided(adm)
	}
	joined := tail + text
	return joined[max(0, len(joined)-tailBytes):], nil
}

// extend gives the next window of a body the time that a whole one of another request has.
func (w *writer) extend() {
	_ = w.conn.SetReadDeadline(time.Now().Add(w.body))
	_ = w.conn.SetWriteDeadline(time.Now().Add(w.answer + w.body))
}

func (w *writer) abandon() {
	w.keep = false
	_ = w.conn.SetReadDeadline(time.Unix(1, 0))
}
