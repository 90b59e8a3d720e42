// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/factor"
)

// KeysConfig says where people's passkeys are good.
type KeysConfig struct {
	RPID    string   `yaml:"rp_id" doc:"domain that passkeys are made for; default localhost"`
	Origins []string `yaml:"origins" doc:"addresses of the console, as browsers see them; default: the people's address on localhost"`
}

// Group names people who approve together.
type Group struct {
	Name    string   `yaml:"name" doc:"as rules name it"`
	Members []string `yaml:"members" doc:"names of logins, as approvals show them"`
	Claims  []string `yaml:"claims" doc:"groups of the identity provider whose members, signed in through it, are of this one too"`
}

func (k *KeysConfig) check() error {
	rp := k.RPID
	if rp == "" {
		rp = "localhost"
	}
	if net.ParseIP(rp) != nil || strings.ContainsAny(rp, ":/") {
		return fmt.Errorf("config: approval.keys.rp_id: %q is no domain; passkeys are bound to names, not to addresses", rp)
	}
	for _, o := range k.Origins {
		u, err := url.Parse(o)
		if err != nil || u.Host == "" || u.Path != "" || u.Scheme != "https" && !(u.Scheme == "http" && u.Hostname() == "localhost") ||
			u.Hostname() != rp && !strings.HasSuffix(u.Hostname(), "."+rp) {
			return fmt.Errorf("config: approval.keys.origins: %q is no https origin (or http on localhost) below %q", o, rp)
		}
	}
	return nil
}

// origins are where the console is, as browsers see it.
func (c *Config) origins() []string {
	if k := c.Approval.Keys; len(k.Origins) > 0 || k.RPID != "" && k.RPID != "localhost" {
		return k.Origins
	}
	_, port, err := net.SplitHostPort(c.Admin.Listen)
	if err != nil {
		return nil
	}
	return []string{c.Scheme() + "://localhost:" + port}
}

func (s *Sallyport) openSigners(ctx context.Context, key []byte) (err error) {
	s.Signers, err = identity.OpenSigners(ctx, identity.SignersConfig{Store: s.Store, Key: key, Record: s.Ledger.Append, Past: s.past,
		RPID: s.Config.Approval.Keys.RPID, Origins: s.Config.origins(), Now: s.Ledger.Now})
	return err
}

// prove says what a signature makes of the one who answers: a passkey proves him present, a signed command
// line is worth a login.
func (s *Sallyport) prove(ctx context.Context, person string, challenge []byte, evidence string) (action.Rank, error) {
	e, err := factor.Read([]byte(evidence))
	if err != nil {
		return action.RankUnknown, err
	}
	k, err := s.Signers.Check(ctx, person, challenge, &e)
	switch {
	case err != nil:
		return action.RankUnknown, err
	case k.Key.Kind == factor.Passkey:
		return action.RankPasskey, nil
	}
	return action.RankOperator, nil
}

// actor is how a caller counts as an approver: with the groups that the configuration puts him in.
func (s *Sallyport) actor(c *gateway.Caller) approval.Actor {
	a := admin.ActorOf(c)
	a.Groups = slices.Clone(a.Groups)
	if s.signIn != nil && s.signIn.Vouches(c) {
		a = s.signIn.actor(c, a)
	}
	for _, g := range s.Config.Approval.Groups {
		if slices.ContainsFunc(g.Members, func(m string) bool { return strings.EqualFold(m, a.ID) }) && !slices.Contains(a.Groups, g.Name) {
			a.Groups = append(a.Groups, g.Name)
		}
	}
	return a
}
