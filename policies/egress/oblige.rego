# What is done with responses.
package sallyport.egress

import rego.v2

# METADATA
# custom: {owasp: [ASI03], atlas: [AML.T0055]}
oblige contains {"id": "redact-secrets", "type": "redact", "params": {"kind": "secret"}} if {
	input.phase == "after"
	count(input.context.detect.secrets) > 0
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0057]}
oblige contains {"id": "label-confidential", "type": "label", "params": {"secrecy": "confidential"}} if {
	input.phase == "after"
	count(input.context.detect.secrets) > 0
}

# Strangers write what the outside answers, and what could not be read is theirs, too.
# METADATA
# custom: {owasp: [ASI01, ASI06], atlas: [AML.T0051]}
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
