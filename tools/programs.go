// SPDX-License-Identifier: Apache-2.0

package tools

// programs is the reviewed list and what is known of other programs' paths. Reviewed programs look,
// build or test. A build or test runs code of the project, which the agent may have written: it is
// reviewed only inside a root, because what an agent may write there it may as well run there. Flags
// that run other programs, load other configuration or write elsewhere are left out on purpose:
// git -c, --output, --ext-diff, --textconv; find -exec, -delete, -fprint; go -exec, -toolexec,
// -vettool, -overlay; rg --pre; sort -o, --compress-program; sed -i, -f, e and w.
var programs = map[string]spec{
	"cd": {reviewed: true, short: "LPe", kind: "cd"}, "pwd": {reviewed: true, short: "LP", kind: "none"},
	"true": {reviewed: true, kind: "print"}, "false": {reviewed: true, kind: "print"}, ":": {reviewed: true, kind: "print"},
	"echo":   {reviewed: true, any: true, kind: "print"},
	"printf": {reviewed: true, kind: "print"}, "sleep": {reviewed: true, kind: "words"},
	"test": {reviewed: true, any: true, kind: "words"}, "[": {reviewed: true, any: true, kind: "words"},
	"exit": {reviewed: true, kind: "words"}, "return": {reviewed: true, kind: "words"}, "set": {reviewed: true, kind: "flags", short: "euxo:"},
	"wait": {reviewed: true, kind: "words"}, "break": {reviewed: true, kind: "words"}, "continue": {reviewed: true, kind: "words"},
	"ls": {reviewed: true, short: "aAlhtrRSs1dFGiknopTUuXcbm", kind: "read",
		long: "all almost-all color color= human-readable recursive reverse size sort= time= full-time group-directories-first"},
	"cat":  {reviewed: true, short: "AbEnsTtuv", long: "number show-all", kind: "read"},
	"head": {reviewed: true, short: "n:c:qv#", long: "lines= bytes= quiet", kind: "read"},
	"tail": {reviewed: true, short: "n:c:qv#", long: "lines= bytes= quiet", kind: "read"},
	"wc":   {reviewed: true, short: "clLmw", long: "lines words bytes chars", kind: "read"},
	"nl":   {reviewed: true, short: "b:", kind: "read"}, "tac": {reviewed: true, kind: "read"}, "rev": {reviewed: true, kind: "read"},
	"file": {reviewed: true, short: "bikLsz", long: "brief mime mime-type", kind: "read"},
	"stat": {reviewed: true, short: "c:f:Lxt", long: "format= printf=", kind: "list"},
	"du":   {reviewed: true, short: "achsxkmd:", long: "summarize human-readable max-depth= apparent-size", kind: "read"},
	"df":   {reviewed: true, short: "hiklTP", kind: "list"}, "tree": {reviewed: true, short: "adfhisCDFL:I:P:", long: "noreport gitignore dirsfirst", kind: "read"},
	"basename": {reviewed: true, short: "as:", kind: "print"}, "dirname": {reviewed: true, kind: "print"},
	"realpath": {reviewed: true, short: "emsz", kind: "list"}, "readlink": {reviewed: true, short: "efmnz", kind: "list"},
	"which": {reviewed: true, short: "a", kind: "print"}, "type": {reviewed: true, short: "aptP", kind: "print"},
	"whoami": {reviewed: true, kind: "none"}, "id": {reviewed: true, short: "ugGnr", kind: "print", max: 1}, "uname": {reviewed: true, short: "asnrvmpio", kind: "none"},
	"date": {reviewed: true, short: "uIR", long: "utc iso-8601 iso-8601=", kind: "words", max: 1}, "nproc": {reviewed: true, long: "all", kind: "none"},
	"ps": {reviewed: true, short: "aefuxlAp:o:", kind: "choice", choose: "aux ax axu auxww ef"}, "uptime": {reviewed: true, kind: "none"}, "free": {reviewed: true, short: "hmgkbt", kind: "none"},
	"cut": {reviewed: true, short: "b:c:d:f:sz", long: "delimiter= fields= characters= complement", kind: "read"},
	"tr":  {reviewed: true, short: "cCdst", kind: "print"}, "seq": {reviewed: true, short: "f:s:w", kind: "words"},
	"sort": {reviewed: true, short: "bdfghinrRsuVzk:t:", long: "reverse numeric-sort unique human-numeric-sort version-sort key= field-separator=", kind: "read"},
	"uniq": {reviewed: true, short: "cdiuf:s:w:", long: "count repeated unique", kind: "read", max: 1},
	"comm": {reviewed: true, short: "123", kind: "read"}, "cmp": {reviewed: true, short: "bls", kind: "read"},
	"diff":  {reviewed: true, short: "abBciEqrNsuwyU:C:x:#", long: "brief color color= recursive unified unified= side-by-side exclude=", kind: "read"},
	"paste": {reviewed: true, short: "d:s", kind: "read"}, "column": {reviewed: true, short: "ts:", kind: "read"},
	"md5sum": {reviewed: true, short: "bt", kind: "read"}, "sha1sum": {reviewed: true, short: "bt", kind: "read"},
	"sha256sum": {reviewed: true, short: "bt", kind: "read"}, "cksum": {reviewed: true, kind: "read"},
	"od": {reviewed: true, short: "A:t:N:j:cxv", kind: "read"}, "hexdump": {reviewed: true, short: "Cn:s:v", kind: "read"}, "strings": {reviewed: true, short: "an:t:", kind: "read"},
	"grep": {reviewed: true, first: "word", short: "abcEFGhHiILlnoPqrsvwxzm:A:B:C:#",
		long: "color color= include= exclude= exclude-dir= recursive ignore-case line-number count files-with-matches files-without-match word-regexp extended-regexp fixed-strings perl-regexp invert-match only-matching quiet no-messages max-count= after-context= before-context= context= with-filename no-filename", kind: "read"},
	"egrep": {reviewed: true, first: "word", short: "chHilLnoqrsvwxm:A:B:C:", kind: "read"},
	"fgrep": {reviewed: true, first: "word", short: "chHilLnoqrsvwxm:A:B:C:", kind: "read"},
	"rg": {reviewed: true, first: "word", short: "acFHiIlLnNoPpqsSuUvwxm:A:B:C:g:t:T:",
		long: "hidden no-ignore files files-with-matches count glob= type= type-not= ignore-case smart-case line-number no-line-number heading no-heading color= context= after-context= before-context= max-count= multiline word-regexp fixed-strings json stats sort= max-depth= no-messages", kind: "read"},
	"jq":  {reviewed: true, first: "jq", short: "rcaSMCjens", long: "raw-output compact-output sort-keys exit-status slurp null-input monochrome-output tab indent=", kind: "read"},
	"sed": {reviewed: true, first: "sed", short: "nEr", long: "quiet silent regexp-extended", kind: "read"},
	"awk": {reviewed: true, first: "awk", short: "F:", kind: "read"},

	"mkdir": {reviewed: true, short: "pvm:", long: "parents verbose mode=", kind: "write"},
	"touch": {reviewed: true, short: "acm", kind: "write"},
	"rm":    {short: "rRfivdI", long: "recursive force verbose dir one-file-system preserve-root no-preserve-root", kind: "destroy"},
	"rmdir": {short: "pv", kind: "destroy"}, "unlink": {kind: "destroy"}, "shred": {short: "fuvzn:", kind: "destroy"},
	"truncate": {short: "s:c", long: "size=", kind: "destroy"}, "mv": {short: "finvuTt>", long: "force no-clobber target-directory> backup", kind: "write"},
	"cp": {short: "aRrfinpvuLPTdst>", long: "recursive archive force no-clobber preserve target-directory> parents", kind: "copy"},
	"ln": {short: "sfnvT", long: "symbolic force", kind: "copy"}, "install": {short: "Dm:o:g:dvt>", kind: "copy"},
	"rsync": {runs: true, short: "avzrnuPhWle:", long: "delete dry-run progress archive exclude= include= rsh=", kind: "copy"},
	"scp":   {runs: true, short: "rpqCP:i/o:F/", kind: "copy"}, "tee": {short: "ai", long: "append", kind: "write"},
	"chmod": {first: "word", short: "Rvcf", long: "recursive", kind: "write"}, "chown": {first: "word", short: "Rvcfh", kind: "write"}, "chgrp": {first: "word", short: "R", kind: "write"},
	"dd": {kind: "dd"}, "patch": {short: "p:i/d/R", kind: "write"}, "split": {short: "l:b:", kind: "write"},
	"tar": {runs: true, short: "cxtzjJvpkPf>C/T/", long: "file> directory/ exclude= strip-components=", kind: "words"}, "unzip": {short: "oqlnd>", kind: "read"}, "zip": {short: "rqj", kind: "write"},
	"gzip": {short: "dkcfv", kind: "write"}, "gunzip": {short: "kcf", kind: "write"}, "less": {kind: "read"}, "more": {kind: "read"}, "vim": {kind: "write"}, "nano": {kind: "write"},
	"curl": {short: "sSfLkiIvgGNZ#o>O:d:X:H:u:A:e:T/F:b:c>D>K/m:w:x:", kind: "url",
		long: "silent show-error fail location insecure include head verbose output> data= data-raw= data-binary= request= header= user= upload-file/ form= cookie= cookie-jar> max-time= write-out= proxy= unix-socket/ json= url= config/ compressed"},
	"wget": {short: "qO>P>ci/", long: "quiet output-document> directory-prefix> post-data= post-file/ header= input-file/", kind: "url"},
	"ssh":  {runs: true, kind: "words"}, "nc": {runs: true, kind: "words"}, "ncat": {runs: true, kind: "words"}, "socat": {runs: true, kind: "words"}, "telnet": {runs: true, kind: "words"},
	"kill": {kind: "print", any: true}, "pkill": {kind: "print", any: true}, "killall": {kind: "print", any: true},
	"python": {runs: true, kind: "code"}, "python3": {runs: true, kind: "code"}, "node": {runs: true, kind: "code"}, "deno": {runs: true, kind: "code"},
	"ruby": {runs: true, kind: "code"}, "perl": {runs: true, kind: "code"}, "php": {runs: true, kind: "code"}, "lua": {runs: true, kind: "code"},
	"source": {runs: true, kind: "code"}, ".": {runs: true, kind: "code"}, "npx": {runs: true, kind: "code"}, "uvx": {runs: true, kind: "code"}, "docker": {runs: true, kind: "code"},
	"podman": {runs: true, kind: "code"}, "kubectl": {runs: true, kind: "code"}, "crontab": {runs: true, kind: "code"}, "at": {runs: true, kind: "code"}, "batch": {runs: true, kind: "code"},
	"osascript": {runs: true, kind: "code"}, "powershell": {runs: true, kind: "code"}, "pwsh": {runs: true, kind: "code"}, "cmd": {runs: true, kind: "code"}, "alias": {runs: true, kind: "code"},
	"enable": {runs: true, kind: "code"}, "hash": {runs: true, kind: "code"}, "bind": {runs: true, kind: "code"}, "complete": {runs: true, kind: "code"}, "mapfile": {runs: true, kind: "code"}, "readarray": {runs: true, kind: "code"},

	"pytest": runner, "mypy": runner, "ruff": {reviewed: true, runs: true, inRoot: true, verbs: map[string]spec{"check": runner, "format": {runs: true, any: true, kind: "write"}}},
	"flake8": runner, "tsc": runner, "eslint": runner, "jest": runner, "vitest": runner, "golangci-lint": runner, "staticcheck": runner,
	"npm": packages, "pnpm": packages, "yarn": packages, "bun": packages,
	"make": {reviewed: true, runs: true, inRoot: true, short: "j:ksnBC/f/", long: "keep-going silent dry-run", kind: "choice",
		choose: "all build test tests check lint vet fmt fmt-check format-check typecheck bench unit compile"},
	"mvn":    {reviewed: true, runs: true, inRoot: true, short: "qoBe", kind: "choice", choose: "test compile verify test-compile validate package"},
	"gradle": {reviewed: true, runs: true, inRoot: true, short: "q", long: "offline quiet info stacktrace", kind: "choice", choose: "test build check assemble compileJava classes"},
	"cargo": {reviewed: true, runs: true, verbs: map[string]spec{
		"build": cargoRun, "test": cargoRun, "check": cargoRun, "clippy": cargoRun, "bench": cargoRun, "tree": cargoRun, "metadata": cargoRun,
		"fmt": {reviewed: true, inRoot: true, long: "check all", kind: "none"}}},
	"gofmt": {reviewed: true, short: "ldse", kind: "read"},
	"go": {reviewed: true, runs: true, dash: true, short: "", long: "C/", verbs: map[string]spec{
		"build": goRun, "vet": goRun, "test": goRun, "list": goRun, "fmt": {reviewed: true, inRoot: true, dash: true, long: "n x", kind: "words"},
		"version": {reviewed: true, dash: true, long: "m", kind: "read"}, "env": {reviewed: true, dash: true, long: "json", kind: "print"},
		"doc": {reviewed: true, dash: true, long: "all short src u", kind: "words"}, "help": {reviewed: true, kind: "print"},
		"mod": {reviewed: true, inRoot: true, dash: true, long: "json m", kind: "choice", choose: "graph verify why"},
		"run": {runs: true, dash: true, kind: "code"}, "generate": {runs: true, dash: true, kind: "code"}, "install": {runs: true, dash: true, kind: "code"}, "tool": {runs: true, dash: true, kind: "code"}, "get": {runs: true, dash: true, kind: "code"}}},
	"git": git,
}

