// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Remote carries a relay's lines to a streamable HTTP server and back, for clients that speak stdio only.
// It judges nothing: what it posts has passed the owner, and what it reads goes there. Requests that name
// their revision in _meta are those of 2026-07-28; all others belong to the session that initialize opened.
type Remote struct {
	URL       string
	Header    http.Header       // beside the protocol's own; credentials stand here and nowhere else
	Transport http.RoundTripper // nil means a transport without proxy or cookies

	limit  int
	client *http.Client
	lines  chan line // for the owner
	slots  chan struct{}
	wg     sync.WaitGroup // requests and streams under way

	mu       sync.Mutex
	session  string // Mcp-Session-Id; guarded by mu, as all below
	revision string // as initialize or the last request of 2026-07-28 says
	modern   bool
	open     map[string]*posted
	bound    map[string][]binding // by tool
	tail     bool                 // the stream that belongs to no request is read
}

// posted is a request that is not answered yet.
type posted struct {
	key      string
	id       []byte
	method   string
	modern   bool
	cancel   context.CancelFunc
	answered bool // used by its own goroutine only
}

// The bounds of a remote server: how long the answer to a message that has none may take, how often a stream
// is resumed that brings nothing, and how long we wait before it is.
const (
	remoteTimeout = 30 * time.Second
	remoteTries   = 8
	minRetry      = 10 * time.Millisecond
	maxRetry      = 30 * time.Second
)

// start begins to carry lines. The server has ended, and next returns io.EOF, once in is closed and what
// was asked before is answered, or once ctx ends.
func (r *Remote) start(ctx context.Context, limit int) (in io.WriteCloser) {
	from, in := io.Pipe()
	r.limit, r.lines, r.slots = limit, make(chan line), make(chan struct{}, DefaultPending)
	r.open, r.bound = map[string]*posted{}, map[string][]binding{}
	r.client = newClient(r.Transport)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = from.Close() })
	go func() {
		defer close(r.lines)
		defer cancel()
		defer stop()
		tail, end := context.WithCancel(ctx)
		r.read(ctx, tail, newLineReader(from, frameLimit(limit)))
		end()
		r.hangUp()
		r.wg.Wait()
		r.delete(ctx)
	}()
	return in
}

// next returns the next line of the server.
func (r *Remote) next() (line, error) {
	l, ok := <-r.lines
	if !ok {
		return line{}, io.EOF
	}
	return l, nil
}

// read posts lines in their order: requests without waiting for their answers, except initialize, whose
// answer says how everything after it is sent. Answers of the client do not wait even then: the server may
// have asked before it answers.
func (r *Remote) read(ctx, tail context.Context, in *lineReader) {
	ready := make(chan struct{})
	close(ready)
	for {
		l, err := in.next()
		if err != nil {
			return
		}
		m, err := readClient(l.bytes, frameLimit(r.limit))
		if err != nil {
			continue // the owner sends no such line
		}
		if m.method != "" {
			select {
			case <-ready:
			case <-ctx.Done():
				return
			}
		}
		switch {
		case m.kind == kindRequest && m.method == methodInitialize:
			p, answered := r.begin(ctx, &m), make(chan struct{})
			ready = answered
			r.wg.Go(func() {
				defer close(answered)
				r.request(p, &m)
			})
		case m.kind == kindRequest:
			select {
			case r.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			p := r.begin(ctx, &m)
			r.wg.Go(func() {
				defer func() { <-r.slots }()
				r.request(p, &m)
			})
		case m.method == noteCancelled && r.cancel(&m):
		default:
			r.tell(ctx, &m)
			if m.method == "notifications/initialized" {
				r.wg.Go(func() { r.follow(tail) })
			}
		}
	}
}

// begun is a posted request with the context that ends with it.
type begun struct {
	*posted
	ctx context.Context
}

func (r *Remote) begin(ctx context.Context, m *message) begun {
	ctx, cancel := context.WithCancel(ctx)
	p := &posted{key: m.key, id: bytes.Clone(m.id), method: m.method, modern: metaRevision(m) >= stateless, cancel: cancel}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.modern {
		r.revision, r.modern = metaRevision(m), true
	}
	r.open[p.key] = p
	return begun{p, ctx}
}

// cancel takes a request back. Over HTTP that is the end of its stream since 2026-07-28, a message before.
func (r *Remote) cancel(m *message) bool {
	key, err := idKey(member(m.params, "requestId"))
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.open[key]
	if err != nil || p == nil || !p.modern {
		return false
	}
	p.cancel()
	return true
}

// hangUp ends requests that never end by themselves.
func (r *Remote) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.open {
		if p.method == methodListen {
			p.cancel()
		}
	}
}

