// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/gateway/postgres"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/tools"
	"github.com/sallyport/sallyport/tools/sql"
)

// DefaultListenPostgres is where agents find the databases, if there are any.
const DefaultListenPostgres = "127.0.0.1:7120"

// PostgresConfig configures the door for the wire protocol of PostgreSQL.
type PostgresConfig struct {
	Listen    string             `yaml:"listen" doc:"address for agents that speak to a database, or the absolute path of a socket; \"none\" listens nowhere"`
	TLSCert   string             `yaml:"tls_cert" doc:"file with our certificate chain; default that of listen.tls; without either tokens are taken over loopback and sockets only"`
	TLSKey    string             `yaml:"tls_key" doc:"file with its key"`
	Policy    string             `yaml:"policy" doc:"folder of the bundle that decides on databases; default: the embedded pack sql, by the modes of the databases"`
	MaxConns  int                `yaml:"max_connections" doc:"connections of agents at a time"`
	Databases []PostgresDatabase `yaml:"databases" doc:"databases that agents may reach by name"`
}

// PostgresDatabase is one database.
type PostgresDatabase struct {
	Name         string `yaml:"name" doc:"its name for agents, and the server in policies"`
	Upstream     string `yaml:"upstream" doc:"host, port, user, dbname and sslmode of the server, as \"key=value\" words; no password"`
	PasswordFile string `yaml:"password_file" doc:"file with our password"`
	Mode         string `yaml:"mode" doc:"read-only or read-write; default read-only"`
	Zone         string `yaml:"zone" doc:"inside or outside; default outside"`
}

