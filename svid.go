// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/jose"
	"github.com/sallyport/sallyport/identity/svid"
)

// FederationSPIFFE says which certificates of others are agents.
type FederationSPIFFE struct {
	Socket string            `yaml:"socket" doc:"socket of a SPIFFE workload API, such as a SPIRE agent's; our own certificate comes from it too, unless listen.tls names one"`
	Agents []FederationAgent `yaml:"agents" doc:"SPIFFE ids that are agents, in certificates of that trust domain or of listen.tls.client_ca"`
}

// FederationAgent maps a SPIFFE id to an agent.
type FederationAgent struct {
	ID    string `yaml:"id" doc:"the SPIFFE id"`
	Agent string `yaml:"agent" doc:"id of the agent record"`
}

func (c *FederationConfig) check() error {
	seen := map[string]bool{}
	for _, a := range c.SPIFFE.Agents {
		id, err := svid.ParseID(a.ID)
		if err != nil || id.Path == "" || a.Agent == "" || seen[a.ID] {
			return fmt.Errorf("config: federation.spiffe.agents: %q names no workload or agent, or stands twice", a.ID)
		}
		seen[a.ID] = true
	}
	return nil
}

// trustDomain is the one that the certificates of leases are of; "" if there are none.
func (c *AttestConfig) trustDomain() (string, error) {
	domain := c.TrustDomain
	if domain != "" && !svid.Domain(domain) {
		return "", fmt.Errorf("config: attest.trust_domain: %q is no trust domain", domain)
	}
	for _, a := range c.Agents {
		id, err := svid.ParseID(a.SPIFFE)
		switch {
		case err != nil:
		case domain == "":
			domain = id.Domain
		case domain != id.Domain && c.TrustDomain != "":
			return "", fmt.Errorf("config: attest.agents: %q: its spiffe_id is not of %s", a.Agent, domain)
		case domain != id.Domain:
			return "", nil // an authority speaks for one; which, nobody has said
		}
	}
	return domain, nil
}

// certify makes the certificate that goes with a lease, on the lease's key and for the lease's time; nil where there
// is no trust domain.
func (a *attestation) certify(l *lease.Lease, key crypto.PublicKey) (*svid.SVID, error) {
	if a.authority == nil || key == nil {
		return nil, nil
	}
	id, err := svid.ParseID(l.SPIFFE)
	if err != nil {
		id = svid.ID{Domain: a.authority.Domain, Path: "/agent/" + l.Agent}
	}
	out, err := a.authority.Issue(id, l.ID, key, l.Ends)
	if err != nil {
		return nil, fmt.Errorf("attest: %w", err)
	}
	return &out, nil
}

func certificatePEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// certificates proves agents by what others have signed for them.
type certificates struct {
	tokens  *identity.Tokens
	agents  map[string]string // SPIFFE id -> agent
	clients *x509.CertPool    // listen.tls.client_ca
	lists   *svid.Withdrawn   // of listen.tls.client_crl; nil looks at none
	source  *svid.Workload    // nil without a workload API
	now     func() time.Time

	mu    sync.Mutex // guards below
	known map[[sha256.Size]byte]judged
	until map[string]time.Time // by SPIFFE id: the end of the newest certificate that was seen
	roots uint64               // of the source, by its count of changes, that known rests on
}

// judged is a chain that was judged. It is judged again after a while: roots are withdrawn too.
type judged struct {
	id    string
	kind  action.Credential
	until time.Time
}

// The bounds of what is remembered of certificates.
const (
	maxChains = 8192
	judgedFor = 30 * time.Second
)

// x509Prefix begins the credential id of a workload that came with a certificate of others.
const x509Prefix = "x509:"

// openCertificates reads who is judged for, and by whom.
func (s *Sallyport) openCertificates() error {
	c := &certificates{tokens: s.Tokens, agents: map[string]string{}, now: s.Ledger.Now, known: map[[sha256.Size]byte]judged{}, until: map[string]time.Time{}}
	for _, a := range s.Config.Federation.SPIFFE.Agents {
		c.agents[a.ID] = a.Agent
	}
	if path := s.Config.Listen.TLS.ClientCA; path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("listen: client_ca: %w", err)
		}
		if c.clients = x509.NewCertPool(); !c.clients.AppendCertsFromPEM(text) {
			return fmt.Errorf("listen: client_ca %q holds no certificate in PEM", path)
		}
	}
	if path := s.Config.Listen.TLS.ClientCRL; path != "" {
		if c.clients == nil {
			return errors.New("listen: client_crl: without client_ca there is nobody to withdraw")
		}
		c.lists = &svid.Withdrawn{Path: path}
	}
	if socket := s.Config.Federation.SPIFFE.Socket; socket != "" {
		c.source = &svid.Workload{Socket: strings.TrimPrefix(socket, "unix://")}
	}
	s.certificates = c
	return nil
}

