// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// KindEthereum is the kind of receipts in a block of an Ethereum chain. Their data is a JSON object with the block's
// header, the number of the receipt and the nodes from the header's root of receipts to it.
const KindEthereum = "ethereum"

// Bounds of what a node may answer, and how long it may take until a block holds the transaction.
const (
	maxBlockBytes   = 32 << 20
	maxReceipts     = 4096
	ethereumPoll    = time.Second
	ethereumPatient = 3 * time.Minute
)

// Ethereum is a node that holds the key of an account: ours never does. Each anchor is a transaction of that account
// which creates an empty contract whose creation logs the checkpoint's digest, so that the block's receipts show it.
type Ethereum struct {
	URL    string       // of the node's JSON-RPC
	From   string       // the account, "0x" and 40 hexadecimal digits
	Client *http.Client // nil means one with a timeout of 30 s
}

// ethereumProof is what a verifier needs beside the hash of the block.
type ethereumProof struct {
	Header string   `json:"header"` // its RLP; the block's hash is its Keccak-256
	Index  uint64   `json:"index"`  // of the receipt
	Nodes  []string `json:"nodes"`  // from the root of receipts on
}

// Fields of a header by their place. Later forks append others, which the hash covers as they are.
const (
	headerReceipts = 5
	headerNumber   = 8
	headerTime     = 11
	headerFields   = 15
)

// logging is code that logs 32 bytes and leaves an empty contract: PUSH32 digest, PUSH1 0, MSTORE, PUSH1 32, PUSH1 0,
// LOG0, STOP.
func logging(digest [32]byte) string {
	return "0x7f" + hex.EncodeToString(digest[:]) + "600052" + "60206000a0" + "00"
}

// Anchor sends the transaction, waits for a block that holds it, and proves the receipt against that block's header.
// Whether the block is in the chain for good is for the verifier, who brings its hash.
func (e Ethereum) Anchor(ctx context.Context, checkpoint []byte) (Token, error) {
	if b, err := hex.DecodeString(strings.TrimPrefix(e.From, "0x")); err != nil || len(b) != 20 {
		return Token{}, fmt.Errorf("anchor: ethereum: %q is no account", clean(e.From))
	}
	if e.Client == nil {
		e.Client = &http.Client{Timeout: 30 * time.Second}
	}
	ctx, stop := context.WithTimeout(ctx, ethereumPatient)
	defer stop()
	var tx string
	if err := e.call(ctx, &tx, "eth_sendTransaction", map[string]string{"from": e.From, "data": logging(sha256.Sum256(checkpoint))}); err != nil {
		return Token{}, err
	}
	mined, err := e.wait(ctx, tx)
	if err != nil {
		return Token{}, err
	}
	data, err := e.prove(ctx, mined)
	if err != nil {
		return Token{}, err
	}
	if _, err := verifyEthereum(data, checkpoint, nil); err != nil {
		return Token{}, err
	}
	return Token{Kind: KindEthereum, Data: data}, nil
}

// wait returns the receipt once there is one.
func (e Ethereum) wait(ctx context.Context, tx string) (receiptOf, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return receiptOf{}, fmt.Errorf("anchor: ethereum: transaction %s is in no block yet: %w", clean(tx), ctx.Err())
		case <-timer.C:
		}
		var r *receiptOf
		if err := e.call(ctx, &r, "eth_getTransactionReceipt", tx); err != nil {
			return receiptOf{}, err
		}
		if r != nil && r.BlockHash != "" {
			return *r, nil
		}
		timer.Reset(ethereumPoll)
	}
}

