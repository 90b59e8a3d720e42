// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"container/list"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits bound what callers may hold and how fast they may ask. Zero values mean the defaults in the
// comments; all bounds always hold.
type Limits struct {
	Rate           float64       // requests per second and principal; 2000
	Burst          int           // 4000
	Open           int           // requests in flight per principal; 256
	Polls          int           // of them waiting: long polls, streams and relays; 128
	BodyBytes      int64         // of bodies held per principal; 128 MiB
	TotalOpen      int           // requests in flight; 2048
	TotalBodyBytes int64         // of bodies held; 512 MiB
	Principals     int           // remembered; 4096
	BodyTimeout    time.Duration // for a body to arrive; 30 s
	WriteTimeout   time.Duration // from the request to the end of the answer, beyond a route's own wait; 60 s
}

func (l Limits) withDefaults() Limits {
	def(&l.Rate, 2000)
	def(&l.Burst, 4000)
	def(&l.Open, 256)
	def(&l.Polls, 128)
	def(&l.BodyBytes, 128<<20)
	def(&l.TotalOpen, 2048)
	def(&l.TotalBodyBytes, 512<<20)
	def(&l.Principals, 4096)
	def(&l.BodyTimeout, 30*time.Second)
	def(&l.WriteTimeout, time.Minute)
	return l
}

func def[T int | int64 | float64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// quota counts what principals hold. It remembers Limits.Principals of them; the one that was quiet for
// longest is forgotten first, and none that holds something.
type quota struct {
	limits Limits

	mu    sync.Mutex // guards below
	open  int
	bytes int64
	known map[string]*list.Element
	order *list.List // of *principal, latest first
}

type principal struct {
	key   string
	rate  *rate.Limiter
	open  int
	polls int
	bytes int64
	heavy chan struct{} // one place, see exchange.parse
}

func newQuota(l Limits) *quota {
	return &quota{limits: l, known: map[string]*list.Element{}, order: list.New()}
}

// arrive counts a request before anyone knows whose it is.
func (q *quota) arrive() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open >= q.limits.TotalOpen {
		return Refuse(CodeBusy, "too many requests are open").After(time.Second)
	}
	q.open++
	return nil
}

func (q *quota) depart() {
	q.mu.Lock()
	q.open--
	q.mu.Unlock()
}

// enter counts an authenticated request; leave undoes it.
func (q *quota) enter(key string, now time.Time) (*principal, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p, err := q.find(key)
	if err != nil {
		return nil, err
	}
	res := p.rate.ReserveN(now, 1)
	if d := res.DelayFrom(now); d > 0 {
		res.CancelAt(now)
		return nil, Refuse(CodeRate, "more than %g requests per second", q.limits.Rate).After(d)
	}
	if p.open >= q.limits.Open {
		return nil, Refuse(CodeTooManyOpen, "%d requests are open", p.open).After(time.Second)
	}
	p.open++
	return p, nil
}

// find returns the principal of key as the latest one; q.mu is held.
func (q *quota) find(key string) (*principal, error) {
	if e := q.known[key]; e != nil {
		q.order.MoveToFront(e)
		return e.Value.(*principal), nil
	}
	if len(q.known) >= q.limits.Principals && !q.forget() {
		return nil, Refuse(CodeBusy, "too many callers").After(time.Second)
	}
	p := &principal{key: key, rate: rate.NewLimiter(rate.Limit(q.limits.Rate), q.limits.Burst), heavy: make(chan struct{}, 1)}
	q.known[key] = q.order.PushFront(p)
	return p, nil
}

// forget drops the quietest principal that holds nothing; q.mu is held.
func (q *quota) forget() bool {
	for e, tries := q.order.Back(), 0; e != nil && tries < 64; e, tries = e.Prev(), tries+1 {
		if p := e.Value.(*principal); p.open == 0 {
			q.order.Remove(e)
			delete(q.known, p.key)
			return true
		}
	}
	return false
}

// leave gives back one request with the bytes and polls it held.
func (q *quota) leave(p *principal, bytes int64, polls int) {
	q.mu.Lock()
	p.open--
	p.polls -= polls
	p.bytes -= bytes
	q.bytes -= bytes
	q.mu.Unlock()
}

func (q *quota) grow(p *principal, n int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.bytes+n > q.limits.BodyBytes {
		return Refuse(CodeTooManyOpen, "open requests hold %d body bytes", p.bytes).After(time.Second)
	}
	if q.bytes+n > q.limits.TotalBodyBytes {
		return Refuse(CodeBusy, "too many body bytes are open").After(time.Second)
	}
	p.bytes, q.bytes = p.bytes+n, q.bytes+n
	return nil
}

func (q *quota) linger(p *principal) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.polls >= q.limits.Polls {
		return Refuse(CodeTooManyOpen, "%d requests are waiting", p.polls).After(time.Second)
	}
	p.polls++
	return nil
}
