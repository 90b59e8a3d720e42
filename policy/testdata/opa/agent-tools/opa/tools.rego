package agent.tools

import rego.v1

# No shell command may remove anything.
deny contains "Commands that remove things are not run." if {
	some call in input.tool_calls
	call.name == "run"
	regex.match(`\brm\b`, call.arguments.command)
}

# A page may be fetched from known hosts only.
deny contains message if {
	some call in input.tool_calls
	call.name == "fetch"
	host := split(trim_prefix(call.arguments.url, "https://"), "/")[0]
	not host in {"docs.example.com", "example.com"}
	message := sprintf("%s is not a known host", [host])
}
