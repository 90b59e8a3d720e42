# Messages that go out, and those that do not.
package sallyport.mail

import rego.v2

allow contains {"id": "send", "code": "listed-recipient", "reason": "A scanned message to listed people only."} if {
	input.phase == "before"
	message
	reviewed
	all_listed
	few
	scanned
	unburdened
	no_files
}

allow contains {"id": "read", "code": "reads-mail", "reason": "Reads a reviewed mailbox, calendar or channel."} if {
	input.phase == "before"
	input.action.effect == "read"
	mailbox
	reviewed
	no_files
	scanned
	unburdened
}

allow contains {"id": "release", "code": "release", "reason": "The result may go back to the agent."} if {
	input.phase == "after"
	input.context.result.kind != "none"
	of_mail
}

of_mail if mailbox

of_mail if message

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0086]}
ask contains {
	"id": "unlisted", "code": "recipient-unlisted", "severity": "high",
	"reason": "A message to somebody who is not listed, or to nobody who was understood.",
	"hint": "Writing to this recipient needs a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	message
	not all_listed
}

# METADATA
# custom: {owasp: [ASI02, ASI08], atlas: [AML.T0086]}
ask contains {
	"id": "many", "code": "recipients-many", "severity": "medium",
	"reason": "A message to more people than the parameters let pass.",
	"hint": "This reaches many people at once, so a person has to approve it.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	message
	not few
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0057, AML.T0086]}
ask contains {
	"id": "personal", "code": "personal-data", "severity": "high",
	"reason": "The message holds personal data and leaves the organisation.",
	"hint": "The message holds personal data. Leave it out, or wait for a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	message
	strangers
	personal
}

# METADATA
# custom: {owasp: [ASI09], atlas: [AML.T0086]}
ask contains {
	"id": "link", "code": "links-elsewhere", "severity": "medium",
	"reason": "The message carries a link to a host that is not listed, and leaves the organisation.",
	"hint": "Leave the link out, or wait for a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	message
	strangers
	links_elsewhere
}

# Whoever reads it may be an agent. An unknown score is 1000.
# METADATA
# custom: {owasp: [ASI01, ASI07], atlas: [AML.T0051]}
ask contains {
	"id": "instructs", "code": "sends-instructions", "severity": "high",
	"reason": "The message carries instructions to a model.",
	"hint": "This text would be taken for instructions where it is read, so a person has to approve it.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	message
	instructs
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0057, AML.T0086]}
ask contains {
	"id": "burdened", "code": "confidential-outside", "severity": "high",
	"reason": "The session holds confidential data, or nobody knows.",
	"hint": "This session may have seen confidential data, so a person has to approve what leaves it.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	message
	not unburdened
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0086]}
ask contains {
	"id": "unscanned", "code": "not-scanned", "severity": "high",
	"reason": "The message was not read through, or something in it looks like data that should not leave.",
	"hint": "This message cannot be checked, so a person has to approve it.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	message
	not scanned
}

# METADATA
# custom: {owasp: [ASI03, ASI10], atlas: [AML.T0081, AML.T0086]}
ask contains {
	"id": "settings", "code": "mailbox-settings", "severity": "high",
	"reason": "{tool} changes how a mailbox, a calendar or a channel works: rules, forwarding, members, accounts.",
	"hint": "Changing settings needs a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	mailbox
	input.action.effect in {"admin", "write", "execute", "unknown"}
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0101]}
ask contains {
	"id": "delete", "code": "deletes-message", "severity": "high",
	"reason": "{tool} deletes messages, events or drafts.",
	"hint": "Deleting needs a person's approval. Archive instead, where that is possible.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	mailbox
	input.action.effect == "destroy"
}

# METADATA
# custom: {owasp: [ASI02, ASI03], atlas: [AML.T0055, AML.T0086]}
deny contains {
	"id": "secret", "code": "secret-outside", "severity": "critical", "always": true,
	"reason": "The message holds a secret.",
	"hint": "The message holds a credential. Remove it; it must not leave.",
} if {
	input.phase == "before"
	message
	count(input.context.detect.secrets) > 0
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0057, AML.T0086]}
deny contains {
	"id": "secret.data", "code": "secret-outside", "severity": "critical", "always": true,
	"reason": "The session or the message holds secret data.",
	"hint": "This session has read secret data, which does not leave.",
} if {
	input.phase == "before"
	message
	secret
}

# METADATA
# custom: {owasp: [ASI09], atlas: [AML.T0073]}
deny contains {
	"id": "lookalike", "code": "lookalike-domain", "severity": "high",
	"reason": "The domain of a recipient is written in letters that can pass for others, and is not listed.",
	"hint": "This address may not be what it looks like. Ask the user for the right one.",
} if {
	input.phase == "before"
	message
	some r in input.action.recipients
	regex.match(`(^|\.)xn--`, r.domain)
	not listed(r)
}

# METADATA
# custom: {owasp: [ASI01, ASI02], atlas: [AML.T0086]}
quarantine contains {
	"id": "canary", "code": "canary", "severity": "critical", "always": true,
	"reason": "The message holds a planted canary: something makes the agent carry data out.",
	"hint": "This session was stopped.",
} if {
	input.phase == "before"
	message
	input.context.detect.canary == "yes"
}

# Anybody writes to a mailbox.
# METADATA
# custom: {owasp: [ASI01, ASI06], atlas: [AML.T0051]}
oblige contains {"id": "label-untrusted", "type": "label", "params": {"untrusted": "yes"}} if {
	input.phase == "after"
	mailbox
}
