// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
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

// chain starts a chain for developers, as test/ethereum/install.sh puts it there, and returns its address and an
// account that it holds the key of.
func chain(t *testing.T) (url, account string) {
	t.Helper()
	cli := filepath.Join("..", "..", ".cache", "ethereum", "node_modules", "ganache", "dist", "node", "cli.js")
	if _, err := os.Stat(cli); err != nil {
		t.Skip("ganache is not installed")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", cli, "--server.host", "127.0.0.1", "--server.port", port, "--logging.quiet")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	url = "http://127.0.0.1:" + port
	e := Ethereum{URL: url, Client: &http.Client{Timeout: 30 * time.Second}}
	var accounts []string
	for range 600 {
		if err = e.call(t.Context(), &accounts, "eth_accounts"); err == nil && len(accounts) > 0 {
			return url, accounts[0]
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("the chain does not start: %v\n%s", err, said.String())
	return "", ""
}

// TestEthereumReceiptIsOfTheCheckpoint runs against a real node: several transactions in one block, ours among them.
func TestEthereumReceiptIsOfTheCheckpoint(t *testing.T) {
	url, account := chain(t)
	e := Ethereum{URL: url, From: account, Client: http.DefaultClient}
	call := func(out any, method string, params ...any) {
		t.Helper()
		if err := e.call(t.Context(), out, method, params...); err != nil {
			t.Fatal(err)
		}
	}
	// A block with others in it: mining stops until all of them wait.
	call(new(any), "miner_stop")
	for i := range 5 {
		call(new(any), "eth_sendTransaction", map[string]string{"from": account, "to": account, "value": fmt.Sprintf("0x%x", i+1)})
	}
	checkpoint := []byte("a checkpoint\n")
	done := make(chan error, 1)
	var token Token
	go func() {
		var err error
		token, err = e.Anchor(t.Context(), checkpoint)
		done <- err
	}()
	for waiting, end := 0, time.Now().Add(time.Minute); waiting < 6; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d transactions wait", waiting)
		}
		var pool struct {
			Pending map[string]map[string]any `json:"pending"`
		}
		call(&pool, "txpool_content")
		waiting = 0
		for _, of := range pool.Pending {
			waiting += len(of)
		}
	}
	call(new(any), "miner_start")
	if err := <-done; err != nil || token.Kind != KindEthereum {
		t.Fatal(err)
	}
	checkEthereum(t, token.Data, checkpoint)
}

func checkEthereum(t *testing.T, data, checkpoint []byte) {
	t.Helper()
	var p ethereumProof
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	t.Logf("receipt %d, %d nodes", p.Index, len(p.Nodes))
	hash := [32]byte(keccak(unhex(t, p.Header)))
	trust := Trust{}
	var err error
	if trust.Hashes, err = ReadBlockHashes([]byte("# final\n\n0x" + hex.EncodeToString(hash[:]) + "\n800000 00\n")); err != nil {
		t.Fatal(err)
	}
	if c, err := Verify(KindEthereum, data, checkpoint, trust); err != nil || !c.Trusted || c.Time.IsZero() || !strings.Contains(c.Signer, hex.EncodeToString(hash[:])) {
		t.Errorf("%+v, %v", c, err)
	}
	for name, tr := range map[string]Trust{"no block": {}, "another block": {Hashes: map[[32]byte]bool{{1}: true}}} {
		if c, err := Verify(KindEthereum, data, checkpoint, tr); err != nil || c.Trusted || !c.Time.IsZero() {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	if c, err := Verify(KindEthereum, data, []byte("another checkpoint\n"), trust); err == nil {
		t.Errorf("another checkpoint: %+v", c)
	}
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 1
		if c, err := Verify(KindEthereum, bad, checkpoint, trust); err == nil && c.Trusted {
			t.Errorf("byte %d changed, around %q: %+v", i, bad[max(0, i-20):min(len(bad), i+20)], c)
		}
	}
}

func TestEthereumNodeThatMisbehavesIsRefused(t *testing.T) {
	for name, answers := range map[string]map[string]string{
		"no JSON":          {"eth_sendTransaction": `<html>`},
		"an error":         {"eth_sendTransaction": `{"error":{"message":"insufficient funds"}}`},
		"no block":         {"eth_sendTransaction": `{"result":"0x01"}`, "eth_getTransactionReceipt": `{"result":{"blockHash":"0x02","transactionIndex":"0x0"}}`, "eth_getBlockByHash": `{"result":null}`},
		"no header":        {"eth_sendTransaction": `{"result":"0x01"}`, "eth_getTransactionReceipt": `{"result":{"blockHash":"0x02","transactionIndex":"0x0"}}`, "eth_getBlockByHash": `{"result":{"transactions":[]}}`},
		"a receipt of air": {"eth_sendTransaction": `{"result":"0x01"}`, "eth_getTransactionReceipt": `{"error":{"message":"no"}}`},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var in struct{ Method string }
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
				t.Error(err)
			}
			_, _ = w.Write([]byte(answers[in.Method]))
		}))
		if token, err := (Ethereum{URL: srv.URL, From: "0x" + strings.Repeat("00", 20)}).Anchor(t.Context(), []byte("x")); err == nil {
			t.Errorf("%s: %+v", name, token)
		}
		srv.Close()
	}
	if _, err := (Ethereum{From: "me"}).Anchor(t.Context(), []byte("x")); err == nil {
		t.Error("an account that is none")
	}
}

func FuzzEthereum(f *testing.F) {
	f.Add([]byte(`{"header":"0xc0","index":0,"nodes":["0xc20102"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := Verify(KindEthereum, data, []byte("y"), Trust{}); err == nil {
			t.Fatalf("%+v", c)
		}
	})
}
