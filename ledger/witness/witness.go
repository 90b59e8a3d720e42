// SPDX-License-Identifier: Apache-2.0

// Package witness serves C2SP tlog-witness: it remembers the newest checkpoint of each log that it knows,
// and cosigns a checkpoint only if it continues that one.
//
// # Failure model
//
// What a witness cosigned is on stable storage before it answers, so it cannot be made to forget by
// killing it. Whoever restores an older copy of its folder, or holds its key, can make it cosign a fork;
// it belongs on another machine, under other hands, than the log. A log whose key is not listed gets
// nothing stored.
package witness

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport/sallyport/ledger"
)

const (
	keyHead      = "sallyport witness-key 1"
	maxBodyBytes = 64 << 10
	maxProof     = 63 // hashes, by the protocol
)

// Config says what a witness is.
type Config struct {
	Dir  string   // folder of key and state; required
	Name string   // of a new key; "" means a random one
	Logs []string // public keys of the logs; required
	Now  func() time.Time
	Rand io.Reader
}

// Witness cosigns checkpoints. Its methods are safe for concurrent use.
type Witness struct {
	cfg    Config
	signer *ledger.Cosigner
	lock   *os.File
	logs   map[string]*state // by origin
}

type state struct {
	verifier note.Verifier
	file     string

	mu sync.Mutex // held while a checkpoint is checked, stored and cosigned
	cp ledger.Checkpoint
}

// Open makes or reads the key and what was cosigned. It errs if another process has the folder.
func Open(cfg Config) (w *Witness, err error) {
	if cfg.Dir == "" || len(cfg.Logs) == 0 {
		return nil, errors.New("witness: config: Dir and Logs are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	w = &Witness{cfg: cfg, logs: map[string]*state{}}
	if w.lock, err = os.OpenFile(filepath.Join(cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	if err := syscall.Flock(int(w.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("witness: %q: another process has it open", cfg.Dir), w.lock.Close())
	}
	if err := w.open(); err != nil {
		return nil, errors.Join(err, w.lock.Close())
	}
	return w, nil
}

func (w *Witness) open() (err error) {
	for _, vkey := range w.cfg.Logs {
		v, err := note.NewVerifier(strings.TrimSpace(vkey))
		if err != nil {
			return fmt.Errorf("witness: %q is not the public key of a log", vkey)
		}
		if w.logs[v.Name()] != nil {
			return fmt.Errorf("witness: log %q is given twice", v.Name())
		}
		sum := sha256.Sum256([]byte(v.Name()))
		s := &state{verifier: v, file: filepath.Join(w.cfg.Dir, "log-"+hex.EncodeToString(sum[:16]))}
		b, err := os.ReadFile(s.file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fmt.Errorf("witness: %w", err)
		default:
			if s.cp, err = ledger.ParseCheckpoint(b, v); err != nil {
				return fmt.Errorf("witness: state of %q: %w", v.Name(), err)
			}
		}
		w.logs[v.Name()] = s
	}
	w.signer, err = w.key() // last: what is refused leaves no key behind
	return err
}

// key reads the key, or makes it in an empty folder.
func (w *Witness) key() (*ledger.Cosigner, error) {
	path := filepath.Join(w.cfg.Dir, "witness.key")
	b, err := os.ReadFile(path)
	if err == nil {
		lines := strings.Split(string(b), "\n")
		if len(lines) != 4 || lines[0] != keyHead {
			return nil, fmt.Errorf("witness: %q is not a key of format 1", path)
		}
		seed, err := base64.StdEncoding.DecodeString(lines[2])
		if err != nil {
			return nil, fmt.Errorf("witness: %q is not a key of format 1", path)
		}
		return ledger.ReadCosigner(lines[1], seed)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("witness: %w", err)
	}
	if old, _ := filepath.Glob(filepath.Join(w.cfg.Dir, "log-*")); len(old) > 0 {
		return nil, fmt.Errorf("witness: %q holds state but no key", w.cfg.Dir)
	}
	name := w.cfg.Name
	if name == "" {
		var b [5]byte
		if _, err := io.ReadFull(w.cfg.Rand, b[:]); err != nil {
			return nil, fmt.Errorf("witness: %w", err)
		}
		name = "sallyport.local/witness/" + hex.EncodeToString(b[:])
	}
	c, err := ledger.NewCosigner(w.cfg.Rand, name)
	if err != nil {
		return nil, err
	}
	return c, store(path, []byte(keyHead+"\n"+name+"\n"+base64.StdEncoding.EncodeToString(c.Seed())+"\n"))
}

// store writes a file so that a crash leaves the old or the new one; on return the new one is durable.
func store(path string, data []byte) error {
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	return nil
}

// Vkey returns the public key, for the log's owner and for verifiers.
func (w *Witness) Vkey() string { return w.signer.Vkey() }

// Close releases the folder.
func (w *Witness) Close() error { return w.lock.Close() }

// Handler serves POST /add-checkpoint. It asks for no authority: what counts is the log's signature.
func (w *Witness) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBodyBytes))
		if err != nil {
			http.Error(rw, "the body cannot be read or is too large", http.StatusBadRequest)
			return
		}
		a := w.add(body)
		if a.kind != "" {
			rw.Header().Set("Content-Type", a.kind)
		}
		rw.WriteHeader(a.status)
		_, _ = io.WriteString(rw, a.body) // the peer is gone if this errs
	})
	return mux
}

