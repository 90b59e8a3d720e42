// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
)

// oneTicket knows the ticket "good-ID".
type oneTicket struct{}

func (oneTicket) Ticket(ticket string) (string, approval.Actor, error) {
	id, ok := strings.CutPrefix(ticket, "good-")
	if !ok {
		return "", approval.Actor{}, errors.New("no")
	}
	return id, approval.Actor{ID: "mail:ann@example.com", Channel: action.RankBearer, Credential: "channel:post"}, nil
}

func (oneTicket) Press(string, string, string, []byte) (string, approval.Actor, func(context.Context, string), error) {
	return "", approval.Actor{}, nil, errors.New("no")
}

func TestATicketRefusesOnceAndNothingElse(t *testing.T) {
	b := start(t, func(c *Config) { c.Channels = oneTicket{} })
	id := b.ask("a", 1)
	body := func(ticket string) string { return `{"ticket":"` + ticket + `","comment":"not today"}` }
	for name, bad := range map[string]string{"another ticket": body("bad-" + id), "no ticket": `{}`} {
		for _, path := range []string{"/v1/tickets/show", "/v1/tickets/refuse"} {
			if code, _, _ := b.call("", "POST", path, bad); code != 401 {
				t.Errorf("%s at %s: %d", name, path, code)
			}
		}
	}
	if code, _, _ := b.call("", "POST", "/v1/channels/ops/press", body("x")); code != 401 {
		t.Errorf("a press without a signature: %d", code)
	}
	if code, _, _ := b.call("", "GET", "/v1/tickets/refuse", ""); code == 200 {
		t.Error("a link that is fetched ahead refuses")
	}
	shown := b.want(200, "", "POST", "/v1/tickets/show", `{"ticket":"good-`+id+`"}`)
	if !strings.Contains(shown, `"state":"pending"`) || strings.Contains(shown, "arguments") {
		t.Errorf("a ticket shows %s", shown)
	}
	if got := b.want(200, "", "POST", "/v1/tickets/refuse", body("good-"+id)); !strings.Contains(got, `"state":"refused"`) {
		t.Error(got)
	}
	if code, _, _ := b.call("", "POST", "/v1/tickets/refuse", body("good-"+id)); code != 409 {
		t.Errorf("a second time: %d", code)
	}
	v, err := b.cfg.Approvals.Show(t.Context(), id)
	if err != nil || v.State != approval.Refused || v.Answers[0].Approver != "mail:ann@example.com" || v.Answers[0].Comment != "not today" || v.Answers[0].Approve {
		t.Errorf("%+v, %v", v.Answers, err)
	}
	if code, _, _ := b.call("", "POST", "/v1/tickets/refuse", body("good-nonesuch")); code != 404 {
		t.Errorf("a request that is forgotten: %d", code)
	}
}
