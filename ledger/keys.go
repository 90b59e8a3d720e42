// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"crypto/cipher"
	"crypto/sha256"
	stdbase32 "encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/sallyport/sallyport/action"
	"golang.org/x/mod/sumdb/note"
)

var (
	base32    = stdbase32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(stdbase32.NoPadding)
	base64url = base64.RawURLEncoding.Strict()
)

// The files of DATA/keys. Each begins with its format. Keys of payloads are "seal-OWNER-CLASS".
const (
	fileSigner = "log.key"    // private key of the checkpoints
	fileVkey   = "log.vkey"   // public key, for verifiers
	fileHead   = "head"       // the head cell, unless Config.Head says another
	fileSecret = "log.secret" // from which pseudonyms and fingerprints are derived

	headSigner = "sallyport signing-key 1"
	headSecret = "sallyport secret 1"
	headSeal   = "sallyport seal-key 1"

	maxKeyFileBytes = 4096
	maxCachedKeys   = 4096
	maxCachedNames  = 16384
	saltBytes       = 32
	nonceBytes      = 12
)

// keyring holds the log's keys. It is safe for concurrent use.
type keyring struct {
	disk   disk
	dir    string
	random io.Reader
	tenant string

	signer     note.Signer
	verifier   note.Verifier
	vkey       string
	epochs     []note.Verifier // of all epochs, oldest first
	epochVkeys []string        // none while there is only the first
	pseudonyms []byte
	prints     *keyedMac
	month      func() string // of the keys that are made; nil for keys without
	tenantKey  cipher.AEAD   // wraps the keys of payloads; nil if they lie plain

	files sync.RWMutex // read-held while a seal key goes from file to cache or is made; write-held while keys are destroyed; before mu

	mu    sync.RWMutex
	known map[identity]string     // pseudonyms; guarded by mu
	cache map[keyName]*sealKey    // guarded by mu
	busy  map[keyName]*sync.Mutex // files being created; guarded by mu
}

type identity struct {
	kind, id string
	split    bool   // the id is ToolKey(server, id): so nothing is joined for a name that is known
	server   string // "" unless split
}

// keyName names the key of a pseudonym's parts of one class.
type keyName struct{ owner, class string }

func (n keyName) file() string { return sealName(n.owner, n.class) }

// sealKey is the key of one (owner, class).
type sealKey struct {
	kid     string
	aead    cipher.AEAD
	context []byte // sealContext of the keyring's tenant and the one part that the class is for
}

// openKeyring reads the keys in dir, or makes them if fresh is set and there are none.
func openKeyring(d disk, dir, tenant, origin string, random io.Reader, fresh bool) (*keyring, error) {
	k := newKeyring(d, dir, tenant, random)
	if err := d.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("ledger: keys: %w", err)
	}
	if err := finishEpoch(d, dir); err != nil {
		return nil, err
	}
	skey, err := k.read(fileSigner, headSigner)
	if errors.Is(err, fs.ErrNotExist) && fresh {
		if err = k.create(origin); err == nil {
			skey, err = k.read(fileSigner, headSigner)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: keys: %w", err)
	}
	if k.signer, err = note.NewSigner(skey[0]); err != nil {
		return nil, fmt.Errorf("ledger: keys: %q holds no signing key", fileSigner)
	}
	if err := k.readVerifier(); err != nil {
		return nil, err
	}
	if origin != "" && origin != k.epochs[0].Name() {
		return nil, fmt.Errorf("ledger: keys: the origin of this log is %q and cannot become %q", k.signer.Name(), origin)
	}
	if k.verifier.KeyHash() != k.signer.KeyHash() || k.verifier.Name() != k.signer.Name() {
		return nil, fmt.Errorf("ledger: keys: %q is not the public half of %q", fileVkey, fileSigner)
	}
	return k, k.readSecret()
}

// openReadKeys reads what a reader needs: the public key and, where they are at hand, the secret of
// pseudonyms and the keys of payloads.
func openReadKeys(d disk, dir, tenant string) (*keyring, error) {
	k := newKeyring(d, dir, tenant, nil)
	if err := k.readVerifier(); err != nil {
		return nil, err
	}
	if _, err := k.read(fileSecret, headSecret); errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	return k, k.readSecret()
}

// readKeyring opens the payload keys in dir for unsealing only, or returns nil if there are none.
func readKeyring(dir string) *keyring {
	names, err := realDisk{}.List(dir)
	if err != nil || !slices.ContainsFunc(names, func(s string) bool { return strings.HasPrefix(s, "seal-") }) {
		return nil
	}
	return newKeyring(realDisk{}, dir, "", nil)
}

