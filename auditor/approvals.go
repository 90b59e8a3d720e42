// SPDX-License-Identifier: Apache-2.0

package auditor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/identity/factor"
	"github.com/sallyport/sallyport/ledger"
)

// ApprovalProofs checks, while a log is verified, what people approved: that the records about a request bind
// exactly the document that was shown, that the answers are those that were given, and that each signature
// is of a key that was registered then to that person. Use Inspect as ledger.Options.Inspect. The zero
// ApprovalProofs is ready. It is not safe for concurrent use.
type ApprovalProofs struct {
	Requests int `json:"requests"`  // whose document could be opened, and is the one that is bound
	Answers  int `json:"answers"`   // that could be opened
	Signed   int `json:"signed"`    // of them, with a signature that holds
	SignedIn int `json:"signed_in"` // of them, behind a sign-in of which the identity provider told level, methods or time
	Closed   int `json:"closed"`    // records about requests whose content is sealed, erased or left out

	keys    map[string][]registered // by id
	gone    map[string][]uint64     // where keys were withdrawn
	asks    map[string]*evidenceOf  // by grant
	order   map[uint64]int          // how many answers stand before that of an entry
	waiting *opening
}

// Text says it in a line, "" if nobody was asked anything.
func (e *ApprovalProofs) Text() string {
	if e.Requests+e.Answers+e.Closed == 0 {
		return ""
	}
	return fmt.Sprintf("  approvals: %d requests as they were shown, %d answers, %d of them signed, %d through a sign-in that is described; %d records sealed\n",
		e.Requests, e.Answers, e.Signed, e.SignedIn, e.Closed)
}

// registered is a key from its record on.
type registered struct {
	from uint64
	identity.Signer
}

// evidenceOf is what is known of one request.
type evidenceOf struct {
	digest  string
	answers []approval.Given
	known   int    // answers by their leaves
	terms   []byte // what a grant holds for; nil when it is sealed
	chained bool   // the opening holds, and no answer so far is sealed
}

// opening collects the parts of one record.
type opening struct {
	index         uint64
	leaf          *ledger.Leaf
	shown, detail []byte
}

// Inspect takes one record, or one opened part of it, and says what does not hold.
func (e *ApprovalProofs) Inspect(index uint64, l *ledger.Leaf, part action.PartName, data []byte) string {
	if e.asks == nil {
		e.asks, e.keys, e.gone, e.order = map[string]*evidenceOf{}, map[string][]registered{}, map[string][]uint64{}, map[uint64]int{}
	}
	if part == "" {
		e.begin(index, l)
		return ""
	}
	if e.waiting == nil || e.waiting.index != index {
		e.waiting = &opening{index: index, leaf: l}
	}
	switch part {
	case action.PartShown:
		e.waiting.shown = slices.Clone(data)
	case action.PartDetail:
		e.waiting.detail = slices.Clone(data)
	default:
		return ""
	}
	code := ""
	if len(l.Codes) > 0 {
		code = l.Codes[0]
	}
	switch {
	case l.Kind == action.KindKey && code == identity.CodeSignerAdded && part == action.PartDetail:
		return e.key(index, l, data)
	case l.Kind == action.KindApproval && l.Grant != "" && code == approval.CodeOpened:
		return e.opened(l)
	case l.Kind == action.KindApproval && l.Grant != "" && part == action.PartDetail:
		return e.answer(index, l, code, data)
	}
	return ""
}

// begin notes a record before any of its parts. Where the log comes from an export, the parts of some
// records come only after the leaves of later ones.
func (e *ApprovalProofs) begin(index uint64, l *ledger.Leaf) {
	switch {
	case l.Kind == action.KindKey && slices.Contains(l.Codes, identity.CodeSignerRemoved):
		e.gone[l.Subject] = append(e.gone[l.Subject], index)
	case l.Kind == action.KindApproval && l.Grant != "" && len(l.Parts) > 0:
		ask := e.asks[l.Grant]
		if ask == nil {
			ask = &evidenceOf{digest: l.Binding}
			e.asks[l.Grant] = ask
		}
		if slices.ContainsFunc(l.Codes, approval.Answered) {
			e.order[index] = ask.known
			ask.known++
		}
		if slices.ContainsFunc(l.Parts, func(p ledger.PartRef) bool { return p.Name == action.PartDetail }) {
			e.Closed++
		}
	}
}

