// SPDX-License-Identifier: Apache-2.0

package export

import (
	"strconv"

	"github.com/sallyport/sallyport/action"
)

// The version of OCSF and the classes of it that are written.
const (
	ocsfVersion = "1.5.0"

	ocsfFinding = 2004 // Detection Finding: alerts
	ocsfEntity  = 3004 // Entity Management: what is done to policies, tools, keys, approvals, records
	ocsfAPI     = 6003 // API Activity: an action of an agent

	ocsfOther = 99 // of every enumeration: a value of our own, in words beside it
)

// ocsfEvent maps a record to OCSF. docs/siem.md has the table.
func ocsfEvent(r *record) []byte {
	class := ocsfAPI
	switch r.Leaf.Kind {
	case action.KindAlert:
		class = ocsfFinding
	case action.KindDecision, action.KindIntent, action.KindRound, action.KindOutcome, action.KindRelease, action.KindLate, action.KindUnknown:
	default:
		class = ocsfEntity
	}
	activity := ocsfActivity(class, r)
	o := open()
	o.raw("activity_id", strconv.AppendInt(nil, activity, 10))
	o.raw("category_uid", strconv.AppendInt(nil, int64(class/1000), 10))
	o.raw("class_uid", strconv.AppendInt(nil, int64(class), 10))
	o.raw("type_uid", strconv.AppendInt(nil, int64(class)*100+activity, 10))
	o.raw("time", strconv.AppendInt(nil, r.Leaf.LogMs, 10))
	o.raw("severity_id", strconv.AppendInt(nil, ocsfSeverity(r), 10))
	if activity == ocsfOther {
		o.text("activity_name", string(r.Leaf.Effect))
	}
	status, word := ocsfStatus(class, r.Leaf.Status)
	o.raw("status_id", strconv.AppendInt(nil, status, 10))
	o.text("status", word)
	o.text("status_detail", string(r.Leaf.Status))
	o.raw("metadata", r.ocsfMetadata())
	switch class {
	case ocsfFinding:
		r.ocsfFinding(o)
	case ocsfEntity:
		r.ocsfEntity(o)
	default:
		r.ocsfCall(o)
	}
	r.ocsfControl(o)
	rest := open()
	rest.raw("leaf", r.Raw)
	rest.text("mode", r.mode())
	rest.text("origin", r.origin)
	rest.raw("size", strconv.AppendUint(nil, r.size, 10))
	if len(r.Parts) > 0 {
		rest.raw("parts", parts(r.Parts))
	}
	o.raw("unmapped", rest.end())
	return o.end()
}

// ocsfActivity is activity_id: 0 unknown, 1 create, 2 read, 3 update, 4 delete, 99 other.
func ocsfActivity(class int, r *record) int64 {
	if class == ocsfFinding {
		return 1
	}
	if class == ocsfEntity {
		switch r.Leaf.Kind {
		case action.KindAccess:
			return 2
		case action.KindErasure:
			return 4
		case action.KindSession, action.KindContext, action.KindAnchor, action.KindAttestation:
			return 1
		}
		return 3
	}
	switch r.Leaf.Effect {
	case action.EffectRead:
		return 2
	case action.EffectWrite:
		return 3
	case action.EffectDestroy:
		return 4
	case action.EffectUnknown, "":
		return 0
	}
	return ocsfOther
}

// ocsfSeverity is 1 informational, 2 low, 3 medium, 4 high.
func ocsfSeverity(r *record) int64 {
	switch {
	case r.Leaf.Verdict == action.Quarantine:
		return 4
	case r.Leaf.Verdict == action.Deny, r.Leaf.Kind == action.KindAlert, r.Leaf.Kind == action.KindKill, r.Leaf.Status == action.StatusWithheld:
		return 3
	case r.Leaf.Verdict == action.Ask, r.Leaf.Kind == action.KindUnknown:
		return 2
	}
	return 1
}

// ocsfStatus is status_id with its word: 0 unknown, 1 success, 2 failure, 99 other; of a finding 1 is new. Our own
// word stands in "status_detail".
func ocsfStatus(class int, s action.Status) (int64, string) {
	if class == ocsfFinding {
		return 1, "New"
	}
	switch s {
	case action.StatusDone, action.StatusGranted, action.StatusReleased:
		return 1, "Success"
	case action.StatusFailed, action.StatusRefused, action.StatusWithheld:
		return 2, "Failure"
	case action.StatusNone, action.StatusUnknown, "":
		return 0, "Unknown"
	}
	return ocsfOther, string(s)
}

