// SPDX-License-Identifier: Apache-2.0

package dcap

import (
	"net/http"
	"testing"
	"time"
)

// Story is a world whose platform, and what is stated about it, can be changed between two quotes.
type Story struct {
	w     *world
	s     *service
	first *Collateral
}

// NewStory returns a world in which everything is good, and its service.
func NewStory(t testing.TB) (*Story, http.Handler) {
	w := newWorld(t, 3, teeSGX)
	_, c := w.build()
	s := &service{c: c}
	return &Story{w, s, c}, s
}

// Now is the world's time, and Root its root.
func (s *Story) Now() time.Time { return s.w.now }
func (s *Story) Root() []byte   { return s.w.ders[0] }

// Quote is one of the platform, over data.
func (s *Story) Quote(data []byte) []byte {
	clear(s.w.body[320:384])
	copy(s.w.body[320:], data)
	return s.w.quote(append(pems(s.w.ders[2], s.w.ders[1], s.w.ders[0]), 0))
}

// State lets the service state another grade of the platform from now on.
func (s *Story) State(status string) {
	s.w.tcb["issueDate"] = s.w.now.AddDate(0, 0, -1).Format(time.RFC3339)
	s.w.tcb["tcbLevels"] = []m{s.w.level(5, 11, status)}
	s.s.c = s.w.again()
}

// Restore lets the service state again what it stated at first.
func (s *Story) Restore() { s.s.c = s.first }
