// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/gateway/egress"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/tools"
)

// EgressConfig configures the proxy through which agents reach other hosts.
type EgressConfig struct {
	Listen    string       `yaml:"listen" doc:"address of the egress proxy, such as 127.0.0.1:7119; default \"none\": there is none"`
	Policy    string       `yaml:"policy" doc:"folder of the bundle that decides on what goes through the proxy; default: the embedded pack egress"`
	Hosts     []EgressHost `yaml:"hosts" doc:"hosts that agents may use, and how"`
	Intercept []string     `yaml:"intercept" doc:"the only domains for which agents' certificate authorities may speak; default: all but pinned hosts"`
	CAFile    string       `yaml:"ca_file" doc:"file with certificates that upstreams are checked against; default: the system's"`
}

// EgressHost is what the operator says of one host.
type EgressHost struct {
	Name      string   `yaml:"name" doc:"host name in lower case, an address, or \"*.domain\" for all names below one"`
	Zone      string   `yaml:"zone" doc:"inside or outside; default outside. A host inside may have a private address"`
	Accounts  []string `yaml:"accounts" doc:"whose parts of a host that serves many may be used; default: all"`
	Pinned    bool     `yaml:"pinned" doc:"its clients accept no other certificate: pass its TLS unread"`
	TokenFile string   `yaml:"token_file" doc:"file with the credential that we present in the agent's place"`
	Header    string   `yaml:"header" doc:"field that carries it as it is; default: Authorization, as a bearer token"`

	StreamUploads bool `yaml:"stream_uploads" doc:"let bodies over 4 MiB leave in pieces of 1 MiB, each once it was judged; default: all of it is judged before any leaves, up to 256 MiB"`
}

func (c *EgressConfig) check() error {
	for _, h := range c.Hosts {
		name := strings.TrimPrefix(h.Name, "*.")
		if canonical, _, err := tools.CanonicalHost(name); err != nil || canonical != name {
			return fmt.Errorf("config: egress.hosts: %q is no host name in lower case", h.Name)
		}
		if h.Zone != "" && h.Zone != "inside" && h.Zone != "outside" {
			return fmt.Errorf("config: egress.hosts: zone %q of %q is neither inside nor outside", h.Zone, h.Name)
		}
		if h.Header != "" && h.TokenFile == "" {
			return fmt.Errorf("config: egress.hosts: %q has a header but no token_file", h.Name)
		}
		if h.Pinned && h.TokenFile != "" {
			return fmt.Errorf("config: egress.hosts: %q is pinned, so that no credential can be added", h.Name)
		}
	}
	return nil
}

// hosts returns the entries for a host, the most exact first.
func (c *EgressConfig) hosts(host string) (out []EgressHost) {
	for _, h := range c.Hosts {
		if h.Name == host {
			out = append(out, h)
		}
	}
	var wild []EgressHost
	for _, h := range c.Hosts {
		if domain, ok := strings.CutPrefix(h.Name, "*"); ok && strings.HasSuffix(host, domain) && len(host) > len(domain) {
			wild = append(wild, h)
		}
	}
	slices.SortStableFunc(wild, func(a, b EgressHost) int { return len(b.Name) - len(a.Name) })
	return append(out, wild...)
}

// standing is what the tools column hears of a host. Only the most exact entry speaks.
func (c *EgressConfig) standing(_, host, account string) tools.HostStanding {
	found := c.hosts(host)
	if len(found) == 0 {
		return tools.HostStanding{}
	}
	h := found[0]
	st := tools.HostStanding{Listed: len(h.Accounts) == 0 || slices.Contains(h.Accounts, account)}
	if h.Zone == "inside" && st.Listed {
		st.Zone = action.ZoneInside
	}
	return st
}

// host is what the door hears of it.
func (c *EgressConfig) host(host string) egress.Host {
	found := c.hosts(host)
	if len(found) == 0 {
		return egress.Host{}
	}
	h := found[0]
	out := egress.Host{Pinned: h.Pinned, Private: h.Zone == "inside", StreamUploads: h.StreamUploads}
	if h.TokenFile != "" {
		out.Credential = func() (string, string, error) {
			b, err := os.ReadFile(h.TokenFile)
			value := strings.TrimSpace(string(b))
			if err != nil || value == "" || strings.ContainsAny(value, "\r\n") {
				return "", "", errors.New("the file of the credential cannot be used")
			}
			if h.Header != "" {
				return h.Header, value, nil
			}
			return "Authorization", "Bearer " + value, nil
		}
	}
	return out
}

