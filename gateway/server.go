// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/http"
	"time"
)

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
	}
}
