// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/attest"
)

// emulator starts swtpm with a state of its own and returns a connection. It skips where it is not
// installed.
func emulator(t *testing.T, state string) transport.TPM {
	t.Helper()
	bin, err := exec.LookPath("swtpm")
	if err != nil {
		t.Skip("swtpm is not installed (Debian: swtpm, swtpm-tools)")
	}
	sock := filepath.Join(t.TempDir(), "tpm") // short: a socket's path has 108 bytes
	cmd := exec.Command(bin, "socket", "--tpm2", "--tpmstate", "dir="+state, "--server", "type=unixio,path="+sock,
		"--ctrl", "type=unixio,path="+sock+".ctrl", "--flags", "not-need-init,startup-clear", "--seccomp", "action=none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it ends with the first client that leaves, or here
		_ = cmd.Wait()
	})
	for range 200 {
		if _, err := os.Stat(sock); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	tpm, err := linuxudstpm.Open(sock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tpm.Close() })
	return tpm
}

// akTemplate makes a restricted P-256 signing key.
var akTemplate = tpm2.TPMTPublic{
	Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
	ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, Restricted: true, SignEncrypt: true},
	Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
		Scheme:  tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256})},
		CurveID: tpm2.TPMECCNistP256}),
}

type machine struct {
	t      *testing.T
	tpm    transport.TPM
	ek, ak *tpm2.CreatePrimaryResponse
}

func boot(t *testing.T, tpm transport.TPM) *machine {
	t.Helper()
	m := &machine{t: t, tpm: tpm}
	var err error
	if m.ek, err = (tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(tpm2.ECCEKTemplate)}).Execute(tpm); err != nil {
		t.Fatal(err)
	}
	if m.ak, err = (tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(akTemplate)}).Execute(tpm); err != nil {
		t.Fatal(err)
	}
	return m
}

func area(t *testing.T, r *tpm2.CreatePrimaryResponse) []byte {
	t.Helper()
	p, err := r.OutPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	return tpm2.Marshal(p)
}

// activate opens a challenge in the chip.
func (m *machine) activate(c *Challenge) []byte {
	m.t.Helper()
	policy := func(tpm transport.TPM, handle tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
		_, err := tpm2.PolicySecret{AuthHandle: tpm2.TPMRHEndorsement, PolicySession: handle, NonceTPM: tpm2.TPM2BNonce{}}.Execute(tpm)
		return err
	}
	r, err := (tpm2.ActivateCredential{
		ActivateHandle: tpm2.NamedHandle{Handle: m.ak.ObjectHandle, Name: m.ak.Name},
		KeyHandle:      tpm2.AuthHandle{Handle: m.ek.ObjectHandle, Name: m.ek.Name, Auth: tpm2.Policy(tpm2.TPMAlgSHA256, 16, policy)},
		CredentialBlob: tpm2.TPM2BIDObject{Buffer: c.Credential[2:]}, Secret: tpm2.TPM2BEncryptedSecret{Buffer: c.Secret[2:]},
	}).Execute(m.tpm)
	if err != nil {
		m.t.Logf("activate: %v", err)
		return nil
	}
	return r.CertInfo.Buffer
}

func (m *machine) extend(pcr int, measured [32]byte) {
	m.t.Helper()
	if _, err := (tpm2.PCRExtend{PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: measured[:]}}}}).Execute(m.tpm); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) quote(nonce []byte, log []attest.Event, pcrs ...uint) *Evidence {
	m.t.Helper()
	sel := tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(pcrs...)}}}
	r, err := (tpm2.Quote{SignHandle: tpm2.AuthHandle{Handle: m.ak.ObjectHandle, Name: m.ak.Name, Auth: tpm2.PasswordAuth(nil)},
		QualifyingData: tpm2.TPM2BData{Buffer: nonce}, InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}, PCRSelect: sel}).Execute(m.tpm)
	if err != nil {
		m.t.Fatal(err)
	}
	e := &Evidence{AK: area(m.t, m.ak), Quote: r.Quoted.Bytes(), Signature: tpm2.Marshal(r.Signature), PCRs: map[string]string{}, Log: log}
	read, err := (tpm2.PCRRead{PCRSelectionIn: sel}).Execute(m.tpm)
	if err != nil {
		m.t.Fatal(err)
	}
	for i, p := range pcrs {
		e.PCRs[strconv.Itoa(int(p))] = hex.EncodeToString(read.PCRValues.Digests[i].Buffer)
	}
	return e
}