// request posts one request and passes on what comes back until it is answered.
func (r *Remote) request(p begun, m *message) {
	defer func() {
		r.mu.Lock()
		if r.open[p.key] == p.posted {
			delete(r.open, p.key)
		}
		r.mu.Unlock()
		p.cancel()
	}()
	res, err := r.post(p.ctx, m)
	if err != nil {
		r.fail(p, "the server cannot be reached: "+plain(err))
		return
	}
	defer res.Body.Close()
	if m.method == methodInitialize {
		r.mu.Lock()
		if id := res.Header.Get(headerSession); len(id) <= 256 {
			r.session = id
		}
		r.modern = false
		r.mu.Unlock()
	}
	switch {
	case res.StatusCode == http.StatusOK && isStream(res):
		r.stream(p, res)
	case !r.whole(p, res):
		r.fail(p, httpError(res.StatusCode))
	case !p.answered:
		r.fail(p, "the server did not answer the request")
	}
}

// fail answers a request that will have no answer, unless it was taken back.
func (r *Remote) fail(p begun, why string) {
	if !p.answered && p.ctx.Err() == nil {
		r.send(p.ctx, line{bytes: errorReply(p.id, codeInternal, why)})
	}
}

func (r *Remote) send(ctx context.Context, l line) {
	select {
	case r.lines <- l:
	case <-ctx.Done():
	}
}

// whole passes on an answer that is one message, or reports that there is none.
func (r *Remote) whole(p begun, res *http.Response) bool {
	l, err := readWhole(res.Body, r.limit)
	if err != nil || !l.oversize && len(bytes.TrimSpace(l.bytes)) == 0 {
		return false
	}
	if !l.oversize {
		m, err := readServer(l.bytes, r.limit)
		switch {
		case err != nil:
			return false
		case m.kind == kindError && m.key == "": // there is only one request that it can be about
			l.bytes = object(field{"jsonrpc", []byte(`"2.0"`)}, field{"id", p.id}, field{"error", m.err})
		}
	}
	r.pass(p, l)
	return true
}

// pass passes on a message that belongs to a request, and learns from its answer.
func (r *Remote) pass(p begun, l line) {
	id := l.id
	if !l.oversize {
		var scan idScanner
		scan.write(l.bytes)
		if id = scan.id(); scan.method {
			id = nil
		}
		l.bytes = flat(l.bytes)
	}
	if key, err := idKey(id); id != nil && err == nil && key == p.key {
		p.answered = true
		r.learn(p.method, l.bytes)
	}
	r.send(p.ctx, l)
}

// learn keeps what later requests need of an answer: the negotiated revision, and which arguments tools
// mirror in headers.
func (r *Remote) learn(method string, raw []byte) {
	switch method {
	case methodInitialize:
		v, _ := text(member(raw, "result", "protocolVersion"))
		r.mu.Lock()
		r.revision = v
		r.mu.Unlock()
	case methodTools:
		list, _ := elements(member(raw, "result", "tools"))
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.bound)+len(list) > 4*maxTools {
			clear(r.bound)
		}
		for _, t := range list[:min(len(list), maxTools)] {
			if name, ok := text(member(t, "name")); ok {
				r.bound[name] = bindings(member(t, "inputSchema"), nil, nil)
			}
		}
	}
}

// stream passes on the events of a request's stream, and resumes it where the server gave it a place to
// resume from.
func (r *Remote) stream(p begun, res *http.Response) {
	last, wait, tries := "", time.Second, 0
	for {
		any := false
		events := newEventReader(res.Body, r.limit)
		for ev, err := events.next(); err == nil && p.ctx.Err() == nil; ev, err = events.next() {
			last, wait = resume(&ev, last, wait)
			if isMessage(&ev) {
				any = true
				r.pass(p, ev.data)
			}
		}
		_ = res.Body.Close()
		if tries++; any {
			tries = 0
		}
		if p.answered || p.ctx.Err() != nil {
			return
		}
		var err error
		if last == "" || p.modern || tries > remoteTries {
			r.fail(p, "the server's stream ended without an answer")
			return
		}
		if res, err = r.resume(p.ctx, last, wait); err != nil {
			r.fail(p, "the server's stream ended, and cannot be resumed")
			return
		}
	}
}

