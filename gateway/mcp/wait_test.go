// SPDX-License-Identifier: Apache-2.0

package mcp

import (
	"bufio"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
)

// patient serves a scripted server to a client whose calls may wait for people.
func patient(t *testing.T, p *path, wait time.Duration) (*stdio, *bufio.Reader, chan string) {
	reached := make(chan string, 10)
	peer := testPeer
	peer.Patience = wait
	s := guardAs(t, newGate(t, p, nil), peer, script(func(l string) []string {
		reached <- l
		if member([]byte(l), "id") == nil {
			return nil
		}
		return []string{answerLine(l, `{"content":[]}`)}
	}))
	return s, bufio.NewReader(s.out), reached
}

func line1(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	l, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// inbox waits for the one open ask.
func inbox(p *path) string {
	for {
		p.mu.Lock()
		for t := range p.asks {
			p.mu.Unlock()
			return t
		}
		p.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

func TestCallThatWaitsForPeopleRunsOnceWhenTheyApprove(t *testing.T) {
	p := newPath()
	p.verdicts["send"] = action.Ask
	s, out, reached := patient(t, p, time.Minute)
	s.write(t, requestLine(1, "send"))
	ticket := inbox(p)
	s.write(t, requestLine(2, "read")) // does not wait for the other
	if l := line1(t, out); !strings.Contains(l, `"id":2`) {
		t.Fatalf("first came %s", l)
	}
	<-reached
	p.approve(ticket)
	if l := line1(t, out); l != answerLine(requestLine(1, ""), `{"content":[]}`)+"\n" {
		t.Fatalf("then came %s", l)
	}
	if l := <-reached; l != requestLine(1, "send") {
		t.Fatalf("the server got %s", l)
	}
}

func TestCallThatWaitsInVainGetsItsTicket(t *testing.T) {
	p := newPath()
	p.verdicts["send"] = action.Ask
	s, out, reached := patient(t, p, 20*time.Millisecond)
	s.write(t, requestLine(1, "send"))
	if l := line1(t, out); !strings.Contains(l, "sallyport approvals approve T-") {
		t.Fatalf("answered %s", l)
	}
	s.write(t, requestLine(1, "read")) // the id is free again
	if l := line1(t, out); !strings.Contains(l, `"content":[]`) || len(reached) != 1 {
		t.Fatalf("answered %s", l)
	}
}

func TestCallThatWaitsCanBeTakenBack(t *testing.T) {
	p := newPath()
	p.verdicts["send"] = action.Ask
	s, out, reached := patient(t, p, time.Minute)
	s.write(t, requestLine(1, "send"))
	ticket := inbox(p)
	s.write(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	s.write(t, requestLine(2, "read"))
	if l := line1(t, out); !strings.Contains(l, `"id":2`) {
		t.Fatalf("answered %s", l)
	}
	p.approve(ticket)
	s.write(t, requestLine(3, "read"))
	if l := line1(t, out); !strings.Contains(l, `"id":3`) {
		t.Fatalf("answered %s", l)
	}
	for range 2 {
		if l := <-reached; !strings.Contains(l, "read") {
			t.Fatalf("the server got %s", l)
		}
	}
}

func TestWaitEndsWithTheConnection(t *testing.T) {
	p := newPath()
	p.verdicts["send"] = action.Ask
	s, _, reached := patient(t, p, time.Hour)
	s.write(t, requestLine(1, "send"))
	inbox(p)
	_ = s.owner.Close()
	if err := <-s.served; len(reached) > 0 {
		t.Fatalf("the server got %s; %v", <-reached, err)
	}
	s.served <- nil // for the clean-up
}
