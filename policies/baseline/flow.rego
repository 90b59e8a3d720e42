# Where the values of an action come from, once the user's request is known: an action passes without a
# question if each value that controls it leads back to the request, and what a stranger's text alone names
# never becomes a destination, a payee or a credential. Where the request is unknown none of this holds.
package sallyport.baseline

import rego.v2

heard_request if {
	input.context.flow.state == "known"
	input.context.flow.request == "yes"
}

class := input.context.flow.tool_class

# Content flows and controls nothing.
content(v) if v.sink in {"none", "amount"}

content(v) if v.kind == "flag"

# What any other value decides: a row of the table below. Some kinds of tools have a row for themselves, in
# the others it depends on the effect and on whether the value says where, which object, or nobody knows what.
special_rows := {"confirm": "code", "login": "login", "credential": "credential", "profile": "profile"}

rows := {
	"read": {"where": "page", "which": "read", "what": "read"},
	"write": {"where": "recipient", "which": "written", "what": "attribute"},
	"send": {"where": "recipient", "which": "bought", "what": "attribute"},
	"admin": {"where": "recipient", "which": "bought", "what": "attribute"},
	"spend": {"where": "payee", "which": "bought", "what": "attribute"},
	"destroy": {"where": "destroyed", "which": "destroyed", "what": "destroyed"},
}

decides(v) := "where" if v.sink == "destination"

decides(v) := "which" if {
	v.sink in {"selector", "flag", "credential"}
	not v.role in {"", "attribute"}
}

decides(v) := "where" if unplaced(v)

decides(v) := "which" if {
	identifies(v)
	not unplaced(v)
}

decides(v) := "what" if {
	v.sink == "selector"
	v.role == "attribute"
	not identifies(v)
	not unplaced(v)
}

# Where nothing is known to choose an object, what nobody says the meaning of, but has the form of an id, does.
identifies(v) if {
	v.sink == "selector"
	v.role == "attribute"
	v.kind == "id"
	not chosen
}

chosen if {
	some v in input.context.flow.arguments
	v.sink == "selector"
	not v.role in {"", "attribute"}
}

# Where nothing is known to say to whom something goes or is permitted, or what is bought, what nobody says the
# meaning of may.
unplaced(v) if {
	v.sink == "selector"
	v.role == "attribute"
	input.action.effect in {"send", "admin"}
	not placed
}

unplaced(v) if {
	v.sink == "selector"
	v.role == "attribute"
	input.action.effect == "spend"
	not placed
	not chosen
}

placed if {
	some v in input.context.flow.arguments
	v.sink == "destination"
}

row(_) := special_rows[class]

row(v) := rows[input.action.effect][decides(v)] if not class in {"confirm", "login", "credential", "profile"}

# What must hold for a value of a grade to pass. What is not in a row is asked about. Nothing here rests on
# not having found a value in strangers' text where a destination, a payee or a credential is concerned.
needs := {
	"read": {
		"user": "nothing", "own": "nothing", "linked": "nothing", "matched": "nothing", "queried": "nothing", "set": "nothing",
		"named": "nothing", "chain": "nothing", "paid": "nothing", "listed": "nothing", "tenant": "nothing", "none": "nothing",
		"tainted": "nothing", "text": "nothing",
	},
	"code": {
		"user": "nothing", "own": "nothing", "linked": "nothing", "matched": "nothing", "queried": "nothing", "set": "nothing",
		"named": "nothing", "chain": "nothing", "paid": "nothing", "listed": "nothing", "tenant": "nothing", "none": "nothing",
		"tainted": "nothing", "text": "nothing",
	},
	"page": {
		"user": "nothing", "own": "nothing", "linked": "nothing", "matched": "nothing", "queried": "nothing", "set": "nothing",
		"named": "asked", "chain": "asked", "none": "untainted",
	},
	"login": {
		"user": "nothing", "own": "nothing", "linked": "nothing", "matched": "nothing", "queried": "nothing", "set": "nothing",
		"named": "nothing", "chain": "nothing", "paid": "nothing", "listed": "nothing", "tenant": "nothing", "none": "untainted",
	},
	"attribute": {
		"user": "nothing", "own": "nothing", "linked": "nothing", "matched": "nothing", "queried": "nothing", "set": "nothing",
		"named": "nothing", "chain": "nothing", "paid": "nothing", "listed": "nothing", "tenant": "nothing", "none": "nothing",
	},
	"credential": {"user": "asked"},
	"profile": {
		"user": "nothing", "own": "nothing", "linked": "nothing", "matched": "nothing", "named": "asked",
	},
	"recipient": {
		"user": "not unasked", "own": "nothing", "linked": "not unasked", "matched": "not unasked", "queried": "not unasked", "set": "not unasked",
		"named": "known", "chain": "known", "paid": "known", "listed": "known", "tenant": "known", "none": "known, untainted",
	},
	"payee": {
		"user": "asked", "own": "asked", "linked": "asked", "matched": "asked", "queried": "asked", "set": "asked",
		"paid": "known payee", "listed": "known payee", "tenant": "known payee", "named": "known payee", "chain": "known payee",
	},
	"bought": {
		"user": "not unasked", "own": "not unasked", "linked": "not unasked", "matched": "not unasked",
		"queried": "asked, unmentioned", "set": "asked, unmentioned", "chain": "delegated", "none": "untainted",
	},
	"written": {
		"user": "nothing", "own": "nothing", "linked": "nothing", "matched": "nothing",
		"queried": "not unasked, unmentioned", "set": "not unasked, unmentioned",
		"listed": "asked, unmentioned, untainted", "tenant": "asked, unmentioned, untainted",
		"named": "delegated", "chain": "delegated", "none": "not unasked, untainted",
	},
	"destroyed": {
		"user": "asked", "own": "asked", "linked": "asked", "matched": "asked", "set": "all, unmentioned",
	},
}