func (e *ApprovalProofs) key(index uint64, l *ledger.Leaf, data []byte) string {
	var s identity.Signer
	if err := action.Read(data, &s, action.Limits{}); err != nil {
		return "the registered key cannot be read"
	}
	if s.ID != l.Subject || s.Key.ID() != l.Subject {
		return "the registered key is not the one that the record names"
	}
	e.keys[s.ID] = append(e.keys[s.ID], registered{index, s})
	return ""
}

// at returns the key id if it was registered and not withdrawn before entry index.
func (e *ApprovalProofs) at(id string, index uint64) (identity.Signer, bool) {
	for _, k := range slices.Backward(e.keys[id]) {
		if k.from < index {
			return k.Signer, !slices.ContainsFunc(e.gone[id], func(g uint64) bool { return k.from < g && g < index })
		}
	}
	return identity.Signer{}, false
}

// opened checks that the document that people saw is the one that the request binds.
func (e *ApprovalProofs) opened(l *ledger.Leaf) string {
	w := e.waiting
	if w.shown == nil || w.detail == nil {
		return ""
	}
	sum, err := approval.Terms(w.detail, w.shown)
	if err != nil || sum != l.Binding {
		return "the document that was shown is not the one that the request binds"
	}
	e.Closed--
	e.Requests++
	e.asks[l.Grant].chained, e.asks[l.Grant].terms = true, w.detail
	return ""
}

// answer checks one answer against those before it, and its signature.
func (e *ApprovalProofs) answer(index uint64, l *ledger.Leaf, code string, data []byte) string {
	e.Closed--
	if code == approval.CodeOwn {
		return "" // nothing was answered
	}
	ask := e.asks[l.Grant]
	g, challenge, err := approval.Signed(l.Grant, code, l.Binding, data)
	if err != nil {
		return "the answer cannot be read"
	}
	e.Answers++
	ask.answers = append(ask.answers, g)
	if l.Binding != ask.digest {
		return "the answer is to another document than the one that was asked about"
	}
	ask.chained = ask.chained && e.order[index] == len(ask.answers)-1
	if sum, err := approval.Proof(l.Binding, ask.answers); ask.chained && (err != nil || sum != l.Subject) {
		ask.chained = false
		return "an answer before this one is missing or is another one"
	}
	if g.ACR != "" || len(g.AMR) > 0 || g.AuthnMs > 0 {
		e.SignedIn++
	}
	if code == approval.CodeApproved && ask.chained && !approval.Suffices(ask.terms, ask.answers) {
		return "the answers are not what the rules demanded of those who approve"
	}
	if g.Channel != l.Channel {
		return "the answer was given through another channel than the record says"
	}
	if g.Evidence == "" {
		if l.Channel == action.RankPasskey {
			return "an approval by passkey has no signature"
		}
		return ""
	}
	if err := e.signature(index, &g, challenge); err != nil {
		return fmt.Sprintf("the signature does not hold: %v", err)
	}
	e.Signed++
	return ""
}

func (e *ApprovalProofs) signature(index uint64, g *approval.Given, challenge []byte) error {
	ev, err := factor.Read([]byte(g.Evidence))
	if err != nil {
		return err
	}
	k, ok := e.at(ev.Signer, index)
	switch {
	case !ok:
		return fmt.Errorf("key %q was not registered then", action.Clip(ev.Signer, 64))
	case !strings.EqualFold(k.Person, g.Approver):
		return fmt.Errorf("key %q is of somebody else", k.ID)
	case g.Channel == action.RankPasskey && k.Key.Kind != factor.Passkey:
		return fmt.Errorf("key %q is no passkey", k.ID)
	}
	_, err = factor.Verify(&k.Key, challenge, &ev)
	return err
}
