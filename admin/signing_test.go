// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/crypto/ssh"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/factor"
	"github.com/sallyport/sallyport/identity/factor/factortest"
)

func encode(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// toSign asks for a challenge and returns it with its 32 bytes.
func (b *bench) toSign(as, target, body string) (tosign, []byte) {
	b.t.Helper()
	t := decode[tosign](b.t, b.want(200, as, "POST", target, body))
	c, err := base64.RawURLEncoding.DecodeString(t.Challenge)
	if err != nil || len(c) != 32 {
		b.t.Fatalf("the challenge is %q, %v", t.Challenge, err)
	}
	return t, c
}

// enrol registers a new passkey for the caller.
func (b *bench) enrol(as string) (*factortest.Authenticator, identity.Signer) {
	b.t.Helper()
	a := factortest.New("localhost", "http://localhost:7118")
	ch, c := b.toSign(as, "/v1/signers/challenge", "")
	body := encode(b.t, map[string]any{"challenge": ch.ID, "name": "blue key", "passkey": a.Create(c)})
	return a, decode[identity.Signer](b.t, b.want(201, as, "POST", "/v1/signers", body))
}

// askFor opens an approval that needs channel.
func (b *bench) askFor(id string, need action.Approver) approval.View {
	b.t.Helper()
	q := action.NewQuery(action.Before)
	q.Subject.ID, q.Context.Session.ID, q.Resource.ID, q.Subject.User.ID = "bot", "s1", "mail/send", "ann"
	ans, err := b.desk.Ask(b.t.Context(), enforce.Request{Action: id, Query: q, Binding: id, Bytes: []byte(`{"to":"` + id + `"}`),
		Decision: action.Decision{Verdict: action.Ask, Matches: []action.Match{{ID: "r", Verdict: action.Ask, Approver: need}}}, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		b.t.Fatal(err)
	}
	v, err := b.desk.Show(b.t.Context(), ans.Ticket)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

func TestPasskeyApprovesWhatALoginMayNot(t *testing.T) {
	b := start(t)
	key, signer := b.enrol("operator")
	if signer.Person != "olga" || signer.Channel != action.RankOperator || !strings.HasPrefix(signer.ID, "pk_") {
		t.Fatalf("registered is %+v", signer)
	}
	if got := b.want(200, "viewer", "GET", "/v1/signers", ""); !strings.Contains(got, signer.ID) {
		t.Fatalf("listed is %s", got)
	}
	v := b.askFor("a", action.Approver{Channel: action.RankPasskey})
	path, tag := "/v1/approvals/"+v.ID, fmt.Sprintf(`"%d"`, v.Revision)
	v = decode[approval.View](t, b.want(202, "operator", "POST", path+"/approve", `{"comment":"ok"}`, "If-Match", tag))
	tag = fmt.Sprintf(`"%d"`, v.Revision)
	ch, c := b.toSign("operator", path+"/challenge", `{"verb":"approve","comment":"ok"}`)
	if ch.Digest != v.Digest || len(ch.Passkeys) != 1 || ch.Passkeys[0] != signer.Key.Credential || ch.RPID != "localhost" {
		t.Fatalf("to sign is %+v", ch)
	}
	signed := func(comment string) string {
		return encode(t, map[string]any{"comment": comment, "passkey": key.Get(c)})
	}
	b.want(403, "operator", "POST", path+"/approve", signed("something else"), "If-Match", tag)
	b.want(403, "second", "POST", path+"/approve", signed("ok"), "If-Match", tag) // another person's passkey
	b.want(403, "operator", "POST", path+"/deny", signed("ok"), "If-Match", tag)
	copied := *key
	copied.Counter = 0
	v = decode[approval.View](t, b.want(200, "operator", "POST", path+"/approve", signed("ok"), "If-Match", tag))
	if v.State != approval.Granted || v.Answers[len(v.Answers)-1].Channel != action.RankPasskey {
		t.Fatalf("after the passkey it is %+v", v)
	}
	// A copy of the authenticator counts from where it was made.
	w := b.askFor("b", action.Approver{Channel: action.RankPasskey})
	_, c = b.toSign("operator", "/v1/approvals/"+w.ID+"/challenge", `{"verb":"approve"}`)
	b.want(403, "operator", "POST", "/v1/approvals/"+w.ID+"/approve", encode(t, map[string]any{"passkey": copied.Get(c)}), "If-Match", fmt.Sprintf(`"%d"`, w.Revision))
	// Withdrawn, it signs nothing more.
	b.want(404, "approver", "DELETE", "/v1/signers/"+signer.ID, "")
	b.want(200, "operator", "DELETE", "/v1/signers/"+signer.ID, "")
	b.want(403, "operator", "POST", "/v1/approvals/"+w.ID+"/approve", encode(t, map[string]any{"passkey": key.Get(c)}), "If-Match", fmt.Sprintf(`"%d"`, w.Revision))
}

func TestFurtherKeysAreVouchedForByEarlierOnes(t *testing.T) {
	b := start(t)
	b.want(403, "approver", "POST", "/v1/signers/challenge", "") // a bearer token is nobody
	b.want(403, "cheat", "POST", "/v1/signers/challenge", "")
	first, _ := b.enrol("operator")
	second := factortest.New("localhost", "http://localhost:7118")
	ch, c := b.toSign("operator", "/v1/signers/challenge", "")
	b.want(403, "operator", "POST", "/v1/signers", encode(t, map[string]any{"challenge": ch.ID, "name": "x", "passkey": second.Create(c)}))
	// A challenge is answered once, right or wrong.
	b.want(403, "operator", "POST", "/v1/signers", encode(t, map[string]any{"challenge": ch.ID, "name": "x", "passkey": second.Create(c), "vouch": first.Get(c)}))
	ch, c = b.toSign("operator", "/v1/signers/challenge", "")
	b.want(403, "second", "POST", "/v1/signers", encode(t, map[string]any{"challenge": ch.ID, "name": "x", "passkey": second.Create(c), "vouch": first.Get(c)}))
	b.want(201, "operator", "POST", "/v1/signers", encode(t, map[string]any{"challenge": ch.ID, "name": "x", "passkey": second.Create(c), "vouch": first.Get(c)}))

	_, private, _ := ed25519.GenerateKey(rand.Reader)
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	ch, c = b.toSign("operator", "/v1/signers/challenge", "")
	e, err := factor.SignSSH(s, c)
	if err != nil {
		t.Fatal(err)
	}
	line := string(ssh.MarshalAuthorizedKey(s.PublicKey()))
	b.want(201, "operator", "POST", "/v1/signers", encode(t, map[string]any{"challenge": ch.ID, "name": "desk", "public_key": line, "signature": e, "vouch": second.Get(c)}))

	// The SSH key makes a login of a bearer token of the same name.
	b.token("again", identity.TokenSpec{Name: "olga", Scopes: []action.Scope{action.ScopeApprover}})
	v := b.askFor("a", action.Approver{})
	_, c = b.toSign("again", "/v1/approvals/"+v.ID+"/challenge", `{"verb":"approve"}`)
	if e, err = factor.SignSSH(s, c); err != nil {
		t.Fatal(err)
	}
	v = decode[approval.View](t, b.want(200, "again", "POST", "/v1/approvals/"+v.ID+"/approve", encode(t, map[string]any{"ssh": e}), "If-Match", fmt.Sprintf(`"%d"`, v.Revision)))
	if v.State != approval.Granted || v.Answers[0].Evidence == "" {
		t.Fatalf("after the signature it is %+v", v)
	}
	codes := []string{}
	for _, r := range b.book.records {
		if r.Kind == action.KindKey && slices.Contains(r.Codes, identity.CodeSignerAdded) {
			codes = append(codes, r.Subject)
		}
	}
	if len(codes) != 3 {
		t.Fatalf("recorded are %q", codes)
	}
}

func TestEditedArgumentsAreSignedAsTheyWillRun(t *testing.T) {
	b := start(t)
	key, _ := b.enrol("operator")
	v := b.askFor("a", action.Approver{Channel: action.RankPasskey})
	path, tag := "/v1/approvals/"+v.ID, fmt.Sprintf(`"%d"`, v.Revision)
	_, c := b.toSign("operator", path+"/challenge", `{"verb":"approve","arguments":{"to":"bob"}}`)
	b.want(403, "operator", "POST", path+"/approve", encode(t, map[string]any{"passkey": key.Get(c), "arguments": map[string]string{"to": "eve"}}), "If-Match", tag)
	b.want(403, "operator", "POST", path+"/approve", encode(t, map[string]any{"passkey": key.Get(c)}), "If-Match", tag)
	b.want(422, "operator", "POST", path+"/deny", `{"arguments":{}}`, "If-Match", tag)
	v = decode[approval.View](t, b.want(200, "operator", "POST", path+"/approve", encode(t, map[string]any{"passkey": key.Get(c), "arguments": map[string]string{"to": "bob"}}), "If-Match", tag))
	if v.Edit != `{"to":"bob"}` || v.State != approval.Granted {
		t.Fatalf("it is %+v", v)
	}
}

func TestAbsencesAreOnesOwn(t *testing.T) {
	b := start(t, func(c *Config) {
		before := c.Actor
		c.Actor = func(g *gateway.Caller) approval.Actor {
			a := before(g)
			if a.ID == "olga" {
				a.Groups = []string{"finance"}
			}
			return a
		}
	})
	until := time.Now().Add(time.Hour).UnixMilli()
	body := fmt.Sprintf(`{"to":"otto","groups":["finance"],"until_ms":%d}`, until)
	b.want(422, "second", "POST", "/v1/absences", body) // otto is in no group
	a := decode[approval.Absence](t, b.want(201, "operator", "POST", "/v1/absences", body))
	if got := decode[list[approval.Absence]](t, b.want(200, "viewer", "GET", "/v1/absences", "")); len(got.Items) != 1 || got.Items[0].From != "olga" {
		t.Fatalf("listed are %+v", got)
	}
	v := b.askFor("a", action.Approver{Group: "finance"})
	v = decode[approval.View](t, b.want(200, "second", "POST", "/v1/approvals/"+v.ID+"/approve", `{}`, "If-Match", fmt.Sprintf(`"%d"`, v.Revision)))
	if fmt.Sprint(v.Answers[0].For) != "[olga]" {
		t.Fatalf("the answer is %+v", v.Answers)
	}
	b.want(404, "approver", "DELETE", "/v1/absences/"+a.ID, "")
	b.want(200, "second", "DELETE", "/v1/absences/"+a.ID, "")
}
