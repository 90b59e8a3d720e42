# What passes without asking anyone.
package sallyport.baseline

import rego.v2

allow contains {"id": "respond", "code": "respond", "reason": "The final answer to the user."} if {
	input.phase == "before"
	responds
}

allow contains {"id": "protocol", "code": "protocol", "reason": "A message of the protocol itself: what there is, and how it goes."} if {
	input.phase == "before"
	protocol
}

allow contains {"id": "read", "code": "read-inside", "reason": "Reads inside the workspace or from a listed host."} if {
	input.phase == "before"
	reads_safely
}

allow contains {"id": "write", "code": "write-inside", "reason": "A reversible write inside the workspace."} if {
	input.phase == "before"
	writes_safely
}

allow contains {"id": "write.own", "code": "write-own-state", "reason": "A reversible write of a reviewed tool to its own state."} if {
	input.phase == "before"
	writes_own_state
}

allow contains {"id": "delegate", "code": "starts-agent", "reason": "Starts an agent whose own calls pass these gates."} if {
	input.phase == "before"
	starts_agent
}

allow contains {"id": "run", "code": "reviewed-command", "reason": "Reviewed commands that build, test or look."} if {
	input.phase == "before"
	runs_safely
}

allow contains {"id": "send.listed", "code": "listed-recipient", "reason": "Sends only to listed recipients, and the session holds nothing confidential."} if {
	input.phase == "before"
	sends_safely
}

allow contains {"id": "send.again", "code": "known-destination", "reason": "Sends where a person has let it send such data before."} if {
	input.phase == "before"
	sends_again
}

allow contains {"id": "release", "code": "release", "reason": "The result may go back to the agent."} if {
	input.phase == "after"
	input.context.result.kind != "none"
}

# Nobody's guess: the door says so, or a reviewed definition (asking the user, showing a plan).
responds if {
	input.action.effect == "respond"
	input.action.name == "respond"
}

responds if {
	input.action.effect == "respond"
	reviewed_tool
}

# Listing and following up. The server's own requests of the model or the user are not among them.
protocol_messages := {
	"initialize", "server/discover", "tools/list", "prompts/list", "resources/list",
	"resources/templates/list", "resources/unsubscribe", "subscriptions/listen",
	"tasks/get", "tasks/result", "tasks/list", "tasks/cancel", "tasks/update", "roots/list",
}

protocol if {
	input.resource.type == "message"
	input.action.name in protocol_messages
}

reads_safely if {
	input.action.effect == "read"
	known_to_read
	typed
	all_paths_inside
	all_paths_read
	all_hosts_listed
	all_commands_run
	only_reads_sql
	count(input.action.recipients) == 0
	heard
}

known_to_read if vouched

known_to_read if harmless_guess

# Arguments are told to the server: it is inside, or what it is told was scanned and the session holds
# nothing confidential.
heard if inside_zone

heard if {
	scanned
	unburdened
}

writes_inside if {
	input.action.effect == "write"
	vouched
	typed
	inside_zone
	count(input.action.paths) > 0
	all_paths_inside
	no_path_destroyed
	not controls
	all_commands_run
	count(input.action.urls) == 0
	count(input.action.recipients) == 0
	count(input.action.sql) == 0
}

writes_safely if {
	writes_inside
	input.action.reversible == "yes"
}

# A list of things to do, notes, a plan: nothing in the arguments names a place, and a reviewed definition
# says that the write can be undone.
writes_own_state if {
	input.action.effect == "write"
	typed
	inside_zone
	reviewed_tool
	input.action.reversible == "yes"
	names_nothing
}

names_nothing if {
	count(input.action.paths) == 0
	count(input.action.commands) == 0
	count(input.action.urls) == 0
	count(input.action.recipients) == 0
	count(input.action.sql) == 0
	count(input.action.amounts) == 0
}

agent_starters := {"claude-code/Task", "claude-code/Agent"}

starts_agent if {
	input.action.effect == "execute"
	typed
	inside_zone
	reviewed_tool
	input.resource.id in agent_starters
	input.resource.definition.pack == "claude-code"
	names_nothing
}

runs_safely if {
	input.action.effect == "execute"
	vouched
	typed
	inside_zone
	count(input.action.commands) > 0
	all_commands_run
	all_paths_inside
	no_path_destroyed
	not controls
	all_hosts_listed
	count(input.action.recipients) == 0
	count(input.action.sql) == 0
}

sends_safely if {
	input.action.effect == "send"
	vouched
	typed
	all_recipients_listed
	all_hosts_listed
	all_paths_inside
	all_paths_read
	scanned
	unburdened
}

# A person agreed to each of these places, for this agent, user, tool, argument and class of data. Not once
# strangers' text was read, nor with what is secret.
sends_again if {
	input.action.effect == "send"
	input.action.effect_source in {"declared", "approved"}
	input.resource.definition.state == "approved"
	input.context.flow.tainted == "no"
	untroubled
	typed
	count(places_named) > 0
	every v in input.context.flow.arguments { v.sink != "unknown" }
	every v in input.context.flow.arguments { known_or_none(v) }
	every r in input.action.recipients { r.pointer in places_named }
	every u in input.action.urls { u.pointer in places_named }
	all_paths_inside
	all_paths_read
	scanned
	unburdened
}

untroubled if {
	input.context.flow.index_truncated == "no"
	every v in input.context.flow.arguments { count(v.carries) == 0 }
}

places_named := [v.pointer |
	some v in input.context.flow.arguments
	v.sink == "destination"
]

known_or_none(v) if v.sink != "destination"

known_or_none(v) if v.known_destination == "yes"

safe if responds

safe if protocol

safe if reads_safely

safe if writes_safely

safe if writes_own_state

safe if starts_agent

safe if runs_safely

safe if traced
