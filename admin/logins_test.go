// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gateway"
)

func TestAdminsListAndEndLogins(t *testing.T) {
	var told []string
	fail := false
	b := start(t, func(c *Config) {
		c.LoginClosed = func(_ context.Context, by, of *gateway.Caller) error {
			if fail {
				return errors.New("the disk is full")
			}
			told = append(told, by.Name+" ends "+of.Name)
			return nil
		}
	})
	halves := func(cookie, key string) []string {
		return []string{"Cookie", CookieName + "=" + cookie, KeyHeader, key}
	}
	cookie, key := b.browser("viewer")
	mine, mineKey := b.browser("operator")
	read := func() map[string]Opened {
		code, answer, _ := b.call("", "GET", "/v1/logins", "", halves(mine, mineKey)...)
		var page list[Opened]
		if err := json.Unmarshal([]byte(answer), &page); code != 200 || err != nil {
			t.Fatal(code, answer, err)
		}
		for _, secret := range []string{cookie, key, mine, mineKey} {
			if strings.Contains(answer, secret) {
				t.Fatal("the list holds a secret")
			}
		}
		out := map[string]Opened{}
		for _, o := range page.Items {
			out[o.Name] = o
		}
		return out
	}
	open := read()
	if len(open) != 2 || !open["olga"].Own || open["viewer"].Own || open["viewer"].BeganMs == 0 || open["viewer"].UntilMs <= open["viewer"].BeganMs || len(open["viewer"].Roles) == 0 {
		t.Fatalf("%+v", open)
	}
	at := "/v1/logins/" + open["viewer"].ID
	if code, answer, _ := b.call("", "DELETE", at, "", halves(cookie, key)...); code != 403 {
		t.Fatal("a viewer ends a login", code, answer)
	}
	fail = true
	if code, _, _ := b.call("", "DELETE", at, "", halves(mine, mineKey)...); code == 200 {
		t.Fatal("a login ends without a record")
	}
	if code, _, _ := b.call("", "GET", "/v1/me", "", halves(cookie, key)...); code != 200 {
		t.Fatal("what could not be recorded happened:", code)
	}
	fail = false
	if code, answer, _ := b.call("", "DELETE", at, "", halves(mine, mineKey)...); code != 200 {
		t.Fatal(code, answer)
	}
	if code, _, _ := b.call("", "GET", "/v1/me", "", halves(cookie, key)...); code != 401 {
		t.Error("the login goes on:", code)
	}
	if code, _, _ := b.call("", "DELETE", at, "", halves(mine, mineKey)...); code != 404 {
		t.Error("once more:", code)
	}
	if open = read(); len(open) != 1 || strings.Join(told, "|") != "olga ends viewer" {
		t.Errorf("%+v, %q", open, told)
	}
}
