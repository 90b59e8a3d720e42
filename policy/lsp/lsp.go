// SPDX-License-Identifier: Apache-2.0

// Package lsp is a language server for policy bundles: what lint finds stands beside the line while it is written,
// facts are completed from agent.v1, and a fact under the pointer is explained.
//
// It speaks the Language Server Protocol 3.17 over one pair of streams: initialize, shutdown, exit, didOpen, didChange
// (whole texts), didSave, didClose, publishDiagnostics, completion and hover. A document belongs to the bundle whose
// manifest stands in its folder or in the nearest one above it; documents that are open are linted as they are on the
// screen, the rest of their bundle as it is on disk.
//
// # What it trusts
//
// The client is the user's own editor and reads what the user can read. Messages, open documents and what is kept of
// them are bounded all the same, so that a confused client ends the server and not the machine.
package lsp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/policy"
)

// The bounds of what is kept of a client's documents.
const (
	MaxDocuments     = 256
	MaxDocumentBytes = 32 << 20 // of all together
)

// DefaultQuiet is how long a document has to be left alone before its bundle is linted.
const DefaultQuiet = 200 * time.Millisecond

// Config is what a server is made of. Its zero value works.
type Config struct {
	Version string        // of the program, for the client's log
	Quiet   time.Duration // 0 means DefaultQuiet, less than 0 none
	Bytes   int           // of all open documents together; 0 means MaxDocumentBytes

	// Lint says what is wrong with the bundle in dir, with the files of overlay in place of its own. Nil means
	// policy.LintFiles.
	Lint func(ctx context.Context, dir string, overlay map[string][]byte) (policy.LintReport, error)
}

// ErrNoShutdown is returned by Serve for a client that went away without saying so.
var ErrNoShutdown = errors.New("lsp: the client ended without a shutdown")

// Serve answers one client until it sends exit, its stream ends, it sends what is no message, or ctx ends. r must end
// when ctx does, as standard input of a program that is interrupted. Everything that Serve started has ended when it
// returns.
func Serve(ctx context.Context, cfg Config, r io.Reader, w io.Writer) error {
	if cfg.Quiet == 0 {
		cfg.Quiet = DefaultQuiet
	}
	if cfg.Bytes == 0 {
		cfg.Bytes = MaxDocumentBytes
	}
	if cfg.Lint == nil {
		cfg.Lint = policy.LintFiles
	}
	s := &server{cfg: cfg, out: &writer{w: w}, docs: map[string]*document{}, dirty: map[string]bool{}, wake: make(chan struct{}, 1), told: map[string]map[string]bool{}}
	ctx, stop := context.WithCancel(ctx)
	var linter sync.WaitGroup
	linter.Go(func() { s.lint(ctx) })
	err := s.serve(ctx, bufio.NewReaderSize(r, MaxHeaderBytes))
	stop()
	linter.Wait()
	return err
}

type server struct {
	cfg Config
	out *writer

	mu    sync.Mutex           // guards docs and dirty; never held across a lint or a write
	docs  map[string]*document // by URI
	bytes int                  // of all docs
	dirty map[string]bool      // folders of bundles that changed since they were linted
	wake  chan struct{}        // has room for one; told after dirty grew

	told map[string]map[string]bool // owned by lint: the URIs with findings, by bundle

	ready, ended bool // owned by serve: after initialize, after shutdown
}

type document struct {
	uri, root, name string // root is "" for a document of no bundle
	version         int64
	text            string
}

func (s *server) serve(ctx context.Context, r *bufio.Reader) error {
	for ctx.Err() == nil {
		body, err := readMessage(r)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, io.EOF) {
				if s.ended {
					return nil
				}
				return ErrNoShutdown
			}
			return err
		}
		var m message
		if err := json.Unmarshal(body, &m); err != nil || m.Version != "2.0" {
			s.answer(nil, nil, &fault{parseError, "one object of JSON-RPC 2.0 is wanted"})
			continue
		}
		if m.Method == "exit" {
			if !s.ended {
				return ErrNoShutdown
			}
			return nil
		}
		s.take(&m)
		if err := s.out.failed(); err != nil {
			return fmt.Errorf("lsp: %w", err)
		}
	}
	return nil
}

// take does what one message asks for.
func (s *server) take(m *message) {
	request := len(m.ID) > 0
	if k := m.ID.Kind(); request && k != '"' && k != '0' {
		s.answer(nil, nil, &fault{invalidRequest, "an id is a text or a number"})
		return
	}
	var result any
	var err *fault
	switch {
	case m.Method == "":
		return // an answer to what was never asked
	case s.ended:
		err = &fault{invalidRequest, "the server was shut down"}
	case m.Method == "initialize" && !s.ready:
		s.ready, result = true, s.capabilities()
	case !s.ready:
		err = &fault{notInitialized, "initialize comes first"}
	case request:
		result, err = s.request(m)
	default:
		s.notice(m)
	}
	if request {
		s.answer(m.ID, result, err)
	}
}

func (s *server) capabilities() object {
	return object{
		"serverInfo": object{"name": "sallyport policy lsp", "version": s.cfg.Version},
		"capabilities": object{
			"positionEncoding":   "utf-16",
			"textDocumentSync":   object{"openClose": true, "change": 1, "save": object{"includeText": false}},
			"completionProvider": object{"triggerCharacters": []string{".", "\""}},
			"hoverProvider":      true,
		},
	}
}

func (s *server) request(m *message) (any, *fault) {
	switch m.Method {
	case "shutdown":
		s.ended = true
		return nil, nil
	case "textDocument/completion", "textDocument/hover":
		var p struct {
			TextDocument struct {
				URI string `json:"uri"`
			} `json:"textDocument"`
			Position position `json:"position"`
		}
		if json.Unmarshal(m.Params, &p) != nil {
			return nil, &fault{invalidParams, "a document and a position are wanted"}
		}
		s.mu.Lock()
		d := s.docs[p.TextDocument.URI]
		var text, name string
		if d != nil {
			text, name = d.text, d.name
		}
		s.mu.Unlock()
		if d == nil {
			return nil, &fault{invalidParams, "the document is not open"}
		}
		if m.Method == "textDocument/hover" {
			return hover(name, text, p.Position), nil
		}
		return object{"isIncomplete": false, "items": complete(name, text, p.Position)}, nil
	case "initialize":
		return nil, &fault{invalidRequest, "initialize came already"}
	}
	return nil, &fault{methodNotFound, "there is no such method here"}
}

func (s *server) answer(id jsontext.Value, result any, err *fault) {
	if id == nil {
		id = jsontext.Value("null")
	}
	if err != nil {
		s.out.send(object{"id": id, "error": err})
		return
	}
	s.out.send(object{"id": id, "result": result})
}

// complain shows a line in the client's log.
func (s *server) complain(format string, args ...any) {
	s.out.send(object{"method": "window/logMessage", "params": object{"type": 1, "message": fmt.Sprintf(format, args...)}})
}
