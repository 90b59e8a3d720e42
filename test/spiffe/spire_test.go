// SPDX-License-Identifier: Apache-2.0

package spiffe

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/identity"
)

// spire is a real SPIRE server with an agent of its own. "make soak" builds them, or a hand, because that takes minutes:
//
//	cd test/spiffe/spire && go build -o ../../../.cache/spire/ github.com/spiffe/spire/cmd/spire-server github.com/spiffe/spire/cmd/spire-agent
type spire struct {
	t             *testing.T
	dir, bin      string
	parent        string // SPIFFE id of the agent
	agent, server string // sockets
}

func program(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../.cache/spire")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"spire-server", "spire-agent"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Skipf("%s is not installed (see the comment on this test)", name)
		}
	}
	return dir
}

// eventually waits for what other processes do. Each look starts a process.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 300 {
		if ok() {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Fatalf("%s does not come", what)
}

// ask runs a command of the server.
func (s *spire) ask(args ...string) (string, error) {
	args = append(args, "-socketPath", s.server)
	out, err := exec.Command(filepath.Join(s.bin, "spire-server"), args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("spire-server %q: %w: %s", args, err, out)
	}
	return string(out), err
}

func (s *spire) must(args ...string) string {
	s.t.Helper()
	out, err := s.ask(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// start runs a program until the test ends.
func (s *spire) start(name string, args ...string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, name), args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if s.t.Failed() {
			s.t.Logf("%s: %s", name, log.String())
		}
	})
}

func (s *spire) write(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func startSPIRE(t *testing.T) *spire {
	t.Helper()
	s := &spire{t: t, bin: program(t)}
	var err error
	if s.dir, err = os.MkdirTemp("", "sp"); err != nil { // short: it holds sockets
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(s.dir) })
	s.server, s.agent = filepath.Join(s.dir, "server.sock"), filepath.Join(s.dir, "agent.sock")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	s.start("spire-server", "run", "-config", s.write("server.conf", fmt.Sprintf(`
server { bind_address = "127.0.0.1" bind_port = %q socket_path = %q trust_domain = "example.org" data_dir = %q log_level = "WARN" default_x509_svid_ttl = "2m" }
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = %q } }
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "memory" { plugin_data {} }
}`, port, s.server, s.dir, filepath.Join(s.dir, "server.db"))))
	eventually(t, "the server", func() bool { _, err := s.ask("healthcheck"); return err == nil })
	bundle := s.write("bundle.pem", s.must("bundle", "show"))
	token, _, _ := strings.Cut(strings.TrimPrefix(s.must("token", "generate"), "Token: "), "\n") // a warning follows
	s.parent = "spiffe://example.org/spire/agent/join_token/" + token
	s.start("spire-agent", "run", "-joinToken", token, "-config", s.write("agent.conf", fmt.Sprintf(`
agent { data_dir = %q log_level = "WARN" server_address = "127.0.0.1" server_port = %q socket_path = %q trust_bundle_path = %q trust_domain = "example.org"
  experimental { sync_interval = "1s" } }
plugins {
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "memory" { plugin_data {} }
  WorkloadAttestor "unix" { plugin_data { discover_workload_path = true } }
}`, s.dir, port, s.agent, bundle)))
	eventually(t, "the agent", func() bool {
		return exec.Command(filepath.Join(s.bin, "spire-agent"), "healthcheck", "-socketPath", s.agent).Run() == nil
	})
	return s
}

// enter lets the program at path be the workload id; it returns the entry.
func (s *spire) enter(id, path string) string {
	s.t.Helper()
	out := s.must("entry", "create", "-parentID", s.parent, "-spiffeID", id, "-selector", "unix:path:"+path, "-output", "json")
	var made struct {
		Results []struct {
			Entry struct {
				ID string `json:"id"`
			} `json:"entry"`
		} `json:"results"`
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil || len(made.Results) != 1 || made.Results[0].Entry.ID == "" {
		s.t.Fatalf("%v: %s", err, out)
	}
	return made.Results[0].Entry.ID
}

// workload fetches the certificate of another program than ours: the agent's own command, as SPIRE knows it.
func (s *spire) workload() (*tls.Certificate, *x509.CertPool, error) {
	dir, err := os.MkdirTemp(s.dir, "svid")
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(s.bin, "spire-agent"), "api", "fetch", "x509", "-socketPath", s.agent, "-write", dir, "-timeout", "2s").CombinedOutput()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s", err, out)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "svid.0.pem"), filepath.Join(dir, "svid.0.key"))
	if err != nil {
		return nil, nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "bundle.0.pem"))
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return &pair, pool, nil
}

