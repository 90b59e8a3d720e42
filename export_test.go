// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
)

// PatientConfig is DefaultConfig for a machine that does much else, and under the race detector: facts that come late
// deny, which is what few tests are about.
func PatientConfig() Config {
	c := DefaultConfig()
	c.Gateway.FactsDeadline = 30 * time.Second
	return c
}

// Resumed is the number of records that the start of s did not replay.
func Resumed(s *Sallyport) uint64 { return s.resumed.Size }

// BeginPast begins to keep the past; what it returns finishes that.
func BeginPast(s *Sallyport) func(ctx context.Context) error {
	p := s.beginPast()
	return func(ctx context.Context) error { return s.keep(ctx, p) }
}

// Past is what columns are told of the log.
func Past(ctx context.Context, s *Sallyport, fn func(r *action.Record) error) error {
	return s.past(ctx, fn)
}

// PastKinds are the kinds that Past tells of.
func PastKinds() []action.Kind { return pastKinds }

// CheckConfig is what Open refuses a configuration for.
func CheckConfig(c *Config) error { return c.check() }

// DecideForTest is what the owner decides on q, by whichever policy it is a matter of.
func DecideForTest(s *Sallyport, q *action.Query) (action.Decision, error) {
	return byResource{s}.Decide(context.Background(), q)
}

// DeclaredForTest are the labels that a server's results carry at worst.
func DeclaredForTest(s *Sallyport, server string) action.Labels { return s.declared(server, "") }

// DeciderForTest is what the path decides with.
func DeciderForTest(s *Sallyport) (enforce.Decider, error) { return s.decider() }

// UndecidedForTest are the settings that change no decision, with the reason.
func UndecidedForTest() map[string]string { return undecided }

// BundlesForTest is what the people's door puts bundles in force with.
func BundlesForTest(s *Sallyport) interface {
	Activate(ctx context.Context, archive []byte, by string, dry bool) (any, error)
} {
	return adminBundles{s}
}

// PeopleForTest is the people's door.
func PeopleForTest(s *Sallyport, auth gateway.Authenticator) (http.Handler, error) {
	return s.people(auth, true)
}
