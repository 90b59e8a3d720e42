// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// blockOf is a block as eth_getBlockByHash answers it. Which of the later fields there are says by which rules it was
// made; another field that the hash covers makes the hash differ, and is noticed.
type blockOf struct {
	ParentHash            string   `json:"parentHash"`
	Sha3Uncles            string   `json:"sha3Uncles"`
	Miner                 string   `json:"miner"`
	StateRoot             string   `json:"stateRoot"`
	TransactionsRoot      string   `json:"transactionsRoot"`
	ReceiptsRoot          string   `json:"receiptsRoot"`
	LogsBloom             string   `json:"logsBloom"`
	Difficulty            string   `json:"difficulty"`
	Number                string   `json:"number"`
	GasLimit              string   `json:"gasLimit"`
	GasUsed               string   `json:"gasUsed"`
	Timestamp             string   `json:"timestamp"`
	ExtraData             string   `json:"extraData"`
	MixHash               string   `json:"mixHash"`
	Nonce                 string   `json:"nonce"`
	BaseFeePerGas         string   `json:"baseFeePerGas"`
	WithdrawalsRoot       string   `json:"withdrawalsRoot"`
	BlobGasUsed           string   `json:"blobGasUsed"`
	ExcessBlobGas         string   `json:"excessBlobGas"`
	ParentBeaconBlockRoot string   `json:"parentBeaconBlockRoot"`
	RequestsHash          string   `json:"requestsHash"`
	Transactions          []string `json:"transactions"`
}

// header encodes the block's header.
func (b *blockOf) header() ([]byte, error) {
	var items [][]byte
	add := func(encode func(string) ([]byte, error), fields ...string) error {
		for _, f := range fields {
			raw, err := encode(f)
			if err != nil {
				return err
			}
			items = append(items, raw)
		}
		return nil
	}
	err := errors.Join(
		add(hexText, b.ParentHash, b.Sha3Uncles, b.Miner, b.StateRoot, b.TransactionsRoot, b.ReceiptsRoot, b.LogsBloom),
		add(hexNumber, b.Difficulty, b.Number, b.GasLimit, b.GasUsed, b.Timestamp),
		add(hexText, b.ExtraData, b.MixHash, b.Nonce))
	for _, later := range []struct {
		encode func(string) ([]byte, error)
		field  string
	}{{hexNumber, b.BaseFeePerGas}, {hexText, b.WithdrawalsRoot}, {hexNumber, b.BlobGasUsed}, {hexNumber, b.ExcessBlobGas},
		{hexText, b.ParentBeaconBlockRoot}, {hexText, b.RequestsHash}} {
		if later.field == "" {
			break
		}
		err = errors.Join(err, add(later.encode, later.field))
	}
	if err != nil {
		return nil, err
	}
	return rlpList(items...), nil
}

// receiptOf is a receipt as eth_getTransactionReceipt answers it.
type receiptOf struct {
	BlockHash         string `json:"blockHash"`
	TransactionIndex  string `json:"transactionIndex"`
	Type              string `json:"type"`
	Root              string `json:"root"` // in place of the status, in the first years
	Status            string `json:"status"`
	CumulativeGasUsed string `json:"cumulativeGasUsed"`
	LogsBloom         string `json:"logsBloom"`
	Logs              []struct {
		Address string   `json:"address"`
		Topics  []string `json:"topics"`
		Data    string   `json:"data"`
	} `json:"logs"`
}

// encode is the receipt as the trie holds it (EIP-2718).
func (r *receiptOf) encode() ([]byte, error) {
	outcome, err := hexNumber(r.Status)
	if r.Status == "" {
		outcome, err = hexText(r.Root)
	}
	gas, err2 := hexNumber(r.CumulativeGasUsed)
	bloom, err3 := hexText(r.LogsBloom)
	err = errors.Join(err, err2, err3)
	var logs [][]byte
	for _, l := range r.Logs {
		address, err1 := hexText(l.Address)
		data, err2 := hexText(l.Data)
		err = errors.Join(err, err1, err2)
		var topics [][]byte
		for _, t := range l.Topics {
			topic, err1 := hexText(t)
			err, topics = errors.Join(err, err1), append(topics, topic)
		}
		logs = append(logs, rlpList(address, rlpList(topics...), data))
	}
	if err != nil {
		return nil, err
	}
	body := rlpList(outcome, gas, bloom, rlpList(logs...))
	kind := uint64(0)
	if r.Type != "" {
		if kind, err = quantity(r.Type); err != nil || kind >= 0x80 {
			return nil, fmt.Errorf("anchor: ethereum: a receipt of type %q", clean(r.Type))
		}
	}
	if kind == 0 {
		return body, nil
	}
	return append([]byte{byte(kind)}, body...), nil
}

// logsDigest holds that a receipt is of a transaction that succeeded and logged the digest, and nothing with it.
func logsDigest(receipt []byte, digest [32]byte) error {
	if len(receipt) > 0 && receipt[0] < 0x80 {
		receipt = receipt[1:] // its type
	}
	r, err := readRLP(receipt)
	if err != nil || len(r.list) != 4 || !r.list[3].is {
		return errors.New("anchor: ethereum: the receipt is malformed")
	}
	if status, err := r.list[0].number(); err != nil || status != 1 {
		return errors.New("anchor: ethereum: the transaction failed")
	}
	for _, l := range r.list[3].list {
		if len(l.list) == 3 && l.list[1].is && len(l.list[1].list) == 0 && bytes.Equal(l.list[2].text, digest[:]) {
			return nil
		}
	}
	return errors.New("anchor: ethereum: the receipt is about something else than the checkpoint")
}

var errHex = errors.New("anchor: ethereum: no hexadecimal value")

func fromHex(s string) ([]byte, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	b, err := hex.DecodeString(digits)
	if !ok || err != nil {
		return nil, errHex
	}
	return b, nil
}

func hexText(s string) ([]byte, error) {
	b, err := fromHex(s)
	return rlpText(b), err
}

func hexNumber(s string) ([]byte, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	n, valid := new(big.Int).SetString(digits, 16)
	if !ok || !valid || n.Sign() < 0 || n.BitLen() > 256 {
		return nil, errHex
	}
	return rlpText(n.Bytes()), nil
}

func quantity(s string) (uint64, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	n, valid := new(big.Int).SetString(digits, 16)
	if !ok || !valid || !n.IsUint64() {
		return 0, errHex
	}
	return n.Uint64(), nil
}
