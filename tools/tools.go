// SPDX-License-Identifier: Apache-2.0

// Package tools states what a tool is and what its arguments mean: the pinned definition, the effect, the
// zone of the server, and the paths, URLs, commands, recipients and amounts among the arguments.
//
// It refuses nothing. Whatever it does not understand stays unknown, and Typed is known only when every
// argument that could be a sink was understood.
//
// # Trust
//
// What a server lists is a claim: names, descriptions, schemas and annotations may raise an effect and
// never lower it. A pack (embedded data, see packs/) speaks for a tool only if the operator declared the
// server to be of the pack's kind, or if the definition is, byte for byte in canonical form, one that the
// pack pins and the server is a local process. Everything else is inferred, and says so.
// The Store is a cache of authority: what a pack approved is derived again when it is loaded, and what an
// operator approved counts after a restart only if Config.Proved, where it is set, finds it in the ledger.
package tools

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/store"
)

// Config is what a Registry needs.
type Config struct {
	Store   store.Store // required: where pins are kept
	Tenants []string    // whose pins are loaded at Open; empty means "default"
	DataDir string      // our own data directory, absolute; "" means that there is none to guard
	Home    string      // the user's home directory, absolute; "" leaves "~" unresolved
	Domains []string    // the organisation's mail domains; subdomains belong to them

	// Listeners are host:port addresses of our own doors and of the people's API. A command or URL that
	// addresses one of them on this machine calls sallyport.
	Listeners []string
	// Executable is our own binary, absolute; "" leaves only its name to be recognised.
	Executable string

	// Record writes an approval or a change of a definition to the ledger. Nil records nothing, which is
	// for tests only: the owner sets it.
	Record func(ctx context.Context, r *action.Record) (action.Receipt, error)
	// Proved reports whether the ledger holds the approval of digest under the receipt. Nil trusts Store.
	Proved func(ctx context.Context, digest string, r action.Receipt) bool
	// Poisoned judges the text of a definition when it is observed. Nil leaves it unknown.
	Poisoned func(definition string) action.Tri

	// Host says what the operator knows of a host that is reached through the egress proxy; account is whose
	// part of a service it is, "" where hosts say it themselves. nil knows nothing of any.
	Host func(tenant, host, account string) HostStanding

	// SignedOnly leaves it to packs and the bundle in force to approve definitions. What people approved before counts no
	// longer.
	SignedOnly bool

	// Declared is what the bundle in force says of tools; nil says nothing.
	Declared *Declared

	// Lstat and Readlink resolve links; nil means the operating system's.
	Lstat    func(path string) (fs.FileMode, error)
	Readlink func(path string) (string, error)
	// Links reports whether a folder holds a link, so that a wildcard in it may lead elsewhere. An error,
	// or a folder too large to look through, counts as one. Nil means the operating system's.
	Links func(dir string) (bool, error)

	Now func() time.Time // nil means time.Now
}

// The bounds of what a server may make us keep.
const (
	MaxDefinitionBytes = 256 << 10 // of one definition as listed
	MaxPerServer       = 1024      // definitions of one server
	MaxPins            = 32768     // of all servers and tenants
	maxNameBytes       = 256
)

// The errors of a Registry.
var (
	// ErrDefinition refuses a definition that cannot be read, or more of them than are kept.
	ErrDefinition = errors.New("tools: unusable definition")
	// ErrUpstream refuses an upstream without identity, or one that takes a name reserved for a host.
	ErrUpstream = errors.New("tools: unusable upstream")
	// ErrNotFound means that no such tool was observed.
	ErrNotFound = errors.New("tools: no such tool")
	// ErrDigest means that the tool's definition is no longer the one that was to be approved.
	ErrDigest = errors.New("tools: the definition has another digest")
	// ErrSigned means that only the bundle in force may say this.
	ErrSigned = errors.New("tools: only a signed bundle approves definitions here (tools.signed_only)")
)

// Registry keeps the pins. Its methods are safe for concurrent use; Inform and Lookup take no lock.
type Registry struct {
	cfg      Config
	packs    atomic.Pointer[[]*pack]  // that speak now
	declared atomic.Pointer[Declared] // by the bundle in force

	fsys  fileSystem
	own   []string // cleaned places that are ours, resolved and as configured
	creds []string // credential stores

	mu   sync.Mutex // serialises writers, held across store and ledger I/O
	snap atomic.Pointer[snapshot]
}

// snapshot is what readers see; it is never changed after it is published.
type snapshot struct {
	tools   map[key]*entry
	servers map[key]served    // by tenant and server
	digests map[string]string // registry digest by tenant
}

// served is what is known of a server apart from its tools.
type served struct {
	identity string
	zone     action.Zone
}

type key struct{ tenant, server, name string }

