// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/monitor"
)

// The codes of records about logins, all of kind key. The record's Subject is the credential that approvals name.
const (
	codeLoginBegan   = "login.began"
	codeLoginRefused = "login.refused"
	codeLoginChanged = "login.roles"
	codeLoginEnded   = "login.ended"
	codeBreakGlass   = "login.break-glass"
	codeLoginClosed  = "login.closed" // by an admin
)

// loginDetail is what is sealed with a record about a login.
type loginDetail struct {
	Issuer  string       `json:"issuer"`
	Subject string       `json:"subject"`
	Name    string       `json:"name"`
	Roles   []admin.Role `json:"roles"`
	AuthnMs int64        `json:"authn_ms"` // when the provider says that he proved who he is; 0 when it does not say
	ACR     string       `json:"acr"`      // the level of the sign-in, "" when it does not say
	AMR     []string     `json:"amr"`      // its methods
	Why     string       `json:"why"`
}

// recordLogin puts what happened to a login on record.
func (s *Sallyport) recordLogin(ctx context.Context, code string, v *vouched, why string) error {
	d := loginDetail{Issuer: v.person.Issuer, Subject: v.person.Subject, Name: v.person.Name, Roles: append([]admin.Role{}, v.roles...), Why: why,
		ACR: v.person.ACR, AMR: append([]string{}, v.person.AMR...)}
	if !v.person.Authn.IsZero() {
		d.AuthnMs = v.person.Authn.UnixMilli()
	}
	return s.recordKey(ctx, code, v.person.Name, v.id, action.RankOperator, d)
}

func (s *Sallyport) recordKey(ctx context.Context, code, who, subject string, rank action.Rank, detail any) error {
	b, err := action.Canonical(detail)
	if err != nil {
		return err
	}
	_, err = s.Ledger.Append(ctx, &action.Record{Kind: action.KindKey, Tenant: "default", TimeMs: s.Ledger.Now().UnixMilli(), Actor: who,
		Status: action.StatusNone, Channel: rank, Codes: []string{code}, Subject: subject,
		Parts: []action.PayloadPart{{Name: action.PartDetail, Owner: who, Data: b}}})
	if err != nil {
		return fmt.Errorf("record %s: %w", code, err)
	}
	return nil
}

// endBootstrap withdraws the first admin token: an admin has come in by a name of his own.
func (s *Sallyport) endBootstrap(ctx context.Context, who string) error {
	_, err := s.Tokens.EndBootstrap(ctx, who)
	return err
}

// The life of a login that breaks the glass.
const (
	breakGlassFor  = 30 * time.Minute
	breakGlassMost = time.Hour
)

// breakGlass makes c somebody who may log in without the provider: the record and the alert come first, and the
// login ends soon.
func (s *Sallyport) breakGlass(ctx context.Context, c *gateway.Caller, reason string, seconds jsontext.Value) error {
	reason = approval.Visible(action.Clip(reason, 500))
	if len(reason) < 5 {
		return gateway.Refuse(gateway.CodeInvalid, "a reason is required; whoever reads the record will ask for it")
	}
	life := breakGlassFor
	if len(seconds) > 0 {
		n, err := strconv.ParseInt(string(seconds), 10, 32)
		if err != nil || n < 1 || time.Duration(n)*time.Second > breakGlassMost {
			return gateway.Refuse(gateway.CodeInvalid, "seconds is not 1 to %d", int(breakGlassMost/time.Second))
		}
		life = time.Duration(n) * time.Second
	}
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	now := s.Ledger.Now()
	c.Until, c.Subject.Channel.CredID = now.Add(life), "break-glass:"+hex.EncodeToString(b[:])
	ctx = context.WithoutCancel(ctx)
	err := s.recordKey(ctx, codeBreakGlass, c.Name, c.Subject.Channel.CredID, action.RankOperator, struct {
		Reason  string `json:"reason"`
		UID     int64  `json:"uid"`
		PID     int64  `json:"pid"`
		UntilMs int64  `json:"until_ms"`
	}{reason, c.Peer.UID, c.Peer.PID, c.Until.UnixMilli()})
	if err != nil {
		return err
	}
	alert := monitor.Alert{Summary: c.Name + " broke the glass: a login without the identity provider", Alerts: []string{codeBreakGlass},
		Reasons: []string{"reason given: " + reason, "the login ends at " + c.Until.UTC().Format(time.RFC3339)}, Risk: 1000, P: 0, Tenant: "default",
		User: c.Name, Effect: action.EffectUnknown, TimeMs: now.UnixMilli(), Count: 1}
	r, err := alert.Record()
	if err != nil {
		return err
	}
	r.Codes = []string{codeBreakGlass}
	_, err = s.Ledger.Append(ctx, r)
	return err
}

// recordClosed puts on record that an admin ended a login of somebody's.
func (s *Sallyport) recordClosed(ctx context.Context, by, of *gateway.Caller) error {
	return s.recordKey(ctx, codeLoginClosed, s.actor(by).ID, of.Subject.Channel.CredID, s.actor(by).Channel, struct {
		Of string `json:"of"`
	}{of.Name})
}
