# What the rules are made of. A fact that is unknown never counts as the good case.
package sallyport.mail

import rego.v2

# Servers of mail and chat by the pack that speaks for them, and whatever writes to an address or a channel.
postal := {"server-slack", "gmail", "google-calendar"}

message if {
	input.action.effect == "send"
	not transfer
}

transfer if count(input.action.amounts) > 0

mailbox if input.resource.definition.pack in postal

reviewed if {
	input.action.typed == "known"
	input.resource.definition.state == "approved"
	input.action.effect_source in {"declared", "approved"}
}

listed(r) if r.value in data.params.recipients

listed(r) if {
	r.kind == "email"
	r.domain in data.params.domains_mail
}

listed(r) if channel(r)

channel(r) if {
	not r.kind in {"email", "phone", "iban", "account"}
	r.value in data.params.channels
}

# Somebody of whom it is not known that he belongs to the organisation, listed or not. A listed channel does.
strangers if {
	some r in input.action.recipients
	r.outside != "no"
	not channel(r)
}

all_listed if {
	count(input.action.recipients) > 0
	every r in input.action.recipients { listed(r) }
}

few if count(input.action.recipients) <= data.params.recipients_max

scanned if {
	input.context.detect.state == "known"
	input.context.detect.opaque == "no"
	input.context.detect.truncated == "no"
	count(input.context.detect.secrets) == 0
	input.context.detect.leak_milli < 500
}

unburdened if {
	input.context.flow.state == "known"
	input.context.flow.session.secrecy in {"public", "internal"}
	every v in input.context.flow.arguments { v.secrecy in {"public", "internal"} }
}

no_files if {
	count(input.action.paths) == 0
	count(input.action.commands) == 0
	count(input.action.sql) == 0
}

personal if {
	some f in input.context.detect.findings
	f.kind == "pii"
	f.score_milli >= 200
}

links_elsewhere if {
	some u in input.action.urls
	not u.host in data.params.hosts
}

instructs if input.context.detect.injection_milli >= 500

secret if input.context.flow.session.secrecy == "secret"

secret if {
	some v in input.context.flow.arguments
	v.secrecy == "secret"
}
