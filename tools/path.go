// SPDX-License-Identifier: Apache-2.0

package tools

import (
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sallyport/sallyport/action"
	"golang.org/x/text/unicode/norm"
)

// The bounds of a path; a longer one stays unresolved.
const (
	maxPathBytes = 4096
	maxLinks     = 40
)

// fileSystem is what is looked at to resolve links. What it answered is recorded with the facts.
type fileSystem struct {
	lstat    func(string) (fs.FileMode, error)
	readlink func(string) (string, error)
	links    func(string) (bool, error)
}

// maxEntries bounds how many names of one folder are looked at for a wildcard.
const maxEntries = 2048

func holdsLink(dir string) (bool, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe in its place must not make us wait
	if err != nil {
		return true, err
	}
	defer func() { _ = f.Close() }()
	entries, err := f.ReadDir(maxEntries)
	if err != nil && err != io.EOF {
		return true, err
	}
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink != 0 {
			return true, nil
		}
	}
	return len(entries) == maxEntries, nil
}

// matchesStay reports whether everything that pattern can match in dir, the folder it looks in, is there
// itself: the wildcard stands in the last component, and dir holds no link.
func (f fileSystem) matchesStay(pattern, dir string) bool {
	i := strings.IndexAny(pattern, "*?[{")
	if i < 0 || strings.Contains(pattern[i:], "/") || dir == "" {
		return false
	}
	links, err := f.links(dir)
	return err == nil && !links
}

// place is a path as the file system sees it and as a program that only cleans names sees it.
type place struct {
	physical string // links followed one by one, dot-dot after them; "" if it could not be resolved
	lexical  string // names only
	exists   action.Tri
}

// resolve follows abs, which is absolute and may hold dots and links, component by component. Components
// below one that does not exist are taken by name. It fails on more than maxLinks links and on any error
// but absence, because then nobody knows where the path leads.
func (f fileSystem) resolve(abs string) (place, bool) {
	pl := place{lexical: path.Clean(abs), exists: action.Yes}
	rest, cur, links := split(abs), "/", 0
	for len(rest) > 0 {
		c := rest[0]
		rest = rest[1:]
		if c == ".." {
			cur = path.Dir(cur)
			continue
		}
		next := cur + "/" + c
		if cur == "/" {
			next = "/" + c
		}
		if pl.exists == action.No {
			cur = next
			continue
		}
		mode, err := f.lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			pl.exists, cur = action.No, next
		case err != nil:
			return pl, false
		case mode&fs.ModeSymlink != 0:
			target, err := f.readlink(next)
			if links++; err != nil || links > maxLinks || len(target) > maxPathBytes {
				return pl, false
			}
			if path.IsAbs(target) {
				cur = "/"
			}
			rest = append(split(target), rest...)
		default:
			cur = next
		}
	}
	pl.physical = cur
	return pl, true
}

// split returns the components of p without empty ones and single dots.
func split(p string) []string {
	parts := strings.Split(p, "/")
	out := parts[:0]
	for _, c := range parts {
		if c != "" && c != "." {
			out = append(out, c)
		}
	}
	return out
}

// within reports whether p is dir or below it. Both are clean and absolute.
func within(p, dir string) bool {
	return p == dir || dir == "/" || (strings.HasPrefix(p, dir) && p[len(dir)] == '/')
}

// privatePlaces returns our own data directory with what stands beside it, and the credential stores
// outside any home. Links are followed, so that both names of a place are guarded.
func (r *Registry) privatePlaces() (own, creds []string) {
	add := func(to *[]string, p string) {
		if p == "" {
			return
		}
		p = path.Clean(p)
		*to = append(*to, strings.ToLower(p))
		if pl, ok := r.fsys.resolve(p); ok && pl.physical != p {
			*to = append(*to, strings.ToLower(pl.physical))
		}
	}
	add(&own, r.cfg.DataDir)
	if r.cfg.Home != "" {
		add(&own, path.Join(r.cfg.Home, ".config/sallyport"))
		add(&own, path.Join(r.cfg.Home, ".local/state/sallyport"))
		for _, c := range credentialStores {
			add(&creds, path.Join(r.cfg.Home, c))
		}
	}
	creds = append(creds, "/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/sudoers.d", "/etc/ssl/private",
		"/run/secrets", "/var/run/secrets", "/dev/mem", "/dev/kmem")
	return own, creds
}

