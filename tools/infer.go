// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"strings"
	"unicode"

	"github.com/sallyport/sallyport/action"
)

// verb is the class of the word that says what a tool does. Classes are finer than effects, because
// corrections and argument roles need the difference.
type verb string

const (
	verbNone    verb = ""
	verbRead    verb = "read"
	verbFetch   verb = "fetch" // reads what an argument's URL names, and so tells its host
	verbSend    verb = "send"
	verbSpend   verb = "spend"
	verbBook    verb = "book"
	verbDestroy verb = "destroy"
	verbAdmin   verb = "admin"
	verbWrite   verb = "write"
	verbProfile verb = "profile"    // changes what is recorded of a person or account
	verbSecret  verb = "credential" // changes a password, key or secret
	verbLogin   verb = "login"
	verbConfirm verb = "confirm"
	verbExecute verb = "execute"
)

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

var verbs = func() map[string]verb {
	m := map[string]verb{}
	for class, words := range map[verb]string{
		verbRead: `get list read search find show view describe query lookup look fetch retrieve check count browse stat
			status info inspect compare diff calculate compute convert translate summarize summarise analyze analyse explain
			validate lint preview download head tail cat grep glob ls dir tree select select1 load recommend suggest
			estimate track watch monitor see open scan parse extract peek tell echo whoami help login_status sum
			visualize plot measure verify enumerate rank filter sort resolve ping
			obtain gather collect display examine consult explore discover locate identify determine survey aggregate tally
			forecast predict classify transcribe recognize peruse crawl scrape visit access pull think reflect ponder`,
		verbSend: `send post reply forward share publish email mail message notify dm tweet invite broadcast submit upload
			announce push call dial sms contact respond transmit export deliver webhook request
			dispatch relay circulate distribute disseminate syndicate ship text ring alert`,
		verbSpend: `pay transfer buy purchase spend donate charge refund withdraw deposit checkout subscribe bid tip
			wire invest trade sell remit payout stake swap reimburse
			acquire settle repay disburse compensate remunerate fund lend loan wager bet redeem topup recharge tithe`,
		verbBook: `book reserve rent hire`,
		verbDestroy: `delete remove drop destroy erase purge wipe clear cancel uninstall truncate unlink rm rmdir shred
			discard revert reset unsubscribe terminate kill trash archive detach close revoke deactivate disable prune flush
			overwrite expire abort stop shutdown reject decline
			scrap void annul dismiss dump expel evict obliterate eliminate eradicate expunge rescind cease halt retire
			suspend withdraw_user unassign unset unshare nuke`,
		verbAdmin: `grant permit authorize authorise promote demote assign chmod chown deploy configure install enable
			ban unban block unblock mute impersonate elevate register deregister provision admin sudo transfer_ownership
			rotate restart reboot migrate merge approve release
			onboard enroll enrol admit entitle empower delegate whitelist allowlist blacklist denylist lock unlock escalate`,
		verbWrite: `write create update add set edit modify append insert save put move copy rename make change mark tag
			label schedule reschedule replace store record log attach comment draft patch upsert import sync init start
			toggle pin unpin star unstar follow unfollow like unlike react vote rate review subscribe_to fork clone commit
			checkout_branch branch place plan touch mkdir fill type press click drag hover navigate link unlink_record
			generate complete finish accept join leave increment decrement bump assign_label adjust apply
			include amend revise alter tweak compose establish extend shift relocate duplicate mirror queue enqueue persist
			preserve annotate bind connect enter rename reword flag highlight bookmark favorite favourite favour pause resume reorder arrange
			organise organize craft populate transform jot correct replicate mount stage`,
		verbLogin:   `login signin logon authenticate logout signout`,
		verbConfirm: `confirm otp`,
		verbExecute: `execute exec run eval evaluate shell bash command spawn invoke launch script sh terminal trigger
			interpret compile build test python node powershell`,
	} {
		for _, w := range strings.Fields(words) {
			m[w] = class
		}
	}
	return m
}()

