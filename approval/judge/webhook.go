// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/action"
)

// The headers of a signed request and of its signed answer, as Standard Webhooks names them: the signature
// is "v1," and base64 of HMAC-SHA256 over "ID.TIMESTAMP.BODY". An answer is signed with the id of its
// request.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// skew is how old or new a signed answer may be.
const skew = 5 * time.Minute

// WebhookConfig is what a Webhook needs; Name, URL and Secret are required.
type WebhookConfig struct {
	Name    string
	URL     string                 // https, or http on loopback
	Secret  func() ([]byte, error) // shared key, at least 24 bytes
	Timeout time.Duration          // 0 means 10 s
	Client  *http.Client           // nil means one that follows no redirects
	Now     func() time.Time       // nil means time.Now
}

// Webhook asks another system of the organisation.
type Webhook struct{ c WebhookConfig }

// NewWebhook returns a judge that asks over HTTP.
func NewWebhook(c WebhookConfig) (*Webhook, error) {
	if c.Name == "" || c.Secret == nil {
		return nil, errors.New("judge: a webhook needs a name and a secret")
	}
	if err := private(c.URL); err != nil {
		return nil, err
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Client == nil {
		c.Client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Webhook{c}, nil
}

// Name returns the judge's name.
func (h *Webhook) Name() string { return h.c.Name }

// Judge sends the case and checks the signature of the answer.
func (h *Webhook) Judge(ctx context.Context, c Case) Opinion {
	d := Detail{Format: "judge.v1", Judge: h.c.Name, Kind: "webhook"}
	began := time.Now()
	body, err := action.Canonical(map[string]any{"format": "judge.v1", "id": c.ID, "user_request": action.Clip(c.Request, maxRequestBytes),
		"call": c.Call, "expires_ms": c.Expires.UnixMilli()})
	if err != nil {
		return unsure(d, err)
	}
	d.Prompt = string(body)
	answer, err := h.exchange(ctx, c.ID, body)
	d.Millis, d.Answer = time.Since(began).Milliseconds(), action.Clip(string(answer), 16<<10)
	if err != nil {
		return unsure(d, err)
	}
	var got struct {
		ID      string  `json:"id"`
		Verdict Verdict `json:"verdict"`
		Reason  string  `json:"reason"`
	}
	if err := action.Read(answer, &got, action.Limits{Bytes: maxAnswerBytes}); err != nil {
		return unsure(d, fmt.Errorf("%w: %w", errMalformed, err))
	}
	if got.ID != c.ID || got.Verdict != Confirm && got.Verdict != Refuse && got.Verdict != Unsure {
		return unsure(d, fmt.Errorf("%w: another request's, or no verdict", errMalformed))
	}
	return Opinion{Verdict: got.Verdict, Reason: action.Clip(got.Reason, 500), Detail: d}
}

func (h *Webhook) exchange(ctx context.Context, id string, body []byte) ([]byte, error) {
	key, err := h.c.Secret()
	if err != nil || len(key) < 24 {
		return nil, errors.New("the secret cannot be read, or is shorter than 24 bytes")
	}
	ctx, cancel := context.WithTimeout(ctx, h.c.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.c.URL, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the address cannot be used")
	}
	at := strconv.FormatInt(h.c.Now().Unix(), 10)
	r.Header = http.Header{"Content-Type": {"application/json"}, HeaderID: {id}, HeaderTimestamp: {at}, HeaderSignature: {Sign(key, id, at, body)}}
	resp, err := h.c.Client.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, errors.New("no answer in time")
		}
		return nil, errors.New("no connection")
	}
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	switch {
	case err != nil || len(out) > maxAnswerBytes:
		return nil, errors.New("the answer is too large, too late, or breaks off")
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	at = resp.Header.Get(HeaderTimestamp)
	sec, err := strconv.ParseInt(at, 10, 64)
	if age := h.c.Now().Sub(time.Unix(sec, 0)); err != nil || age > skew || age < -skew {
		return out, errors.New("the answer's time is missing or far away")
	}
	if !hmac.Equal([]byte(resp.Header.Get(HeaderSignature)), []byte(Sign(key, id, at, out))) {
		return out, errors.New("the answer's signature does not hold")
	}
	return out, nil
}

// Sign is the signature of body under key.
func Sign(key []byte, id, timestamp string, body []byte) string {
	m := hmac.New(sha256.New, key)
	_, _ = io.WriteString(m, id+"."+timestamp+".")
	_, _ = m.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
}
