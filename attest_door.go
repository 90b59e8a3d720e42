// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
	"github.com/sallyport/sallyport/attest/lease"
	"github.com/sallyport/sallyport/attest/tpm"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/jose"
)

// attestRoutes are the agents' side of attestation: a challenge, evidence for a lease, and the keys of chips.
// They take the credential that an agent has beside its leases.
func (s *Sallyport) attestRoutes() []gateway.Route {
	agent := []action.Scope{action.ScopeAgent}
	return []gateway.Route{
		{Pattern: "POST /v1/attest/challenges", Scopes: agent, Serve: s.attestChallenge},
		{Pattern: "POST /v1/attest/leases", Scopes: agent, Serve: s.attestLease},
		{Pattern: "POST /v1/attest/credentials", Scopes: agent, Serve: s.attestDerive},
		{Pattern: "POST /v1/attest/keys", Scopes: agent, Serve: s.attestEnroll},
		{Pattern: "POST /v1/attest/keys/{id}", Scopes: agent, Serve: s.attestAnswer},
	}
}

// attestOperatorRoutes are the people's side.
func (s *Sallyport) attestOperatorRoutes() []gateway.Route {
	viewer, admin := []action.Scope{action.ScopeViewer}, []action.Scope{action.ScopeAdmin}
	return []gateway.Route{
		{Pattern: "GET /v1/attest/leases", Scopes: viewer, Serve: s.attestLeases},
		{Pattern: "POST /v1/attest/leases/{id}/end", Scopes: admin, Serve: s.attestEnd},
		{Pattern: "GET /v1/attest/keys", Scopes: viewer, Serve: s.attestKeys},
		{Pattern: "POST /v1/attest/appraisals/{index}/again", Scopes: []action.Scope{action.ScopeAuditor}, Serve: s.attestAgain},
		{Pattern: "POST /v1/attest/keys/{name}/withdraw", Scopes: admin, Serve: s.attestWithdraw},
	}
}

// AttestChallenge is what evidence must answer within its time, once.
type AttestChallenge struct {
	ID        string    `json:"id"`
	Nonce     tpm.Bytes `json:"nonce"`
	Head      string    `json:"head"` // of the ledger; part of what evidence binds
	ExpiresMs int64     `json:"expires_ms"`
	Kinds     []string  `json:"kinds"`     // of evidence that are accepted from this agent
	Registers []int     `json:"registers"` // of its TPM that are quoted
	Binding   string    `json:"binding"`   // of the channel, which evidence covers too: "tls-exporter" (RFC 9266); "" without TLS
}

func (s *Sallyport) attestChallenge(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var none struct{}
	if err := gateway.ReadJSON(w, r, &none, 1024); err != nil {
		return err
	}
	if err := baseOnly(c); err != nil {
		return err
	}
	ch, err := s.attest.book.Challenge(&c.Subject)
	if err != nil {
		return attestProblem(err)
	}
	p, _ := s.attest.book.Profile(c.Subject.Tenant, c.Subject.ID)
	out := AttestChallenge{ID: ch.ID, Nonce: ch.Nonce, Head: ch.Head, ExpiresMs: ch.Expires.UnixMilli(), Kinds: p.Kinds, Registers: p.Registers}
	if r.TLS != nil {
		out.Binding = attest.ExporterBinding
	}
	return gateway.WriteJSON(w, http.StatusOK, out)
}

// baseOnly refuses callers who act under a lease: a lease is not renewed by itself.
func baseOnly(c *gateway.Caller) error {
	id := c.Subject.Channel.CredID
	switch c.Subject.Channel.Credential {
	case action.CredentialToken, action.CredentialPeer, action.CredentialMTLS, action.CredentialSVID:
		if c.Subject.ID != "" && !strings.HasPrefix(id, lease.CredentialPrefix) && !strings.HasPrefix(id, identity.ExchangePrefix) {
			return nil
		}
	}
	return gateway.Refuse(gateway.CodeSubject, "a lease is asked for with the agent's own credential")
}

// AttestClaim is evidence with what it is bound to. The request carries a DPoP proof of the session key whose
// nonce is the challenge's.
type AttestClaim struct {
	Challenge string         `json:"challenge"`
	Lease     string         `json:"lease"` // to renew; "" asks for a new one
	Kind      string         `json:"kind"`
	Evidence  tpm.Bytes      `json:"evidence"`
	Log       []attest.Event `json:"log"`
	Signature tpm.Bytes      `json:"model_signature"`
	Built     tpm.Bytes      `json:"provenance"` // bundle of SLSA provenance of the program
}

