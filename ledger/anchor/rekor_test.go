// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// rekorServer is a log that answers as Rekor 2 does, over the tree of Go's checksum database.
type rekorServer struct {
	t      testing.TB
	signer note.Signer
	vkey   string

	mu     sync.Mutex
	hashes []tlog.Hash
	size   int64
}

func (r *rekorServer) ReadHashes(at []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range at {
		out = append(out, r.hashes[i])
	}
	return out, nil
}

// RekorLog serves one, and returns its address and its public key.
func RekorLog(t testing.TB) (url, vkey string) {
	t.Helper()
	secret, vkey, err := note.GenerateKey(rand.Reader, "rekor.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	r := &rekorServer{t: t, signer: signer, vkey: vkey}
	for _, other := range []string{"somebody's entry", "another's"} {
		if err := r.add([]byte(other)); err != nil {
			t.Fatal(err)
		}
	}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	return srv.URL, vkey
}

func (r *rekorServer) add(body []byte) error {
	h, err := tlog.StoredHashes(r.size, body, r)
	if err == nil {
		r.hashes, r.size = append(r.hashes, h...), r.size+1
	}
	return err
}

func (r *rekorServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, err := io.ReadAll(req.Body)
	var in rekorRequest
	if err != nil || json.Unmarshal(b, &in) != nil || req.URL.Path != rekorPath || len(in.Request.Digest) != 32 {
		http.Error(w, "what is this?", http.StatusBadRequest)
		return
	}
	out, err := r.answer(&in)
	if err != nil {
		r.t.Error(err)
	}
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(out)
}

func (r *rekorServer) answer(in *rekorRequest) ([]byte, error) {
	var body rekorBody
	body.APIVersion, body.Kind = rekorVersion, rekorType
	body.Spec.Record.Data.Algorithm, body.Spec.Record.Data.Digest = rekorHash, in.Request.Digest
	body.Spec.Record.Signature = in.Request.Signature
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	canonical := jsontext.Value(raw)
	if err := canonical.Canonicalize(); err != nil {
		return nil, err
	}
	index := r.size
	if err := r.add(canonical); err != nil {
		return nil, err
	}
	if err := r.add([]byte("what came meanwhile")); err != nil {
		return nil, err
	}
	root, err := tlog.TreeHash(r.size, r)
	if err != nil {
		return nil, err
	}
	proof, err := tlog.ProveRecord(r.size, index, r)
	if err != nil {
		return nil, err
	}
	head, err := note.Sign(&note.Note{Text: fmt.Sprintf("rekor.example\n%d\n%s\n", r.size, root)}, r.signer)
	if err != nil {
		return nil, err
	}
	var e rekorEntry
	e.LogIndex, e.KindVersion.Kind, e.KindVersion.Version = strconv.FormatInt(index, 10), rekorType, rekorVersion
	e.CanonicalizedBody, e.InclusionProof.Checkpoint.Envelope = canonical, string(head)
	for _, h := range proof {
		e.InclusionProof.Hashes = append(e.InclusionProof.Hashes, h[:])
	}
	return json.Marshal(e)
}

func logsOf(t *testing.T, vkeys ...string) Trust {
	t.Helper()
	logs, err := ReadLogs([]byte("# ours\n\n" + strings.Join(vkeys, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return Trust{Logs: logs}
}

func TestRekorEntryIsOfTheCheckpoint(t *testing.T) {
	url, vkey := RekorLog(t)
	checkpoint := []byte("a checkpoint\n")
	token, err := Rekor{URL: url + "/"}.Anchor(t.Context(), checkpoint)
	if err != nil || token.Kind != KindRekor || !token.Time.IsZero() {
		t.Fatalf("%+v, %v", token, err)
	}
	if c, err := Verify(KindRekor, token.Data, checkpoint, logsOf(t, vkey)); err != nil || !c.Trusted || c.Signer != "entry 2 of rekor.example" {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := Verify(KindRekor, token.Data, checkpoint, Trust{}); err != nil || c.Trusted {
		t.Errorf("without a key: %+v, %v", c, err)
	}
	_, other, err := note.GenerateKey(rand.Reader, "rekor.example")
	if err != nil {
		t.Fatal(err)
	}
	for name, trust := range map[string]Trust{"another log of that name": logsOf(t, other)} {
		if c, err := Verify(KindRekor, token.Data, checkpoint, trust); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if c, err := Verify(KindRekor, token.Data, []byte("another checkpoint\n"), Trust{}); err == nil {
		t.Errorf("another checkpoint: %+v", c)
	}
}

// TestChangedRekorEntryIsRefused changes what the proof covers, member by member and byte by byte.
func TestChangedRekorEntryIsRefused(t *testing.T) {
	url, vkey := RekorLog(t)
	checkpoint := []byte("a checkpoint\n")
	token, err := Rekor{URL: url}.Anchor(t.Context(), checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	trust := logsOf(t, vkey)
	for name, change := range map[string]func(*rekorEntry){
		"another index":       func(e *rekorEntry) { e.LogIndex = "1" },
		"no index":            func(e *rekorEntry) { e.LogIndex = "" },
		"a negative index":    func(e *rekorEntry) { e.LogIndex = "-2" },
		"another type":        func(e *rekorEntry) { e.KindVersion.Kind = "dsse" },
		"another version":     func(e *rekorEntry) { e.KindVersion.Version = "0.0.1" },
		"no proof":            func(e *rekorEntry) { e.InclusionProof.Hashes = nil },
		"a proof of 70":       func(e *rekorEntry) { e.InclusionProof.Hashes = make([][]byte, 70) },
		"half a hash":         func(e *rekorEntry) { e.InclusionProof.Hashes[0] = e.InclusionProof.Hashes[0][:16] },
		"no checkpoint":       func(e *rekorEntry) { e.InclusionProof.Checkpoint.Envelope = "" },
		"a body that is none": func(e *rekorEntry) { e.CanonicalizedBody = []byte("{}") },
		"a tree of another size": func(e *rekorEntry) {
			e.InclusionProof.Checkpoint.Envelope = resized(e.InclusionProof.Checkpoint.Envelope)
		},
	} {
		var e rekorEntry
		if err := json.Unmarshal(token.Data, &e); err != nil {
			t.Fatal(err)
		}
		change(&e)
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range []Trust{trust, {}} {
			if c, err := Verify(KindRekor, b, checkpoint, tr); err == nil {
				t.Errorf("%s: %+v", name, c)
			}
		}
	}
	// The last digit of the log's signature has two bits that no decoder reads.
	slack := bytes.Index(token.Data, []byte(`=\n"}}`)) - 1
	for i := range token.Data {
		if i == slack {
			continue
		}
		bad := bytes.Clone(token.Data)
		bad[i] ^= 1
		if c, err := Verify(KindRekor, bad, checkpoint, trust); err == nil {
			t.Errorf("byte %d changed, around %q: %+v", i, bad[max(0, i-20):min(len(bad), i+20)], c)
		}
	}
}

// TestRekorOfItsMakersTakesOurEntry runs against the program itself: SALLYPORT_REKOR_URL and SALLYPORT_REKOR_KEY are
// where it listens and its public key.
func TestRekorOfItsMakersTakesOurEntry(t *testing.T) {
	url, vkey := os.Getenv("SALLYPORT_REKOR_URL"), os.Getenv("SALLYPORT_REKOR_KEY")
	if url == "" {
		t.Skip("SALLYPORT_REKOR_URL names no Rekor server")
	}
	checkpoint := []byte("a checkpoint of " + t.TempDir() + "\n")
	token, err := Rekor{URL: url}.Anchor(t.Context(), checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Verify(KindRekor, token.Data, checkpoint, logsOf(t, vkey))
	if err != nil || !c.Trusted {
		t.Fatalf("%+v, %v\n%s", c, err, token.Data)
	}
	t.Log(c.Signer)
}

func resized(envelope string) string { return strings.Replace(envelope, "\n4\n", "\n8\n", 1) }

func TestRekorThatMisbehavesIsRefused(t *testing.T) {
	for name, serve := range map[string]http.HandlerFunc{
		"an error":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "full", http.StatusServiceUnavailable) },
		"no JSON":     func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"without end": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxTokenBytes+10)) },
		"another entry": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"kindVersion":{"kind":"hashedrekord","version":"0.0.2"}}`)
		},
	} {
		srv := httptest.NewServer(serve)
		if token, err := (Rekor{URL: srv.URL}).Anchor(t.Context(), []byte("a checkpoint\n")); err == nil {
			t.Errorf("%s: %+v", name, token)
		}
		srv.Close()
	}
}

// TestRekorBodyOfOthersIsUnderstood reads a body as sigstore-go (Apache-2.0) publishes it in pkg/tlog/entry_test.go at
// v1.3.0. Its digest is not of anything we have, so that only this may be wrong with it.
func TestRekorBodyOfOthersIsUnderstood(t *testing.T) {
	const body = `{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_256","digest":"dyj4ednYHjN4/zsjjBeeLahS9slp97Z67LTAVxjrjXw="},` +
		`"signature":{"content":"MEQCIB+YPa9o3SN0sQ4uduGf+mZxwFfOhFZ0Cgy+p7Vt1o2SAiAPFDHqOAJLYmvtCWOsDyNY1H4V3zm4NEDYs3NyvHh1Pg==","verifier":{"keyDetails":"PKIX_ECDSA_P256_SHA_256",` +
		`"publicKey":{"rawBytes":"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2slOf8eZcj2moW2t4UFj7vCL6QpDzkDqqSUmm4OJCVvIauKLxm0aGs3VMPPfauMPaMutn0/s3jg0rroFxoicyg=="}}}}}}`
	var b rekorBody
	if err := json.Unmarshal([]byte(body), &b); err != nil {
		t.Fatal(err)
	}
	digest, err := base64.StdEncoding.DecodeString("dyj4ednYHjN4/zsjjBeeLahS9slp97Z67LTAVxjrjXw=")
	if err != nil || !bytes.Equal(b.Spec.Record.Data.Digest, digest) || len(b.Spec.Record.Signature.Content) == 0 || len(b.Spec.Record.Signature.Verifier.PublicKey.RawBytes) != 91 {
		t.Errorf("%+v", b)
	}
	if err := verifyRekorBody([]byte(body), []byte("something")); err == nil || !strings.Contains(err.Error(), "something else") {
		t.Error(err)
	}
}

func FuzzRekor(f *testing.F) {
	url, _ := RekorLog(f)
	token, err := Rekor{URL: url}.Anchor(f.Context(), []byte("x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token.Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := Verify(KindRekor, data, []byte("y"), Trust{}); err == nil {
			t.Fatalf("an entry of x passes for y: %+v", c)
		}
	})
}
