# What is done with responses.
package sallyport.egress

import rego.v2

oblige contains {"id": "redact-secrets", "type": "redact", "params": {"kind": "secret"}} if {
	input.phase == "after"
	count(input.context.detect.secrets) > 0
}

oblige contains {"id": "label-confidential", "type": "label", "params": {"secrecy": "confidential"}} if {
	input.phase == "after"
	count(input.context.detect.secrets) > 0
}

# Strangers write what the outside answers, and what could not be read is theirs, too.
oblige contains {"id": "label-untrusted", "type": "label", "params": {"untrusted": "yes"}} if {
	input.phase == "after"
	not clean_inside
}

clean_inside if {
	inside
	input.context.detect.state == "known"
	input.context.detect.opaque == "no"
	input.context.detect.truncated == "no"
	input.context.detect.injection_milli < 500
	input.context.flow.result.untrusted != "yes"
	input.context.result.opaque == "no"
}
