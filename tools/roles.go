// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// role is what an argument means. Packs use these words.
type role string

const (
	roleNone       role = ""           // nothing is known: Typed stays unknown if it is a string
	roleContent    role = "content"    // flows, controls nothing
	roleNeutral    role = "neutral"    // a limit, a format, a time, a choice of a closed list
	roleSelector   role = "selector"   // which object
	roleFlag       role = "flag"       // widens or narrows
	roleCode       role = "code"       // one-time code
	roleCredential role = "credential" // password, key
	rolePathRead   role = "path.read"
	rolePathList   role = "path.list" // the names in one folder, nothing below
	rolePathWrite  role = "path.write"
	rolePathGone   role = "path.destroy"
	rolePath       role = "path" // access follows the effect
	roleURL        role = "url"
	roleRecipient  role = "recipient"
	rolePayee      role = "payee"
	roleAmount     role = "amount"
	roleCurrency   role = "currency"
	roleCommand    role = "command" // a shell's text, or an argument vector
	roleArgv       role = "argv"    // further words of the command beside it
	roleGlob       role = "glob"    // a pattern of paths to read
	roleCwd        role = "cwd"     // the folder a command runs in
	roleProgram    role = "program" // code of a language that is not parsed
	roleSQL        role = "sql"
	rolePatch      role = "patch" // changes of files, in the form of apply_patch
)

var declarable = set(`content neutral selector flag code credential path.read path.list path.write path.destroy path url
	recipient payee amount currency command argv cwd program sql glob patch`)

var (
	contentNames  = set(`content contents body text message messages subject title description comment comments note notes html markdown summary caption review reason details detail bio story prompt instructions feedback input_ids inputs values answer question data payload document old_string new_string oldtext newtext attachments snippet diff patch input_values headline heading letter letters payload paragraph remark remarks memo annotation excerpt excerpts greeting statement_text`)
	neutralNames  = set(`limit offset page per cursor count size max min top k n width height depth order sort sortby direction format mode type kind language lang locale timezone unit units verbose head tail timeout duration steps level priority status color theme encoding start end date time day month year from_date to_date since until rating guests category interval frequency number index line lines context temperature seed version begins_at ends_at begin begins ends how_many first_day last_day on_day weekday deadline due until_date`)
	selectorNames = set(`origin id ids uuid guid query q search pattern regex keyword keywords term terms filter name names label labels tag tags topic symbol ticker city country state region folder_id project repo repository repo_name branch ref issue pull pr sha commit entity key field fields column columns table product item items hotel hotels restaurant company airline flight section slug location address_line room exclude_patterns excludepatterns include glob needle phrase search_term title_contains called handle nickname account_name article venue`)
	userNames     = set(`user users username sender author owner who`)
	measures      = set(`time date day days month year min max count limit size index format mode type offset seconds minutes hours ms`)
	selecting     = set(`names city country brand category region state`)
	savingNames   = set(`save output out dest destination target to write`)
	urlNames      = set(`url urls uri uris link links href website webhook endpoint host hostname hosts domain server callback base_url image_url web_address webpage web_page site address_url page_url`)
	recipientName = set(`recipient recipients to cc bcc participants participant attendees attendee email emails mail channel channels group groups new_owner reviewer reviewers assignee assignees invitee invitees user_email member members collaborator contact phone phone_number chat chat_id destination_email email_address email_addresses to_email to_address addressee addressees send_to receiver receivers copy_to blind_copy_to audience receiver_email mail_address mail_addresses guest guests people attendee_list share_with shared_with deliver_to notify forward_to`)
	payeeNames    = set(`iban payee beneficiary recipient_iban account_number wallet wallet_address beneficiary beneficiary_account account_no receiver_account creditor giro giro_number pay_to bank_account bank_account_number`)
	commandNames  = set(`command commands cmd shell bash shell_command commandline command_line`)
	programNames  = set(`code script source_code javascript python expression function snippet_code`)
	pathNames     = set(`path paths file files filename filenames file_name file_names file_path filepath file_paths filepaths dir directory directories folder folders source destination dest src dst target_path source_path destination_path notebook_path cwd root output_path input_file output_file outfile absolute_path relative_path workspace working_directory workdir working_dir place_path file_location location_path save_to save_dir keep_in output_dir`)
	amountNames   = set(`amount price total cost fee sum value_amount budget balance tip payment_amount sum costs charge payment value_in`)
	flagSuffixes  = set(`enabled force recursive overwrite dry dryrun public private urgent recurring flag`)
	secretNames   = set(`password passwd passphrase secret token api_key apikey access_token ssh_key private_key pin credential credentials auth authorization client_secret new_password old_password passcode passkey pass_phrase pwd login_secret bearer`)
)

