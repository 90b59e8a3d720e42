// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/term"
)

// counting shows on a terminal how many of something were looked at, once a second, beginning after the
// first. done wipes the line. Without a terminal both do nothing.
func (a *app) counting(what string) (at func(n uint64), done func()) {
	w, ok := a.err.(*os.File)
	if !ok || !term.IsTerminal(int(w.Fd())) {
		return nil, func() {}
	}
	next, shown := time.Now().Add(time.Second), false
	return func(n uint64) {
			if now := time.Now(); now.After(next) {
				next, shown = now.Add(time.Second), true
				fmt.Fprintf(w, "\r%d %s", n, what)
			}
		}, func() {
			if shown {
				fmt.Fprint(w, "\r\x1b[K")
			}
		}
}
