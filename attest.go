// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/keyless"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/attest/measure"
	"github.com/sallyport/sallyport/attest/modelsig"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/svid"
	"github.com/sallyport/sallyport/policy"
)

// AttestConfig says which agents must prove what they run, and what is expected of them.
type AttestConfig struct {
	Policy         string        `yaml:"policy" doc:"folder of the bundle that appraises evidence; default: the embedded one"`
	Collateral     string        `yaml:"collateral" doc:"folder of collateral for Intel SGX and TDX, and of AMD's lists of revocations (snp-PRODUCT.crl); without it such evidence is refused, or worth nothing"`
	Update         AttestUpdate  `yaml:"update"`
	Roots          string        `yaml:"roots" doc:"PEM file of the makers of TPMs whose chips count as endorsed"`
	TPM            string        `yaml:"tpm" doc:"TPM of the owner's own machine, whose quotes stand beside its measurements of itself"`
	Signers        []string      `yaml:"signers" doc:"PEM files of public keys whose signatures of models and builds are accepted"`
	Keyless        AttestKeyless `yaml:"keyless"`
	TrustDomain    string        `yaml:"trust_domain" doc:"SPIFFE trust domain of the certificates that leases come with; default: that of the agents' spiffe_id"`
	BundleEndpoint bool          `yaml:"bundle_endpoint" doc:"serve the roots of leases' certificates to anybody, over TLS at /.well-known/spiffe/bundle.json of the agents' address (SPIFFE federation, https_web or https_spiffe)"`
	Agents         []AttestAgent `yaml:"agents" doc:"agents that act only while their attestation holds"`
}

// AttestAgent is what is expected of one agent.
type AttestAgent struct {
	Agent      string            `yaml:"agent" doc:"id of the agent"`
	SPIFFE     string            `yaml:"spiffe_id" doc:"its name in tokens; default: its id"`
	Kinds      []string          `yaml:"kinds" doc:"accepted evidence: supervisor, software, tpm, sgx, tdx, snp, nitro; default: supervisor"`
	Assurance  int               `yaml:"assurance" doc:"least assurance, 0 to 4"`
	Model      int               `yaml:"model" doc:"least level of the model, 0 to 3"`
	Lease      time.Duration     `yaml:"lease" doc:"how long a proof holds, 2s to 5m; default 60s, 5s for high risk"`
	Chips      []string          `yaml:"chips" doc:"endorsement keys of the TPMs that it may run on (sha256:...); default: any"`
	Registers  []int             `yaml:"registers" doc:"registers of the TPM that are quoted, of 0 to 15; default 13"`
	Restarts   string            `yaml:"restarts" doc:"accept or refuse a machine that restarted since it was last seen; default refuse"`
	Statuses   []string          `yaml:"statuses" doc:"accepted platform states (Intel's words); default UpToDate"`
	Builders   []string          `yaml:"builders" doc:"builders (URIs of SLSA provenance) whose programs and images need no reference value, where a signer of attest.signers or attest.keyless says so"`
	Sources    []string          `yaml:"sources" doc:"sources (URIs) of which one must be among those of such a build; default: any"`
	Collateral time.Duration     `yaml:"collateral" doc:"how old the maker's statements about the platform may be; default: 31 days for Intel, AMD's own window for AMD"`
	References []AttestReference `yaml:"references" doc:"what may be measured, of every component"`
	Components []AttestComponent `yaml:"components" doc:"the programs that the agent is made of, its own and the servers that it starts; each proves itself; default: one"`
}

// AttestComponent is one program of an agent.
type AttestComponent struct {
	Name       string            `yaml:"name" doc:"its name, for people"`
	NoModel    bool              `yaml:"no_model" doc:"it loads no model: the least level of the model does not bind it"`
	References []AttestReference `yaml:"references" doc:"what may be measured of it"`
}

// AttestReference lists what may be measured of one kind.
type AttestReference struct {
	Kind    string   `yaml:"kind" doc:"command, executable, script, packages, image, prompt, tools, model, mrenclave, mrtd, snp (measurement) or nitro (register 0)"`
	Digests []string `yaml:"digests" doc:"accepted digests, in hex"`
}