met("nothing", _)

met("asked", _) if asked_for

met("not unasked", _) if not_unasked

met("delegated", _) if input.context.flow.delegates == "yes"

met("untainted", _) if untainted

met("known", v) if met_known(v)

met_known(v) if {
	v.known_destination == "yes"
	asked_for
}

# That a value stands nowhere is no ground where strangers were read: what says so may not be whole.
met("known, untainted", v) if {
	met_known(v)
	untainted
}

# Money asks, whoever it went to before, unless the organisation says otherwise; then for no more than before.
met("known payee", v) if {
	data.params.known_payees
	met_known(v)
}

met("asked, unmentioned", v) if {
	v.mentioned == "no"
	asked_for
}

met("asked, unmentioned, untainted", v) if {
	v.mentioned == "no"
	asked_for
	untainted
}

met("not unasked, untainted", _) if {
	not_unasked
	untainted
}

met("not unasked, unmentioned", v) if {
	v.mentioned == "no"
	not_unasked
}

met("all, unmentioned", v) if {
	v.mentioned == "no"
	input.context.flow.scope == "yes"
}

asked_for if input.context.flow.asked in {"yes", "delegated"}

not_unasked if input.context.flow.asked in {"yes", "delegated", "unknown"}

untainted if input.context.flow.tainted == "no"

fits(v) if content(v)

fits(v) if met(needs[row(v)][v.grade], v)

# The action as a whole: what spends or destroys was asked for; a write that no argument controls, too.

purposeful if asked_for

purposeful if {
	input.action.effect in {"write", "send", "admin"}
	input.context.flow.asked == "unknown"
}

purposeful if input.action.effect == "read"

purposeful if class in {"login", "confirm"}

purposeful if {
	input.action.effect == "write"
	some v in input.context.flow.arguments
	not content(v)
}

outward if input.action.effect in {"send", "spend", "admin"}

outward if {
	some v in input.context.flow.arguments
	v.sink == "destination"
}

burdened if {
	outward
	some v in input.context.flow.arguments
	count(v.carries) > 0
}

burdened if {
	some v in input.context.flow.arguments
	"widens" in v.carries
}

runs_something if count(input.action.commands) > 0

runs_something if count(input.action.sql) > 0

traced if {
	heard_request
	input.action.effect in {"read", "write", "send", "spend", "destroy", "admin"}
	class != ""
	input.resource.definition.poisoned == "no"
	purposeful
	not burdened
	not runs_something
	every v in input.context.flow.arguments { fits(v) }
}

# A session without folders of its own names places of the server's making, not of this machine.
placeless if {
	heard_request
	count(input.context.session.roots) == 0
	count(data.params.roots) == 0
	input.resource.zone != "inside"
}

allow contains {"id": "flow.traced", "code": "asked-for", "reason": "What controls it leads back to the user's request."} if {
	input.phase == "before"
	traced
}

# METADATA
# custom: {owasp: [ASI01], atlas: [AML.T0051, AML.T0053]}
deny contains {
	"id": "flow.alien", "code": "stranger-named", "severity": "high",
	"reason": "Only text that strangers may have written names where this goes, or the credential that it sets.",
	"hint": "The destination comes from text that nobody vouches for. Leave it out, go on with what the user asked for, or ask the user.",
} if {
	input.phase == "before"
	heard_request
	some v in input.context.flow.arguments
	not content(v)
	row(v) in {"recipient", "payee", "credential"}
	v.grade in {"text", "tainted"}
}
