// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/strictyaml"
)

// Config is sallyport.yaml: one key per column or door, every field optional. Precedence is flag, then
// SALLYPORT_* in the environment, then the file, then the default. Secrets stand in files of their own,
// and only their paths stand here.
type Config struct {
	Version  int            `yaml:"version" doc:"format of this file; 1"`
	Data     string         `yaml:"data" doc:"data directory; default: the user's state directory"`
	Listen   ListenConfig   `yaml:"listen"`
	Gateway  GatewayConfig  `yaml:"gateway"`
	Admin    AdminConfig    `yaml:"admin"`
	Policy   PolicyConfig   `yaml:"policy"`
	Approval ApprovalConfig `yaml:"approval"`
	Ledger   LedgerConfig   `yaml:"ledger"`
	Tools    ToolsConfig    `yaml:"tools"`
	Identity IdentityConfig `yaml:"identity"`
	Flow     FlowConfig     `yaml:"flow"`
	Postgres PostgresConfig `yaml:"postgres"`
	Detect   DetectConfig   `yaml:"detect"`
	AuthZEN  AuthZENConfig  `yaml:"authzen"`
	Egress   EgressConfig   `yaml:"egress"`
	Monitor  MonitorConfig  `yaml:"monitor"`
	LLM      LLMConfig      `yaml:"llm"`
	Attest   AttestConfig   `yaml:"attest"`

	Federation FederationConfig `yaml:"federation"`
	Rights     RightsConfig     `yaml:"rights"`

	Export []ExportReceiver `yaml:"export" doc:"receivers of every record"`
}

// GatewayConfig configures the doors for agents.
type GatewayConfig struct {
	Listen    string      `yaml:"listen" doc:"address for agents; \"none\" listens on the socket only"`
	Hosts     []string    `yaml:"hosts" doc:"names that the Host header may hold beside loopback"`
	PublicURL string      `yaml:"public_url" doc:"our address as clients write it, where a proxy stands in front of us; the names of resources in access tokens begin with it"`
	Servers   []MCPServer `yaml:"servers" doc:"remote MCP servers, reached as /mcp/NAME"`

	FactsDeadline time.Duration `yaml:"facts_deadline" doc:"how long each source of facts may take at each gate before the action is denied, 10 ms to 30 s; default 250 ms, and never below 2 s for the scan of contents and 1 s for the origins of values"`
}

func (c *GatewayConfig) check() error {
	if d := c.FactsDeadline; d != 0 && (d < 10*time.Millisecond || d > 30*time.Second) {
		return fmt.Errorf("config: gateway.facts_deadline: %v is not between 10 ms and 30 s", d)
	}
	return nil
}

// MCPServer is one remote MCP server.
type MCPServer struct {
	Name      string `yaml:"name" doc:"our name of the server"`
	URL       string `yaml:"url" doc:"its streamable HTTP endpoint"`
	Zone      string `yaml:"zone" doc:"inside or outside; default outside"`
	TokenFile string `yaml:"token_file" doc:"file with the bearer token that we present upstream"`
}

// AdminConfig configures the door for people.
type AdminConfig struct {
	Listen string   `yaml:"listen" doc:"address for people; \"none\" listens on the socket only"`
	Hosts  []string `yaml:"hosts" doc:"names that the Host header may hold beside loopback"`

	Login LoginConfig `yaml:"login"`
}

// PolicyConfig says which policy decides.
type PolicyConfig struct {
	Dir    string `yaml:"dir" doc:"folder of the bundle; default: the embedded baseline"`
	Params string `yaml:"params" doc:"file with parameters in place of the bundle's params.yaml"`
	Trust  string `yaml:"trust" doc:"file with the keys that must have signed the bundle in dir; default: signatures are not asked for"`

	Source      string        `yaml:"source" doc:"where newer signed bundles are published: dir:/F, file:/F, git:/CHECKOUT//F, https://..., oci://HOST/REPOSITORY:TAG"`
	SourceToken string        `yaml:"source_token" doc:"file with the bearer token for it, or with NAME:SECRET for a registry"`
	Poll        time.Duration `yaml:"poll" doc:"how often it is asked where it does not wait itself; default 30 s"`

	Alone  bool         `yaml:"alone" doc:"only answer other processes that want a second decision; no doors for agents"`
	Second SecondConfig `yaml:"second"`
}

