// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
)

// SignIn signs people in through a provider that knows them.
type SignIn interface {
	// Name is how people know the provider.
	Name() string
	// Begin returns where the browser goes, and what it keeps until it comes back to redirect.
	Begin(ctx context.Context, redirect string, how SignInHow) (where, carry string, err error)
	// Finish returns who came back. Its errors are SignInError where the person can do something.
	Finish(ctx context.Context, redirect, carry string, query url.Values) (*gateway.Caller, error)
	// Credentials is how the ids of the credentials begin that people have here, and no other does.
	Credentials() string
	// Vouches reports whether the caller signed in here.
	Vouches(c *gateway.Caller) bool
}

// SignInHow is what a sign-in asks of the provider: nothing in its zero value.
type SignInHow struct {
	Quiet  bool          // no question to the person
	ACR    string        // levels, separated by spaces
	MaxAge time.Duration // since the person proved himself; 0 for any
}

// howOf reads how a browser wishes to sign in. It is a wish: what the provider says afterwards counts.
func howOf(q url.Values) (SignInHow, error) {
	h := SignInHow{Quiet: q.Has("quiet"), ACR: q.Get("acr")}
	if len(h.ACR) > 500 || strings.ContainsFunc(h.ACR, func(r rune) bool { return r < ' ' || r > '~' }) {
		return h, gateway.Refuse(gateway.CodeInvalid, "acr is no list of levels")
	}
	if s := q.Get("max_age"); s != "" {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return h, gateway.Refuse(gateway.CodeInvalid, "max_age is no number of seconds")
		}
		h.MaxAge = max(time.Duration(n)*time.Second, time.Millisecond)
	}
	return h, nil
}

// SignInError is why nobody was signed in, in a word that the console has a sentence for.
type SignInError string

// The reasons.
const (
	SignInAgain    SignInError = "again"    // it did not begin in this browser, took too long, or was used
	SignInRefused  SignInError = "refused"  // the provider signed nobody in
	SignInProvider SignInError = "provider" // the provider does not answer as it should
	SignInGroups   SignInError = "groups"   // it did not say which groups the person is in
	SignInRole     SignInError = "role"     // none of his groups has a role here
	SignInBusy     SignInError = "busy"
)

// Error implements error.
func (e SignInError) Error() string { return "admin: sign-in: " + string(e) }

// The addresses of a sign-in. The second is what a provider is told to answer.
const (
	signInPath   = consolePath + "sign-in"
	SignedInPath = consolePath + "signed-in"
)

// CarryName is the cookie with what a browser keeps while it is away at the provider. It comes back from another
// site, so it cannot be strict; alone it opens nothing.
const CarryName = "sallyport_sign_in"

// carried is what the request's browser kept, "" if nothing or more than one.
func carried(r *http.Request) string {
	if c := r.CookiesNamed(CarryName); len(c) == 1 {
		return c[0].Value
	}
	return ""
}

func (d *desk) setCarry(w http.ResponseWriter, r *http.Request, carry string) {
	k := &http.Cookie{Name: CarryName, Value: carry, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: 600,
		Secure: r.TLS != nil || strings.HasPrefix(d.origin(r), "https://")}
	if carry == "" {
		k.MaxAge = -1
	}
	http.SetCookie(w, k)
}

// origin is the origin of the console that a request names, or "".
func (d *desk) origin(r *http.Request) string {
	for _, o := range d.cfg.Origins {
		if _, host, ok := strings.Cut(o, "://"); ok && strings.EqualFold(host, r.Host) {
			return o
		}
	}
	return ""
}

// signInRoutes are open to everybody: nobody is proved before he has signed in. They tell nothing but the name of
// the provider, and remember nothing of those who do not come back from it.
func (d *desk) signInRoutes() []gateway.Route {
	open := gateway.Anonymous{Tenant: d.cfg.Tenant}
	return []gateway.Route{
		{Pattern: "GET /v1/login/options", Auth: open, Serve: d.loginOptions},
		{Pattern: "GET " + signInPath, Auth: open, Serve: d.beginSignIn},
		{Pattern: "GET " + SignedInPath, Auth: open, Serve: d.finishSignIn},
	}
}

// options is how people can log in.
type options struct {
	SignIn string `json:"sign_in"` // name of the provider; "" without one
}

func (d *desk) loginOptions(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	var o options
	if d.cfg.SignIn != nil && d.cfg.Sessions != nil && len(d.cfg.Origins) > 0 {
		o.SignIn = d.cfg.SignIn.Name()
	}
	return gateway.WriteJSON(w, http.StatusOK, o)
}

// where is the origin under which a sign-in runs. The provider knows the origins that are configured and no other.
func (d *desk) signInOrigin(r *http.Request) (string, error) {
	if d.cfg.SignIn == nil || d.cfg.Sessions == nil || len(d.cfg.Origins) == 0 {
		return "", gateway.Refuse(gateway.CodeNotFound, "nobody signs in through a provider here")
	}
	if o := d.origin(r); o != "" {
		return o, nil
	}
	return d.cfg.Origins[0], nil
}

func (d *desk) beginSignIn(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	q, err := queryOnly(r, "quiet", "moved", "acr", "max_age")
	if err != nil {
		return err
	}
	how, err := howOf(q)
	if err != nil {
		return err
	}
	origin, err := d.signInOrigin(r)
	if err != nil {
		return err
	}
	if d.origin(r) == "" && !q.Has("moved") { // the browser keeps things by address, so it has to begin where it will come back
		q.Set("moved", "1")
		return seeOther(w, origin+signInPath+"?"+q.Encode())
	}
	where, carry, err := d.cfg.SignIn.Begin(r.Context(), origin+SignedInPath, how)
	if err != nil {
		return d.notSignedIn(w, err)
	}
	d.setCarry(w, r, carry)
	return seeOther(w, where)
}

// finishSignIn hands the page a code in the fragment of the address, which no server sees, and which only the browser
// that began can use.
func (d *desk) finishSignIn(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	origin, err := d.signInOrigin(r)
	if err != nil {
		return err
	}
	carry := carried(r)
	query, err := url.ParseQuery(r.URL.RawQuery)
	var c *gateway.Caller
	if err != nil || len(r.URL.RawQuery) > 8<<10 || carry == "" {
		err = SignInAgain
	} else {
		c, err = d.cfg.SignIn.Finish(r.Context(), origin+SignedInPath, carry, query)
	}
	if errors.Is(err, SignInAgain) && d.cfg.Gate != nil {
		d.cfg.Gate.Note(r, "sign-in") // counted, as every attempt with a credential that does not hold
	}
	if err != nil {
		return d.notSignedIn(w, err)
	}
	code, _, err := d.cfg.Sessions.Code(c, carry)
	if err != nil {
		return d.notSignedIn(w, SignInBusy)
	}
	return seeOther(w, consolePath+"#/signed-in/"+code)
}

// notSignedIn sends the browser back to the page, with a word of why.
func (d *desk) notSignedIn(w http.ResponseWriter, err error) error {
	var why SignInError
	if !errors.As(err, &why) {
		return err
	}
	return seeOther(w, consolePath+"#/not-signed-in/"+string(why))
}

func seeOther(w http.ResponseWriter, where string) error {
	h := w.Header()
	h.Set("Location", where)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// peopleScopes are what people may hold; a login needs one of them.
var peopleScopes = []action.Scope{action.ScopeViewer, action.ScopeApprover, action.ScopeAuthor, action.ScopePolicyApprover,
	action.ScopeAuditor, action.ScopeAdmin, action.ScopeToolAdmin, action.ScopeTenantData}
