// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/http"
	"time"
)

// maxStreams bounds the requests that one connection of HTTP/2 carries at a time.
const maxStreams = 64

// Server returns a server for h, which must come from a Gate: the gate sets the deadlines of bodies and
// answers itself, because one WriteTimeout for all would cut long polls and streams. The caller sets
// TLSConfig, BaseContext and ErrorLog, serves it and shuts it down.
func Server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:                      h,
		ReadHeaderTimeout:            10 * time.Second,
		IdleTimeout:                  2 * time.Minute,
		MaxHeaderBytes:               32 << 10,
		ConnContext:                  ConnContext,
		DisableGeneralOptionsHandler: true,
		// One connection of HTTP/2, where TLS negotiates it, is no way around the bounds of one caller: those count requests.
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReadFrameSize: 64 << 10, PermitProhibitedCipherSuites: false},
	}
}
