// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// splunk sends batches to an HTTP Event Collector and waits for the acknowledgement of the indexer.
type splunk struct {
	post    poster
	channel string
	within  time.Duration // for an acknowledgement
	every   time.Duration // between two questions
	now     func() time.Time
}

// newSplunk makes a channel of the exporter's own, always the same one: acknowledgements belong to it.
func newSplunk(c *Config, post poster) (*splunk, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return nil, errors.New("the address of Splunk is that of its collector, without a path")
	}
	if c.Token == "" {
		return nil, errors.New("Splunk needs a token")
	}
	post.url = strings.TrimSuffix(c.URL, "/")
	h := sha256.Sum256([]byte("sallyport export " + c.Name))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // a UUID of version 8
	return &splunk{post: post, channel: fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16]),
		within: c.AckWithin, every: c.AckEvery, now: c.Now}, nil
}

// envelope is one event as the collector wants it. "id" is an indexed field, by which a second copy is
// found.
func (s *splunk) envelope(r *record, event []byte, sourcetype string) []byte {
	fields := open()
	fields.text("id", id(r.origin, r.Index))
	fields.text("kind", string(r.Leaf.Kind))
	fields.text("verdict", string(r.Leaf.Verdict))
	fields.text("mode", r.mode())
	o := open()
	o.raw("time", fmt.Appendf(nil, "%d.%03d", r.Leaf.LogMs/1000, r.Leaf.LogMs%1000))
	o.text("host", r.origin)
	o.text("source", "sallyport")
	o.text("sourcetype", sourcetype)
	o.raw("event", event)
	o.raw("fields", fields.end())
	return o.end()
}

// write returns once the indexer acknowledged the batch. A batch whose acknowledgement does not come in
// time is sent again.
func (s *splunk) write(ctx context.Context, _ uint64, records [][]byte) error {
	channel := "?channel=" + s.channel
	answer, err := s.post.send(ctx, s.post.url+"/services/collector/event"+channel, "application/json", bytes.Join(records, []byte{'\n'}))
	if err != nil {
		return err
	}
	var took struct {
		Code int    `json:"code"`
		Ack  *int64 `json:"ackId"`
	}
	if err := json.Unmarshal(answer, &took); err != nil {
		return errors.New("the answer is none of a collector's")
	}
	if took.Code != 0 {
		return fmt.Errorf("code %d", took.Code)
	}
	if took.Ack == nil {
		return errors.New("the token has no indexer acknowledgement; enable it")
	}
	question := []byte(`{"acks":[` + strconv.FormatInt(*took.Ack, 10) + `]}`)
	for end := s.now().Add(s.within); ; {
		answer, err := s.post.send(ctx, s.post.url+"/services/collector/ack"+channel, "application/json", question)
		if err != nil {
			return err
		}
		var said struct {
			Acks map[string]bool `json:"acks"`
		}
		if err := json.Unmarshal(answer, &said); err != nil {
			return errors.New("the answer is none of a collector's")
		}
		if said.Acks[strconv.FormatInt(*took.Ack, 10)] {
			return nil
		}
		if !s.now().Before(end) {
			return errors.New("no acknowledgement in time")
		}
		if err := pause(ctx, s.every); err != nil {
			return err
		}
	}
}
