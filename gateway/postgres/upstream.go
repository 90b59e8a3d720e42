// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// CheckUpstream refuses a connection string that leaves open where it leads or whether others can listen, or that
// holds a secret.
func CheckUpstream(dsn string) error {
	seen := map[string]string{}
	for _, w := range strings.Fields(dsn) {
		k, v, ok := strings.Cut(w, "=")
		switch {
		case !ok || v == "":
			return fmt.Errorf("upstream: %q is no key=value", w)
		case k == "password" || k == "passfile" || k == "sslpassword" || k == "service" || k == "servicefile":
			return fmt.Errorf("upstream: %q does not belong here; hint: use password_file", k)
		}
		seen[k] = v
	}
	for _, k := range []string{"host", "user", "dbname"} {
		if seen[k] == "" {
			return fmt.Errorf("upstream: %s is missing", k)
		}
	}
	ip := net.ParseIP(seen["host"])
	if local := strings.HasPrefix(seen["host"], "/") || seen["host"] == "localhost" || ip != nil && ip.IsLoopback(); !local && seen["sslmode"] == "" {
		return errors.New("upstream: sslmode is missing; hint: sslmode=verify-full")
	}
	return nil
}

// Upstream returns a Database.Connect for a connection string that CheckUpstream accepts. The password is read anew
// for each connection. Of our environment and of files in our home nothing is used.
func Upstream(dsn string, password func() (string, error)) func() (*pgconn.Config, error) {
	return func() (*pgconn.Config, error) {
		if err := CheckUpstream(dsn); err != nil {
			return nil, err
		}
		full := dsn // connections are opened at the same time
		if !strings.Contains(" "+dsn, " port=") {
			full += " port=5432"
		}
		if !strings.Contains(" "+dsn, " sslmode=") {
			full += " sslmode=prefer"
		}
		cfg, err := pgconn.ParseConfig(full + " passfile=/nonexistent servicefile=/nonexistent")
		if err != nil {
			return nil, err
		}
		cfg.RuntimeParams = map[string]string{}
		cfg.Password, err = password()
		if err != nil {
			return nil, fmt.Errorf("password: %w", err)
		}
		for _, f := range cfg.Fallbacks {
			if f.Host != cfg.Host {
				return nil, fmt.Errorf("upstream: host %q is more than one", cfg.Host)
			}
		}
		return cfg, nil
	}
}

// Definitions are the tools of a database, as a listing would say them.
func Definitions(name string) [][]byte {
	schema := func(props string) string { return `{"type":"object","properties":{` + props + `}}` }
	text := func(n string) string { return `"` + n + `":{"type":"string"}` }
	def := func(tool, what, props string) []byte {
		return []byte(`{"name":"` + tool + `","description":"` + what + `","inputSchema":` + schema(props) + `}`)
	}
	return [][]byte{
		def("query", "Runs statements on a database.", text("sql")+`,"params":{"type":"array"}`),
		def("prepare", "Prepares a statement on a database without running it.", text("sql")+`,"params":{"type":"array"}`),
		def("copy", "Carries a piece of data into a database.", text("sql")+","+text("data")),
	}
}
