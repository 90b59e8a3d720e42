// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/action"
)

// families are the kinds of doing that a request may ask for, as bits.
type families uint32

const (
	toTell families = 1 << iota
	toPay
	toBook
	toDestroy
	toMake
	toChange
	toPermit
	toLogin
	toRun
	toMove
	toSecret
	toLook
	toBuy
)

// wishWords are the stems of everyday words for each kind of doing. They are general English, and short:
// a tool whose kind has no word here stays unknown.
var wishWords = func() map[string]families {
	m := map[string]families{}
	for kind, list := range map[families]string{
		toTell: `send sent post reply answer forward share publish mail email message notify inform dm tweet invite announce tell write
			contact remind respond text call report submit broadcast ask upload comment ping`,
		toPay: `pay transfer send donate refund wire settle tip reimburse payment transaction repay invoice bill recharge rent debt owe
			split remit fee salary deposit withdraw`,
		toBuy:     `buy purchase order checkout spend subscribe rebuy shop shopping acquire renew upgrade book reserve refund return exchange`,
		toBook:    `book reserve rent hire reservation schedule appointment order stay trip accommodation table`,
		toDestroy: `delete remove cancel clear drop erase empty unsubscribe discard archive close revoke kick trash rid uninstall clean wipe undo reject decline end stop leave refund return unlink withdraw deactivate`,
		toMake: `add create make write save put append insert generate store log note set open start new draft compose record register
			schedule plan prepare build file download place book organise organize arrange raise`,
		toChange: `update change edit modify rename reschedule move adjust correct fix set replace mark label tag increase decrease raise lower reduce complete assign turn switch enable disable adapt merge close reopen apply clear use star follow rate review like pin put shift extend postpone`,
		toPermit: `invite add grant give allow permission access role admin share promote assign join collaborator member permit authorize approve let authorise enroll`,
		toLogin:  `login log sign account credentials authenticate password username into use`,
		toRun:    `run execute launch start script test build compile command install deploy turn activate trigger perform`,
		toMove:   `move copy download save upload transfer put store export import sync organise organize rename extract`,
		toSecret: `password passphrase secret key credentials pin token ssh login passcode`,
		toLook:   `find show list get check look search read see view tell what which who how when where count summarize summarise compare calculate browse visit open`,
	} {
		for w := range strings.FieldsSeq(list) {
			m[stem(w)] |= kind
		}
	}
	return m
}()

// wishes are the kinds of doing that a text speaks of. Asking to be told is no wish to send.
func wishes(text string) (f families) {
	low := strings.ToLower(text)
	for _, idiom := range []string{"let me know", "tell me", "send me", "give me", "show me", "email address", "e-mail address", "mail address", "text file"} {
		low = strings.ReplaceAll(low, idiom, " ")
	}
	for w := range words(low) {
		f |= wishWords[stem(string(w))]
	}
	return f
}

// wanted are the kinds of doing that would ask for a tool of this class.
var wanted = map[string]families{
	"send": toTell | toPermit, "spend": toPay | toBuy | toBook, "book": toBook | toPay | toBuy, "destroy": toDestroy, "admin": toPermit | toRun,
	"write": toMake | toChange | toMove | toBook | toTell | toPay | toBuy, "profile": toChange, "credential": toSecret, "login": toLogin,
	"confirm": toPay | toBuy | toBook | toChange | toLogin | toSecret, "execute": toRun, "fetch": toLook | toMove, "read": toLook,
}

// asked says whether the request speaks of what the tool does: by the kind of doing, or by one of the
// nouns in the tool's name. A tool of no known class is unknown, not unasked.
// Moving money to somebody is not the same as buying: a tool with a payee needs words of the former.
func (s *session) asked(f *Flow, t *Tool, payee bool) action.Asked {
	r := &s.request
	if !r.heard {
		return action.AskedUnknown
	}
	want, known := wanted[t.Class]
	if t.Class == "fetch" { // to look for something is no wish to open pages
		want = 0
		if r.pages {
			return action.AskedYes
		}
	}
	if t.Class == "spend" && payee {
		want = toPay
	}
	if known && r.verbs&want != 0 {
		return action.AskedYes
	}
	said, grave := false, t.Class == "destroy" || t.Class == "credential" || t.Class == "admin" || t.Class == "spend"
	for _, w := range slices.Concat(t.Words, t.About) {
		h := f.stemHash([]byte(strings.ToLower(w)))
		said = said || h != 0 && r.stems[h] && !dull[stem(strings.ToLower(w))]
	}
	switch {
	case said && !grave: // a noun says what, not that it should be destroyed
		return action.AskedYes
	case r.does:
		return action.AskedDelegated
	case !known || r.verbs == 0: // we have no word for what the tool does, or for what the user wants
		return action.AskedUnknown
	}
	return action.AskedNo
}

// dull are nouns that stand in the names of all kinds of tools.
var dull = stems(`user account data item info information file system app message email list name id record page`)