func resume(ev *event, last string, wait time.Duration) (string, time.Duration) {
	if ev.id != "" {
		last = ev.id
	}
	if ms, err := strconv.Atoi(ev.retry); err == nil && ms >= 0 {
		wait = min(max(time.Duration(min(ms, 60_000))*time.Millisecond, minRetry), maxRetry)
	}
	return last, wait
}

func isMessage(ev *event) bool {
	return (ev.name == "" || ev.name == "message") && (ev.data.oversize || len(bytes.TrimSpace(ev.data.bytes)) > 0)
}

// resume waits and opens a stream of the session, behind the event last if that is not "".
func (r *Remote) resume(ctx context.Context, last string, wait time.Duration) (*http.Response, error) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.C:
	}
	req, err := r.build(ctx, http.MethodGet, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if last != "" {
		req.Header.Set("Last-Event-Id", last)
	}
	res, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK || !isStream(res) {
		_ = res.Body.Close()
		return nil, fmt.Errorf("status %d", res.StatusCode)
	}
	return res, nil
}

// follow reads the stream of a session that belongs to no request, if the server has one, until ctx ends.
func (r *Remote) follow(ctx context.Context) {
	r.mu.Lock()
	started := r.tail || r.modern
	r.tail = true
	r.mu.Unlock()
	if started {
		return
	}
	last, wait := "", time.Duration(0)
	for {
		res, err := r.resume(ctx, last, wait)
		if err != nil {
			return // most servers have none
		}
		wait = time.Second
		stop := context.AfterFunc(ctx, func() { _ = res.Body.Close() })
		events := newEventReader(res.Body, r.limit)
		for ev, err := events.next(); err == nil && ctx.Err() == nil; ev, err = events.next() {
			last, wait = resume(&ev, last, wait)
			if isMessage(&ev) {
				ev.data.bytes = flat(ev.data.bytes)
				r.send(ctx, ev.data)
			}
		}
		stop()
		_ = res.Body.Close()
	}
}

// tell posts a message that has no answer.
func (r *Remote) tell(ctx context.Context, m *message) {
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	res, err := r.post(ctx, m)
	if err != nil {
		return // a server that is gone is told by the next request
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	_ = res.Body.Close()
}

// delete ends the session at the server.
func (r *Remote) delete(ctx context.Context) {
	r.mu.Lock()
	session := r.session
	r.mu.Unlock()
	if session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if req, err := r.build(ctx, http.MethodDelete, nil); err == nil {
		if res, err := r.client.Do(req); err == nil {
			_ = res.Body.Close()
		}
	}
}

func (r *Remote) post(ctx context.Context, m *message) (*http.Response, error) {
	req, err := r.build(ctx, http.MethodPost, m)
	if err != nil {
		return nil, err
	}
	return r.client.Do(req)
}

// build makes a request with the headers that the protocol wants for m, nil for none.
func (r *Remote) build(ctx context.Context, method string, m *message) (*http.Request, error) {
	var body io.Reader
	if m != nil {
		body = bytes.NewReader(m.raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.URL, body)
	if err != nil {
		return nil, err
	}
	h := req.Header
	for n, vs := range r.Header {
		h[n] = vs
	}
	h.Set("User-Agent", "sallyport")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session != "" {
		h.Set(headerSession, r.session)
	}
	if r.revision != "" {
		h.Set(headerVersion, r.revision)
	}
	if m == nil {
		return req, nil
	}
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json, text/event-stream")
	meta := metaRevision(m)
	switch {
	case m.method == methodInitialize:
		h.Del(headerSession)
		h.Del(headerVersion)
	case meta >= stateless:
		h.Set(headerVersion, meta)
		h.Del(headerSession)
		r.mirror(h, m)
	case r.modern && m.method != "":
		h.Set(headerMethod, m.method)
	}
	return req, nil
}

// mirror sets the headers of 2026-07-28 that repeat what the body says. r.mu is held.
func (r *Remote) mirror(h http.Header, m *message) {
	h.Set(headerMethod, m.method)
	for _, n := range []string{"name", "uri", "taskId"} {
		if v, ok := text(member(m.params, n)); ok {
			h.Set(headerName, encodeHeader(v))
			break
		}
	}
	if m.method != methodCall {
		return
	}
	tool, _ := text(member(m.params, "name"))
	for _, b := range r.bound[tool] {
		if v, ok := scalar(member(m.params, append([]string{"arguments"}, b.path...)...)); ok {
			h.Set(headerParam+b.header, encodeHeader(v))
		}
	}
}
