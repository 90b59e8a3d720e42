# What passes without asking anyone. Without a credential and without anything confidential there is little
# that a request to a stranger can do or tell.
package sallyport.egress

import rego.v2

allow contains {"id": "web", "code": "public-web", "reason": "A request to the public web that was read through and found plain."} if {
	input.phase == "before"
	through_proxy
	public
	plain_words
	readable
	unburdened
	without_credentials
	sends_or_reads
}

sends_or_reads if changes_nothing

sends_or_reads if sends

allow contains {"id": "listed", "code": "listed-host", "reason": "A request to a listed host that carries no secret."} if {
	input.phase == "before"
	through_proxy
	listed
	public
	plain_words
	unburdened
	without_credentials
	sends_or_reads
}

allow contains {"id": "inside", "code": "host-inside", "reason": "A request to a host of the organisation."} if {
	input.phase == "before"
	through_proxy
	listed
	inside
	without_credentials
	sends_or_reads
}

allow contains {"id": "release", "code": "release", "reason": "The response may go back to the agent."} if {
	input.phase == "after"
	input.resource.type == "host"
	input.context.result.kind != "none"
}
