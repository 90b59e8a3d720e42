// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// secondPolicy is a bundle that lets reads pass, with a comment that changes its digest.
func secondPolicy(p *place, comment string) string {
	p.write("own/sallyport-bundle.yaml", "version: 1\nname: own\nsequence: 1\n")
	return filepath.Dir(p.write("own/own.rego", "# "+comment+"\npackage sallyport.own\nimport rego.v2\nallow contains {\"id\": \"any\"} if input.phase in {\"before\", \"after\"}\n"))
}

// TestTwoProcessesMustDecideTheSame runs a second decision point as a process of its own, ends it, and starts it with another bundle.
func TestTwoProcessesMustDecideTheSame(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	second := newPlace(t, "policy: {dir: own}\n")
	second.write("config/sallyport/sallyport.yaml", "version: 1\npolicy: {dir: "+secondPolicy(second, "one")+"}\nledger: {segment_bytes: 8388608}\n")
	alone := second.listen("--only", "policy")
	var said struct {
		Key string `json:"decide_key"`
	}
	b, err := os.ReadFile(filepath.Join(second.home, "up.json"))
	if err != nil || json.Unmarshal(b, &said) != nil || said.Key == "" {
		t.Fatalf("the second process tells no key: %v %s", err, b)
	}
	read[any](alone, 200, alone.send("POST", alone.people+"/v1/agents", alone.admin, `{"id":"first","owner":"ann"}`))
	token := alone.token(`{"agent":"first","scopes":["authzen"],"ttl":"1h"}`)

	first := newPlace(t, "")
	first.write("config/sallyport/sallyport.yaml", fmt.Sprintf("version: 1\nledger: {segment_bytes: 8388608}\npolicy:\n  dir: %s\n  second: {url: %q, key: %q, token_file: %s, limit: 10s}\n",
		secondPolicy(first, "one"), alone.agents, said.Key, first.write("second.token", token)))
	d := first.listen()
	bot := d.agent("bot")
	n := 0
	verdict := func() string {
		t.Helper()
		n++
		return read[struct {
			Decision struct {
				Effect string `json:"effect"`
			} `json:"decision"`
		}](d, 200, d.send("POST", d.agents+"/v1/actions", bot, fmt.Sprintf(`{"call_id":"c%d","tool":{"server":"notes","name":"read"},"arguments":{}}`, n))).Decision.Effect
	}
	if got := verdict(); got != "allow" {
		t.Fatalf("both processes permit it, and it is %s", got)
	}
	start := time.Now()
	for range 20 {
		verdict()
	}
	t.Logf("20 actions under two processes took %v", time.Since(start))

	url := alone.agents
	if !second.stopOwner() {
		t.Fatal("the second process is not there")
	}
	for ownerOf(second.data) != 0 && second.ready() {
		time.Sleep(time.Millisecond)
	}
	if got := verdict(); got != "deny" {
		t.Errorf("without the second process it is %s", got)
	}
	secondPolicy(second, "two")
	_, port, _ := strings.Cut(strings.TrimPrefix(url, "http://"), ":")
	other := second.command(t.Context(), "sallyport", "up", "--only", "policy", "--listen", "127.0.0.1:"+port, "--listen-admin", "127.0.0.1:0")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		second.stopOwner()
		_ = other.Wait()
	})
	for !second.ready() || ownerOf(second.data) != other.Process.Pid {
		time.Sleep(time.Millisecond)
	}
	if got := verdict(); got != "deny" {
		t.Errorf("under another bundle of the second process it is %s", got)
	}
	for range 500 {
		out, _, _ := first.run("ledger", "tail", "-n", "20", "--json")
		if strings.Contains(out, "policy.disagreement") && strings.Contains(out, "kernel.pdp") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("no alarm is on record")
}