// roleOf reads an argument's name, in the order that the research found right: content before ids, ids
// before mail. It does not look at the value.
func roleOf(name string, v verb) role {
	ws := words(name)
	if len(ws) == 0 {
		return roleNone
	}
	low, last := strings.Join(ws, "_"), ws[len(ws)-1]
	switch {
	case v == verbExecute && (programNames[low] || programNames[last]):
		return roleProgram
	case contentNames[low] || contentNames[last] && !commandNames[last]:
		return roleContent
	case (v == verbSend || v == verbWrite) && low == "fields": // of a form or a record, filled in
		return roleContent
	case low == "otp" || low == "verification_code" || low == "confirmation_code" || low == "code" && v == verbConfirm:
		return roleCode
	case (last == "username" || last == "login") && v != verbLogin:
		return roleSelector
	case low == "chat_id" || low == "channel_id":
		return roleRecipient
	case last == "id" || last == "ids":
		return roleSelector
	case secretNames[low] || secretNames[last]:
		return roleCredential
	case urlNames[low] || last == "url" || last == "uri" || last == "urls" || last == "webhook":
		return roleURL
	case strings.HasPrefix(low, "is_") || strings.HasPrefix(low, "allow_") || flagSuffixes[last]:
		return roleFlag
	case payeeNames[low] || containsWord(ws, "iban") || (v == verbSpend && (last == "recipient" || last == "account" || last == "to")):
		return rolePayee
	case recipientName[low] || last == "email" || last == "emails" || last == "recipient" || last == "recipients":
		return roleRecipient
	case commandNames[low]:
		return roleCommand
	case low == "args" || low == "argv" || low == "arguments":
		return roleArgv
	case low == "cwd" || low == "workdir" || low == "working_directory" || low == "working_dir":
		return roleCwd
	case low == "sql" || last == "sql" || low == "statement" && v == verbExecute:
		return roleSQL
	case pathNames[low] || last == "path" || last == "paths" || last == "filename" || last == "directory" || last == "dir":
		return rolePath
	case amountNames[low] || last == "amount" || last == "price":
		return roleAmount
	case low == "currency":
		return roleCurrency
	case neutralNames[low] || measures[last]:
		return roleNeutral
	case userNames[low] && (v == verbAdmin || v == verbSend || v == verbSpend):
		return roleRecipient
	case selectorNames[low] || userNames[low] || selecting[last]:
		return roleSelector
	case last == "name" && v != verbWrite:
		return roleSelector
	case last == "name":
		return roleContent
	}
	return roleNone
}

func containsWord(ws []string, w string) bool {
	for _, x := range ws {
		if x == w {
			return true
		}
	}
	return false
}

// saves reports whether a path argument names where something is put, whatever the tool's own effect.
func saves(pointer string) bool {
	for _, w := range words(pointer[strings.LastIndexByte(pointer, '/')+1:]) {
		if savingNames[w] {
			return true
		}
	}
	return false
}

// hint is what a schema says about one place. Formats raise what we see; nothing here lowers an effect.
type hint struct {
	role   role
	about  string // the description, if the name may say nothing
	closed bool   // an enum, const, boolean or number: the value cannot name a place of the agent's choice
}

func schemaOf(schema jsontext.Value) hint {
	m, ok := members(schema)
	if !ok {
		return hint{}
	}
	var h hint
	if f, ok := text(m["format"]); ok {
		switch f {
		case "uri", "uri-reference", "iri", "url", "hostname", "idn-hostname":
			h.role = roleURL
		case "email", "idn-email":
			h.role = roleRecipient
		case "date", "date-time", "time", "duration":
			h.role = roleNeutral
		case "path", "file-path", "directory-path":
			h.role = rolePath
		}
	}
	_, isEnum := m["enum"]
	_, isConst := m["const"]
	t, _ := text(m["type"])
	h.about, _ = text(m["description"])
	h.about = action.Clip(h.about, 256)
	h.closed = isEnum || isConst || t == "boolean" || t == "integer" || t == "number"
	return h
}

// properties returns the top-level properties of an object schema.
func properties(schema jsontext.Value) map[string]jsontext.Value {
	m, ok := members(schema)
	if !ok {
		return nil
	}
	props, _ := members(m["properties"])
	return props
}

// maxHints bounds the places of one schema.
const maxHints = 512

// hints walks a schema and notes what it says of each place, arrays as "*". References and combinations
// are followed to a depth of 8; what it misses stays unknown.
func hints(schema jsontext.Value) map[string]hint {
	out := map[string]hint{}
	h := hinter{root: schema, out: out}
	h.walk(schema, "", 0)
	return out
}

type hinter struct {
	root  jsontext.Value
	out   map[string]hint
	steps int
}

func (h *hinter) walk(schema jsontext.Value, at string, depth int) {
	if h.steps++; depth > 8 || h.steps > 4*maxHints || len(h.out) >= maxHints {
		return
	}
	m, ok := members(schema)
	if !ok {
		return
	}
	if ref, ok := text(m["$ref"]); ok && strings.HasPrefix(ref, "#/") {
		h.walk(h.deref(ref), at, depth+1)
	}
	got := schemaOf(schema)
	if old := h.out[at]; got.role == roleNone && !got.closed && got.about != "" { // a description alone changes nothing else
		old.about = got.about
		if t, _ := text(m["type"]); t == "string" {
			old.closed = false
		}
		h.out[at] = old
	} else if got != (hint{}) {
		old, seen := h.out[at]
		if seen {
			got.closed = got.closed && old.closed
			if got.role == roleNone {
				got.role = old.role
			}
			if got.about == "" {
				got.about = old.about
			}
		}
		h.out[at] = got
	} else if t, _ := text(m["type"]); t == "string" {
		h.out[at] = hint{role: h.out[at].role, about: h.out[at].about}
	}
	if props, ok := members(m["properties"]); ok {
		for name, sub := range props {
			h.walk(sub, at+"/"+escapePointer(name), depth+1)
		}
	}
	h.walk(m["items"], at+"/*", depth+1)
	for _, comb := range []string{"anyOf", "oneOf", "allOf"} {
		for _, sub := range elements(m[comb]) {
			h.walk(sub, at, depth+1)
		}
	}
}

func (h *hinter) deref(ref string) jsontext.Value {
	cur := h.root
	for _, step := range strings.Split(ref[2:], "/") {
		m, ok := members(cur)
		if !ok {
			return nil
		}
		cur = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)]
	}
	return cur
}

func escapePointer(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1")
}
