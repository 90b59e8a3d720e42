// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"strings"

	"github.com/sallyport/sallyport/action"
)

// nesting lists the programs that run a command among their words. Each function states that command and
// reports whether the outer program adds nothing of its own, so that the whole is reviewed if the inner
// command is.
var nesting map[string]func(w *walker, name string, args []word, reviewable bool) bool

func init() {
	nesting = map[string]func(*walker, string, []word, bool) bool{"env": runEnv, "eval": runEval, "trap": runTrap, "find": runFind,
		"xargs": runOpaque("0rtpxaEeIiLlnPsd", "EeIiLlnPsda"), "busybox": runBusybox, "toybox": runBusybox, "su": runCodeFlag, "script": runCodeFlag,
		"command": runPrefix(""), "builtin": runPrefix(""), "nice": runPrefix("n"), "stdbuf": runPrefix("ioe"), "timeout": runTimeout, "exec": runPrefix(""), "time": runPrefix("")}
	for _, sh := range strings.Fields("sh bash zsh dash ksh ash mksh rbash fish csh tcsh") {
		nesting[sh] = runShell
	}
	for name, values := range map[string]string{"sudo": "ughpCTUrRtD", "doas": "uC", "nohup": "", "setsid": "", "ionice": "cnpPu", "chroot": "",
		"taskset": "p", "unshare": "SG", "nsenter": "tSG", "strace": "eopsuE", "ltrace": "eopsu", "watch": "n", "flock": "wE", "setpriv": "",
		"runuser": "ugGs", "chrt": "p", "prlimit": "p", "proot": "rbw", "fakeroot": "ils", "torsocks": "", "proxychains": "f", "unbuffer": "",
		"valgrind": "", "gdb": "x", "perf": "", "entr": "", "systemd-run": "puEt", "pkexec": "", "firejail": "", "bwrap": "", "parallel": "jaSNn",
		"caffeinate": "tw", "arch": "", "rlwrap": "", "dbus-run-session": "", "xvfb-run": "sne", "direnv": "", "noglob": "", "nocorrect": "",
		"coproc": "", "ld-linux-x86-64.so.2": "", "setarch": "", "linux64": "", "catchsegv": "", "faketime": "", "stdout": "", "poetry": "", "uv": "", "pipenv": "", "bundle": "", "hatch": ""} {
		nesting[name] = runForeign(values)
	}
}

// runPrefix skips the flags of a program that runs the rest unchanged. Any flag that is not one with a
// value in values makes the whole unreviewed, but for "command -v", which only looks.
func runPrefix(values string) func(*walker, string, []word, bool) bool {
	return func(w *walker, name string, args []word, reviewable bool) bool {
		rest, plain := skipFlags(args, values)
		if name == "command" && len(args) > 1 && (args[0].text == "-v" || args[0].text == "-V") {
			return true
		}
		if len(rest) == 0 {
			return false
		}
		w.simple(rest, nil, reviewable && plain)
		return plain
	}
}

// runForeign runs the rest under other rights, elsewhere, repeatedly or watched: never reviewed. Words
// before the command that are no flags ("timeout"-like operands, subcommands) are tried as commands too,
// because programs differ in how many they take.
func runForeign(values string) func(*walker, string, []word, bool) bool {
	return func(w *walker, name string, args []word, _ bool) bool {
		rest, _ := skipFlags(args, values)
		was := w.root
		w.root = true
		defer func() { w.root = was }()
		for len(rest) > 0 && rest[0].static && strings.Contains(rest[0].text, "=") {
			if strings.HasPrefix(strings.ToUpper(rest[0].text), "SALLYPORT_") {
				w.emit(action.Command{Pointer: w.pointer, Dynamic: action.No, Reviewed: action.No, Self: action.Yes})
			}
			rest = rest[1:]
		}
		if len(rest) == 0 {
			return false
		}
		if len(rest) == 1 && rest[0].static && strings.ContainsAny(rest[0].text, " ;|&") {
			w.nested(rest[0].text) // watch, flock -c, parallel take a text
			return false
		}
		for i := range min(len(rest), 4) {
			if i > 0 && !w.looksLikeProgram(rest[i]) {
				continue
			}
			w.isolated(func() { w.simple(rest[i:], nil, false) })
		}
		return false
	}
}

// looksLikeProgram reports whether a word in the middle of a line is a program that we know of.
func (w *walker) looksLikeProgram(t word) bool {
	if !t.static || strings.HasPrefix(t.text, "-") {
		return !t.static
	}
	name, _ := w.program(t.text)
	_, known := programs[name]
	return known || nesting[name] != nil || ourName(name)
}

