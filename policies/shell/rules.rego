# Commands that run, and those that do not.
package sallyport.shell

import rego.v2

allow contains {"id": "run", "code": "reviewed-command", "reason": "Reviewed commands that build, test or look."} if {
	input.phase == "before"
	input.action.effect in {"read", "execute"}
	reviewed_tool
	count(input.action.commands) > 0
	all_known
	all_inside
	all_listed
	count(input.action.recipients) == 0
	count(input.action.sql) == 0
}

allow contains {"id": "release", "code": "release", "reason": "The result may go back to the agent."} if {
	input.phase == "after"
	input.context.result.kind != "none"
	count(input.action.commands) > 0
}

# METADATA
# custom: {owasp: [ASI05], atlas: [AML.T0050]}
ask contains {
	"id": "unreviewed", "code": "command-unreviewed", "severity": "medium",
	"reason": "Runs a command that is not on the reviewed list.",
	"hint": "This command needs a person's approval. Commands that build, test or show the state run freely.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	some c in input.action.commands
	c.reviewed != "yes"
}

# METADATA
# custom: {owasp: [ASI05], atlas: [AML.T0050]}
ask contains {
	"id": "dynamic", "code": "command-undecided", "severity": "medium",
	"reason": "What runs is decided while it runs.",
	"hint": "Write the command out, without substitutions, variables and eval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	some c in input.action.commands
	c.dynamic != "no"
}

# METADATA
# custom: {owasp: [ASI04, ASI05], atlas: [AML.T0010]}
ask contains {
	"id": "install", "code": "installs", "severity": "medium",
	"reason": "Fetches other people's code, which runs here.",
	"hint": "Installing packages needs a person's approval. Name the package and its version.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	some c in input.action.commands
	installs(c)
}

# METADATA
# custom: {owasp: [ASI10], atlas: [AML.T0081]}
ask contains {
	"id": "persist", "code": "persists", "severity": "high",
	"reason": "Starts something that goes on without the session.",
	"hint": "What goes on after this session needs a person's approval. Run it in the foreground.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	some c in input.action.commands
	c.name in persisting
}

# METADATA
# custom: {owasp: [ASI10], atlas: [AML.T0081]}
ask contains {
	"id": "persist.file", "code": "persists", "severity": "high",
	"reason": "Writes a file that runs at every login or start.",
	"hint": "This file runs by itself later, so a person has to approve the change.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	some p in input.action.paths
	p.access != "read"
	regex.match(profiles, p.resolved)
}

# METADATA
# custom: {owasp: [ASI03], atlas: [AML.T0055, AML.T0098]}
ask contains {
	"id": "disclose", "code": "prints-credentials", "severity": "high",
	"reason": "Prints the environment or a credential.",
	"hint": "This would show credentials to the model, so a person has to approve it. Programs that need them find them by themselves.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	some c in input.action.commands
	discloses(c)
}

# METADATA
# custom: {owasp: [ASI04, ASI05], atlas: [AML.T0010]}
ask contains {
	"id": "pipeline", "code": "changes-pipeline", "severity": "high",
	"reason": "Changes what a build server runs with its own rights.",
	"hint": "Changes of the build pipeline need a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	some p in input.action.paths
	p.access != "read"
	regex.match(servers, lower(p.resolved))
}

# METADATA
# custom: {owasp: [ASI03, ASI05], atlas: [AML.T0050, AML.T0105]}
deny contains {
	"id": "program.never", "code": "program-out-of-bounds", "severity": "critical", "always": true,
	"reason": "Runs a program that no agent may run here.",
	"hint": "This program cannot be used here. Do it with the rights that you have, or ask the user to do it.",
} if {
	input.phase == "before"
	some c in input.action.commands
	some program in data.params.programs_never
	runs(c, program)
}

# "mkfs.ext4" is mkfs.
runs(c, program) if lower(c.name) == program

runs(c, program) if startswith(lower(c.name), concat("", [program, "."]))

# METADATA
# custom: {owasp: [ASI04, ASI05], atlas: [AML.T0050, AML.T0010]}
deny contains {
	"id": "fetch.run", "code": "runs-fetched-code", "severity": "critical", "always": true,
	"reason": "Fetches something and runs it unseen.",
	"hint": "Fetch it into a file first, look at it, and ask for approval to run it.",
} if {
	input.phase == "before"
	fetches
	some c in input.action.commands
	reads_program(c)
}

# METADATA
# custom: {owasp: [ASI05, ASI10], atlas: [AML.T0050]}
deny contains {
	"id": "wired", "code": "reverse-shell", "severity": "critical", "always": true,
	"reason": "Wires a program to the network.",
	"hint": "This cannot be done here.",
} if {
	input.phase == "before"
	some c in input.action.commands
	wired(c)
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0101]}
deny contains {
	"id": "wipe.root", "code": "deletes-root", "severity": "critical", "always": true,
	"reason": "Deletes a whole root of the session, or a folder around it.",
	"hint": "Delete single files and folders inside {root}, not the whole.",
} if {
	input.phase == "before"
	some p in input.action.paths
	p.access == "destroy"
	some root in input.context.session.roots
	startswith(concat("", [root, "/"]), concat("", [trim_suffix(p.resolved, "/"), "/"]))
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0101]}
deny contains {
	"id": "wipe.disk", "code": "writes-disk", "severity": "critical", "always": true,
	"reason": "Writes to a disk directly.",
	"hint": "This cannot be done here.",
} if {
	input.phase == "before"
	some c in input.action.commands
	some a in array.concat(c.args, c.writes)
	regex.match(`^(of=)?/dev/(sd|hd|vd|xvd|nvme|mmcblk|disk|mapper/|loop|mem|kmem)`, a)
}

# METADATA
# custom: {owasp: [ASI03, ASI10], atlas: [AML.T0053, AML.T0081]}
deny contains {
	"id": "agent.ungated", "code": "starts-ungated-agent", "severity": "critical", "always": true,
	"reason": "Starts an agent that asks nobody.",
	"hint": "Start it without the flag that switches its questions off.",
} if {
	input.phase == "before"
	some c in input.action.commands
	c.name in agents
	some a in c.args
	a in ungated
}
