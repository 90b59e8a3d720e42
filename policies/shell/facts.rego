# What the rules are made of. A fact that is unknown never counts as the good case.
package sallyport.shell

import rego.v2

reviewed_tool if {
	input.action.typed == "known"
	input.resource.zone == "inside"
	input.resource.definition.state == "approved"
	input.action.effect_source in {"declared", "approved"}
}

known(c) if {
	c.name != ""
	c.dynamic == "no"
	c.self == "no"
	c.reviewed == "yes"
}

all_known if every c in input.action.commands { known(c) }

inside(p) if {
	p.inside == "yes"
	p.resolved != ""
	p.traversal == "no"
	p.private == "no"
	p.access in {"read", "write"}
}

all_inside if every p in input.action.paths { inside(p) }

all_listed if every u in input.action.urls { u.host in data.params.hosts }

shells := {"sh", "bash", "zsh", "dash", "ash", "ksh", "mksh", "fish", "csh", "tcsh", "busybox", "pwsh", "powershell", "cmd"}

interpreters := shells | {"python", "python2", "python3", "node", "deno", "bun", "perl", "ruby", "php", "lua", "osascript", "tclsh"}

fetchers := {"curl", "wget", "fetch", "aria2c", "http", "https", "xh", "lwp-download", "scp", "rsync", "ftp", "lftp", "nc", "ncat", "netcat", "socat"}

fetches if {
	some c in input.action.commands
	c.name in fetchers
}

# An interpreter without a file of its own takes its program from its input.
reads_program(c) if {
	c.name in interpreters
	every a in c.args { startswith(a, "-") }
}

wired(c) if {
	c.name in {"nc", "ncat", "netcat", "socat", "telnet"}
	some a in c.args
	regex.match(`^(-[a-z]*[ec][a-z]*|--exec|--sh-exec|--lua-exec)$|(?i)(exec|system|pty):`, a)
}

wired(c) if {
	some w in c.writes
	regex.match(`^/dev/(tcp|udp)/`, w)
}

wired(c) if {
	some a in c.args
	regex.match(`/dev/(tcp|udp)/`, a)
}

persisting := {"crontab", "at", "batch", "systemctl", "launchctl", "nohup", "setsid", "disown", "schtasks", "update-rc.d", "chkconfig", "loginctl"}

profiles := `/\.(bash|zsh|profile|kshrc|inputrc|config/(fish|autostart|systemd))[a-z_]*|/\.(xprofile|xinitrc)$|^/etc/(cron|profile|systemd|init)`

installers := {
	"npm": {"install", "i", "add", "ci", "exec", "x", "create", "init"}, "pnpm": {"install", "i", "add", "dlx", "create"},
	"yarn": {"install", "add", "dlx", "create", "global"}, "bun": {"install", "i", "add", "x", "create"},
	"pip": {"install", "download", "wheel"}, "pip3": {"install", "download", "wheel"}, "uv": {"pip", "add", "tool", "sync"},
	"pipx": {"install", "run", "inject"}, "poetry": {"add", "install", "update"}, "conda": {"install", "create", "update"},
	"cargo": {"install", "add"}, "go": {"install", "get"}, "gem": {"install"}, "bundle": {"install", "add", "update"},
	"composer": {"require", "install", "update"}, "brew": {"install", "tap", "upgrade"}, "apt": {"install", "upgrade"},
	"apt-get": {"install", "upgrade"}, "dnf": {"install"}, "yum": {"install"}, "apk": {"add"}, "pacman": {"-S"},
	"docker": {"pull", "run", "build"}, "podman": {"pull", "run", "build"}, "helm": {"install", "upgrade", "repo"},
}

at_once := {"npx", "pnpx", "bunx", "uvx", "easy_install", "dpkg", "rpm", "snap", "flatpak"}

installs(c) if c.name in at_once

installs(c) if {
	some a in c.args
	a in installers[c.name]
}

discloses(c) if {
	c.name in {"env", "printenv", "set", "export", "declare", "compgen"}
	every a in c.args { startswith(a, "-") }
}

discloses(c) if c.name in {"security", "secret-tool", "pass", "op", "bw", "gpg-agent", "keyring", "lpass"}

discloses(c) if {
	c.name in {"gh", "gcloud", "aws", "az", "kubectl", "heroku", "vault", "docker", "npm", "git"}
	some a in c.args
	a in {"token", "print-access-token", "print-identity-token", "get-access-token", "get-session-token", "export-credentials", "credential", "secret", "secrets", "get-secret-value"}
}

discloses(c) if {
	some a in c.args
	regex.match(`^/proc/[^/]+/environ$`, a)
}

agents := {"claude", "codex", "gemini", "cursor-agent", "aider", "goose", "opencode", "qwen", "amp", "copilot"}

ungated := {
	"--dangerously-skip-permissions", "--allow-dangerously-skip-permissions", "bypassPermissions", "--permission-mode=bypassPermissions",
	"--dangerously-bypass-approvals-and-sandbox", "--full-auto", "--yolo", "-y", "--yes-always", "--allow-all-tools", "--trust-all-tools", "--force",
}

servers := `/\.github/(workflows|actions)/|/\.gitlab-ci\.ya?ml$|/\.circleci/|/jenkinsfile$|/\.drone\.ya?ml$|/azure-pipelines\.ya?ml$|/\.buildkite/|/bitbucket-pipelines\.ya?ml$|/\.travis\.ya?ml$`