// skipFlags returns the words after the flags, and whether all flags were ones with a value in values.
func skipFlags(args []word, values string) (rest []word, plain bool) {
	plain = true
	for i := 0; i < len(args); i++ {
		a := args[i]
		if !a.static || len(a.text) < 2 || a.text[0] != '-' {
			return args[i:], plain
		}
		if a.text == "--" {
			return args[i+1:], plain
		}
		takes := !strings.HasPrefix(a.text, "--") && strings.IndexByte(values, a.text[1]) >= 0
		if !takes && !strings.HasPrefix(a.text, "--") && strings.IndexByte(values, a.text[len(a.text)-1]) >= 0 {
			takes, plain = true, false
		}
		if !takes {
			plain = false
			continue
		}
		if len(a.text) == 2 || !plain {
			i++
		}
	}
	return nil, plain
}

// runOpaque adds words that nobody here sees: what xargs reads from its input.
func runOpaque(flags, values string) func(*walker, string, []word, bool) bool {
	return func(w *walker, name string, args []word, _ bool) bool {
		w.c.typed = false
		rest, _ := skipFlags(args, values)
		if len(rest) == 0 {
			rest = []word{{text: "echo", static: true}}
		}
		w.isolated(func() { w.simple(append(rest[:len(rest):len(rest)], word{text: "(stdin)"}), nil, false) })
		return false
	}
}

func runTimeout(w *walker, name string, args []word, reviewable bool) bool {
	rest, plain := skipFlags(args, "ks")
	if len(rest) < 2 {
		return false
	}
	w.simple(rest[1:], nil, reviewable && plain && rest[0].static)
	return plain
}

func runEnv(w *walker, name string, args []word, reviewable bool) bool {
	plain := true
	for i := 0; i < len(args); i++ {
		a := args[i]
		k, _, assign := strings.Cut(a.text, "=")
		switch {
		case !a.static:
			w.unreadable()
			return false
		case a.text == "-S" || a.text == "--split-string":
			if i+1 < len(args) {
				w.split(args[i+1].text, args[i+2:])
			}
			return false
		case strings.HasPrefix(a.text, "--split-string="):
			w.split(a.text[len("--split-string="):], args[i+1:])
			return false
		case len(a.text) > 2 && a.text[0] == '-' && a.text[1] != '-' && strings.Contains(a.text, "S"):
			w.split(a.text[strings.IndexByte(a.text, 'S')+1:], args[i+1:])
			return false
		case a.text == "-u" || a.text == "--unset":
			i++
			plain = false
		case a.text == "-C" || a.text == "--chdir":
			plain = false
			if i++; i < len(args) {
				w.changeDir(args[i : i+1])
			}
		case strings.HasPrefix(a.text, "--chdir="):
			plain = false
			w.changeDir([]word{{text: a.text[len("--chdir="):], static: true}})
		case strings.HasPrefix(a.text, "-"):
			plain = false
		case assign && !strings.Contains(k, "/"):
			if strings.HasPrefix(strings.ToUpper(k), "SALLYPORT_") {
				w.emit(action.Command{Pointer: w.pointer, Dynamic: action.No, Reviewed: action.No, Self: action.Yes})
			}
			plain = plain && harmlessVariable(k)
		default:
			w.simple(args[i:], nil, reviewable && plain)
			return plain
		}
	}
	return false // prints the environment
}

// split reads "env -S": quoting much as the shell's, variables in ${}. Whatever is quoted is left unknown.
func (w *walker) split(text string, rest []word) {
	if strings.ContainsAny(text, "\\'\"$#") {
		w.nested(text)
		w.unreadable()
		return
	}
	var ws []word
	for _, f := range strings.Fields(text) {
		ws = append(ws, word{text: f, static: true})
	}
	w.simple(append([]word{{text: "env", static: true}}, append(ws, rest...)...), nil, false)
}

func runEval(w *walker, name string, args []word, _ bool) bool {
	var parts []string
	for _, a := range args {
		if !a.static || a.glob {
			w.unreadable()
			return false
		}
		parts = append(parts, a.text)
	}
	w.sub(strings.Join(parts, " "), true)
	return true
}

// nested follows a text that another shell runs: its changes of folder stay there.
func (w *walker) nested(text string) { w.sub(text, false) }

func (w *walker) sub(text string, here bool) {
	n := walker{c: w.c, pointer: w.pointer, depth: w.depth + 1, cwd: append([]string(nil), w.cwd...), root: w.root, assigned: w.assigned}
	if here {
		n.names = w.names
	}
	n.script(text)
	n.close()
	if here {
		w.cwd, w.tainted, w.assigned = n.cwd, w.tainted || n.tainted, w.assigned || n.assigned
	}
}