// The bounds of a lease's length.
const (
	minLease     = 2 * time.Second
	defaultLease = time.Minute
)

var evidenceKinds = []string{"supervisor", "software", "tpm", "sgx", "tdx", "snp", "nitro"}

func (c *AttestConfig) check() error {
	if err := c.Keyless.check(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, a := range c.Agents {
		bad := func(format string, args ...any) error {
			return fmt.Errorf("config: attest.agents: %q: %s", a.Agent, fmt.Sprintf(format, args...))
		}
		switch {
		case a.Agent == "" || seen[strings.ToLower(a.Agent)]:
			return bad("has no id, or stands twice")
		case a.Assurance < 0 || a.Assurance > 4 || a.Model < 0 || a.Model > 3:
			return bad("assurance is 0 to 4, model 0 to 3")
		case a.Lease != 0 && (a.Lease < minLease || a.Lease > lease.MaxLease || a.Lease%time.Second != 0):
			return bad("lease %s is not whole seconds between %s and %s", a.Lease, minLease, lease.MaxLease)
		case a.Collateral < 0 || a.Collateral > 0 && a.Collateral < time.Hour:
			return bad("collateral may not be bound to less than an hour: %s", a.Collateral)
		case a.Restarts != "" && a.Restarts != "accept" && a.Restarts != "refuse":
			return bad("restarts %q is neither accept nor refuse", a.Restarts)
		}
		seen[strings.ToLower(a.Agent)] = true
		for _, k := range a.Kinds {
			if !slices.Contains(evidenceKinds, k) {
				return bad("kind %q is none of %s", k, strings.Join(evidenceKinds, ", "))
			}
		}
		for _, r := range a.Registers {
			if r < 0 || r > 15 {
				return bad("register %d can be set back without a restart; only 0 to 15 count", r)
			}
		}
		if err := a.checkReferences(); err != nil {
			return bad("%v", err)
		}
	}
	_, err := c.trustDomain()
	return errors.Join(err, c.checkUpdate())
}

// checkReferences holds reference values, and the names of components, against what they may be.
func (a *AttestAgent) checkReferences() error {
	all, names := slices.Clone(a.References), map[string]bool{}
	for _, c := range a.Components {
		if c.Name == "" || len(c.Name) > 64 || names[c.Name] {
			return fmt.Errorf("component %q has no name, a long one, or stands twice", c.Name)
		}
		if len(c.References) == 0 {
			return fmt.Errorf("component %q has no reference values", c.Name)
		}
		names[c.Name], all = true, append(all, c.References...)
	}
	for _, r := range all {
		for _, d := range r.Digests {
			if b, err := hex.DecodeString(strings.TrimPrefix(d, "sha256:")); err != nil || len(b) != 32 && len(b) != 48 {
				return fmt.Errorf("reference %s: %q is no digest in hex", r.Kind, d)
			}
		}
	}
	return nil
}

// digestsByKind are reference values as the policy compares them.
func digestsByKind(refs []AttestReference) map[string][]string {
	out := map[string][]string{}
	for _, r := range refs {
		for _, d := range r.Digests {
			out[r.Kind] = append(out[r.Kind], strings.ToLower(strings.TrimPrefix(d, "sha256:")))
		}
	}
	return out
}

// profiles are the reference values by agent, without regard to case.
func (c *AttestConfig) profiles(signers []string) map[string]lease.Profile {
	out := map[string]lease.Profile{}
	for _, a := range c.Agents {
		p := lease.Profile{ID: a.SPIFFE, Kinds: a.Kinds, Assurance: a.Assurance, Model: a.Model, LeaseS: int64(a.Lease / time.Second),
			Chips: a.Chips, Registers: a.Registers, Restarts: a.Restarts, Statuses: a.Statuses, Builders: a.Builders, Sources: a.Sources, Collateral: int64(a.Collateral / time.Second), References: digestsByKind(a.References), Signers: signers}
		if p.ID == "" {
			p.ID = a.Agent
		}
		if p.Kinds == nil {
			p.Kinds = []string{"supervisor"}
		}
		if p.LeaseS == 0 {
			p.LeaseS = int64(defaultLease / time.Second)
		}
		if p.Registers == nil {
			p.Registers = []int{13}
		}
		if p.Restarts == "" {
			p.Restarts = "refuse"
		}
		for _, c := range a.Components {
			p.Components = append(p.Components, lease.Component{Name: c.Name, NoModel: c.NoModel, References: digestsByKind(c.References)})
		}
		out[strings.ToLower(a.Agent)] = p
	}
	return out
}

// attestation is what the owner keeps of attested agents.
type attestation struct {
	book   *lease.Book
	issuer *identity.Issuer
	proofs identity.Proofs
	policy *policy.PDP

	secret    []byte          // of derived credentials; leases end with the process, and so do they
	authority *svid.Authority // of the certificates of leases; nil without a trust domain
	self      os.FileInfo     // our own executable
	digest    string          // of it; set once, before anybody is served
}

// openAttest wires leases, the policy that appraises, and key-bound tokens.
func (s *Sallyport) openAttest(ctx context.Context, key []byte) error {
	c, d := &s.Config.Attest, layout(s.Config.Data)
	a := &attestation{secret: make([]byte, 32)}
	_, err := rand.Read(a.secret)
	if err != nil {
		return err
	}
	if a.policy, err = policy.Open(policy.Config{Pack: "appraisal", Dir: c.Policy, Alarm: s.policyAlarm, Now: s.Ledger.Now}); err != nil {
		return fmt.Errorf("attest: %w", err)
	}
	seed, err := secretKey(filepath.Join(d.keys, "agents"))
	if err != nil {
		return err
	}
	a.issuer = &identity.Issuer{Name: s.Ledger.Origin(), Key: ed25519.NewKeyFromSeed(seed)}
	if exe, err := os.Executable(); err == nil {
		a.self, _ = os.Stat(exe) // without it nobody counts as our supervisor
	}
	domain, err := c.trustDomain()
	if err != nil {
		return err
	}
	if domain != "" {
		a.authority = &svid.Authority{Domain: domain}
	}
	cfg := lease.Config{Store: s.Store, Key: key, Record: s.Ledger.Append, Past: s.past, Appraise: a.appraise,
		Bundle: func() action.Bundle { return a.policy.Active().Bundle() }, Head: s.head, Under: s.leaseOf, Fingerprint: s.Ledger.Fingerprint, Needed: s.leaseNeeded}
	if cfg.Roots, err = pool(c.Roots); err != nil {
		return fmt.Errorf("attest: roots: %w", err)
	}
	var signers []string
	if cfg.Model, signers, err = modelSigners(c.Signers); err != nil {
		return fmt.Errorf("attest: signers: %w", err)
	}
	if cfg.Model.Keyless, err = c.Keyless.open(); err != nil {
		return fmt.Errorf("attest: keyless: %w", err)
	}
	for _, i := range c.Keyless.Identities {
		signers = append(signers, keyless.Identity{Issuer: i.Issuer, Subject: i.Subject}.String())
	}
	if cfg.Enclaves, err = c.enclaves(); err != nil {
		return err
	}
	profiles := c.profiles(signers)
	cfg.Profile = func(_, agent string) (lease.Profile, bool) {
		p, ok := profiles[strings.ToLower(agent)]
		return p, ok
	}
	if a.book, err = lease.Open(ctx, cfg); err != nil {
		return err
	}
	s.attest = a
	return nil
}

// leaseNeeded is for agents without reference values whose record demands a lease: they get none.
func (s *Sallyport) leaseNeeded(tenant, agent string) bool {
	a, err := s.Tokens.Agent(tenant, agent)
	return err == nil && a.Lease
}

// head names the newest checkpoint, so that evidence cannot have been made before it.
func (s *Sallyport) head() string {
	c := s.Ledger.Checkpoint()
	return fmt.Sprintf("%s %d %x", c.Origin, c.Size, c.Root)
}

// appraise asks the policy. What it leaves out is the worst.
func (a *attestation) appraise(ctx context.Context, in lease.Input) (lease.Result, error) {
	out, err := a.policy.EvaluateDocument(ctx, "appraisal", in)
	if err != nil {
		return lease.Result{}, err
	}
	return readAppraisal(out)
}

func readAppraisal(out []byte) (lease.Result, error) {
	var doc struct {
		Instance      *int     `json:"instance_identity"`
		Configuration *int     `json:"configuration"`
		Executables   *int     `json:"executables"`
		FileSystem    *int     `json:"file_system"`
		Hardware      *int     `json:"hardware"`
		Runtime       *int     `json:"runtime_opaque"`
		Storage       *int     `json:"storage_opaque"`
		Sourced       *int     `json:"sourced_data"`
		LeaseS        int64    `json:"lease_s"`
		Why           []string `json:"why"`
		Component     string   `json:"component"`
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		return lease.Result{}, fmt.Errorf("attest: the policy's appraisal is not of the form: %w", err)
	}
	claim := func(v *int) int {
		if v == nil {
			return 97
		}
		return *v
	}
	return lease.Result{Vector: lease.Vector{Instance: claim(doc.Instance), Configuration: claim(doc.Configuration), Executables: claim(doc.Executables),
		FileSystem: claim(doc.FileSystem), Hardware: claim(doc.Hardware), Runtime: claim(doc.Runtime), Storage: claim(doc.Storage), Sourced: claim(doc.Sourced)},
		LeaseS: doc.LeaseS, Why: doc.Why, Component: doc.Component}, nil
}

// supervised reports whether process pid runs our own executable, by the kernel's word: it measured what it
// says that it measured. It does not withstand root, nor a user who can write to the memory of his processes.
func (a *attestation) supervised(ctx context.Context, pid int64) bool {
	if pid <= 0 || a.digest == "" || a.self == nil {
		return false
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // opened to read
	info, err := f.Stat()
	if err != nil {
		return false
	}
	if os.SameFile(info, a.self) && info.ModTime().Equal(a.self.ModTime()) && info.Size() == a.self.Size() {
		return true
	}
	d, err := measure.File(ctx, f)
	return err == nil && d == a.digest
}

// held answers for credentials that are leases: they hold while the lease does, and while the credential does
// that it was asked for with.
func (s *Sallyport) held(sub *action.Subject) bool {
	if s.attest == nil {
		return false
	}
	id := sub.Channel.CredID
	switch {
	case strings.HasPrefix(id, accountPrefix):
		return true // it was proved with the request, and lives for minutes
	case strings.HasPrefix(id, oauthPrefix):
		return s.Ledger.Now().Before(s.federation.accesses.get(id).Until)
	case strings.HasPrefix(id, x509Prefix):
		return s.Ledger.Now().Before(s.certificates.end(id))
	case strings.HasPrefix(id, identity.ExchangePrefix):
		d, ok := s.federation.delegations.Get(id)
		return ok && s.heldBase(&d.Base)
	}
	base, ok := s.attest.book.Base(id)
	return ok && s.heldBase(base)
}

// leaseOf is the lease that a credential acts under: its own, or that of the credential that it was exchanged from,
// as long as it is the same agent's.
func (s *Sallyport) leaseOf(sub *action.Subject) string {
	id := sub.Channel.CredID
	for range identity.MaxChain + 1 {
		d, ok := s.federation.delegations.Get(id)
		if !ok || !strings.HasPrefix(id, identity.ExchangePrefix) || d.Base.ID != sub.ID || d.Base.Tenant != sub.Tenant {
			return id
		}
		id = d.Base.Channel.CredID
	}
	return id
}

// Attested states what is proved about the runtime of an agent.
func (s *Sallyport) Attested() enforce.Informer { return s.attest.book }

func pool(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := x509.NewCertPool()
	if !out.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificate in PEM", path)
	}
	return out, nil
}

// modelSigners reads the accepted keys and their digests.
func modelSigners(paths []string) (c modelsig.Config, digests []string, err error) {
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return c, nil, err
		}
		k, err := modelsig.ReadKey(text)
		if err != nil {
			return c, nil, fmt.Errorf("%s: %w", path, err)
		}
		der, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			return c, nil, fmt.Errorf("%s: %w", path, err)
		}
		c.Keys, digests = append(c.Keys, k), append(digests, attest.Digest(der))
	}
	return c, digests, nil
}