// AttestLease is a granted lease with its token.
type AttestLease struct {
	Lease
	Token  string `json:"token"`
	SVID   string `json:"svid"`   // X.509-SVID on the same key, in PEM; it ends with the lease; "" without a trust domain
	Bundle string `json:"bundle"` // roots of the trust domain, in PEM
}

// Lease is how a lease stands, for people.
type Lease struct {
	ID        string       `json:"id"`
	Agent     string       `json:"agent"`
	SPIFFE    string       `json:"spiffe_id"`
	Kind      string       `json:"kind"`
	Assurance int          `json:"assurance"`
	Model     int          `json:"model"`
	Test      action.Tri   `json:"test"`
	Status    string       `json:"status"`
	Vector    lease.Vector `json:"vector"`
	Why       []string     `json:"why"`
	Component string       `json:"component"` // of the agent; "" where it has no list of them
	Weights   string       `json:"weights"`
	RenewedMs int64        `json:"renewed_ms"`
	EndsMs    int64        `json:"ends_ms"`
	Live      bool         `json:"live"`
	Ended     string       `json:"ended"` // the code under which it ended; "" while it was not ended
}

func leaseView(l *lease.Lease, now time.Time) Lease {
	why := l.Why
	if why == nil {
		why = []string{}
	}
	return Lease{ID: l.ID, Agent: l.Agent, SPIFFE: l.SPIFFE, Kind: l.Kind, Assurance: l.Assurance, Model: l.Model, Test: l.Test, Status: l.Status,
		Vector: l.Vector, Why: why, Weights: l.Weights, Component: l.Component, RenewedMs: l.Renewed.UnixMilli(), EndsMs: l.Ends.UnixMilli(), Live: l.Live(now), Ended: l.Ended}
}

func (s *Sallyport) attestLease(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var body AttestClaim
	if err := gateway.ReadJSON(w, r, &body, lease.MaxRequestSize); err != nil {
		return err
	}
	if err := baseOnly(c); err != nil {
		return err
	}
	ch, err := s.attest.book.Take(&c.Subject, body.Challenge)
	if err != nil {
		return attestProblem(err)
	}
	public, key, err := s.claimKey(r, ch.Nonce)
	if err != nil {
		return err
	}
	claim := lease.Claim{Subject: c.Subject, Challenge: ch, Key: key, Lease: body.Lease, Kind: body.Kind, Evidence: body.Evidence, Log: body.Log,
		Signature: body.Signature, Provenance: body.Built, Until: s.credentialUntil(r, &c.Subject)}
	if claim.Exporter, err = exporter(r); err != nil {
		return err
	}
	if p, ok := gateway.PeerFrom(r.Context()); ok && body.Kind == "supervisor" {
		claim.Supervised = s.attest.supervised(r.Context(), p.PID)
	}
	l, err := s.attest.book.Grant(r.Context(), claim)
	if err != nil {
		return attestProblem(err)
	}
	out, err := s.attest.leased(&l, public, shownCertificate(r.TLS, s.Ledger.Now()))
	if err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, out)
}

// claimKey is the session key that a claim is for: the one of a DPoP proof over the challenge's nonce or, without
// such a proof, the one of the certificate that the connection was opened with.
func (s *Sallyport) claimKey(r *http.Request, nonce []byte) (crypto.PublicKey, string, error) {
	proof := r.Header.Values("DPoP")
	leaf := shownCertificate(r.TLS, s.Ledger.Now())
	if len(proof) == 0 && leaf != nil && keyOf(leaf.PublicKey) != "" {
		return leaf.PublicKey, keyOf(leaf.PublicKey), nil
	}
	if len(proof) != 1 {
		return nil, "", gateway.Refuse(gateway.CodeInvalid, "the request carries no proof of possession (header DPoP)")
	}
	public, key, err := s.attest.proofs.Key(identity.Proof{Text: proof[0], Method: r.Method, URL: requestURL(r), Nonce: jose.Encode(nonce), Proxy: r.TLS == nil})
	if err != nil {
		return nil, "", gateway.Refuse(gateway.CodeInvalid, "%v", err)
	}
	return public, key, nil
}

