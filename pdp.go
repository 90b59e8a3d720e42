// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/policy/bundle"
	"github.com/sallyport/sallyport/policy/remote"
)

// SecondConfig names a second process that must decide the same.
type SecondConfig struct {
	URL       string        `yaml:"url" doc:"of a process under \"sallyport up --only policy\"; default: this process decides alone"`
	Key       string        `yaml:"key" doc:"that signs its answers, as it prints it"`
	TokenFile string        `yaml:"token_file" doc:"file with a token of it, of scope authzen"`
	Limit     time.Duration `yaml:"limit" doc:"how long it may take; default 2 s"`
}

func (c *SecondConfig) check() error {
	if c.URL == "" {
		return nil
	}
	u, err := url.Parse(c.URL)
	local := err == nil && (u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback())
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && local) {
		return fmt.Errorf("config: policy.second.url: %q is neither https nor http on this machine", c.URL)
	}
	if _, err := c.key(); err != nil {
		return err
	}
	return nil
}

func (c *SecondConfig) key() (ed25519.PublicKey, error) {
	raw, ok := strings.CutPrefix(c.Key, "ed25519:")
	key, err := base64.StdEncoding.Strict().DecodeString(raw)
	if !ok || err != nil || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("config: policy.second.key: %q is not \"ed25519:\" and the base64 of 32 bytes", action.Clip(c.Key, 80))
	}
	return key, nil
}

// decider is what the path decides with: this process, or this one and a second that agrees.
func (s *Sallyport) decider() (enforce.Decider, error) {
	c := &s.Config.Policy.Second
	if c.URL == "" {
		return byResource{s}, nil
	}
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	token := ""
	if c.TokenFile != "" {
		b, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("policy.second.token_file: %w", err)
		}
		token = strings.TrimSpace(string(b))
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return remote.New(remote.Config{Own: byResource{s}, URL: strings.TrimSuffix(c.URL, "/"), Key: key, Token: token, Limit: c.Limit, Client: client,
		Alarm: func(why string) { s.alarm("policy.disagreement", why) }})
}

// DecideKey is the public key that this process signs answers to other processes with, as policy.second.key wants it.
func (s *Sallyport) DecideKey() (string, error) {
	key, err := s.decideKey()
	if err != nil {
		return "", err
	}
	return bundle.FormatKey(key.Public().(ed25519.PublicKey)), nil
}

func (s *Sallyport) decideKey() (ed25519.PrivateKey, error) {
	seed, err := secretKey(filepath.Join(layout(s.Config.Data).keys, "decide"))
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// decideRoutes answer other processes. What they ask is not recorded here: they record it.
func (s *Sallyport) decideRoutes() ([]gateway.Route, error) {
	key, err := s.decideKey()
	if err != nil {
		return nil, err
	}
	return []gateway.Route{{Pattern: "POST " + remote.Path, Scopes: []action.Scope{action.ScopeAuthZEN},
		Serve: func(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
			body, err := gateway.ReadBody(w, r, "application/json", remote.MaxQueryBytes)
			if err != nil {
				return err
			}
			got, err := remote.Answer(r.Context(), byResource{s}, key, body)
			if errors.Is(err, remote.ErrQuery) {
				return gateway.Refuse(gateway.CodeInvalid, "%v", err)
			}
			if err != nil {
				return err
			}
			return gateway.WriteJSON(w, http.StatusOK, got)
		}}}, nil
}

// alarm notes something that Run records as an alert. It is told in the middle of a decision and does not block.
func (s *Sallyport) alarm(code, why string) {
	select {
	case s.alarms <- alarmed{code, why}:
	default: // one that waits says enough
	}
}

type alarmed struct{ code, why string }