func (c *PostgresConfig) check() error {
	seen := map[string]bool{}
	for _, d := range c.Databases {
		if d.Name == "" || seen[d.Name] {
			return fmt.Errorf("config: postgres.databases: %q is no name, or stands twice", d.Name)
		}
		seen[d.Name] = true
		if d.Mode != "" && d.Mode != "read-only" && d.Mode != "read-write" {
			return fmt.Errorf("config: postgres.databases: mode %q of %q is neither read-only nor read-write", d.Mode, d.Name)
		}
		if d.Zone != "" && d.Zone != "inside" && d.Zone != "outside" {
			return fmt.Errorf("config: postgres.databases: zone %q of %q is neither inside nor outside", d.Zone, d.Name)
		}
		if err := postgres.CheckUpstream(d.Upstream); err != nil {
			return fmt.Errorf("config: postgres.databases: %q: %w", d.Name, err)
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("config: postgres: tls_cert and tls_key go together")
	}
	return nil
}

// database returns the configured database of a name.
func (c *PostgresConfig) database(name string) (PostgresDatabase, bool) {
	i := slices.IndexFunc(c.Databases, func(d PostgresDatabase) bool { return d.Name == name })
	if i < 0 {
		return PostgresDatabase{}, false
	}
	return c.Databases[i], true
}

func (s *Sallyport) listenPostgres() (net.Listener, error) {
	c := &s.Config.Postgres
	if len(c.Databases) == 0 || c.Listen == "none" {
		return nil, nil
	}
	if strings.HasPrefix(c.Listen, "/") {
		return listenSocket(c.Listen)
	}
	return net.Listen("tcp", c.Listen)
}

// openDatabasePolicy loads the bundle for databases. The embedded one learns from the configuration what may be read
// and what may be changed.
func (s *Sallyport) openDatabasePolicy() (err error) {
	if len(s.Config.Postgres.Databases) == 0 {
		return nil
	}
	if s.Config.Postgres.Policy != "" {
		s.databasePolicy, err = s.doorPolicy(doorDatabases, policy.Config{Dir: s.Config.Postgres.Policy, Alarm: s.policyAlarm, Now: s.Ledger.Now})
		return err
	}
	cfg, err := s.embeddedSQL()
	if err == nil {
		s.databasePolicy, err = s.doorPolicy(doorDatabases, cfg)
	}
	return err
}

func (s *Sallyport) embeddedDatabases() (*policy.PDP, error) {
	cfg, err := s.embeddedSQL()
	if err != nil {
		return nil, err
	}
	return policy.Open(cfg)
}

// embeddedSQL is the embedded pack with the databases that the configuration names.
func (s *Sallyport) embeddedSQL() (policy.Config, error) {
	var read, write []string
	for _, d := range s.Config.Postgres.Databases {
		if d.Mode == "read-write" {
			write = append(write, d.Name)
		} else {
			read = append(read, d.Name)
		}
	}
	params, err := yaml.Marshal(map[string][]string{"databases_read": read, "databases_write": write})
	return policy.Config{Pack: "sql", Params: params, Alarm: s.policyAlarm, Now: s.Ledger.Now}, err
}

// atDatabase reports whether q came through the door for databases. Its tools carry that door's packs, which
// speak for nothing else, and its own protocol methods.
func atDatabase(q *action.Query) bool {
	return q.Subject.Channel.Door == action.DoorEgress && q.Resource.Type == "tool" && strings.HasPrefix(q.Action.Name, "sql.")
}

// postgresDoor wires the door.
func (s *Sallyport) postgresDoor() (*postgres.Door, error) {
	c := &s.Config.Postgres
	cfg := postgres.Config{Enforcer: s.Enforcer, Read: readStatements, Observe: s.observeDatabase, MaxConns: c.MaxConns,
		Authenticate: s.postgresCaller, Standing: func(c *gateway.Caller) (action.Separation, action.Grade, []string) {
			return separationOf(c), c.Grade(action.GradeProxy), c.Held()
		}}
	var err error
	if cfg.TLS, err = s.postgresTLS(); err != nil {
		return nil, err
	}
	for _, d := range c.Databases {
		cfg.Databases = append(cfg.Databases, postgres.Database{Name: d.Name, ReadOnly: d.Mode != "read-write",
			Connect: postgres.Upstream(d.Upstream, func() (string, error) {
				if d.PasswordFile == "" {
					return "", nil
				}
				b, err := os.ReadFile(d.PasswordFile)
				return strings.TrimRight(string(b), "\r\n"), err
			})})
	}
	return postgres.New(cfg)
}

// postgresTLS is what the door shows: the certificate of its own, else that of the other listeners; nil without any.
func (s *Sallyport) postgresTLS() (*tls.Config, error) {
	c := &s.Config.Postgres
	if c.TLSCert == "" {
		t, err := s.listenTLS(true)
		if t != nil {
			t.NextProtos = nil
		}
		return t, err
	}
	pair := &gateway.KeyPair{Cert: c.TLSCert, Key: c.TLSKey, Failed: func(err error) { s.alarm("listen.certificate", err.Error()) }}
	if _, err := pair.Certificate(); err != nil {
		return nil, fmt.Errorf("postgres: tls: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Certificate() }}, nil
}

// readStatements says what the door must know of a text.
func readStatements(text string) postgres.Reading {
	all, ok := sql.Read(sql.Postgres, text)
	r := postgres.Reading{Reads: ok && sql.Worst(all) == action.EffectRead}
	for _, x := range all {
		r.Reads = r.Reads && !x.Control
	}
	if len(all) == 1 && all[0].Verb == "DEALLOCATE" && all[0].Control {
		r.Deallocate = all[0].Name
	}
	return r
}

// observeDatabase pins the tools of a database: they are the door's own.
func (s *Sallyport) observeDatabase(ctx context.Context, c *gateway.Caller, name string) error {
	d, ok := s.Config.Postgres.database(name)
	if !ok {
		return fmt.Errorf("postgres: there is no database %q", name)
	}
	up := tools.Upstream{Tenant: c.Subject.Tenant, Server: d.Name, Transport: tools.API, Kind: "postgres-read-only", Zone: action.ZoneOutside}
	if d.Mode == "read-write" {
		up.Kind = "postgres"
	}
	if d.Zone == "inside" {
		up.Zone = action.ZoneInside
	}
	var defs []tools.Definition
	for _, raw := range postgres.Definitions(d.Name) {
		def, err := tools.ReadDefinition(raw)
		if err != nil {
			return err
		}
		defs = append(defs, def)
	}
	_, err := s.Tools.Observe(ctx, up, defs)
	return err
}