// World stands between the egress proxy and the network. Its zero value is the network itself.
type World struct {
	Resolver egress.Resolver
	Dial     func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)
	Roots    *x509.CertPool // nil means those of the configuration
	Limits   egress.Limits
}

// openEgress opens the proxy and the policy that decides on what goes through it.
func (s *Sallyport) openEgress() error {
	c := &s.Config.Egress
	cfg := egress.Config{
		Enforcer: s.Enforcer, Auth: walledProxy{proxied{s}, s.walls, s.Tokens}, Canonical: tools.CanonicalHost, PrivateAddr: tools.PrivateAddr, Host: c.host,
		Standing: s.mayAct, Changed: s.Kill.Changed, Separation: separationOf, Resolver: s.world.Resolver, Dial: s.world.Dial, Roots: s.world.Roots,
		Intercept: c.Intercept, Listeners: []string{s.Config.Gateway.Listen, s.Config.Admin.Listen, c.Listen}, Now: s.Ledger.Now,
		SpoolDir: layout(s.Config.Data).run, Limits: s.world.Limits,
	}
	for _, h := range c.Hosts {
		if h.Pinned {
			cfg.Except = append(cfg.Except, strings.TrimPrefix(h.Name, "*."))
		}
	}
	if c.CAFile != "" {
		b, err := os.ReadFile(c.CAFile)
		if err != nil {
			return fmt.Errorf("egress: ca_file: %w", err)
		}
		if cfg.Roots = x509.NewCertPool(); !cfg.Roots.AppendCertsFromPEM(b) {
			return fmt.Errorf("egress: ca_file %q holds no certificate in PEM", c.CAFile)
		}
	}
	var err error
	s.Egress, err = egress.New(cfg)
	return err
}

// openEgressPolicy loads the bundle for what goes through the proxy.
func (s *Sallyport) openEgressPolicy() (err error) {
	s.egressPolicy, err = s.doorPolicy(doorEgress, policy.Config{Pack: "egress", Dir: s.Config.Egress.Policy, Alarm: s.policyAlarm, Now: s.Ledger.Now})
	return err
}

func (s *Sallyport) embeddedEgress() (*policy.PDP, error) {
	return policy.Open(policy.Config{Pack: "egress", Alarm: s.policyAlarm, Now: s.Ledger.Now})
}

// byResource asks the policy of the proxy about hosts, that of the databases about them, and the policy in force
// about everything else.
type byResource struct{ s *Sallyport }

// Decide answers q.
func (b byResource) Decide(ctx context.Context, q *action.Query) (action.Decision, error) {
	return b.s.policyFor(q).Decide(ctx, q)
}

var _ enforce.Decider = byResource{}

func (s *Sallyport) policyFor(q *action.Query) *policy.PDP {
	switch doorOf(q) {
	case doorEgress:
		return s.egressPolicy
	case doorDatabases:
		if s.databasePolicy != nil {
			return s.databasePolicy
		}
	}
	return s.Policy
}

// redecide answers a recorded query under what is in force for it now.
func (s *Sallyport) redecide(ctx context.Context, q *action.Query, _ action.Bundle) (action.Decision, error) {
	return s.policyFor(q).Active().Redecide(ctx, q)
}

// mayAct reports whether an agent may still act, as the kernel judges it.
func (s *Sallyport) mayAct(ctx context.Context, sub *action.Subject, session string) bool {
	k := s.Kill.Standing(ctx, sub, session)
	return k.State == action.StateKnown && k.Killed == action.No && k.Revoked == action.No && k.Owned == action.Yes
}

// egressCA gives the owner's user the certificate of an agent.
func (s *Sallyport) egressCA(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	agent := r.PathValue("agent")
	if _, err := s.Tokens.Agent(c.Subject.Tenant, agent); err != nil {
		return gateway.Refuse(gateway.CodeNotFound, "there is no agent %q", action.Clip(agent, 64))
	}
	certificate, err := s.Egress.CA(c.Subject.Tenant, agent)
	if err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, EgressCA{Agent: agent, Certificate: string(certificate)})
}

// EgressCA is the certificate of an agent's authority.
type EgressCA struct {
	Agent       string `json:"agent"`
	Certificate string `json:"certificate"` // PEM
}