// leased is the answer that a lease was granted with: its token, and where there is a trust domain the certificate on
// the same key. The token is bound to the key, and to one certificate on it: the one that was shown, else ours.
func (a *attestation) leased(l *lease.Lease, key crypto.PublicKey, shown *x509.Certificate) (AttestLease, error) {
	out := AttestLease{Lease: leaseView(l, time.Now())}
	cert, err := a.certify(l, key)
	if err != nil {
		return out, err
	}
	x5t := ""
	if cert != nil {
		bundle, err := a.authority.Bundle()
		if err != nil {
			return out, err
		}
		out.SVID, out.Bundle, x5t = certificatePEM(cert.DER), string(bundle), thumbprint(cert.DER)
	}
	if shown != nil && keyOf(shown.PublicKey) == l.Key {
		x5t = thumbprint(shown.Raw)
	}
	out.Token, err = a.token(l, x5t)
	return out, err
}

// token makes the key-bound token of a lease.
func (a *attestation) token(l *lease.Lease, x5t string) (string, error) {
	c := identity.Claims{Subject: l.SPIFFE, ID: l.ID + "." + l.Renewed.UTC().Format("150405.000"), Confirm: identity.Confirm{JKT: l.Key, X5T: x5t}, Tenant: l.Tenant,
		Agent: l.Agent, Scope: words(l.Subject.Scopes), Lease: l.ID, Assurance: l.Assurance, Model: l.Model, Kind: l.Kind, Status: l.Status}
	if u := l.Subject.User; u.ID != "" && u.Verified == action.Yes {
		c.Subject, c.Actor = u.ID, &identity.Acting{Subject: l.SPIFFE}
	}
	return a.issuer.Issue(c)
}

// exporter binds evidence to the TLS connection that it travels on, so that it cannot be relayed.
func exporter(r *http.Request) ([]byte, error) {
	if r.TLS == nil {
		return nil, nil
	}
	return attest.Exporter(r.TLS)
}

// requestURL is what a proof of possession has to name.
func requestURL(r *http.Request) *url.URL {
	u := &url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	return u
}

// credentialUntil is when the credential that a lease is asked for with ends; zero if it does not by itself.
func (s *Sallyport) credentialUntil(r *http.Request, sub *action.Subject) time.Time {
	switch id := sub.Channel.CredID; {
	case strings.HasPrefix(id, accountPrefix):
		w, err := s.federation.issuers.Workload(r.Context(), strings.TrimSpace(r.Header.Get("Authorization")[len("Bearer "):]))
		if err != nil {
			return time.UnixMilli(0)
		}
		return w.Until
	case strings.HasPrefix(id, x509Prefix):
		return s.certificates.end(id)
	case strings.HasPrefix(id, oauthPrefix):
		return s.federation.accesses.get(id).Until
	case strings.HasPrefix(id, identity.ExchangePrefix):
		d, _ := s.federation.delegations.Get(id)
		return d.Until
	case sub.Channel.Credential == action.CredentialToken:
		return s.Tokens.Until(id)
	}
	return time.Time{}
}

func secondsOf(t time.Time) jose.Seconds { return jose.Seconds(t.Unix()) }

// attestProblem puts an error of the column into the words of the doors.
func attestProblem(err error) error {
	var refused *attest.Error
	switch {
	case errors.Is(err, lease.ErrChallenge):
		return gateway.Refuse(gateway.CodeInvalid, "no such challenge, or it was used or has expired")
	case errors.Is(err, lease.ErrRefused), errors.Is(err, lease.ErrMalformed):
		return gateway.Refuse(gateway.CodeInvalid, "%v", err)
	case errors.As(err, &refused):
		return gateway.Refuse(gateway.CodeInvalid, "%v", err)
	case errors.Is(err, lease.ErrNotFound):
		return gateway.Refuse(gateway.CodeNotFound, "%v", err)
	case errors.Is(err, lease.ErrBusy):
		return gateway.Refuse(gateway.CodeBusy, "%v", err)
	}
	return err
}

