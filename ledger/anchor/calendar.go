// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// OTS are calendars of OpenTimestamps, which put the root of what they are sent in a Bitcoin transaction
// every few hours. Anchor returns at once, with a proof that is pending; Upgrade completes it later. A
// calendar learns a salted digest of the checkpoint, and nothing else.
type OTS struct {
	Calendars []string
	Client    *http.Client // nil means one with a timeout of 30 s
	Rand      io.Reader    // nil means crypto/rand.Reader
}

var _ Anchor = OTS{}

// Anchor has the checkpoint taken by every calendar. It errs only if none takes it. The Time of the token is
// zero: nothing is proved until it is complete.
func (o OTS) Anchor(ctx context.Context, checkpoint []byte) (Token, error) {
	random := o.Rand
	if random == nil {
		random = rand.Reader
	}
	salt := make([]byte, 16)
	if _, err := io.ReadFull(random, salt); err != nil {
		return Token{}, fmt.Errorf("anchor: %w", err)
	}
	digest := sha256.Sum256(checkpoint)
	salted := sha256.Sum256(slices.Concat(digest[:], salt))
	var branches [][]byte
	var errs []error
	for _, calendar := range o.Calendars {
		b, err := o.fetch(ctx, http.MethodPost, calendar, "/digest", salted[:])
		if err == nil {
			_, err = forkable(b, salted[:])
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("anchor: calendar %q: %w", calendar, err))
			continue
		}
		branches = append(branches, b)
	}
	if len(branches) == 0 {
		return Token{}, errors.Join(append(errs, errors.New("anchor: no calendar took the checkpoint"))...)
	}
	data := append([]byte(otsMagic), 1, opSHA256)
	data = append(append(data, digest[:]...), opAppend, byte(len(salt)))
	data = append(append(data, salt...), opSHA256)
	for i, b := range branches {
		if i < len(branches)-1 {
			b, _ = forkable(b, salted[:]) // it has been read before
		}
		data = append(data, b...)
	}
	if _, err := readOTS(data, digest); err != nil {
		return Token{}, err
	}
	return Token{Kind: KindOTS, Data: data}, nil
}

// Upgrade asks the calendars of the pending ends of a proof for their completion. It returns the proof with
// what it got, and whether that is anything. Only calendars of the list are asked: the addresses in a proof
// are anybody's word.
func (o OTS) Upgrade(ctx context.Context, data, checkpoint []byte) ([]byte, bool, error) {
	found, err := readOTS(data, sha256.Sum256(checkpoint))
	if err != nil {
		return nil, false, err
	}
	data = slices.Clone(data)
	better := false
	var errs []error
	for _, a := range slices.Backward(found) { // the offsets of those before it stay
		uri, pending := a.calendar()
		if !pending || !slices.ContainsFunc(o.Calendars, func(c string) bool { return strings.TrimSuffix(c, "/") == strings.TrimSuffix(uri, "/") }) {
			continue
		}
		b, err := o.fetch(ctx, http.MethodGet, uri, "/timestamp/"+hex.EncodeToString(a.message), nil)
		if err == nil {
			b, err = forkable(b, a.message)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("anchor: calendar %q: %w", clean(uri), err))
			continue
		}
		if a.forked { // the mark before the pending end now belongs to the first of the new branches
			b = append(b[1:], tagFork)
		}
		data = slices.Insert(data, a.at, b...)
		better = true
	}
	if !better {
		return data, false, errors.Join(errs...)
	}
	if _, err := readOTS(data, sha256.Sum256(checkpoint)); err != nil {
		return nil, false, err
	}
	return data, true, nil
}

// forkable checks that b is a timestamp of message that ends in something, and returns it with every branch
// marked as followed by another.
func forkable(b, message []byte) ([]byte, error) {
	r := otsReader{rest: b, all: len(b)}
	if err := r.timestamp(message, 0); err != nil {
		return nil, err
	}
	if len(r.rest) > 0 || len(r.found) == 0 {
		return nil, errOTS
	}
	return slices.Insert(slices.Clone(b), r.last, tagFork), nil
}

func (o OTS) fetch(ctx context.Context, method, calendar, path string, body []byte) ([]byte, error) {
	client := o.Client
	if client == nil {
		client = &http.Client{Timeout: 30 * time.Second}
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(calendar, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/vnd.opentimestamps.v1")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded") // what the calendars' own client sends
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 10001))
	if err == nil && len(b) > 10000 {
		err = errors.New("an answer of more than 10,000 bytes")
	}
	return b, err
}