func newKeyring(d disk, dir, tenant string, random io.Reader) *keyring {
	return &keyring{disk: d, dir: dir, random: random, tenant: tenant,
		known: map[identity]string{}, cache: map[keyName]*sealKey{}, busy: map[keyName]*sync.Mutex{}}
}

func (k *keyring) readVerifier() error {
	raw, err := readFile(k.disk, filepath.Join(k.dir, fileVkey), maxKeyFileBytes)
	if err != nil {
		return fmt.Errorf("ledger: keys: %w", err)
	}
	k.vkey = strings.TrimSpace(string(raw))
	if k.verifier, err = readVkey(raw); err != nil {
		return err
	}
	if k.epochVkeys, err = readEpochs(k.disk, k.dir); err != nil {
		return err
	}
	k.epochs, err = epochVerifiers(k.epochVkeys, k.verifier)
	return err
}

func (k *keyring) readSecret() error {
	lines, err := k.read(fileSecret, headSecret)
	if err != nil {
		return fmt.Errorf("ledger: keys: %w", err)
	}
	secret, err := base64.StdEncoding.DecodeString(lines[0])
	if err != nil || len(secret) != 32 {
		return fmt.Errorf("ledger: keys: %q holds no secret", fileSecret)
	}
	k.pseudonyms = mac(secret, []byte("pseudonym"), []byte(k.tenant))
	k.prints = newKeyedMac(mac(secret, []byte("fingerprint"), []byte(k.tenant)))
	return nil
}

// create makes the log's own keys. The signing key comes last: without it the others mean nothing.
func (k *keyring) create(origin string) error {
	if origin == "" {
		var err error
		if origin, err = newOrigin(k.random); err != nil {
			return err
		}
	}
	private, public, err := newSigningKey(k.random, origin)
	if err != nil {
		return err
	}
	var secret [32]byte
	if _, err := io.ReadFull(k.random, secret[:]); err != nil {
		return err
	}
	if err := k.write(fileSecret, headSecret, base64.StdEncoding.EncodeToString(secret[:])); err != nil {
		return err
	}
	if err := writeFile(k.disk, filepath.Join(k.dir, fileVkey), []byte(public+"\n"), true); err != nil {
		return err
	}
	return k.write(fileSigner, headSigner, private)
}

func (k *keyring) write(name, head string, lines ...string) error {
	return writeFile(k.disk, filepath.Join(k.dir, name), []byte(head+"\n"+strings.Join(lines, "\n")+"\n"), true)
}

// read returns the lines after the head of a key file. Errors never quote content.
func (k *keyring) read(name, head string) ([]string, error) {
	b, err := readFile(k.disk, filepath.Join(k.dir, name), maxKeyFileBytes)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if lines[0] != head || len(lines) < 2 {
		return nil, fmt.Errorf("%w: %q does not begin with %q", ErrFormat, name, head)
	}
	return lines[1:], nil
}

// sealKey returns the key of (owner, class), making it on first use. Making takes two fsyncs of the key
// file and its folder in the calling goroutine; nobody but callers for the same key waits for it.
func (k *keyring) sealKey(owner, class string) (*sealKey, error) {
	name := keyName{owner, class}
	k.mu.RLock()
	key := k.cache[name]
	k.mu.RUnlock()
	if key != nil {
		return key, nil
	}
	k.mu.Lock()
	lock := k.busy[name]
	if lock == nil {
		lock = &sync.Mutex{}
		k.busy[name] = lock
	}
	k.mu.Unlock()
	lock.Lock()
	defer lock.Unlock()
	k.files.RLock()
	defer k.files.RUnlock()
	k.mu.RLock()
	key = k.cache[name]
	k.mu.RUnlock()
	if key != nil {
		return key, nil
	}
	key, err := k.loadSealKey(name.file(), owner+"/"+class)
	if errors.Is(err, fs.ErrNotExist) {
		var fresh [40]byte
		if _, err = io.ReadFull(k.random, fresh[:]); err == nil {
			err = k.writeSealKey(name.file(), base32.EncodeToString(fresh[:8]), fresh[8:])
		}
		if err == nil {
			key, err = k.loadSealKey(name.file(), owner+"/"+class)
		}
	}
	if errors.Is(err, syscall.ENOSPC) {
		return nil, fmt.Errorf("%w: seal key: %w", ErrFull, err)
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: seal key: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.busy, name)
	k.keep(name, key)
	return key, nil
}