type answer struct {
	status     int
	kind, body string
}

func refuse(status int, why string) answer {
	return answer{status, "text/plain; charset=utf-8", why + "\n"}
}

// request is what add-checkpoint is sent.
type request struct {
	old   uint64
	proof [][32]byte
	note  []byte
}

func parseRequest(b []byte) (request, error) {
	head, signed, ok := bytes.Cut(b, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	number, isOld := strings.CutPrefix(lines[0], "old ")
	old, err := strconv.ParseUint(number, 10, 63)
	if !ok || !isOld || err != nil || strconv.FormatUint(old, 10) != number || len(lines) > 1+maxProof {
		return request{}, errors.New("not the form of add-checkpoint")
	}
	r := request{old: old, note: signed}
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != 32 {
			return request{}, errors.New("a proof line is not a hash")
		}
		r.proof = append(r.proof, [32]byte(h))
	}
	return r, nil
}

func (w *Witness) add(body []byte) answer {
	r, err := parseRequest(body)
	if err != nil {
		return refuse(http.StatusBadRequest, err.Error())
	}
	claimed, err := ledger.ParseCheckpoint(r.note, nil)
	if err != nil {
		return refuse(http.StatusBadRequest, "not a checkpoint")
	}
	s := w.logs[claimed.Origin]
	if s == nil {
		return refuse(http.StatusNotFound, "unknown log")
	}
	cp, err := ledger.ParseCheckpoint(r.note, s.verifier)
	if err != nil {
		return refuse(http.StatusForbidden, "the log's signature does not verify")
	}
	if r.old > cp.Size {
		return refuse(http.StatusBadRequest, "the old size is above the new one")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.old != s.cp.Size:
		return answer{http.StatusConflict, "text/x.tlog.size", strconv.FormatUint(s.cp.Size, 10) + "\n"}
	case s.cp.Origin != "" && cp.Size == s.cp.Size && cp.Root != s.cp.Root:
		return refuse(http.StatusConflict, "another root was cosigned at this size")
	case s.cp.Origin == "" && len(r.proof) > 0:
		return refuse(http.StatusUnprocessableEntity, "a proof from nothing")
	case s.cp.Origin != "":
		if err := ledger.VerifyConsistency(s.cp.Size, cp.Size, s.cp.Root, cp.Root, r.proof); err != nil {
			return refuse(http.StatusUnprocessableEntity, "the checkpoint does not continue the one that was cosigned")
		}
	}
	line, err := w.signer.Cosign(r.note, w.cfg.Now())
	if err != nil {
		return refuse(http.StatusInternalServerError, "cannot sign")
	}
	if s.cp.Origin == "" || cp.Size != s.cp.Size {
		if err := store(s.file, r.note); err != nil {
			return refuse(http.StatusInternalServerError, "cannot store")
		}
		s.cp = cp
	}
	return answer{http.StatusOK, "text/plain; charset=utf-8", line}
}