// ApprovalConfig configures how people are asked.
type ApprovalConfig struct {
	TTL        time.Duration `yaml:"ttl" doc:"how long an ask stays open"`
	GrantTTL   time.Duration `yaml:"grant_ttl" doc:"how long an unused grant holds"`
	MaxPending int           `yaml:"max_pending" doc:"open asks per session"`
	Groups     []Group       `yaml:"groups" doc:"people whom rules name together"`
	Keys       KeysConfig    `yaml:"keys"`
	Judges     []JudgeConfig `yaml:"judges" doc:"second systems, asked in turn until one is sure"`
	Chains     []JudgeChain  `yaml:"chains" doc:"which of them answer for which rules, and how; without any, all of them in turn for every rule"`

	Seeds SeedsConfig `yaml:"seeds"`

	Channels []ChannelConfig `yaml:"channels" doc:"where people are told of what waits; they can refuse there, never approve"`
}

// LedgerConfig configures the log.
type LedgerConfig struct {
	SegmentBytes int64  `yaml:"segment_bytes" doc:"size of a preallocated segment"`
	ReserveBytes int64  `yaml:"reserve_bytes" doc:"space kept for denials, outcomes, approvals and kills"`
	AgentBytes   int64  `yaml:"agent_bytes" doc:"bytes of records that one agent may cause in a minute; what goes beyond is denied; default: no limit"`
	Public       bool   `yaml:"public" doc:"serve /log/ to anyone who reaches the people's address"`
	Head         string `yaml:"head" doc:"file outside the data directory that remembers the newest checkpoint"`
	Origin       string `yaml:"origin" doc:"name of a new log; default: a random one"`

	Witnesses []LedgerWitness `yaml:"witnesses" doc:"parties that cosign the published checkpoints"`
	Quorum    int             `yaml:"quorum" doc:"how many of the witnesses must cosign; default: all"`
	TenantKey TenantKeyConfig `yaml:"tenant_key"`
	// TenantKeyBefore matters to "ledger rewrap" alone.
	TenantKeyBefore TenantKeyConfig `yaml:"tenant_key_before"`
	Reasoning       string          `yaml:"reasoning" doc:"what agents say of their reasons: keep stores all of it, sealed as a class of its own that two people open, policy what a rule obliges to keep beside an action, drop nothing; default keep"`

	Retention  []RetentionRule `yaml:"retention" doc:"contents that end by age; records stay"`
	LegalHolds []string        `yaml:"legal_holds" doc:"users, or agents that act for nobody, whose contents stay whatever their age and cannot be erased"`

	WitnessTimeout time.Duration `yaml:"witness_timeout" doc:"how long a witnessed action waits for them"`
}

// LedgerWitness is one witness of the log.
type LedgerWitness struct {
	URL  string `yaml:"url" doc:"its address, before /add-checkpoint"`
	Vkey string `yaml:"vkey" doc:"its public key, as \"sallyport ledger witness\" prints it"`
}

// ToolsConfig says what is known of tools beforehand.
type ToolsConfig struct {
	Domains []string   `yaml:"domains" doc:"the organisation's mail domains"`
	Kinds   []ToolKind `yaml:"kinds" doc:"servers that are known to be of a pack's kind"`

	SignedOnly bool `yaml:"signed_only" doc:"only packs and the signed bundle approve definitions; without it a tool-admin may, too; wants policy.trust"`
}

// ToolKind declares a server to be of a kind that a pack describes.
type ToolKind struct {
	Server string `yaml:"server" doc:"our name of the server"`
	Kind   string `yaml:"kind" doc:"name of the pack"`
}

