// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"crypto/sha256"
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// result is what q's result carries: at worst, as declared, before it is there; from what was found in it
// after. A result never carries less than its tool declares, except that a failure which we saw
// ourselves, with nothing found in it, is not as secret as the thing that was asked for.
func (f *Flow) result(q *action.Query) action.Labels {
	base := action.Labels{Untrusted: action.Yes, Secrecy: action.SecrecyInternal, Opaque: action.No}
	if f.cfg.Declared != nil && q.Resource.Type != "message" { // a list of tools is not the server's data
		d := f.cfg.Declared(q.Resource.Server, q.Resource.Name)
		if slices.Contains(d.Untrusted.Values(), string(d.Untrusted)) {
			base.Untrusted = d.Untrusted
		}
		if slices.Contains(d.Secrecy.Values(), string(d.Secrecy)) {
			base.Secrecy = d.Secrecy
		}
		base.Subjects = slices.Compact(slices.Sorted(slices.Values(d.Subjects)))
	}
	l := base
	if f.touchesCredentials(q) {
		l.Secrecy = l.Secrecy.Worse(action.SecrecySecret)
	}
	if q.Phase != action.After {
		return l
	}
	r, d := &q.Context.Result, &q.Context.Detect
	looked := d.State == action.StateKnown && d.Truncated == action.No && d.Opaque == action.No && r.Opaque != action.Yes
	if looked && r.Status == action.ResultFailed && q.Context.Enforcement.Observed == action.Yes && r.Bytes <= 1024 {
		l = base
	}
	if d.State == action.StateKnown {
		if len(d.Secrets) > 0 {
			l.Secrecy = l.Secrecy.Worse(action.SecrecySecret)
		}
		for _, x := range d.Findings {
			if x.Kind == "pii" {
				l.Secrecy = l.Secrecy.Worse(action.SecrecyConfidential)
			}
		}
		l.Opaque = worse(l.Opaque, d.Opaque)
	}
	if r.Opaque == action.Yes || r.Truncated == action.Yes {
		l.Opaque = action.Yes
	}
	return l
}

// touchesCredentials reports whether q may bring a credential back: it reads a place where such things
// are kept, or its tool is named for them.
func (f *Flow) touchesCredentials(q *action.Query) bool {
	switch q.Action.Effect {
	case action.EffectWrite, action.EffectDestroy, action.EffectSend, action.EffectSpend, action.EffectRespond:
		return false // these bring back a receipt
	}
	for _, p := range q.Action.Paths {
		if p.Private == action.Yes || credentialPath(p.Raw) || credentialPath(p.Resolved) {
			return true
		}
	}
	if credentialTool(q.Resource.Name) {
		return true
	}
	return f.namesCredentials(q.Action.Arguments)
}

// searched is one verdict of namesCredentials. It keeps a digest of the arguments and nothing of their content.
type searched struct {
	digest [sha256.Size]byte
	found  bool
}

// namesCredentials reports whether a text of the arguments names a place where credentials are kept. The labels of an action
// are worked out several times on its way, each time over the same arguments.
func (f *Flow) namesCredentials(arguments jsontext.Value) bool {
	digest := sha256.Sum256(arguments)
	place := &f.searched[digest[0]%uint8(len(f.searched))]
	if known := place.Load(); known != nil && known.digest == digest {
		return known.found
	}
	found := namesCredentials(arguments)
	place.Store(&searched{digest, found})
	return found
}

func namesCredentials(arguments jsontext.Value) bool {
	found := false
	leaves(arguments, 4*maxLeaves, func(l leaf) {
		if l.kind != '"' || len(l.text) > 64<<10 || found {
			return
		}
		for w := range strings.FieldsFuncSeq(l.text, func(r rune) bool { return separates(r) || r == '&' || r == '=' || r == '@' }) {
			if found = credentialPath(w); found {
				return
			}
		}
	})
	return found
}

// credentialNames are files that hold nothing but credentials, by convention of their programs.
var credentialNames = []string{".env", ".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".my.cnf", ".git-credentials",
	".htpasswd", ".dockercfg", ".vault-token", ".boto", ".s3cfg", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "shadow",
	"gshadow", "credentials", "credentials.json", "credentials.toml", "credentials.yml", "credentials.yaml", "credentials.db",
	"secrets", "secrets.json", "secrets.toml", "secrets.yml", "secrets.yaml", "secrets.env", "secret.json", "secret.yaml",
	"kubeconfig", "master.key", "wallet.dat", "application_default_credentials.json", "service-account.json",
	"service_account.json", "login data", "cookies.sqlite", "key4.db", "logins.json", ".password", "passwords.txt", "hosts.yml"}