func (s *Sallyport) attestEnroll(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var body struct {
		EK tpm.Bytes `json:"ek_public"`
		AK tpm.Bytes `json:"ak_public"`
	}
	if err := gateway.ReadJSON(w, r, &body, 16<<10); err != nil {
		return err
	}
	if err := baseOnly(c); err != nil {
		return err
	}
	e, err := s.attest.book.Enroll(&c.Subject, body.EK, body.AK)
	if err != nil {
		return attestProblem(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, AttestEnrolling{ID: e.ID, Credential: e.Credential, Secret: e.Secret, EK: e.EK})
}

// AttestEnrolling is what the chip has to open.
type AttestEnrolling struct {
	ID         string    `json:"id"`
	Credential tpm.Bytes `json:"credential"`
	Secret     tpm.Bytes `json:"secret"`
	EK         string    `json:"ek"`
}

func (s *Sallyport) attestAnswer(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var body struct {
		Answer tpm.Bytes `json:"answer"`
	}
	if err := gateway.ReadJSON(w, r, &body, 4<<10); err != nil {
		return err
	}
	if err := baseOnly(c); err != nil {
		return err
	}
	k, err := s.attest.book.Answer(r.Context(), &c.Subject, r.PathValue("id"), body.Answer)
	if err != nil {
		return attestProblem(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, k)
}

func (s *Sallyport) attestLeases(w http.ResponseWriter, _ *http.Request, c *gateway.Caller) error {
	now := time.Now()
	out := []Lease{}
	for _, l := range s.attest.book.Leases(c.Subject.Tenant) {
		out = append(out, leaseView(&l, now))
	}
	slices.SortFunc(out, func(a, b Lease) int { return strings.Compare(a.Agent+a.ID, b.Agent+b.ID) })
	return gateway.WriteJSON(w, http.StatusOK, struct {
		Items []Lease `json:"items"`
	}{out})
}

func (s *Sallyport) attestEnd(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var body struct {
		Reason string `json:"reason"`
	}
	if err := gateway.ReadJSON(w, r, &body, 4<<10); err != nil {
		return err
	}
	id := r.PathValue("id")
	n, err := s.EndLeases(r.Context(), func(l *lease.Lease) bool { return l.Tenant == c.Subject.Tenant && l.ID == id }, lease.CodeEnded, c.Name, body.Reason)
	if err == nil && n == 0 {
		return gateway.Refuse(gateway.CodeNotFound, "there is no lease %q that holds", action.Clip(id, 64))
	}
	if err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, map[string]int{"ended": n})
}

// EndLeases ends every lease that which chooses, at once.
func (s *Sallyport) EndLeases(ctx context.Context, which func(*lease.Lease) bool, code, by, why string) (int, error) {
	return s.attest.book.End(ctx, which, code, by, why)
}

func (s *Sallyport) attestKeys(w http.ResponseWriter, _ *http.Request, c *gateway.Caller) error {
	return gateway.WriteJSON(w, http.StatusOK, struct {
		Items []lease.EnrolledKey `json:"items"`
	}{s.attest.book.Keys(c.Subject.Tenant)})
}

func (s *Sallyport) attestWithdraw(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var none struct{}
	if err := gateway.ReadJSON(w, r, &none, 1024); err != nil {
		return err
	}
	if err := s.attest.book.Withdraw(r.Context(), c.Subject.Tenant, r.PathValue("name"), c.Name); err != nil {
		return attestProblem(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, struct{}{})
}

// WithdrawKey forgets an enrolled key, and ends the leases that rest on it.
func (s *Sallyport) WithdrawKey(ctx context.Context, tenant, key, by string) error {
	return s.attest.book.Withdraw(ctx, tenant, key, by)
}

// attestAgain makes a recorded appraisal once more.
func (s *Sallyport) attestAgain(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	i, err := strconv.ParseUint(r.PathValue("index"), 10, 63)
	if err != nil || i >= s.Ledger.Checkpoint().Size {
		return gateway.Refuse(gateway.CodeNotFound, "the log has no such entry")
	}
	data, err := s.Ledger.Payload(r.Context(), i, action.PartDetail)
	if err != nil {
		return gateway.Refuse(gateway.CodeNotFound, "entry %d holds no appraisal that can be opened", i)
	}
	var a lease.Appraisal
	if err := action.Read(data, &a, action.Limits{Bytes: 2 * lease.MaxRequestSize}); err != nil {
		return gateway.Refuse(gateway.CodeNotFound, "entry %d is no appraisal", i)
	}
	again, err := s.Reappraise(r.Context(), &a)
	if err != nil {
		return gateway.Refuse(gateway.CodeInvalid, "%v", err)
	}
	return gateway.WriteJSON(w, http.StatusOK, again)
}

// Reappraise makes an appraisal once more, from its record.
func (s *Sallyport) Reappraise(ctx context.Context, a *lease.Appraisal) (lease.Again, error) {
	return s.attest.book.Reappraise(ctx, a)
}
