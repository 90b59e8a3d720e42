// SPDX-License-Identifier: Apache-2.0

// Package seal keeps the tenant key of a log outside it: wrapped by a key in a file or in the kernel's keyring, by an
// age identity, or by a key that a key management service never hands out.
//
// What is wrapped is one key of 32 bytes. Whoever has the data directory but not the key here opens nothing;
// whoever loses the key here can open nothing either, ever.
package seal

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/go-json-experiment/json"
)

// bound binds what is wrapped to its use.
const bound = "sallyport tenant-key 1"

// File wraps with 32 random bytes of a file, which is made if it is missing, or of the kernel's keyring. It protects as
// far as the file lies where the data directory and its backups do not.
type File struct {
	path string // for people
	aead cipher.AEAD
	name string
}

const fileHead = "sallyport wrapping-key 1\n"

// OpenFile reads the key at path, or makes it, for its owner only.
func OpenFile(path string) (*File, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createFile(path); err == nil {
			b, err = os.ReadFile(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	text, ok := strings.CutPrefix(string(b), fileHead)
	key, derr := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if !ok || derr != nil || len(key) != 32 {
		return nil, fmt.Errorf("seal: %q is no wrapping key", path)
	}
	if i, err := os.Stat(path); err != nil || i.Mode().Perm()&0o077 != 0 {
		return nil, errors.Join(fmt.Errorf("seal: %q can be read by others than its owner", path), err)
	}
	return newFile(path, key)
}

func newFile(path string, key []byte) (*File, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	f := &File{path: path}
	if f.aead, err = cipher.NewGCM(block); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append([]byte("sallyport wrapping-key name\n"), key...))
	f.name = "file:" + hex.EncodeToString(sum[:8])
	return f, nil
}

func createFile(path string) error {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never errs
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, fileHead+base64.StdEncoding.EncodeToString(key)+"\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Name names the key by a digest.
func (f *File) Name() string { return f.name }

// Wrap seals key.
func (f *File) Wrap(key []byte) ([]byte, error) {
	nonce := make([]byte, f.aead.NonceSize())
	_, _ = rand.Read(nonce)
	return f.aead.Seal(nonce, nonce, key, []byte(bound)), nil
}

// Unwrap opens what Wrap sealed.
func (f *File) Unwrap(wrapped []byte) ([]byte, error) {
	n := f.aead.NonceSize()
	if len(wrapped) < n {
		return nil, errors.New("seal: too short")
	}
	key, err := f.aead.Open(nil, wrapped[:n], wrapped[n:], []byte(bound))
	if err != nil {
		return nil, fmt.Errorf("seal: %q is not the key that it was wrapped with", f.path)
	}
	return key, nil
}

// Age wraps to an age identity (X25519), as "age-keygen" makes one.
type Age struct{ id *age.X25519Identity }

// OpenAge reads the one identity in a file of age.
func OpenAge(path string) (*Age, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	ids, err := age.ParseIdentities(bytes.NewReader(b))
	if err != nil || len(ids) != 1 {
		return nil, fmt.Errorf("seal: %q does not hold exactly one age identity", path) // the cause may quote it
	}
	id, ok := ids[0].(*age.X25519Identity)
	if !ok {
		return nil, fmt.Errorf("seal: %q holds no X25519 identity", path)
	}
	return &Age{id}, nil
}

// Name is the recipient.
func (a *Age) Name() string { return "age:" + a.id.Recipient().String() }

// Wrap encrypts key to the identity.
func (a *Age) Wrap(key []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := age.Encrypt(&b, a.id.Recipient())
	if err == nil {
		_, err = w.Write(append([]byte(bound+"\n"), key...))
	}
	if err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}

// Unwrap decrypts what Wrap encrypted.
func (a *Age) Unwrap(wrapped []byte) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(wrapped), a.id)
	if err != nil {
		return nil, fmt.Errorf("seal: age: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(r, 1024))
	key, ok := bytes.CutPrefix(b, []byte(bound+"\n"))
	if err != nil || !ok {
		return nil, errors.New("seal: age: not a wrapped key")
	}
	return key, nil
}

// Transit wraps with a key of the transit engine of HashiCorp Vault or OpenBao, or of a service that speaks
// its protocol. The key never leaves the service.
type Transit struct {
	URL    string // of the engine, like https://vault.example.com/v1/transit; required, https unless loopback
	Key    string // its name; required
	Token  string // required
	Client *http.Client
}

// Check errs where the fields cannot work. Errors never quote the token.
func (t *Transit) Check() error {
	u, err := url.Parse(t.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("seal: transit: the address is not an http or https URL")
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("seal: transit: a token goes over https only")
	}
	if t.Key == "" || strings.ContainsAny(t.Key, "/?#% ") || t.Token == "" || strings.ContainsAny(t.Token, "\r\n") {
		return errors.New("seal: transit: a name of a key and a token are needed")
	}
	return nil
}

// Name names service and key.
func (t *Transit) Name() string { return "transit:" + strings.TrimSuffix(t.URL, "/") + "/" + t.Key }

// Wrap has the service encrypt key.
func (t *Transit) Wrap(key []byte) ([]byte, error) {
	out, err := t.call("encrypt", map[string]string{"plaintext": base64.StdEncoding.EncodeToString(append([]byte(bound+"\n"), key...))})
	return []byte(out.Ciphertext), err
}

// Unwrap has the service decrypt what Wrap made.
func (t *Transit) Unwrap(wrapped []byte) ([]byte, error) {
	out, err := t.call("decrypt", map[string]string{"ciphertext": string(wrapped)})
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(out.Plaintext)
	key, ok := bytes.CutPrefix(b, []byte(bound+"\n"))
	if err != nil || !ok {
		return nil, errors.New("seal: transit: not a wrapped key")
	}
	return key, nil
}

type transited struct {
	Ciphertext string `json:"ciphertext"`
	Plaintext  string `json:"plaintext"`
}

func (t *Transit) call(what string, in map[string]string) (transited, error) {
	var out struct {
		Data transited `json:"data"`
	}
	if err := t.Check(); err != nil {
		return out.Data, err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return out.Data, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(t.URL, "/")+"/"+what+"/"+t.Key, bytes.NewReader(body))
	if err != nil {
		return out.Data, errors.New("seal: transit: no request")
	}
	r.Header.Set("X-Vault-Token", t.Token)
	r.Header.Set("Content-Type", "application/json")
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if t.Client != nil {
		client.Transport = t.Client.Transport
	}
	resp, err := client.Do(r)
	if err != nil {
		return out.Data, errors.New("seal: transit: no answer")
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || resp.StatusCode != http.StatusOK {
		return out.Data, fmt.Errorf("seal: transit: status %d", resp.StatusCode)
	}
	if json.Unmarshal(b, &out) != nil || out.Data == (transited{}) {
		return out.Data, errors.New("seal: transit: the answer is none of a transit engine")
	}
	return out.Data, nil
}
