// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/index"
)

// Activity is an agent in numbers, and whether what policy says about it is carried out: "enforce", "observe" or, if
// that differs by tool, "partly".
type Activity struct {
	index.Agent
	Mode string `json:"mode"`
}

// Workbench is what people judge, try and prove with.
type Workbench interface {
	// Activity lists agents in numbers, the latest seen first.
	Activity(ctx context.Context, limit int, cursor string) (index.Page[Activity], error)
	// Destinations says where agents' actions went, over at most the latest index.MaxDestinations decisions
	// from since on.
	Destinations(ctx context.Context, since int64) ([]index.Destination, error)
	// Similar finds recorded calls of the same tool. Showing the arguments of one is recorded as an access
	// of by.
	Similar(ctx context.Context, v approval.View, by string) (Similar, error)
	// Replay decides a session again under the policy in force. That c has its inputs opened is recorded.
	Replay(ctx context.Context, c *gateway.Caller, session string) (Replayed, error)
	// Try decides a document that nobody sent. Nothing is recorded, asked or executed.
	Try(ctx context.Context, t Trial) (Tried, error)
	// Difference decides what is on record under a draft. That c has the inputs opened is recorded.
	Difference(ctx context.Context, c *gateway.Caller, d Draft) (Difference, error)
	// Head is how the log stands.
	Head() LedgerHead
	// Disclose opens a sealed part for by; the access is recorded first.
	Disclose(ctx context.Context, index uint64, part, by, purpose string) (Disclosed, error)
}

// Similar are calls of the same tool that were decided before.
type Similar struct {
	Items []index.Step `json:"items"` // their decisions, the latest first
	Last  *LastCall    `json:"last"`  // the latest that was let through, null if there is none
}

// LastCall is a call that was let through, with its arguments in lines as approvals show them.
type LastCall struct {
	Index     uint64   `json:"index"`
	TimeMs    int64    `json:"time_ms"`
	Agent     string   `json:"agent"`
	Session   string   `json:"session"`
	Arguments []string `json:"arguments"`
}

// Replayed is a session decided again.
type Replayed struct {
	Bundle string               `json:"bundle"` // digest of what decided again
	Counts map[index.Answer]int `json:"counts"`
	Items  []Redecided          `json:"items"`
}

// Redecided is one decision that was taken again.
type Redecided struct {
	Index       uint64         `json:"index"`
	Answer      index.Answer   `json:"answer"`
	Recorded    action.Verdict `json:"recorded"`
	Again       action.Verdict `json:"again"`
	Differences []string       `json:"differences"`
}

// Trial is a call to try: what was sent, with facts that are stated rather than found out. Params replaces
// the parameters of the policy in force; "" keeps them.
type Trial struct {
	Server    string         `json:"server"`
	Tool      string         `json:"tool"`
	Arguments jsontext.Value `json:"arguments"`
	Facts     jsontext.Value `json:"facts"`
	Params    string         `json:"params"`
	Rules     string         `json:"rules"` // Rego of a package sallyport.draft beside the policy in force
}

// Draft is a change of the policy in force that nobody has signed. Nothing puts it in force.
type Draft struct {
	Params  string `json:"params"`
	Rules   string `json:"rules"`
	SinceMs int64  `json:"since_ms"`
}

// Difference is what a draft answers otherwise to what is on record.
type Difference struct {
	Decisions int       `json:"decisions"` // decided under both; the latest 20,000 at most
	Changed   int       `json:"changed"`
	Failed    int       `json:"failed"`
	Items     []Changed `json:"items"` // the most frequent first
}

// Changed is a group of recorded decisions that a draft answers in the same other way.
type Changed struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Phase   string `json:"phase"`
	Server  string `json:"server"`
	Tool    string `json:"tool"`
	Rules   string `json:"rules"`
	N       int    `json:"n"`
	Example uint64 `json:"example"` // the latest record
}

// Tried is the answer to a Trial. Base is the answer of the policy in force as it is, where Params were given.
type Tried struct {
	Again  Verdict        `json:"again"`
	Base   *Verdict       `json:"base"`
	Params string         `json:"params"` // those that decided
	Input  jsontext.Value `json:"input"`  // the complete document that was decided
}

// Verdict is a decision in the words of people.
type Verdict struct {
	Verdict     action.Verdict `json:"verdict"`
	Mode        action.Mode    `json:"mode"`
	Bundle      string         `json:"bundle"`
	Hint        string         `json:"hint"`
	Rules       []FiredRule    `json:"rules"`
	Obligations []string       `json:"obligations"`
	Errors      []string       `json:"errors"`
}

