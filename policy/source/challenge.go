// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
)

const (
	maxChallenge = 4 << 10
	maxGranted   = 64 << 10 // of a token service's answer
)

// challenge reads one challenge of WWW-Authenticate: its scheme in lower case and its parameters, whose names are in lower case
// as well. No parameter may stand twice.
func challenge(field string) (scheme string, params map[string]string, err error) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(field), " ")
	params = map[string]string{}
	for rest = strings.TrimSpace(rest); rest != ""; {
		name, after, ok := strings.Cut(rest, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := params[name]; !ok || name == "" || twice || len(field) > maxChallenge {
			return "", nil, errors.New("the registry's challenge cannot be read")
		}
		value := after
		if quoted, ok := strings.CutPrefix(after, `"`); ok {
			if value, rest, ok = strings.Cut(quoted, `"`); !ok || strings.Contains(value, `\`) {
				return "", nil, errors.New("the registry's challenge cannot be read")
			}
			if rest = strings.TrimSpace(rest); rest != "" && rest[0] != ',' {
				return "", nil, errors.New("the registry's challenge cannot be read")
			}
			rest = strings.TrimPrefix(rest, ",")
		} else {
			value, rest, _ = strings.Cut(after, ",")
		}
		params[name], rest = strings.TrimSpace(value), strings.TrimSpace(rest)
	}
	return strings.ToLower(scheme), params, nil
}

// answer gets what the registry wants to see in place of a refusal: a token for pulling this one repository, from the service that
// it names, or the name and secret themselves. What it asks to be told beyond that scope is not asked for.
func (s *Source) answer(ctx context.Context, field string) (authorization string, err error) {
	scheme, params, err := challenge(field)
	if err != nil {
		return "", err
	}
	user, secret, named := strings.Cut(s.cfg.Token, ":")
	if scheme == "basic" && named {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, secret)
		return r.Header.Get("Authorization"), nil
	}
	if scheme != "bearer" {
		return "", fmt.Errorf("the registry wants %q, which we have nothing for", action.Clip(scheme, 32))
	}
	realm, err := url.Parse(params["realm"])
	if err != nil || realm.Host == "" || realm.User != nil || realm.Scheme != "https" && (realm.Scheme != "http" || !local(realm.Hostname()) || !strings.HasPrefix(s.at, "http://")) {
		return "", errors.New("the registry names no token service that is reached by https")
	}
	q := realm.Query()
	q.Set("service", params["service"])
	q.Set("scope", "repository:"+s.repository+":pull")
	realm.RawQuery = q.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, realm.String(), nil)
	if err != nil {
		return "", errors.New("the registry names no token service")
	}
	if named {
		r.SetBasicAuth(user, secret)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return "", errors.New("the registry's token service does not answer") // the cause would quote its address
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the registry's token service: status %d", resp.StatusCode)
	}
	data, err := bounded(resp.Body, maxGranted)
	if err != nil {
		return "", fmt.Errorf("the registry's token service: %w", err)
	}
	return granted(data)
}

// granted reads what a token service answered.
func granted(data []byte) (string, error) {
	var out struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	if action.Check(data, action.Limits{}) != nil || json.Unmarshal(data, &out) != nil {
		return "", errors.New("the registry's token service: its answer cannot be read")
	}
	token := out.Token
	if token == "" {
		token = out.AccessToken
	}
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("the registry's token service: no token in its answer")
	}
	return "Bearer " + token, nil
}