// plainCredentialName reports whether name is one of credentialNames without a dot.
func plainCredentialName(name string) bool {
	switch name[0] | 0x20 {
	case 'c', 's', 'g', 'k':
		return slices.Contains(credentialNames, strings.ToLower(name))
	}
	return false
}

var credentialExts = []string{".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk", ".agekey"}

var credentialDirs = []string{".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", "gcloud", ".password-store", "keychains"}

// harmlessNames lie in credential directories and hold none.
var harmlessNames = []string{"known_hosts", "authorized_keys", ".env.example", ".env.sample", ".env.template", ".env.dist"}

// credentialPath reports whether the name of a file says that it holds credentials.
func credentialPath(path string) bool {
	if len(path) > 4096 || len(path) < 4 || !strings.ContainsAny(path, "./\\_ ") && !plainCredentialName(path) {
		return false
	}
	parts := strings.FieldsFunc(strings.ToLower(path), func(r rune) bool { return r == '/' || r == '\\' })
	if len(parts) == 0 {
		return false
	}
	base := parts[len(parts)-1]
	if slices.Contains(harmlessNames, base) || strings.HasSuffix(base, ".pub") {
		return false
	}
	if slices.Contains(credentialNames, base) {
		return base != "hosts.yml" || slices.Contains(parts, "gh")
	}
	if strings.HasPrefix(base, ".env.") {
		return true
	}
	for _, e := range credentialExts {
		if strings.HasSuffix(base, e) && len(base) > len(e) {
			return true
		}
	}
	for _, d := range parts[:len(parts)-1] {
		if slices.Contains(credentialDirs, d) {
			return true
		}
	}
	return base == "environ" && parts[0] == "proc"
}

// credentialTool reports whether a tool's name speaks of credentials.
func credentialTool(name string) bool {
	words := nameWords(name)
	for i, w := range words {
		switch strings.TrimSuffix(w, "s") {
		case "secret", "password", "passwd", "credential", "vault", "apikey", "keychain":
			return true
		case "key":
			if i > 0 && slices.Contains([]string{"api", "private", "ssh", "access", "secret", "signing"}, words[i-1]) {
				return true
			}
		}
	}
	return false
}

// nameWords splits an identifier at case, digits and punctuation, in lower case.
func nameWords(name string) []string {
	var out []string
	var cur strings.Builder
	lower := false
	flush := func() {
		if cur.Len() > 0 {
			out = append(out, cur.String())
			cur.Reset()
		}
	}
	for _, r := range action.Clip(name, 256) {
		switch {
		case !unicode.IsLetter(r):
			flush()
		case unicode.IsUpper(r):
			if lower {
				flush()
			}
			cur.WriteRune(unicode.ToLower(r))
		default:
			cur.WriteRune(r)
		}
		lower = unicode.IsLower(r)
	}
	flush()
	return out
}

// leaf is one scalar of a JSON value.
type leaf struct {
	pointer string
	name    string // of the nearest member
	kind    byte   // '"', '0', 't' or 'f'
	text    string
}

// leaves calls fn for at most limit scalars of v in order and reports whether that was all of them. What
// is not JSON has none.
func leaves(v jsontext.Value, limit int, fn func(leaf)) bool {
	dec := action.Decode(v)
	defer dec.Release()
	n := 0
	var names []string // by depth: the name in force
	for {
		tok, err := dec.ReadToken()
		if err != nil {
			return n <= limit
		}
		depth := dec.StackDepth()
		for len(names) <= depth {
			names = append(names, "")
		}
		switch k := tok.Kind(); k {
		case '{', '[':
			names[depth] = names[depth-1]
		case '"', '0', 't', 'f':
			if kind, length := dec.StackIndex(depth); k == '"' && kind == '{' && length%2 == 1 {
				names[depth] = tok.String()
				continue
			}
			if n++; n > limit {
				return false
			}
			fn(leaf{pointer: string(dec.StackPointer()), name: names[depth], kind: byte(k), text: tok.String()})
		}
	}
}
