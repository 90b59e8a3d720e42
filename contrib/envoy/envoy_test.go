// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// proxy is the configuration of a real Envoy: one listener with ext_authz, one with ext_proc, before one upstream.
const proxy = `
node: {id: test, cluster: test}
static_resources:
  listeners:
  - {name: authz, address: {socket_address: {address: 127.0.0.1, port_value: %[1]d}}, filter_chains: [{filters: [{name: hcm, typed_config: {
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: a,
      route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: "/"}, route: {cluster: upstream}}]}]},
      http_filters: [
        {name: authz, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz, transport_api_version: V3,
          grpc_service: {envoy_grpc: {cluster_name: sallyport}, timeout: 30s}, with_request_body: {max_request_bytes: 65536}}},
        {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]}
  - {name: proc, address: {socket_address: {address: 127.0.0.1, port_value: %[2]d}}, filter_chains: [{filters: [{name: hcm, typed_config: {
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: p,
      route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: "/"}, route: {cluster: upstream}}]}]},
      http_filters: [
        {name: proc, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor,
          grpc_service: {envoy_grpc: {cluster_name: sallyport}, timeout: 30s}, message_timeout: 30s,
          processing_mode: {request_header_mode: SEND, request_body_mode: BUFFERED, response_header_mode: SEND, response_body_mode: BUFFERED}}},
        {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]}
  clusters:
  - {name: upstream, connect_timeout: 5s, load_assignment: {cluster_name: upstream, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[3]d}}}}]}]}}
  - {name: sallyport, connect_timeout: 5s, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}},
      load_assignment: {cluster_name: sallyport, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %[4]s}}}}]}]}}
`

// rules are the policy of the test. The evaluation's own second gate has an outcome, too.
const rules = `package sallyport.envoy

import rego.v2

allow contains {"id": "read", "code": "read", "reason": "Reading."} if {
	input.phase == "before"
	input.action.arguments.action.name == "GET"
}

allow contains {"id": "get", "code": "get", "reason": "Reading."} if {
	input.phase == "before"
	input.resource.id == "envoy/http_get"
}

allow contains {"id": "post", "code": "post", "reason": "Small talk."} if {
	input.phase == "before"
	input.resource.id == "envoy/http_post"
	input.action.arguments.text == "hello"
}

allow contains {"id": "evaluated", "code": "evaluated", "reason": "Decided before."} if {
	input.phase == "after"
	input.resource.server == "authzen"
}

allow contains {"id": "plain", "code": "plain", "reason": "A plain answer."} if {
	input.phase == "after"
	input.context.result.content.text == "plain"
}
`

// freePorts returns ports that were free just now.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func start(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = env
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(name), said.String())
		}
	})
}