var (
	runner   = spec{reviewed: true, runs: true, inRoot: true, any: true, kind: "runner"}
	cargoRun = spec{reviewed: true, runs: true, inRoot: true, short: "vqp:j:F:", long: "all workspace release lib bins tests all-targets all-features no-default-features features= package= verbose quiet offline locked frozen no-run jobs= test= message-format= no-deps format-version=", kind: "words"}
	goRun    = spec{reviewed: true, runs: true, inRoot: true, dash: true, kind: "words",
		long: "v x n a race cover short failfast json m e deps test benchmem trimpath work cover count= run= skip= bench= benchtime= timeout= tags= p= parallel= cpu= list= vet= shuffle= fuzz= fuzztime= f= mod= covermode= coverpkg= buildvcs= C/ o> coverprofile> cpuprofile> memprofile>"}
	scripts = `test build lint check typecheck type-check types format-check format:check compile unit coverage test:unit test:ci
		test:coverage build:dev build:prod lint:check tsc`
	packages = spec{reviewed: true, runs: true, verbs: map[string]spec{
		"test": runner, "t": runner,
		"run":  {reviewed: true, runs: true, inRoot: true, short: "s", long: "silent if-present", kind: "choice", choose: scripts},
		"lint": runner, "build": runner, "typecheck": runner,
		"ls": {reviewed: true, short: "ag", long: "all depth= json", kind: "print"}, "list": {reviewed: true, long: "all depth= json", kind: "print"}}}
)