var (
	moneyNouns      = set(`money payment payments transaction transactions transfer transfers invoice purchase order payout fund funds donation deposit salary wire remittance tip giftcard subscription fund funds cash salary bill bills fee fees`)
	orderedNouns    = set(`transfer transfers payment payments purchase purchases order orders booking bookings reservation reservations donation`)
	credentialNouns = set(`password passwords passwd passphrase passcode passcodes secret secrets credential credentials ssh pin apikey token tokens mfa 2fa passkey`)
	personNouns     = set(`user users member members participant participants collaborator collaborators admin admins owner owners role roles permission permissions access guest guests reviewer reviewers group groups acl policy policies
		person people teammate teammates colleague colleagues attendee attendees employee employees subscriber subscribers`)
	profileNouns = set(`profile info information preferences settings bio details`)
	draftNouns   = set(`cart carts basket baskets trolley wishlist filter filters selection`)
	cloneWords   = set(`download clone`)
	copyNouns    = set(`git repo repository branch remote rebase upstream`) // what is pulled changes with them
	// measured are nouns that a name ends with which asks for them: "cart_total".
	measured = set(`total totals balance summary statistics statistic stats history overview average remaining size length version rating ratings
		availability usage quota progress weather forecast headcount`)
	identities = set(`user username account account_name nickname handle login email mail user_id client_id account_id member customer`)
	fillers    = set(`the a an this that it tool function api please can will used use uses using to let lets allows allow helps mcp server simple new bulk batch multiple all async my and or`)
)

// words splits a name or the start of a text at every change of case, digit or sign, in lower case, with
// plural and third-person s off where that makes a verb. At most 24 words are looked at.
func words(s string) []string {
	var out []string
	var cur []rune
	flush := func() {
		if len(cur) > 0 {
			out = append(out, strings.ToLower(string(cur)))
			cur = cur[:0]
		}
	}
	rs := []rune(action.Clip(s, 512))
	for i, c := range rs {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			flush()
		} else {
			if n := len(cur); n > 0 && unicode.IsUpper(c) &&
				(unicode.IsLower(cur[n-1]) || (i+1 < len(rs) && unicode.IsLower(rs[i+1]))) {
				flush()
			}
			cur = append(cur, c)
		}
		if len(out) >= 24 {
			return out
		}
	}
	flush()
	return out
}

func verbOf(w string) verb {
	if v, ok := verbs[w]; ok {
		return v
	}
	for _, suffix := range []string{"s", "es"} {
		if v, ok := verbs[strings.TrimSuffix(w, suffix)]; ok && strings.HasSuffix(w, suffix) {
			return v
		}
	}
	return verbNone
}

// infer returns what the words of a definition say that the tool does. The first word of the name that
// is in a class decides, else the first verb of the description; then nouns correct it. A graver verb
// anywhere in the name wins over a read at its head ("get_and_delete"), but not the other way round. Of a
// tool that changes something the description may tell that it does worse.
func infer(d *Definition) verb {
	v := inferName(d)
	if v != verbNone && !v.effect().SideEffect() {
		return v
	}
	if v == verbNone && described(d) == verbNone {
		return inferNoun(d)
	}
	return graver(v, described(d))
}

func inferName(d *Definition) verb {
	name := words(d.Name)
	v, at := verbNone, -1
	for i := 0; i < len(name); i++ {
		if name[i] == "pull" && i+1 < len(name) && strings.TrimSuffix(name[i+1], "s") == "request" {
			i++ // a thing
			continue
		}
		if v = verbOf(name[i]); v != verbNone {
			at = i
			break
		}
	}
	if v == verbNone {
		if logsIn(d) {
			return verbLogin
		}
		return verbNone
	}
	return correct(v, at, name, d)
}

// inferNoun is the class of a tool whose name has no verb and ends with what one asks for.
func inferNoun(d *Definition) verb {
	if name := words(d.Name); len(name) > 1 && measured[name[len(name)-1]] {
		return correct(verbRead, len(name)-1, name, d)
	}
	return verbNone
}

func firstSentence(s string) string {
	if i := strings.IndexAny(s, ".\n"); i >= 0 {
		return s[:i]
	}
	return s
}