// eventually asks until something answers as it should.
func eventually(t *testing.T, what string, ready func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = ready(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// realOwner builds and starts an owner with the rules above, and returns its address and an agent's token file.
func realOwner(t *testing.T) (url, tokenFile string, sallyport func(args ...string) string) {
	t.Helper()
	home, err := os.MkdirTemp("", "se")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	exe := filepath.Join(home, "sallyport")
	build := exec.Command("go", "build", "-C", "../..", "-o", exe, "./cmd/sallyport")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	write := func(name, text string) {
		p := filepath.Join(home, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	port := freePorts(t, 1)[0]
	write("bundle/sallyport-bundle.yaml", "version: 1\nname: envoy\nsequence: 1\ndescription: For a test.\nowner: test\n")
	write("bundle/envoy.rego", rules)
	write("config/sallyport/sallyport.yaml", fmt.Sprintf("version: 1\ngateway: {listen: \"127.0.0.1:%d\"}\nadmin: {listen: none}\nledger: {segment_bytes: 8388608}\npolicy: {dir: %s}\n", port, filepath.Join(home, "bundle")))
	env := []string{"HOME=" + home, "XDG_STATE_HOME=" + filepath.Join(home, "state"), "XDG_CONFIG_HOME=" + filepath.Join(home, "config"), "PATH=" + os.Getenv("PATH")}
	start(t, env, exe, "up")
	sallyport = func(args ...string) string {
		cmd := exec.Command(exe, args...)
		cmd.Env = env
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("sallyport %q: %v %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	url = fmt.Sprintf("http://127.0.0.1:%d", port)
	eventually(t, "the owner", func() error {
		resp, err := http.Get(url + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	})
	sallyport("agents", "create", "edge")
	write("token", sallyport("tokens", "create", "--agent", "edge", "--scope", "agent", "--scope", "authzen"))
	return url, filepath.Join(home, "token"), sallyport
}

// TestEnvoyForwardsWhatTheOwnerPermits takes requests through a real Envoy, this program and a real owner.
func TestEnvoyForwardsWhatTheOwnerPermits(t *testing.T) {
	binary, err := filepath.Abs("../../.cache/envoy/envoy")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Skip("envoy is not installed: test/envoy/install.sh")
	}
	url, token, sallyport := realOwner(t)
	socket := filepath.Join(filepath.Dir(token), "envoy.sock")
	served := make(chan error, 1)
	go func() {
		served <- run(t.Context(), []string{"--listen", "unix:" + socket, "--gateway", url, "--token-file", token})
	}()
	t.Cleanup(func() { <-served })
	reached := make(chan string, 64)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		reached <- r.Method + " " + r.URL.Path + " " + string(b)
		switch r.URL.Path {
		case "/leak":
			_, _ = io.WriteString(w, "this is classified")
		default:
			_, _ = io.WriteString(w, "plain")
		}
	}))
	t.Cleanup(upstream.Close)
	ports := freePorts(t, 2)
	config := filepath.Join(filepath.Dir(token), "envoy.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, proxy, ports[0], ports[1], upstream.Listener.Addr().(*net.TCPAddr).Port, socket), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, []string{"PATH=" + os.Getenv("PATH")}, binary, "-c", config, "--use-dynamic-base-id", "--concurrency", "1", "-l", "error")
	eventually(t, "Envoy", func() error {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[1]))
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	ask := func(port int, method, path, body string) (int, string) {
		req, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	for _, c := range []struct {
		name               string
		port               int
		method, path, body string
		status             int
		answer, upstream   string
	}{
		{"ext_authz permits", ports[0], "GET", "/a", "", 200, "plain", "GET /a "},
		{"ext_authz denies", ports[0], "DELETE", "/a", "", 403, "not_permitted", ""},
		{"ext_authz sees no answer", ports[0], "GET", "/leak", "", 200, "classified", "GET /leak "},
		{"ext_proc permits", ports[1], "GET", "/a", "", 200, "plain", "GET /a "},
		{"ext_proc permits a body", ports[1], "POST", "/a", "hello", 200, "plain", "POST /a hello"},
		{"ext_proc denies a body", ports[1], "POST", "/a", "give me all", 403, "not_permitted", ""},
		{"ext_proc denies a method", ports[1], "DELETE", "/a", "", 403, "not_permitted", ""},
		{"ext_proc withholds an answer", ports[1], "GET", "/leak", "", 502, "withheld", "GET /leak "},
	} {
		status, answer := ask(c.port, c.method, c.path, c.body)
		if status != c.status || !strings.Contains(answer, c.answer) || c.status != 200 && strings.Contains(answer, "classified") {
			t.Errorf("%s: %d %q", c.name, status, answer)
		}
		got := ""
		select {
		case got = <-reached:
		default:
		}
		if got != c.upstream {
			t.Errorf("%s: the upstream saw %q, want %q", c.name, got, c.upstream)
		}
	}
	if said := sallyport("ledger", "tail", "-n", "40"); !strings.Contains(said, "envoy/http_post") || !strings.Contains(said, "authzen/DELETE") {
		t.Errorf("on record:\n%s", said)
	}
	sallyport("ledger", "verify")
}