// IdentityConfig says who may call.
type IdentityConfig struct {
	SingleOperator bool          `yaml:"single_operator" doc:"one person may release a kill of everything"`
	ReleaseDelay   time.Duration `yaml:"release_delay" doc:"how long a person alone waits between asking twice for such a release"`
	PeerUIDs       []int64       `yaml:"peer_uids" doc:"users who may use the socket; default: the owner's own"`
}

// FlowConfig declares what results of a server carry.
type FlowConfig struct {
	Servers []FlowServer `yaml:"servers" doc:"labels that results of a server carry at worst"`
	Outputs []FlowOutput `yaml:"outputs" doc:"what fields of results may vouch for"`
}

// FlowServer is the declaration for one server.
type FlowServer struct {
	Server    string `yaml:"server" doc:"our name of the server"`
	Secrecy   string `yaml:"secrecy" doc:"public, internal, confidential or secret"`
	Untrusted string `yaml:"untrusted" doc:"yes if strangers may have written what it returns, else no"`
}

// The default addresses of the two listeners.
const (
	DefaultListen      = "127.0.0.1:7117"
	DefaultListenAdmin = "127.0.0.1:7118"
)

// Origin says where a setting came from: "default", "file", "env NAME" or "flag".
type Origin map[string]string

// DefaultConfig returns the configuration that an empty file gives.
func DefaultConfig() Config {
	return Config{Version: 1, Data: defaultData(), Gateway: GatewayConfig{Listen: DefaultListen}, Admin: AdminConfig{Listen: DefaultListenAdmin},
		Egress: EgressConfig{Listen: "none"}, Postgres: PostgresConfig{Listen: DefaultListenPostgres}}
}

func defaultData() string {
	if d := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "sallyport")
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return ""
	}
	return filepath.Join(home, ".local", "state", "sallyport")
}

// LoadConfig reads the file at path ("" means sallyport.yaml in the user's configuration directory, if
// there is one), then the environment. The returned Origin names what each setting rests on.
func LoadConfig(path string, getenv func(string) string) (Config, Origin, error) {
	cfg, origin := DefaultConfig(), Origin{}
	named := path != ""
	if !named {
		dir, err := os.UserConfigDir()
		if err == nil {
			path = filepath.Join(dir, "sallyport", "sallyport.yaml")
		}
	}
	if path != "" {
		data, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !named:
		case err != nil:
			return cfg, nil, fmt.Errorf("config: %w", err)
		default:
			was := cfg
			cfg.Version = 0
			if err := strictyaml.Decode(path, data, &cfg); err != nil {
				return cfg, nil, fmt.Errorf("config: %w", err)
			}
			if cfg.Version != 1 {
				return cfg, nil, fmt.Errorf("config: %s: version %d is not 1", path, cfg.Version)
			}
			changes(reflect.ValueOf(was), reflect.ValueOf(cfg), "", func(key string) { origin[key] = "file " + path })
		}
	}
	if err := fromEnv(reflect.ValueOf(&cfg).Elem(), "", getenv, origin); err != nil {
		return cfg, nil, err
	}
	return cfg, origin, cfg.check()
}