// authority is the id of the server's authority that a state names.
func (s *spire) authority(state string) string {
	s.t.Helper()
	out := s.must("localauthority", "x509", "show", "-output", "json")
	var all map[string]struct {
		ID string `json:"authority_id"`
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil || all[state].ID == "" {
		s.t.Fatalf("no authority that is %s: %v: %s", state, err, out)
	}
	return all[state].ID
}

// ownerUnder opens an owner that takes who it is, and who agents are, from a workload API.
func ownerUnder(t *testing.T, socket string) (*sallyport.Sallyport, string) {
	t.Helper()
	cfg := sallyport.DefaultConfig()
	cfg.Data = filepath.Join(t.TempDir(), "d")
	cfg.Gateway.Listen, cfg.Admin.Listen, cfg.Ledger.SegmentBytes = "127.0.0.1:0", "none", 8<<20
	cfg.Federation.SPIFFE = sallyport.FederationSPIFFE{Socket: "unix://" + socket, Agents: []sallyport.FederationAgent{{ID: "spiffe://example.org/payer", Agent: "payer"}}}
	s, err := sallyport.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, job := range []func() error{func() error { return s.Run(ctx) }, func() error { return s.Serve(ctx, l) }} {
		wg.Go(func() {
			if err := job(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.Tokens.CreateAgent(ctx, identity.AgentSpec{ID: "payer", By: "test"}); err != nil {
		t.Fatal(err)
	}
	return s, l.Agents.Addr().String()
}

// TestARealSPIRENamesOwnerAndAgents runs an owner and an agent of ours as workloads of a SPIRE server and agent: they meet
// by certificates that nobody has handed out. Then the server's authority is exchanged and the old one withdrawn, and
// the owner's own entry is deleted.
func TestARealSPIRENamesOwnerAndAgents(t *testing.T) {
	s := startSPIRE(t)
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		t.Fatal(err)
	}
	gateway := s.enter("spiffe://example.org/gateway", self)
	payer := s.enter("spiffe://example.org/payer", filepath.Join(s.bin, "spire-agent"))
	_, addr := ownerUnder(t, s.agent)

	status := func(pair *tls.Certificate, roots *x509.CertPool) (int, error) {
		tr := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*pair},
			InsecureSkipVerify: true, VerifyConnection: func(c tls.ConnectionState) error { // a SPIFFE id is no host name
				if len(c.PeerCertificates[0].URIs) != 1 || c.PeerCertificates[0].URIs[0].String() != "spiffe://example.org/gateway" {
					return errors.New("not the gateway")
				}
				between := x509.NewCertPool()
				for _, i := range c.PeerCertificates[1:] {
					between.AddCert(i)
				}
				_, err := c.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
				return err
			}}}
		resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Post("https://"+addr+"/v1/sessions", "application/json", strings.NewReader("{}"))
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	var first *tls.Certificate
	var roots *x509.CertPool
	acts := func() bool {
		pair, pool, err := s.workload()
		if err != nil {
			return false
		}
		code, err := status(pair, pool)
		first, roots = pair, pool
		return err == nil && code == http.StatusOK
	}
	eventually(t, "an agent that acts by its SVID", acts)

	s.must("localauthority", "x509", "prepare")
	s.must("localauthority", "x509", "activate", "-authorityID", s.authority("prepared"))
	old, oldRoots, gone := first, roots, s.authority("old")
	s.must("localauthority", "x509", "taint", "-authorityID", gone)
	s.must("localauthority", "x509", "revoke", "-authorityID", gone)
	eventually(t, "an agent that acts under the new authority", func() bool {
		return acts() && !bytes.Equal(first.Certificate[0], old.Certificate[0])
	})
	eventually(t, "the end of what the old authority signed", func() bool {
		code, err := status(old, roots)
		return err == nil && code == http.StatusUnauthorized
	})
	if _, err := status(first, oldRoots); err == nil {
		t.Error("the owner still shows a certificate of the old authority")
	}

	s.must("entry", "delete", "-entryID", payer)
	eventually(t, "an agent that is nobody", func() bool { _, _, err := s.workload(); return err != nil })
	s.must("entry", "delete", "-entryID", gateway)
	eventually(t, "an owner that is nobody", func() bool { _, err := status(first, roots); return err != nil })
}