// runShell reads "sh -c TEXT" and "sh FILE". A shell without either reads commands that are not seen.
func runShell(w *walker, name string, args []word, reviewable bool) bool {
	code, plain := false, true
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case !a.static:
			w.unreadable()
			return false
		case a.text == "-o" || a.text == "+o" || a.text == "-O" || a.text == "--rcfile" || a.text == "--init-file":
			plain = false
			if i++; i < len(args) && strings.HasPrefix(a.text, "--") {
				w.path(args[i], action.EffectRead, false)
			}
		case len(a.text) > 1 && (a.text[0] == '-' || a.text[0] == '+'):
			if !strings.HasPrefix(a.text, "--") && strings.Contains(a.text, "c") {
				code = true
			}
			plain = plain && (a.text == "-c" || a.text == "-lc" || a.text == "-l" || a.text == "-ec" || a.text == "-euc" || a.text == "-cl")
		case code:
			known := name != "fish" && name != "csh" && name != "tcsh"
			w.nested(a.text)
			for j, extra := range args[i+1:] { // $0, $1, ...: the text may run them
				plain = plain && extra.static
				if w.looksLikeProgram(extra) {
					plain = false
					w.isolated(func() { w.simple(args[i+1+j:], nil, false) })
				}
			}
			return plain && known
		default:
			w.path(a, action.EffectRead, false)
			w.guess(args[i+1:], action.EffectUnknown)
			return false
		}
	}
	if w.stdin != "" {
		w.nested(w.stdin)
	}
	w.unreadable()
	return false
}

// runCodeFlag reads the text after -c or --command of su and script; without it a shell reads the rest.
func runCodeFlag(w *walker, name string, args []word, _ bool) bool {
	was := w.root
	w.root = true
	defer func() { w.root = was }()
	for i, a := range args {
		text, attached := strings.CutPrefix(a.text, "--command=")
		switch {
		case attached && a.static:
			w.nested(text)
			return false
		case len(a.text) > 1 && a.text[0] == '-' && a.text[1] != '-' && strings.HasSuffix(a.text, "c") || a.text == "--command":
			if i+1 < len(args) && args[i+1].static {
				w.nested(args[i+1].text)
				return false
			}
		}
	}
	w.unreadable()
	return false
}

func runBusybox(w *walker, name string, args []word, reviewable bool) bool {
	if len(args) == 0 {
		return false
	}
	w.simple(args, nil, reviewable)
	return true
}

func runTrap(w *walker, name string, args []word, _ bool) bool {
	if len(args) > 1 && args[0].static && args[0].text != "-" {
		w.isolated(func() { w.nested(args[0].text) })
		return true
	}
	if len(args) > 0 && !args[0].static {
		w.unreadable()
	}
	return false
}

// findTests are the expressions of find that only look, with the number of words each takes.
var findTests = map[string]int{"-name": 1, "-iname": 1, "-path": 1, "-ipath": 1, "-type": 1, "-maxdepth": 1, "-mindepth": 1, "-size": 1,
	"-mtime": 1, "-mmin": 1, "-newermt": 1, "-regex": 1, "-iregex": 1, "-perm": 1, "-user": 1, "-empty": 0, "-print": 0, "-print0": 0, "-prune": 0,
	"-not": 0, "!": 0, "-o": 0, "-or": 0, "-a": 0, "-and": 0, "(": 0, ")": 0, "-ls": 0, "-true": 0, "-depth": 0, "-xdev": 0, "-quit": 0,
	"-printf": 1, "-executable": 0, "-readable": 0, "-writable": 0, "-wholename": 1, "-links": 1, "-amin": 1, "-atime": 1, "-ctime": 1, "-regextype": 1}

// runFind states the folders that find searches and the commands it runs. It is reviewed if it only looks.
func runFind(w *walker, name string, args []word, reviewable bool) bool {
	access, ok, i := action.EffectRead, true, 0
	var folders []word
	for ; i < len(args) && !strings.HasPrefix(args[i].text, "-") && args[i].text != "!" && args[i].text != "("; i++ {
		folders = append(folders, args[i])
		ok = ok && args[i].static
	}
	if len(folders) == 0 {
		folders = []word{{text: ".", static: true}}
	}
	for ; i < len(args); i++ {
		a := args[i]
		n, looks := findTests[a.text]
		switch {
		case !a.static:
			ok = false
		case looks:
			for _, v := range args[i+1 : min(i+1+n, len(args))] {
				ok = ok && v.static
			}
			i += n
		case a.text == "-delete":
			access, ok = action.EffectDestroy, false
		case a.text == "-exec" || a.text == "-execdir" || a.text == "-ok" || a.text == "-okdir":
			ok = false
			end := i + 1
			for end < len(args) && args[end].text != ";" && args[end].text != "+" {
				if args[end].static && strings.Contains(args[end].text, "{}") {
					args[end] = word{text: args[end].text}
				}
				end++
			}
			w.isolated(func() { w.simple(args[i+1:end], nil, false) })
			i = end
		case strings.HasPrefix(a.text, "-fprint") || a.text == "-fls":
			ok = false
			if i++; i < len(args) {
				w.path(args[i], action.EffectWrite, false)
			}
		default:
			ok = false
		}
	}
	for _, f := range folders {
		w.path(f, access, false)
	}
	return ok
}