// credentialStores stand below a home directory; any home, not only this user's. They are lower case and
// compared so: some file systems fold case.
var credentialStores = strings.Fields(`.ssh .aws .gnupg .kube .azure .netrc .npmrc .pypirc .git-credentials .password-store
	.docker/config.json .config/gcloud .config/gh .config/git/credentials .config/sallyport .config/op .config/hub
	.config/rclone .config/containers/auth.json .local/share/keyrings .local/state/sallyport .cargo/credentials
	.cargo/credentials.toml .claude/.credentials.json .codex/auth.json .pgpass .my.cnf .vault-token .terraform.d
	.mozilla .config/google-chrome .config/chromium library/keychains library/application support/google/chrome
	.gem/credentials .m2/settings.xml .gradle/gradle.properties .bash_history .zsh_history .age .sops`)

// private reports whether p, clean and absolute, is ours or a credential store (yes), holds one below it
// and is looked into (unknown), or neither. shallow means that only names directly in p are seen.
func (r *Registry) private(p string, shallow bool) (private, own action.Tri) {
	low := strings.ToLower(p)
	for _, o := range r.own {
		if within(low, o) {
			return action.Yes, action.Yes
		}
	}
	for _, c := range r.creds {
		if within(low, c) {
			return action.Yes, action.No
		}
	}
	if inCredentialStore(low) || ofAnotherProcess(low) {
		return action.Yes, action.No
	}
	if shallow {
		return action.No, action.No
	}
	private, own = action.No, action.No
	for _, o := range r.own {
		if within(o, low) {
			private, own = action.TriUnknown, action.TriUnknown
		}
	}
	for _, c := range r.creds {
		if within(c, low) {
			private = action.TriUnknown
		}
	}
	return private, own
}

func inCredentialStore(low string) bool {
	for i := strings.IndexByte(low, '/'); i >= 0; {
		rest := low[i+1:]
		for _, c := range credentialStores {
			if strings.HasPrefix(rest, c) && (len(rest) == len(c) || rest[len(c)] == '/') {
				return true
			}
		}
		j := strings.IndexByte(rest, '/')
		if j < 0 {
			return false
		}
		i += 1 + j
	}
	return false
}

// ofAnotherProcess reports whether p leads through /proc into a process: its environment, memory, open
// files, or its own view of the root. Where those links lead differs from process to process.
func ofAnotherProcess(low string) bool {
	rest, ok := strings.CutPrefix(low, "/proc/")
	if !ok {
		return false
	}
	_, rest, _ = strings.Cut(rest, "/")
	for _, c := range split(rest) {
		switch c {
		case "root", "cwd", "fd", "environ", "mem", "exe", "map_files", "cmdline", "auxv", "fdinfo":
			return true
		}
	}
	return false
}

// around is what a call's paths are resolved against.
type around struct {
	cwd   string // absolute; "" if it is not known
	roots []string
}

// path states the facts of one path argument. A relative path needs a working directory; "~" needs Home.
// What cannot be resolved keeps Resolved empty and its facts unknown.
func (r *Registry) path(pointer, raw string, access action.Effect, at around, shallow bool) action.Path {
	p := action.Path{Pointer: pointer, Raw: action.Clip(raw, maxPathBytes), Inside: action.TriUnknown, Traverse: action.TriUnknown,
		Private: action.TriUnknown, Exists: action.TriUnknown, Access: access}
	s, ok := r.spelling(raw)
	if hiddenDots(raw) {
		p.Traverse = action.Yes
	}
	if !ok {
		return p
	}
	if !path.IsAbs(s) {
		if at.cwd == "" {
			return p
		}
		s = at.cwd + "/" + s
	}
	if len(s) > maxPathBytes {
		return p
	}
	pl, ok := r.fsys.resolve(s)
	if !ok {
		if a, _ := r.private(pl.lexical, shallow); a == action.Yes {
			p.Private = a
		}
		return p
	}
	p.Resolved, p.Exists = pl.physical, pl.exists
	p.Root = rootOf(pl.physical, at.roots)
	p.Inside = action.TriOf(p.Root != "")
	a, _ := r.private(pl.physical, shallow)
	b := a
	if pl.lexical != pl.physical {
		b, _ = r.private(pl.lexical, shallow)
	}
	p.Private = worse(a, b)
	if p.Traverse != action.Yes {
		p.Traverse = traverses(s, pl, at.roots)
	}
	return p
}