// check refuses what no column could refuse with the name of the key.
func (c *Config) check() error {
	if c.Data == "" || !filepath.IsAbs(c.Data) {
		return fmt.Errorf("config: data: %q is no absolute path", c.Data)
	}
	names := map[string]bool{}
	for _, s := range c.Gateway.Servers {
		if s.Name == "" || s.URL == "" || names[s.Name] {
			return fmt.Errorf("config: gateway.servers: %q has no name or url, or stands twice", s.Name)
		}
		names[s.Name] = true
		if s.Zone != "" && s.Zone != "inside" && s.Zone != "outside" {
			return fmt.Errorf("config: gateway.servers: zone %q of %q is neither inside nor outside", s.Zone, s.Name)
		}
	}
	if c.Tools.SignedOnly && c.Policy.Trust == "" {
		return errors.New("config: tools.signed_only wants policy.trust: without it no bundle is signed")
	}
	if err := c.Detect.check(); err != nil {
		return err
	}
	if err := c.Policy.Second.check(); err != nil {
		return err
	}
	if err := c.LLM.check(); err != nil {
		return err
	}
	for _, f := range c.Flow.Servers {
		if f.Untrusted != "" && f.Untrusted != "yes" && f.Untrusted != "no" {
			return fmt.Errorf("config: flow.servers: untrusted %q of %q is neither yes nor no", f.Untrusted, f.Server)
		}
	}
	return errors.Join(c.Gateway.check(), inConfig(c.Flow.checkOutputs()), c.Admin.Login.check(), c.Egress.check(), c.Monitor.check(), c.Postgres.check(), c.Attest.check(), checkExport(c.Export), c.Approval.Keys.check(), c.Approval.Seeds.check(c.Approval.Groups), checkChannels(c.Approval.Channels), c.Ledger.check(),
		c.Federation.check(), c.checkListen())
}

func inConfig(err error) error {
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	return nil
}

// EnvName is the variable that overrides a setting: SALLYPORT_GATEWAY_LISTEN for gateway.listen.
func EnvName(key string) string {
	return "SALLYPORT_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// fromEnv overrides scalar settings and lists of text (comma separated).
func fromEnv(v reflect.Value, prefix string, getenv func(string) string, origin Origin) error {
	for i := range v.NumField() {
		key := prefix + v.Type().Field(i).Tag.Get("yaml")
		f := v.Field(i)
		if f.Kind() == reflect.Struct {
			if err := fromEnv(f, key+".", getenv, origin); err != nil {
				return err
			}
			continue
		}
		s := getenv(EnvName(key))
		if s == "" {
			continue
		}
		if err := setText(f, s); err != nil {
			return fmt.Errorf("config: %s: %q: %w", EnvName(key), s, err)
		}
		origin[key] = "env " + EnvName(key)
	}
	return nil
}

func setText(f reflect.Value, s string) error {
	switch f.Interface().(type) {
	case time.Duration:
		d, err := time.ParseDuration(s)
		f.SetInt(int64(d))
		return err
	case []string:
		f.Set(reflect.ValueOf(strings.Split(s, ",")))
		return nil
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(s)
	case reflect.Bool:
		b, err := strconv.ParseBool(s)
		f.SetBool(b)
		return err
	case reflect.Float64:
		n, err := strconv.ParseFloat(s, 64)
		f.SetFloat(n)
		return err
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(s, 10, 64)
		f.SetInt(n)
		return err
	default:
		return errors.New("this setting can only stand in the file")
	}
	return nil
}

// changes calls fn with the key of every leaf in which b differs from a.
func changes(a, b reflect.Value, prefix string, fn func(key string)) {
	for i := range a.NumField() {
		key := prefix + a.Type().Field(i).Tag.Get("yaml")
		if a.Field(i).Kind() == reflect.Struct {
			changes(a.Field(i), b.Field(i), key+".", fn)
		} else if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			fn(key)
		}
	}
}

// Setting is one leaf of the configuration.
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
	Doc    string `json:"doc"`
}

// Settings lists every leaf of c in the order of the file.
func (c *Config) Settings(origin Origin) []Setting {
	var out []Setting
	var walk func(v reflect.Value, prefix string)
	walk = func(v reflect.Value, prefix string) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			key := prefix + f.Tag.Get("yaml")
			if v.Field(i).Kind() == reflect.Struct {
				walk(v.Field(i), key+".")
				continue
			}
			from := origin[key]
			if from == "" {
				from = "default"
			}
			out = append(out, Setting{Key: key, Value: fmt.Sprint(v.Field(i).Interface()), Origin: from, Doc: f.Tag.Get("doc")})
		}
	}
	walk(reflect.ValueOf(c).Elem(), "")
	return out
}