func correct(v verb, at int, name []string, d *Definition) verb {
	has := func(nouns map[string]bool) bool {
		for i, w := range name {
			if i != at && nouns[w] {
				return true
			}
		}
		return false
	}
	head := name[at]
	if v == verbRead && conjoined(name, at) {
		for _, w := range name[at+1:] {
			if o := verbOf(w); o != verbNone && o != verbRead {
				v, head = o, w
				break
			}
		}
	}
	switch {
	case head == "pull" && (has(copyNouns) || takesAny(d, copyNouns)):
		return verbWrite
	case (v == verbRead || v == verbFetch || head == "enter" || head == "connect") && logsIn(d):
		return verbLogin
	case v == verbWrite && (head == "make" || head == "create" || head == "place") && (has(orderedNouns) || name[len(name)-1] == "booking"):
		return verbSpend
	case (v == verbSend || v == verbWrite) && has(moneyNouns):
		return verbSpend
	case v == verbWrite && has(credentialNouns), v == verbDestroy && head == "reset" && has(credentialNouns):
		return verbSecret
	case (head == "add" || head == "invite" || head == "set" || head == "include" || head == "join") && has(personNouns):
		return verbAdmin
	case v == verbDestroy && has(draftNouns): // a draft of what is to be bought or seen: nothing is lost
		return verbWrite
	case head == "remove" && has(personNouns):
		return verbDestroy
	case v == verbWrite && has(personNouns) && (has(set("role roles permission permissions access acl policy")) || head == "change"):
		return verbAdmin
	case v == verbWrite && (head == "update" || head == "change" || head == "edit" || head == "set" || head == "modify") && has(profileNouns):
		return verbProfile
	case v == verbConfirm && !onlyCode(d):
		return verbWrite
	case head == "verify" && onlyCode(d):
		return verbConfirm
	case takesCode(d) && v.effect().Severity() < action.EffectExecute.Severity():
		return verbExecute
	case takesURL(d) && v == verbRead:
		return verbFetch
	case takesURL(d) && v == verbWrite && cloneWords[head]:
		return verbFetch
	case takesURL(d) && v == verbWrite:
		return verbSend
	}
	return v
}

// conjoined reports whether the name joins a second verb to the one at index at.
func conjoined(name []string, at int) bool {
	for i := at + 1; i+1 < len(name); i++ {
		if name[i] == "and" || name[i] == "or" || name[i] == "then" {
			return true
		}
	}
	return false
}

// logsIn reports whether the tool takes a credential and whose it is, and nothing else but a code.
func logsIn(d *Definition) bool {
	secret, whose := 0, 0
	for name, schema := range properties(d.InputSchema) {
		ro := roleOf(name, verbLogin)
		if h := schemaOf(schema); ro == roleNone {
			ro = roleSaid(h.about, verbLogin)
		}
		ws := words(name)
		switch {
		case ro == roleCredential:
			secret++
		case ro == roleCode:
		case ro == roleRecipient || identities[strings.Join(ws, "_")] || len(ws) > 0 && identities[ws[len(ws)-1]]:
			whose++
		default:
			return false
		}
	}
	return secret == 1 && whose == 1
}

func takesAny(d *Definition, nouns map[string]bool) bool {
	for name := range properties(d.InputSchema) {
		for _, w := range words(name) {
			if nouns[w] {
				return true
			}
		}
	}
	return false
}

// onlyCode reports whether the tool takes nothing but a code.
func onlyCode(d *Definition) bool {
	props := properties(d.InputSchema)
	for name := range props {
		if roleOf(name, verbConfirm) != roleCode {
			return false
		}
	}
	return len(props) > 0
}

// takesCode reports whether an argument says what runs: a "query" that takes SQL is no read.
func takesCode(d *Definition) bool {
	sql := dialectOf("", d) != ""
	for name := range properties(d.InputSchema) {
		if ro := roleOf(name, verbNone); ro == roleSQL || ro == roleCommand || sql && statementNames[strings.ToLower(name)] {
			return true
		}
	}
	return false
}

func takesURL(d *Definition) bool {
	for name, schema := range properties(d.InputSchema) {
		h := schemaOf(schema)
		if ro := roleOf(name, verbNone); ro == roleURL || h.role == roleURL || ro == roleNone && roleSaid(h.about, verbNone) == roleURL {
			return true
		}
	}
	return false
}

// effect maps a class to the words of policy. Booking commits money and logging in hands out a
// credential, so each counts as the graver of what it might be.
func (v verb) effect() action.Effect {
	switch v {
	case verbRead, verbFetch:
		return action.EffectRead
	case verbSend:
		return action.EffectSend
	case verbSpend, verbBook:
		return action.EffectSpend
	case verbDestroy:
		return action.EffectDestroy
	case verbAdmin, verbSecret, verbLogin:
		return action.EffectAdmin
	case verbWrite, verbConfirm, verbProfile:
		return action.EffectWrite
	case verbExecute:
		return action.EffectExecute
	}
	return action.EffectUnknown
}

// raise applies the server's own hints, which may only make the effect graver.
func raise(e action.Effect, a Annotations) action.Effect {
	if a.Destructive == action.Yes && e.Severity() < action.EffectDestroy.Severity() {
		return action.EffectDestroy
	}
	return e
}