// prove fetches the block and all of its receipts, builds their trie anew, and takes the path to ours.
func (e Ethereum) prove(ctx context.Context, mined receiptOf) ([]byte, error) {
	var b *blockOf
	if err := e.call(ctx, &b, "eth_getBlockByHash", mined.BlockHash, false); err != nil {
		return nil, err
	}
	if b == nil || len(b.Transactions) > maxReceipts {
		return nil, fmt.Errorf("anchor: ethereum: no block %s, or one with more than %d transactions", clean(mined.BlockHash), maxReceipts)
	}
	header, err := b.header()
	if err != nil {
		return nil, err
	}
	if want, err := fromHex(mined.BlockHash); err != nil || !bytes.Equal(keccak(header), want) {
		return nil, fmt.Errorf("anchor: ethereum: the header of block %s has a form that is not known", clean(mined.BlockHash))
	}
	var leaves []leafOf
	for i, tx := range b.Transactions {
		var r *receiptOf
		if err := e.call(ctx, &r, "eth_getTransactionReceipt", tx); err != nil {
			return nil, err
		}
		if r == nil {
			return nil, errors.New("anchor: ethereum: a receipt of the block is missing")
		}
		raw, err := r.encode()
		if err != nil {
			return nil, err
		}
		leaves = append(leaves, leafOf{nibbles(rlpNumber(uint64(i))), raw})
	}
	index, err := quantity(mined.TransactionIndex)
	if err != nil {
		return nil, err
	}
	root, nodes, err := trieProof(leaves, rlpNumber(index))
	if err != nil {
		return nil, err
	}
	if want, err := fromHex(b.ReceiptsRoot); err != nil || !bytes.Equal(root, want) {
		return nil, errors.New("anchor: ethereum: the receipts are not those of the block")
	}
	p := ethereumProof{Header: "0x" + hex.EncodeToString(header), Index: index}
	for _, n := range nodes {
		p.Nodes = append(p.Nodes, "0x"+hex.EncodeToString(n))
	}
	return json.Marshal(p)
}

// call is one request of JSON-RPC 2.0.
func (e Ethereum) call(ctx context.Context, out any, method string, params ...any) error {
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("anchor: ethereum: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := e.Client.Do(req)
	if err != nil {
		return fmt.Errorf("anchor: ethereum: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBlockBytes))
	if err != nil {
		return fmt.Errorf("anchor: ethereum: %s: %w", method, err)
	}
	answer := struct {
		Result any `json:"result"`
		Error  *struct {
			Message string `json:"message"`
		} `json:"error"`
	}{Result: out}
	if err := json.Unmarshal(data, &answer); err != nil {
		return fmt.Errorf("anchor: ethereum: %s: status %d: %w", method, resp.StatusCode, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("anchor: ethereum: %s: %s", method, clean(answer.Error.Message))
	}
	return nil
}

// verifyEthereum checks the receipt against the header that comes with it. It is trusted if the verifier gave the
// hash of that block.
func verifyEthereum(data, checkpoint []byte, blocks map[[32]byte]bool) (Checked, error) {
	var p ethereumProof
	if err := json.Unmarshal(data, &p); err != nil {
		return Checked{}, fmt.Errorf("anchor: ethereum: the proof cannot be read: %w", err)
	}
	raw, err := fromHex(p.Header)
	if err != nil {
		return Checked{}, err
	}
	header, err := readRLP(raw)
	if err != nil || len(header.list) < headerFields || len(header.list[headerReceipts].text) != 32 {
		return Checked{}, errors.New("anchor: ethereum: the header is malformed")
	}
	number, err := header.list[headerNumber].number()
	seconds, err2 := header.list[headerTime].number()
	if err != nil || err2 != nil || seconds >= 1<<40 {
		return Checked{}, errors.New("anchor: ethereum: the header is malformed")
	}
	var nodes [][]byte
	for _, s := range p.Nodes {
		n, err := fromHex(s)
		if err != nil {
			return Checked{}, err
		}
		nodes = append(nodes, n)
	}
	receipt, err := trieValue(header.list[headerReceipts].text, rlpNumber(p.Index), nodes)
	if err != nil {
		return Checked{}, err
	}
	if err := logsDigest(receipt, sha256.Sum256(checkpoint)); err != nil {
		return Checked{}, err
	}
	hash := [32]byte(keccak(raw))
	c := Checked{Signer: fmt.Sprintf("ethereum block %d, 0x%x", number, hash)}
	if blocks[hash] {
		c.Time, c.Trusted = time.Unix(int64(seconds), 0), true //nolint:gosec // bounded above
	}
	return c, nil
}

// ReadBlockHashes parses the hashes of Ethereum blocks that the verifier trusts: 0x and 64 hexadecimal digits on each
// line. Lines that do not begin with 0x are passed over, as ReadBlocks does with these.
func ReadBlockHashes(text []byte) (map[[32]byte]bool, error) {
	out := map[[32]byte]bool{}
	for i, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "0x") {
			continue
		}
		b, err := fromHex(line)
		if err != nil || len(b) != 32 {
			return nil, fmt.Errorf("anchor: blocks: line %d is not 0x and a hash of 32 bytes", i+1)
		}
		out[[32]byte(b)] = true
	}
	return out, nil
}