// entry is one tool with everything that does not depend on a call.
type entry struct {
	pin  Pin
	rev  uint64
	plan *plan
	at   action.Definition // without Registry

	scanned  action.Tri      // what the text alone makes of at.Poisoned
	mentions map[string]bool // names in the text that may be other tools'
	demands  []demand
	subject  []string
}

// Open loads the pins of cfg.Tenants and reserves the names of host packs.
func Open(ctx context.Context, cfg Config) (*Registry, error) {
	if cfg.Store == nil {
		return nil, errors.New("tools: Config.Store is required")
	}
	for _, p := range []string{cfg.DataDir, cfg.Home, cfg.Executable} {
		if p != "" && !filepath.IsAbs(p) {
			return nil, fmt.Errorf("tools: path %q is not absolute", p)
		}
	}
	if len(cfg.Tenants) == 0 {
		cfg.Tenants = []string{"default"}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Lstat == nil {
		cfg.Lstat = func(p string) (fs.FileMode, error) {
			i, err := os.Lstat(p)
			if err != nil {
				return 0, err
			}
			return i.Mode(), nil
		}
	}
	if cfg.Readlink == nil {
		cfg.Readlink = os.Readlink
	}
	if cfg.Links == nil {
		cfg.Links = holdsLink
	}
	r := &Registry{cfg: cfg, fsys: fileSystem{lstat: cfg.Lstat, readlink: cfg.Readlink, links: cfg.Links}}
	if err := r.take(cfg.Declared); err != nil {
		return nil, err
	}
	r.own, r.creds = r.privatePlaces()
	next := &snapshot{tools: map[key]*entry{}, servers: map[key]served{}, digests: map[string]string{}}
	for _, tenant := range cfg.Tenants {
		if err := r.load(ctx, tenant, next); err != nil {
			return nil, err
		}
		r.reserve(tenant, next)
		next.shadows(tenant)
		next.digests[tenant] = next.digest(tenant)
	}
	r.snap.Store(next)
	return r, nil
}

// Transport is how a server is reached.
type Transport string

// The transports.
const (
	Stdio Transport = "stdio" // a process that we started
	HTTP  Transport = "http"  // a URL
	Host  Transport = "host"  // an agent host's built-in tools, told by its hook
	API   Transport = "api"   // registered by a tool-admin for a door without tools/list
)

// Upstream is the server behind a name. Kind and Zone come from the operator's configuration, never
// from the server or from what an agent can edit.
type Upstream struct {
	Tenant    string // "" means "default"
	Server    string // our name
	Transport Transport
	Command   []string    // of a stdio server
	Roots     []string    // arguments of Command that are its folders: they do not make it another server
	URL       string      // of an HTTP server
	Kind      string      // the pack that the operator says it is; "" if nobody said
	Zone      action.Zone // as vetted by the operator; "" takes the transport's default
}

func (u *Upstream) tenant() string {
	if u.Tenant == "" {
		return "default"
	}
	return u.Tenant
}

// Identity is what stays the same as long as it is the same server: "cmd:sha256:..." of the command
// without its folders, the origin of a URL, or the host's or registrar's name.
func (u *Upstream) Identity() (string, error) {
	switch u.Transport {
	case Stdio:
		if len(u.Command) == 0 || u.Command[0] == "" {
			return "", fmt.Errorf("%w: %q has no command", ErrUpstream, action.Clip(u.Server, 64))
		}
		argv := make([]string, len(u.Command))
		for i, a := range u.Command {
			argv[i] = "=" + a
			for _, root := range u.Roots {
				if i > 0 && a == root {
					argv[i] = "root"
				}
			}
		}
		d, err := digestOf(argv)
		return "cmd:" + d, err
	case HTTP:
		c := canonicalURL(u.URL)
		if !c.ok || (c.scheme != "http" && c.scheme != "https") {
			return "", fmt.Errorf("%w: %q has no URL with a host", ErrUpstream, action.Clip(u.Server, 64))
		}
		return c.origin(), nil
	case Host:
		return "host:" + u.Server, nil
	case API:
		return "api:" + u.Server, nil
	}
	return "", fmt.Errorf("%w: transport %q", ErrUpstream, action.Clip(string(u.Transport), 32))
}

// zone is inside for local processes and host tools, outside for everything that is reached over a
// network, unless the operator said otherwise. What is registered by hand has no default.
func (u *Upstream) zone() action.Zone {
	if u.Zone != "" && u.Zone != action.ZoneUnknown {
		return u.Zone
	}
	switch u.Transport {
	case Stdio, Host:
		return action.ZoneInside
	case HTTP:
		return action.ZoneOutside
	}
	return action.ZoneUnknown
}

func validName(s string) bool {
	if s == "" || len(s) > maxNameBytes {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}
