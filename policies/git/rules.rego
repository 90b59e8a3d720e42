# What may be looked at, committed and published.
package sallyport.git

import rego.v2

allow contains {"id": "look", "code": "git-looks", "reason": "Looks at the state of a repository."} if {
	input.phase == "before"
	input.action.effect in {"read", "execute"}
	reviewed_tool
	all_git
	all_inside
	nothing_else
	every c in input.action.commands { looks(c) }
}

allow contains {"id": "commit", "code": "git-commits", "reason": "Records what is there, in the local repository."} if {
	input.phase == "before"
	input.action.effect == "execute"
	reviewed_tool
	all_git
	all_inside
	nothing_else
	every c in input.action.commands { looks_or_commits(c) }
}

looks_or_commits(c) if looks(c)

looks_or_commits(c) if commits(c)

allow contains {"id": "push", "code": "git-pushes", "reason": "Pushes a branch that is not protected to a listed remote."} if {
	input.phase == "before"
	input.action.effect == "execute"
	reviewed_tool
	all_git
	all_inside
	nothing_else
	count(input.action.commands) == 1
	every c in input.action.commands { pushes_plainly(c) }
}

allow contains {"id": "host.read", "code": "host-reads", "reason": "Reads a listed repository."} if {
	input.phase == "before"
	input.action.effect == "read"
	reviewed_host
	readable
}

allow contains {"id": "host.write", "code": "host-writes", "reason": "Writes in a listed repository, on no protected branch and no file that runs."} if {
	input.phase == "before"
	input.action.effect in {"write", "send"}
	reviewed_host
	input.resource.name in host_writes
	writable
	harmless_branch
	harmless_files
}

allow contains {"id": "release", "code": "release", "reason": "The result may go back to the agent."} if {
	input.phase == "after"
	input.context.result.kind != "none"
	of_git
}

of_git if host

of_git if all_git

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0086]}
ask contains {
	"id": "publish", "code": "git-publishes", "severity": "medium",
	"reason": "Pushes something that the parameters do not let pass.",
	"hint": "This push needs a person's approval. Write out remote and branch: git push REMOTE BRANCH.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	some c in input.action.commands
	says(c, "push")
	not pushes_plainly(c)
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0101]}
ask contains {
	"id": "rewrite", "code": "git-rewrites", "severity": "high",
	"reason": "Rewrites history or discards work.",
	"hint": "Rewriting and discarding need a person's approval. Make a new commit instead.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	some c in input.action.commands
	rewrites(c)
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0101]}
deny contains {
	"id": "protected", "code": "protected-branch", "severity": "critical",
	"reason": "Rewrites or deletes a protected branch, or all of them.",
	"hint": "Protected branches cannot be rewritten or deleted. Push another branch and open a pull request.",
} if {
	input.phase == "before"
	some c in input.action.commands
	says(c, "push")
	forces(c)
	names_protected(c)
}

# METADATA
# custom: {owasp: [ASI05], atlas: [AML.T0050]}
deny contains {
	"id": "runs", "code": "git-runs-programs", "severity": "critical", "always": true,
	"reason": "Sets something by which git runs other programs.",
	"hint": "Settings that let git run programs cannot be changed here.",
} if {
	input.phase == "before"
	some c in input.action.commands
	runs_programs(c)
}

# METADATA
# custom: {owasp: [ASI02, ASI03], atlas: [AML.T0086]}
ask contains {
	"id": "host.elsewhere", "code": "repository-unlisted", "severity": "high",
	"reason": "{tool} writes in a repository that is not listed for it, or in none that is named.",
	"hint": "Writing in this repository needs a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	host
	input.action.effect != "read"
	not writable
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
ask contains {
	"id": "host.grave", "code": "host-grave", "severity": "high",
	"reason": "{tool} merges, creates or copies a repository, or is not known.",
	"hint": "This needs a person's approval. Issues, comments, branches and pull requests pass unasked.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	host
	input.action.effect != "read"
	not input.resource.name in host_writes
}

# METADATA
# custom: {owasp: [ASI02], atlas: [AML.T0053]}
ask contains {
	"id": "host.branch", "code": "protected-branch", "severity": "high",
	"reason": "{tool} changes a protected branch, or does not say which.",
	"hint": "Write to a branch of your own and open a pull request.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	host
	input.action.effect != "read"
	not harmless_branch
}

# METADATA
# custom: {owasp: [ASI04, ASI05], atlas: [AML.T0010]}
ask contains {
	"id": "host.runs", "code": "changes-pipeline", "severity": "high",
	"reason": "{tool} changes files that decide what build servers run or who reviews, or does not say which.",
	"hint": "Changes of the build pipeline and of the owners' file need a person's approval.",
	"approver": {"channel": "operator"},
} if {
	input.phase == "before"
	host
	input.action.effect != "read"
	not harmless_files
}

# Everybody writes issues, and code of strangers is full of words.
# METADATA
# custom: {owasp: [ASI01, ASI06], atlas: [AML.T0051]}
oblige contains {"id": "label-untrusted", "type": "label", "params": {"untrusted": "yes"}} if {
	input.phase == "after"
	host
}