// TestEmulatedChipEndToEnd enrols a key of a real TPM implementation, quotes, and tries the known ways
// around it.
func TestEmulatedChipEndToEnd(t *testing.T) {
	state := t.TempDir()
	m := boot(t, emulator(t, state))
	c, err := NewChallenge(rand.Reader, area(t, m.ek), area(t, m.ak))
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := NewChallenge(rand.Reader, area(t, m.ek), newChip(t).public())
	if err != nil {
		t.Fatal(err)
	}
	if c.Answered(nil) || c.Answered(bytes.Repeat([]byte{0}, 32)) {
		t.Error("a spent challenge is answered")
	}
	if wrong.Answered(m.activate(wrong)) {
		t.Error("a challenge for another key is answered")
	}
	if c, err = NewChallenge(rand.Reader, area(t, m.ek), area(t, m.ak)); err != nil {
		t.Fatal(err)
	}
	if answer := m.activate(c); !c.Answered(answer) || c.Answered(answer) {
		t.Fatal("the challenge is not answered, or twice")
	}
	cfg := Config{PCRs: []int{8, 9}, Enrolled: func(key string) (string, bool) { return c.EK, key == c.Key }}

	var log []attest.Event
	for _, kind := range []string{"executable", "model", "policy"} {
		d := sha256.Sum256([]byte(kind))
		log = append(log, attest.Event{PCR: 8, Kind: kind, Digest: hex.EncodeToString(d[:])})
		m.extend(8, Measured(kind, d))
	}
	f, err := verify(t, cfg, m.quote(nonce, log, 8, 9), nonce)
	if err != nil {
		t.Fatal(err)
	}
	if f.Platform.Resident != action.Yes || f.Platform.Replayed != action.Yes || f.Assurance() != 1 {
		t.Errorf("%+v worth %d: an emulator is worth a software key", f.Platform, f.Assurance())
	}
	if _, err := verify(t, cfg, m.quote([]byte("another"), log, 8, 9), nonce); codeOf(err) != attest.Replayed {
		t.Errorf("another nonce: %v", err)
	}
	m.extend(8, sha256.Sum256([]byte("evil")))
	if _, err := verify(t, cfg, m.quote(nonce, log, 8, 9), nonce); codeOf(err) != attest.Unproved {
		t.Errorf("an event that is not in the log: %v", err)
	}
	if _, err := (tpm2.PCRReset{PCRHandle: tpm2.AuthHandle{Handle: 8, Auth: tpm2.PasswordAuth(nil)}}).Execute(m.tpm); err == nil {
		t.Error("register 8 can be set back: the rule on registers is wrong")
	}
	if _, err := (tpm2.PCRReset{PCRHandle: tpm2.AuthHandle{Handle: 23, Auth: tpm2.PasswordAuth(nil)}}).Execute(m.tpm); err != nil {
		t.Errorf("register 23 cannot be set back: %v", err)
	}
}

// TestEmulatedChipIsMarkedATest provisions swtpm with a certificate of its own authority and trusts that
// authority: the facts must still be worth no more than a software key.
func TestEmulatedChipIsMarkedATest(t *testing.T) {
	setup, err := exec.LookPath("swtpm_setup")
	if err != nil {
		t.Skip("swtpm_setup is not installed (Debian: swtpm-tools)")
	}
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	if err := os.MkdirAll(filepath.Join(dir, "ca"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := filepath.Join(dir, "ca")
	local := write("localca.conf", "statedir = "+ca+"\nsigningkey = "+ca+"/key.pem\nissuercert = "+ca+"/cert.pem\ncertserial = "+ca+"/serial\n")
	opts := write("options", "--platform-manufacturer Test\n--platform-version 1\n--platform-model Test\n")
	conf := write("setup.conf", "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = "+local+"\ncreate_certs_tool_options = "+opts+"\n")
	// swtpm_setup switches to another account when it is root, and needs none of it here.
	out, err := exec.Command(setup, "--tpm2", "--tpmstate", state, "--create-ek-cert", "--config", conf, "--write-ek-cert-files", dir, "--runas", "root").CombinedOutput()
	if err != nil {
		t.Skipf("swtpm_setup does not run here: %v: %s", err, out)
	}
	m := &machine{t: t, tpm: emulator(t, state)}
	if m.ek, err = (tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(tpm2.RSAEKTemplate)}).Execute(m.tpm); err != nil {
		t.Fatal(err)
	}
	if m.ak, err = (tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(akTemplate)}).Execute(m.tpm); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "ek-rsa*.crt"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v %v", found, err)
	}
	der, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	for _, name := range []string{"cert.pem", "swtpm-localca-rootca-cert.pem"} {
		if text, err := os.ReadFile(filepath.Join(ca, name)); err == nil {
			roots.AppendCertsFromPEM(text)
		}
	}
	c, err := NewChallenge(rand.Reader, area(t, m.ek), area(t, m.ak))
	if err != nil {
		t.Fatal(err)
	}
	if !c.Answered(m.activate(c)) {
		t.Fatal("the challenge is not answered")
	}
	e := m.quote(nonce, nil, 8)
	e.EKChain = []Bytes{der}
	cfg := Config{PCRs: []int{8}, Roots: roots, Enrolled: func(key string) (string, bool) { return c.EK, key == c.Key }}
	v, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	data, err := action.Canonical(e)
	if err != nil {
		t.Fatal(err)
	}
	f, err := v.Verify(t.Context(), data, attest.Options{Nonce: nonce})
	if err != nil {
		t.Fatal(err)
	}
	if f.Platform.Endorsed != action.Yes || f.Test != action.Yes || f.Platform.Maker != "id:00001014" || f.Assurance() != 1 {
		t.Errorf("endorsed %s test %s maker %q worth %d", f.Platform.Endorsed, f.Test, f.Platform.Maker, f.Assurance())
	}
	cfg.Enrolled = func(string) (string, bool) { return "sha256:another", true }
	if _, err := verifyNow(t, cfg, data); codeOf(err) != attest.Mismatch {
		t.Errorf("the certificate of another chip: %v", err)
	}
	cfg.Roots = x509.NewCertPool()
	if _, err := verifyNow(t, cfg, data); codeOf(err) != attest.Unproved {
		t.Errorf("an authority that is not trusted: %v", err)
	}
}

func verifyNow(t *testing.T, c Config, data []byte) (*attest.Facts, error) {
	t.Helper()
	v, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v.Verify(t.Context(), data, attest.Options{Nonce: nonce})
}