// keep caches a key. mu is held.
func (k *keyring) keep(name keyName, key *sealKey) {
	for other := range k.cache {
		if len(k.cache) < maxCachedKeys {
			break
		}
		delete(k.cache, other)
	}
	k.cache[name] = key
}

func (k *keyring) loadSealKey(name, id string) (*sealKey, error) {
	generation, raw, err := k.readSealKey(name)
	if err != nil {
		return nil, err
	}
	aead, err := newAEAD(raw)
	if err != nil {
		return nil, err
	}
	kid := id + "/" + generation
	_, class, _ := strings.Cut(id, "/")
	part, _, _ := keyClass(class)
	return &sealKey{kid: kid, aead: aead, context: sealContext(k.tenant, part, kid)}, nil
}

// seal appends the payload frame of part to dst and returns its reference for the leaf. random holds a nonce and a
// salt, for this part alone.
func (k *keyring) seal(dst []byte, p *action.PayloadPart, random []byte) ([]byte, PartRef, error) {
	owner := p.Owner
	if owner == "" {
		owner = "\x00nobody" // data of no person still needs a key
	}
	month := ""
	if k.month != nil {
		month = k.month()
	}
	key, err := k.sealKey(k.pseudonym("owner", owner), sharded(string(p.Name), month))
	if err != nil {
		return dst, PartRef{}, err
	}
	dst, at := openFrame(dst, framePayload)
	dst = appendPayload(dst, string(p.Name), key.kid)
	// The plaintext is laid where the ciphertext will stand, so that sealing needs no second buffer.
	nonce := len(dst)
	from := nonce + nonceBytes
	dst = append(dst, random...)
	ref := PartRef{Name: p.Name, Kid: key.kid, Commit: commitment(dst[from:], p.Data)}
	dst = append(dst, p.Data...)
	dst = key.aead.Seal(dst[:from], dst[nonce:from], dst[from:], key.context)
	closeFrame(dst, at)
	sum := sha256.Sum256(dst[at+frameHeadBytes:])
	ref.Sealed = digestText(&sum)
	return dst, ref, nil
}

// unseal returns salt and plaintext of a payload frame, or ErrErased if its key is gone. They are appended to dst.
func (k *keyring) unseal(dst []byte, p payloadFrame, tenant string) (salt, data []byte, err error) {
	owner, class, _ := strings.Cut(p.kid, "/")
	class, _, _ = strings.Cut(class, "/")
	part, _, ok := keyClass(class)
	if !ok || strings.ContainsAny(owner, "/\\.-") || owner == "" {
		return nil, nil, fmt.Errorf("ledger: unseal: key id %q is malformed", clip(p.kid))
	}
	key, err := k.oldKey(owner, class)
	if err != nil {
		return nil, nil, err
	}
	if key.kid != p.kid {
		return nil, nil, ErrErased
	}
	if len(p.sealed) < nonceBytes+key.aead.Overhead()+saltBytes {
		return nil, nil, errors.New("ledger: unseal: sealed part is too short")
	}
	bound := key.context
	if tenant != k.tenant || part != p.part {
		bound = sealContext(tenant, p.part, p.kid)
	}
	plain, err := key.aead.Open(dst, p.sealed[:nonceBytes], p.sealed[nonceBytes:], bound)
	if err != nil {
		return nil, nil, errors.New("ledger: unseal: sealed part was changed, or the key is another")
	}
	plain = plain[len(dst):]
	return plain[:saltBytes:saltBytes], plain[saltBytes:], nil
}

// oldKey returns the key of (owner, class) that there is, or ErrErased.
func (k *keyring) oldKey(owner, class string) (*sealKey, error) {
	name := keyName{owner, class}
	k.mu.RLock()
	key := k.cache[name]
	k.mu.RUnlock()
	if key != nil {
		return key, nil
	}
	k.files.RLock()
	defer k.files.RUnlock()
	key, err := k.loadSealKey(name.file(), owner+"/"+class)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrErased
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: unseal: %w", err)
	}
	k.mu.Lock()
	k.keep(name, key)
	k.mu.Unlock()
	return key, nil
}

func sealName(owner, class string) string { return "seal-" + owner + "-" + class }

// sealContext is what a sealed part is bound to besides its key.
func sealContext(tenant, part, kid string) []byte {
	return []byte("sallyport payload 1\n" + tenant + "\n" + part + "\n" + kid)
}

// readVkey parses a public key file.
func readVkey(b []byte) (note.Verifier, error) {
	v, err := note.NewVerifier(string(bytes.TrimSpace(b)))
	if err != nil {
		return nil, errors.New("ledger: not the public key of a log")
	}
	return v, nil
}
