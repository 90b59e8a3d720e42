package http.authz

import rego.v1

default allow := false

request := input.attributes.request.http

allow if {
	some rule in data.http.rules.read
	request.method in {"GET", "HEAD"}
	glob.match(rule.path, ["/"], request.path)
	rule.agent == request.headers["x-agent"]
	not forbidden
}

allow if {
	request.method == "POST"
	request.path == "/v1/tickets"
	not forbidden
}

forbidden if startswith(request.path, "/internal")