const gitLook = `stat numstat shortstat name-only name-status oneline graph all decorate decorate= color color= no-color cached staged
	patch no-patch word-diff word-diff= summary abbrev-commit abbrev= first-parent merges no-merges since= until= after= before= author=
	grep= format= pretty= pretty max-count= skip= follow reverse date= unified= ignore-all-space ignore-space-change raw minimal
	patience histogram check diff-filter= branches tags remotes no-ext-diff no-textconv no-renames find-renames exit-code quiet
	relative not left-right cherry-pick merge-base full-history show-signature topo-order date-order`

// git without -c, --git-dir, --work-tree and --exec-path: those make it run what the caller says.
var git = spec{reviewed: true, short: "PC/", long: "no-pager no-optional-locks", verbs: map[string]spec{
	"status": {reviewed: true, short: "sbuv", long: "short branch porcelain porcelain= long untracked-files untracked-files= ignored show-stash column verbose", kind: "words"},
	"diff":   {reviewed: true, short: "pUwbMRaWz#", long: gitLook, kind: "words"}, "log": {reviewed: true, short: "pn:iS:G:L:wbMEFz#", long: gitLook, kind: "words"},
	"show": {reviewed: true, short: "pswbMz#", long: gitLook, kind: "words"}, "shortlog": {reviewed: true, short: "sne", long: gitLook, kind: "words"},
	"branch":    {reviewed: true, short: "arv", long: "all remotes verbose list show-current contains= merged no-merged sort= format=", kind: "none"},
	"tag":       {reviewed: true, short: "ln#", long: "list sort= format=", kind: "none"},
	"remote":    {reviewed: true, short: "v", long: "verbose", kind: "none"},
	"rev-parse": {reviewed: true, long: "show-toplevel abbrev-ref short short= verify HEAD is-inside-work-tree git-dir show-prefix", kind: "words"},
	"ls-files":  {reviewed: true, short: "mcodsiuz", long: "modified cached others deleted exclude-standard stage", kind: "words"},
	"ls-tree":   {reviewed: true, short: "rdtlz", long: "name-only full-tree", kind: "words"}, "blame": {reviewed: true, short: "wLCMes", long: "porcelain line-porcelain date=", kind: "words"},
	"describe": {reviewed: true, long: "tags always dirty long abbrev= all", kind: "words"}, "rev-list": {reviewed: true, short: "n:", long: gitLook + " count objects", kind: "words"},
	"merge-base": {reviewed: true, long: "is-ancestor all", kind: "words"}, "name-rev": {reviewed: true, long: "name-only tags", kind: "words"},
	"cat-file": {reviewed: true, short: "pts", kind: "words"}, "reflog": {reviewed: true, long: gitLook, kind: "choice", choose: "show HEAD"},
	"stash": {reviewed: true, kind: "choice", choose: "list"}, "worktree": {reviewed: true, long: "porcelain", kind: "choice", choose: "list"},
	"grep": {reviewed: true, short: "inlLcwEFPvqhHm:A:B:C:", long: "line-number count files-with-matches ignore-case untracked cached heading break", kind: "words"},
}}
