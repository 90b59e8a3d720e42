// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The bounds of a message.
const (
	MaxHeaderBytes  = 4 << 10
	MaxMessageBytes = 16 << 20
)

// errMalformed ends a connection: where one message does not end, the next cannot begin.
var errMalformed = errors.New("lsp: malformed message")

// readMessage reads one message: headers, an empty line, and as many bytes as Content-Length says.
func readMessage(r *bufio.Reader) ([]byte, error) {
	length, read := -1, 0
	for {
		line, err := r.ReadSlice('\n')
		if read += len(line); read > MaxHeaderBytes || errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("%w: headers of more than %d bytes", errMalformed, MaxHeaderBytes)
		}
		if err != nil {
			if read == 0 && errors.Is(err, io.EOF) {
				return nil, io.EOF
			}
			return nil, fmt.Errorf("%w: it ends within the headers", errMalformed)
		}
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			break
		}
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			return nil, fmt.Errorf("%w: a header without a colon", errMalformed)
		}
		if !strings.EqualFold(name, "Content-Length") {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31)
		if err != nil || length >= 0 || n > MaxMessageBytes {
			return nil, fmt.Errorf("%w: Content-Length wants to be one number up to %d", errMalformed, MaxMessageBytes)
		}
		length = int(n)
	}
	if length < 0 {
		return nil, fmt.Errorf("%w: no Content-Length", errMalformed)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, fmt.Errorf("%w: it ends after fewer than %d bytes", errMalformed, length)
	}
	return body, nil
}

// message is one of JSON-RPC 2.0 as it comes in. A request has an id, a notification has none.
type message struct {
	Version string         `json:"jsonrpc"`
	ID      jsontext.Value `json:"id"`
	Method  string         `json:"method"`
	Params  jsontext.Value `json:"params"`
}

// fault is the error of an answer.
type fault struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (f *fault) Error() string { return f.Message }

// The codes of JSON-RPC and of the protocol.
const (
	parseError     = -32700
	invalidRequest = -32600
	methodNotFound = -32601
	invalidParams  = -32602
	notInitialized = -32002
)

type object = map[string]any

// writer sends whole messages; it is safe for concurrent use.
type writer struct {
	mu  sync.Mutex // guards w; held across a write, so that messages do not mix
	w   io.Writer
	err error // the first that a write gave; nothing is sent after it
}

func (w *writer) send(v object) {
	v["jsonrpc"] = "2.0"
	data, err := json.Marshal(v, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	if w.err = err; err == nil {
		_, w.err = fmt.Fprintf(w.w, "Content-Length: %d\r\n\r\n%s", len(data), data)
	}
}

func (w *writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
