# What the rules are made of. A fact that is unknown never counts as the good case.
package sallyport.git

import rego.v2

reviewed_tool if {
	input.action.typed == "known"
	input.resource.zone == "inside"
	input.resource.definition.state == "approved"
	input.action.effect_source in {"declared", "approved"}
}

is_git(c) if c.name in {"git", "hub", "git.exe"}

fixed(c) if {
	is_git(c)
	c.dynamic == "no"
	c.self == "no"
	count(c.writes) == 0
}

all_inside if every p in input.action.paths {
	p.inside == "yes"
	p.traversal == "no"
	p.private == "no"
	p.access in {"read", "write"}
}

all_git if {
	count(input.action.commands) > 0
	every c in input.action.commands { fixed(c) }
}

nothing_else if {
	count(input.action.urls) == 0
	count(input.action.recipients) == 0
	count(input.action.sql) == 0
}

looks(c) if {
	fixed(c)
	c.reviewed == "yes"
}

# The words of "git commit" that only record what is there: no hook is skipped and nothing is rewritten.
commit_words := {"commit", "-m", "-am", "-a", "--all", "--message", "-s", "--signoff", "-v", "--verbose", "-q", "--quiet"}

commits(c) if {
	fixed(c)
	c.args[0] == "commit"
	every a in c.args { plain_word(a, commit_words) }
}

commits(c) if {
	fixed(c)
	c.args[0] == "add"
	every a in c.args { plain_word(a, {"-A", "--all", "-u", "--update", "-v", "--verbose", "-n", "--dry-run", "--"}) }
}

plain_word(a, words) if a in words

plain_word(a, _) if {
	not startswith(a, "-")
	a != ""
}

# "git push [-u] REMOTE BRANCH" and nothing more. Where any word stands that is not one of these, it asks.
pushes_plainly(c) if {
	count(c.args) == 3
	c.args[0] == "push"
	may_push(c, c.args[1], c.args[2])
}

pushes_plainly(c) if {
	count(c.args) == 4
	c.args[0] == "push"
	c.args[1] in {"-u", "--set-upstream"}
	may_push(c, c.args[2], c.args[3])
}

may_push(c, remote, branch) if {
	fixed(c)
	remote in data.params.remotes_push
	regex.match(`^[A-Za-z0-9][A-Za-z0-9._/-]*$`, branch)
	not protected(branch)
}

# The last part counts too: "refs/heads/main" is main.
protected(branch) if {
	some b in data.params.branches_protected
	lower(branch) == lower(b)
}

protected(branch) if {
	some b in data.params.branches_protected
	endswith(lower(branch), concat("", ["/", lower(b)]))
}

protected(branch) if lower(branch) in {"head", "@"}

# Words may stand before the verb ("git -C dir push"), so every word counts.
says(c, verb) if {
	is_git(c)
	some a in c.args
	lower(a) == verb
}

forces(c) if {
	some a in c.args
	regex.match(`^(--force.*|--mirror|--prune|--delete|-[a-z]*[fd][a-z]*|\+.*|:.*)$`, a)
}

# A word such as "+main", ":main" or "fix:main" names main.
names_protected(c) if {
	some a in c.args
	some b in data.params.branches_protected
	regex.match(`^(\+?[^:]*:)?\+?(refs/heads/)?[^:]+$`, a)
	last_is(lower(a), lower(b))
}

names_protected(c) if {
	some a in c.args
	a in {"--mirror", "--all"}
}

last_is(a, b) if a == b

last_is(a, b) if endswith(a, concat("", ["/", b]))

last_is(a, b) if endswith(a, concat("", [":", b]))

last_is(a, b) if endswith(a, concat("", ["+", b]))

rewrites(c) if {
	says(c, "reset")
	some a in c.args
	a in {"--hard", "--merge", "--keep"}
}

rewrites(c) if {
	says(c, "clean")
	some a in c.args
	regex.match(`^(--force|-[a-zA-Z]*f[a-zA-Z]*)$`, a)
}

rewrites(c) if {
	is_git(c)
	some a in c.args
	a in {"filter-branch", "filter-repo", "rebase", "update-ref", "reflog", "gc", "prune", "--amend", "replace", "stash", "restore"}
}

rewrites(c) if {
	says(c, "branch")
	some a in c.args
	regex.match(`^(--delete|--force|--move|-[a-zA-Z]*[dDfmM][a-zA-Z]*)$`, a)
}

rewrites(c) if {
	says(c, "checkout")
	some a in c.args
	regex.match(`^(--|--force|\.|-[a-zA-Z]*f[a-zA-Z]*)$`, a)
}

running_settings := `(?i)^(--config-env.*|core\.(hookspath|sshcommand|fsmonitor|pager|editor|askpass|gitproxy|alternaterefscommand)|alias\..*|credential\..*helper|diff\..*|difftool\..*|merge\..*|mergetool\..*|filter\..*|gpg\..*program|include(if)?\..*path|init\.templatedir|pager\..*|sequence\.editor|uploadpack\..*|protocol\..*|url\..*insteadof|http\..*proxy|remote\..*(uploadpack|receivepack|vcs))(=.*)?$`

# Settings that name a program, wherever the words stand.
runs_programs(c) if {
	is_git(c)
	some a in c.args
	regex.match(`^(-c|--config|--config-env(=.*)?|--exec-path(=.*)?|--upload-pack(=.*)?|--receive-pack(=.*)?|--exec(=.*)?|-x|--template(=.*)?|ext::.*)$`, a)
}

runs_programs(c) if {
	is_git(c)
	some a in c.args
	regex.match(running_settings, a)
}

# Code hosts.

host if input.resource.definition.pack == "server-github"

reviewed_host if {
	host
	input.resource.definition.state == "approved"
	input.action.effect_source == "declared"
}

# lint: may-not-fire: without owner and name no permission holds, and host.elsewhere asks
repository := lower(concat("/", [owner, name])) if {
	owner := input.action.arguments.owner
	name := input.action.arguments.repo
	is_string(owner)
	is_string(name)
}

writable if repository in data.params.repositories_write

readable if writable

readable if repository in data.params.repositories_read

host_writes := {"create_issue", "update_issue", "add_issue_comment", "create_pull_request", "create_pull_request_review", "update_pull_request_branch", "create_branch", "create_or_update_file", "push_files"}

on_files := {"create_or_update_file", "push_files", "create_branch"}

harmless_branch if not input.resource.name in on_files

harmless_branch if {
	b := input.action.arguments.branch
	is_string(b)
	regex.match(`^[A-Za-z0-9][A-Za-z0-9._/-]*$`, b)
	not protected(b)
}

harmless_files if not input.resource.name in {"create_or_update_file", "push_files"}

harmless_files if {
	input.resource.name == "create_or_update_file"
	harmless_file(input.action.arguments.path)
}

harmless_files if {
	input.resource.name == "push_files"
	files := input.action.arguments.files
	is_array(files)
	count(files) > 0
	every f in files { harmless_file(f.path) }
}

harmless_file(path) if {
	is_string(path)
	regex.match(`^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$`, path)
	not regex.match(`(?i)(^|/)(\.github|\.gitlab-ci\.ya?ml|\.circleci|jenkinsfile|codeowners|\.gitmodules|\.gitattributes|action\.ya?ml|\.buildkite|\.drone\.ya?ml|\.\.?)(/|$)`, path)
}
