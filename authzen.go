// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/gateway/authzen"
)

// AuthZENConfig configures the door for other people's enforcement points.
type AuthZENConfig struct {
	URL string `yaml:"url" doc:"our base address as they know it, for the metadata; default: the address that was asked"`
}

// authzenRoutes are the AuthZEN endpoints.
func (s *Sallyport) authzenRoutes() ([]gateway.Route, error) {
	return authzen.Routes(authzen.Config{Enforcer: s.Enforcer, Separation: separationOf, URL: s.Config.AuthZEN.URL})
}