// FiredRule is one rule that spoke.
type FiredRule struct {
	ID       string         `json:"id"`
	Verdict  action.Verdict `json:"verdict"`
	Code     string         `json:"code"`
	Severity string         `json:"severity"`
	Reason   string         `json:"reason"`
	Needs    action.Rank    `json:"needs"` // of an ask: the weakest channel that counts
}

// LedgerHead is how the log stands, as this process says. Who wants proof pins the key by himself.
type LedgerHead struct {
	Vkey       string `json:"vkey"`
	Origin     string `json:"origin"`
	Size       uint64 `json:"size"`
	Checkpoint string `json:"checkpoint"`
	Witnesses  int    `json:"witnesses"`
	Stopped    string `json:"stopped"` // why nothing can be recorded; "" while it can
}

// Disclosed is an opened part, and where its opening stands on record.
type Disclosed struct {
	Index  uint64 `json:"index"`
	Part   string `json:"part"`
	Text   string `json:"text"`  // as people can be shown it
	Bytes  int    `json:"bytes"` // of the part
	Access uint64 `json:"access"`
}

// The errors of a Workbench.
var (
	ErrNoEntry = errors.New("ledger: no such entry or part")
	ErrErased  = errors.New("ledger: the part is erased")
	ErrTrial   = errors.New("policy: the document cannot be decided")
)

func (d *desk) workbench() (Workbench, error) {
	if d.cfg.Workbench == nil {
		return nil, gateway.Refuse(gateway.CodeNotFound, "this is not served here")
	}
	return d.cfg.Workbench, nil
}

func (d *desk) listActivity(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	b, err := d.workbench()
	if err != nil {
		return err
	}
	_, p, err := params(r, c)
	if err != nil {
		return err
	}
	got, err := b.Activity(r.Context(), p.Limit, p.After)
	return found(w, got, err)
}

func (d *desk) listDestinations(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	b, err := d.workbench()
	if err != nil {
		return err
	}
	q, err := queryOnly(r, "since")
	if err != nil {
		return err
	}
	f, err := filter(q)
	if err != nil {
		return err
	}
	got, err := b.Destinations(r.Context(), f.Since)
	return found(w, index.Page[index.Destination]{Items: got}, err)
}

func (d *desk) listSimilar(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	b, err := d.workbench()
	if err != nil {
		return err
	}
	if err := plain(r); err != nil {
		return err
	}
	v, err := d.cfg.Approvals.Show(r.Context(), r.PathValue("id"))
	if err != nil {
		return translate(err)
	}
	got, err := b.Similar(r.Context(), v, nameOf(c))
	if parts := index.Shown(got.Items); err == nil && len(parts) > 0 {
		err = d.cfg.Shown(r.Context(), c, "approval/"+v.ID, parts)
	}
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, got)
}

func (d *desk) replaySession(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	b, err := d.workbench()
	if err != nil {
		return err
	}
	if err := plain(r); err != nil {
		return err
	}
	if err := gateway.ReadJSON(w, r, &struct{}{}, 16); err != nil {
		return err
	}
	got, err := b.Replay(r.Context(), c, r.PathValue("id"))
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, got)
}

func (d *desk) tryPolicy(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	b, err := d.workbench()
	if err != nil {
		return err
	}
	if err := plain(r); err != nil {
		return err
	}
	var t Trial
	if err := gateway.ReadJSON(w, r, &t, 1<<20); err != nil {
		return err
	}
	got, err := b.Try(r.Context(), t)
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, got)
}

func (d *desk) diffPolicy(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	b, err := d.workbench()
	if err != nil {
		return err
	}
	if err := plain(r); err != nil {
		return err
	}
	var t Draft
	if err := gateway.ReadJSON(w, r, &t, 1<<20); err != nil {
		return err
	}
	got, err := b.Difference(r.Context(), c, t)
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, got)
}

func (d *desk) showLedger(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	b, err := d.workbench()
	if err != nil {
		return err
	}
	if err := plain(r); err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, b.Head())
}

// disclose opens a part for whoever says why.
func (d *desk) disclose(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	b, err := d.workbench()
	if err != nil {
		return err
	}
	if err := plain(r); err != nil {
		return err
	}
	var body struct {
		Part    string `json:"part"`
		Purpose string `json:"purpose"`
	}
	if err := gateway.ReadJSON(w, r, &body, 16<<10); err != nil {
		return err
	}
	n, err := strconv.ParseUint(r.PathValue("index"), 10, 63)
	if err != nil {
		return gateway.Refuse(gateway.CodeNotFound, "")
	}
	if body.Part == "" || body.Purpose == "" || len(body.Purpose) > 4096 {
		return gateway.Refuse(gateway.CodeInvalid, "a part, and a purpose of at most 4096 bytes, are needed")
	}
	got, err := b.Disclose(r.Context(), n, body.Part, nameOf(c), body.Purpose)
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, got)
}