// caller proves an agent by the chain that it has shown.
func (c *certificates) caller(chain []*x509.Certificate) (*gateway.Caller, error) {
	v, err := c.judge(chain)
	if err != nil {
		return nil, gateway.ErrUnauthenticated
	}
	a, err := c.tokens.Agent("default", c.agents[v.id])
	if err != nil {
		return nil, gateway.ErrUnauthenticated
	}
	sub := action.NewQuery(action.Before).Subject
	sub.ID, sub.Tenant, sub.Scopes = a.ID, a.Tenant, []action.Scope{action.ScopeAgent}
	sub.Channel.Credential, sub.Channel.CredID = v.kind, x509Prefix+v.id
	return &gateway.Caller{Subject: sub, Name: v.id}, nil
}

// judge verifies a chain, or remembers that it has.
func (c *certificates) judge(chain []*x509.Certificate) (judged, error) {
	now := c.now()
	print := sha256.Sum256(chain[0].Raw)
	var roots uint64
	if c.source != nil {
		roots = c.source.Changes() // before they are used: roots that come meanwhile are judged by next time
	}
	c.mu.Lock()
	if c.roots != roots {
		clear(c.known)
		c.roots = roots
	}
	v, ok := c.known[print]
	c.mu.Unlock()
	if ok && now.Before(v.until) {
		return v, nil
	}
	v = judged{kind: action.CredentialSVID, until: now.Add(judgedFor)}
	id, err := svid.ID{}, svid.ErrCertificate
	if c.source != nil {
		id, err = svid.Verify(chain, c.source.Roots(chain[0]), now)
	}
	if err != nil {
		v.kind = action.CredentialMTLS
		if id, err = svid.Verify(chain, c.clients, now); err != nil {
			return v, err
		}
		if c.lists != nil {
			if err := c.lists.Check(chain, c.clients, now); err != nil {
				return v, err
			}
		}
	}
	v.id = id.String()
	if c.agents[v.id] == "" {
		return v, fmt.Errorf("%w: nobody has said which agent %s is", svid.ErrCertificate, v.id)
	}
	if end := chain[0].NotAfter; end.Before(v.until) {
		v.until = end
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxChains {
		clear(c.known)
	}
	if c.roots == roots {
		c.known[print] = v
	}
	if c.until[v.id].Before(chain[0].NotAfter) {
		c.until[v.id] = chain[0].NotAfter // one entry for each id of the configuration
	}
	return v, nil
}

// end is when the newest certificate of a credential ends that was seen; long ago for others.
func (c *certificates) end(credential string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.until[strings.TrimPrefix(credential, x509Prefix)]
}

// certified proves the holder of a certificate: one that came with a lease of ours, or one of others.
func (s *Sallyport) certified(t *tls.ConnectionState) (*gateway.Caller, error) {
	leaf := shownCertificate(t, s.Ledger.Now())
	if leaf == nil {
		return nil, gateway.ErrUnauthenticated
	}
	if a := s.attest.authority; a != nil {
		if id, ok := a.Holder(leaf.Raw); ok {
			return s.leaseCaller(id, leaf)
		}
	}
	return s.certificates.caller(t.PeerCertificates)
}

// leaseCaller is the holder of a lease that shows its certificate. Whether the lease still holds is for the kernel
// to see, which says why.
func (s *Sallyport) leaseCaller(id string, leaf *x509.Certificate) (*gateway.Caller, error) {
	l, ok := s.attest.book.Known(id)
	if !ok || keyOf(leaf.PublicKey) != l.Key {
		return nil, gateway.ErrUnauthenticated
	}
	sub := l.Subject
	sub.Channel.Credential, sub.Channel.CredID = action.CredentialSVID, lease.CredentialPrefix+l.ID
	return &gateway.Caller{Subject: sub, Name: sub.ID}, nil
}

// keyOf is the thumbprint of a public key; "" of one of a kind that tokens are not bound to.
func keyOf(key crypto.PublicKey) string {
	k, err := jose.KeyOf(key)
	if err != nil {
		return ""
	}
	print, err := k.Thumbprint()
	if err != nil {
		return ""
	}
	return print
}

// thumbprint is the x5t#S256 of RFC 8705.
func thumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return jose.Encode(sum[:])
}

// boundByCertificate proves the holder of a token that is bound to a certificate (RFC 8705, section 3).
func (s *Sallyport) boundByCertificate(r *http.Request, c *identity.Claims) (*gateway.Caller, error) {
	leaf := shownCertificate(r.TLS, s.Ledger.Now())
	if leaf == nil || c.Confirm.X5T == "" || subtle.ConstantTimeCompare([]byte(thumbprint(leaf.Raw)), []byte(c.Confirm.X5T)) != 1 {
		return nil, gateway.ErrUnauthenticated
	}
	return s.boundSubject(r, c, keyOf(leaf.PublicKey), action.CredentialMTLS)
}

// workloadRun keeps the certificates of the workload API until ctx ends.
func (s *Sallyport) workloadRun(ctx context.Context) error {
	if s.certificates.source == nil {
		<-ctx.Done()
		return nil
	}
	return s.certificates.source.Run(ctx, func(err error) { s.alarm("spiffe.workload_api", err.Error()) })
}