func (r *record) ocsfMetadata() []byte {
	product := open()
	product.text("name", "Sallyport")
	product.text("vendor_name", "Sallyport")
	o := open()
	o.text("version", ocsfVersion)
	o.raw("product", product.end())
	o.raw("profiles", []byte(`["security_control"]`))
	o.text("uid", id(r.origin, r.Index))
	o.text("correlation_uid", r.Leaf.Action)
	o.text("event_code", string(r.Leaf.Kind))
	o.text("log_name", r.origin)
	o.raw("sequence", strconv.AppendUint(nil, r.Index, 10))
	o.raw("logged_time", strconv.AppendInt(nil, r.Leaf.LogMs, 10))
	return o.end()
}

// ocsfActor is the agent as the application, for the user; of what people do, the actor.
func (r *record) ocsfActor() []byte {
	o := open()
	o.text("app_name", r.Names["agent"])
	o.text("app_uid", r.Leaf.Agent)
	user := r.Leaf.User
	if r.Leaf.Actor != "" {
		user = r.Leaf.Actor
	}
	if user != "" {
		u := open()
		u.text("uid", user)
		if r.Leaf.Actor == "" {
			u.text("name", r.Names["user"])
		}
		o.raw("user", u.end())
	}
	if r.Leaf.Session != "" {
		s := open()
		s.text("uid", r.Leaf.Session)
		o.raw("session", s.end())
	}
	if len(o.b) == 1 { // one of them is required
		o.text("app_name", "sallyport")
	}
	return o.end()
}

func (r *record) ocsfCall(o *object) {
	o.raw("actor", r.ocsfActor())
	api := open()
	operation := r.named("tool", r.Leaf.Tool)
	if operation == "" {
		operation = string(r.Leaf.Kind)
	}
	api.text("operation", operation)
	if r.Leaf.Server != "" {
		s := open()
		s.text("name", r.Names["server"])
		s.text("uid", r.Leaf.Server)
		api.raw("service", s.end())
	}
	if r.Leaf.Action != "" {
		q := open()
		q.text("uid", r.Leaf.Action)
		api.raw("request", q.end())
	}
	o.raw("api", api.end())
	from := open()
	from.text("svc_name", "sallyport/"+string(r.Leaf.Door))
	o.raw("src_endpoint", from.end())
}

func (r *record) ocsfEntity(o *object) {
	o.raw("actor", r.ocsfActor())
	e := open()
	e.text("type", string(r.Leaf.Kind))
	uid := r.Leaf.Subject
	if uid == "" {
		uid = r.Leaf.Session
	}
	if uid == "" {
		uid = id(r.origin, r.Index)
	}
	e.text("uid", uid)
	o.raw("entity", e.end())
}

func (r *record) ocsfFinding(o *object) {
	f := open()
	f.text("uid", id(r.origin, r.Index))
	title := "alert"
	if len(r.Leaf.Codes) > 0 {
		title = r.Leaf.Codes[0]
	}
	f.text("title", title)
	if len(r.Leaf.Codes) > 0 {
		f.raw("types", list(r.Leaf.Codes))
	}
	f.raw("created_time", strconv.AppendInt(nil, r.Leaf.TimeMs, 10))
	o.raw("finding_info", f.end())
	o.raw("is_alert", []byte("true"))
}

// ocsfControl is the profile security_control: what was decided. action_id is 1 allowed, 2 denied;
// disposition_id 1 allowed, 2 blocked, 3 quarantined, 14 delayed, 17 logged.
func (r *record) ocsfControl(o *object) {
	act, disposition, caption := int64(0), int64(17), "Logged"
	switch r.Leaf.Verdict {
	case action.Allow:
		act, disposition, caption = 1, 1, "Allowed"
	case action.Deny:
		act, disposition, caption = 2, 2, "Blocked"
	case action.Quarantine:
		act, disposition, caption = 2, 3, "Quarantined"
	case action.Ask:
		disposition, caption = 14, "Delayed"
	}
	if r.Leaf.Verdict != "" && r.Leaf.Verdict != action.Allow && !r.Leaf.Enforced {
		act, disposition, caption = 1, 17, "Logged" // observe mode let it pass
	}
	o.raw("action_id", strconv.AppendInt(nil, act, 10))
	o.raw("disposition_id", strconv.AppendInt(nil, disposition, 10))
	o.text("disposition", caption)
	if r.Leaf.Bundle.Digest != "" {
		p := open()
		p.text("name", r.Leaf.Bundle.Name)
		p.text("uid", r.Leaf.Bundle.Digest)
		p.text("version", strconv.FormatInt(r.Leaf.Bundle.Sequence, 10))
		o.raw("policy", p.end())
	}
	if len(r.Leaf.Rules) > 0 {
		f := open()
		f.text("uid", r.Leaf.Rules[0])
		f.text("type", "policy")
		o.raw("firewall_rule", f.end())
	}
}

// list is a JSON array of words.
func list(words []string) []byte {
	b := []byte{'['}
	for i, w := range words {
		if i > 0 {
			b = append(b, ',')
		}
		b = quote(b, w)
	}
	return append(b, ']')
}
