# What is done with results. A result is not withheld because it may carry instructions: it is labelled,
# and what the session does afterwards is judged by that label.
package sallyport.baseline

import rego.v2

# METADATA
# custom: {owasp: [ASI03], atlas: [AML.T0055]}
oblige contains {"id": "redact-secrets", "type": "redact", "params": {"kind": "secret"}} if {
	input.phase == "after"
	count(input.context.detect.secrets) > 0
}

# The surroundings of a secret are rarely public; the secret itself was removed.
# METADATA
# custom: {owasp: [ASI01, ASI02], atlas: [AML.T0057]}
oblige contains {"id": "label-confidential", "type": "label", "params": {"secrecy": "confidential"}} if {
	input.phase == "after"
	count(input.context.detect.secrets) > 0
}

# METADATA
# custom: {owasp: [ASI01, ASI06], atlas: [AML.T0051, AML.T0080]}
oblige contains {"id": "label-untrusted", "type": "label", "params": {"untrusted": "yes"}} if {
	input.phase == "after"
	untrusted
}

untrusted if not inside_zone

untrusted if guessed

untrusted if input.context.flow.result.untrusted == "yes"

# An unknown score is 1000.
untrusted if input.context.detect.injection_milli >= 500

untrusted if input.context.detect.state != "known"

untrusted if input.context.detect.opaque != "no"

untrusted if input.context.detect.truncated != "no"

untrusted if input.context.detect.canary != "no"

untrusted if input.context.result.opaque != "no"

untrusted if {
	some u in input.action.urls
	u.private != "yes"
}