// traverses is yes if dot-dot or a link leads out of every root, or dot-dot means one place to the file
// system and another to a program that only cleans names. Dot-dot that stays within a root is none.
func traverses(s string, pl place, roots []string) action.Tri {
	outside := rootOf(pl.physical, roots) == ""
	dots := false
	for _, c := range split(s) {
		dots = dots || c == ".."
	}
	switch {
	case dots && (outside || rootOf(pl.lexical, roots) == ""):
		return action.Yes
	case outside && rootOf(pl.lexical, roots) != "":
		return action.Yes
	}
	return action.No
}

func rootOf(p string, roots []string) string {
	best := ""
	for _, r := range roots {
		if path.IsAbs(r) && within(p, path.Clean(r)) && len(r) > len(best) {
			best = r
		}
	}
	return best
}

func worse(a, b action.Tri) action.Tri {
	switch {
	case a == action.Yes || b == action.Yes:
		return action.Yes
	case a == action.No && b == action.No:
		return action.No
	}
	return action.TriUnknown
}

// spelling turns the ways to write a path into one: file URLs, and "~" for the home directory. It fails
// on what names different places to different programs: control characters, another user's home, other
// systems' separators and drives, environment variables.
func (r *Registry) spelling(raw string) (string, bool) {
	s := raw
	if len(s) > maxPathBytes || s == "" {
		return "", false
	}
	if len(s) > 5 && strings.EqualFold(s[:5], "file:") {
		u, err := url.Parse(s)
		if err != nil || (u.Host != "" && !strings.EqualFold(u.Host, "localhost")) || u.Opaque != "" ||
			u.RawQuery != "" || u.Fragment != "" {
			return "", false
		}
		s = u.Path
	}
	if strings.ContainsFunc(s, func(c rune) bool { return c < 0x20 || c == 0x7f || c == '\\' }) {
		return "", false
	}
	if len(s) >= 2 && s[1] == ':' && (s[0]|0x20) >= 'a' && (s[0]|0x20) <= 'z' {
		return "", false
	}
	for _, v := range []string{"$HOME", "${", "$(", "`", "$PWD", "$OLDPWD", "$USER", "$TMPDIR", "$XDG_", "%USERPROFILE%", "%APPDATA%"} {
		if strings.Contains(s, v) {
			return "", false
		}
	}
	switch {
	case s == "~" || strings.HasPrefix(s, "~/"):
		if r.cfg.Home == "" {
			return "", false
		}
		return filepath.Clean(r.cfg.Home) + s[1:], true
	case s[:min(1, len(s))] == "~":
		return "", false
	}
	return s, true
}

// hiddenDots reports whether raw climbs if a program undoes percent encoding, compatibility characters or
// backslashes that the file system would take literally.
func hiddenDots(raw string) bool {
	if !strings.ContainsFunc(raw, func(c rune) bool { return c == '%' || c == '\\' || c >= 0x80 }) {
		return false
	}
	plain := climbs(raw)
	s := raw
	for range 3 {
		d, err := url.PathUnescape(s)
		if err != nil || d == s {
			break
		}
		s = d
	}
	s = strings.ReplaceAll(norm.NFKC.String(action.Clip(s, maxPathBytes)), "\\", "/")
	s = strings.NewReplacer("\u2044", "/", "\u2215", "/", "\u29f8", "/").Replace(s)
	return climbs(s) && !plain
}

func climbs(s string) bool {
	for _, c := range strings.Split(s, "/") {
		if strings.TrimRight(c, " ") == ".." {
			return true
		}
	}
	return false
}

// globRoot returns the folder in which a pattern looks, and whether that can be said: a pattern that
// climbs after its first wildcard leads anywhere.
func globRoot(pattern string) (string, bool) {
	i := strings.IndexAny(pattern, "*?[{")
	if i < 0 {
		return pattern, true
	}
	if climbs(pattern[i:]) {
		return "", false
	}
	j := strings.LastIndexByte(pattern[:i], '/')
	switch {
	case j < 0:
		return ".", true
	case j == 0:
		return "/", true
	}
	return pattern[:j], true
}
