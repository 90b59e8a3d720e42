package sallyport.contract

import rego.v2

allow contains {"id": "tool", "code": "listed", "reason": "The tool is on the list."} if {
	input.phase == "before"
	input.resource.name in {"read", "read_many", "leak", "inner", "review", "user_message", "answer", "thrice", "contacts"}
}

allow contains {"id": "result", "code": "result", "reason": "The result may go back."} if {
	input.phase == "after"
}

deny contains {"id": "send", "code": "sends", "reason": "Sends.", "hint": "Sending is not permitted here. Write a draft instead."} if {
	input.phase == "before"
	input.resource.name == "send"
}

deny contains {"id": "thrice", "code": "enough", "reason": "The session has made enough calls.", "hint": "This session has made enough calls. Go on without the tool."} if {
	input.phase == "before"
	input.resource.name == "thrice"
	input.context.session.seq >= 3
}

ask contains {"id": "delete", "code": "deletes", "reason": "Deletes.", "hint": "Deleting needs a person's approval.", "approver": {"channel": "bearer"}} if {
	input.phase == "before"
	input.resource.name == "delete"
}

ask contains {"id": "hurry", "code": "hurry", "reason": "Deletes soon.", "hint": "This needs a person's approval soon.", "approver": {"channel": "bearer", "ttl_s": 1}} if {
	input.phase == "before"
	input.resource.name == "hurry"
}

deny contains {"id": "inner", "code": "inner", "reason": "Nobody may see it.", "hint": "The result stays inside."} if {
	input.phase == "after"
	input.resource.name == "inner"
}

ask contains {"id": "review", "code": "review", "reason": "Somebody reads it first.", "hint": "A person reads the result first.", "approver": {"channel": "bearer"}} if {
	input.phase == "after"
	input.resource.name == "review"
}

oblige contains {"id": "limit", "type": "cap", "params": {"pointer": "/limit", "max": "10"}} if {
	input.phase == "before"
	input.resource.name == "read_many"
}

oblige contains {"id": "secrets", "type": "redact", "params": {"kind": "secret"}} if {
	input.phase == "after"
	count(input.context.detect.secrets) > 0
}

oblige contains {"id": "personal", "type": "mask", "params": {"kind": "pii"}} if {
	input.phase == "after"
	input.resource.name in {"user_message", "answer", "contacts"}
}
