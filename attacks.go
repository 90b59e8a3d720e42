// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/detect"
)

// AttackList is a published list of signatures of confirmed attacks.
type AttackList struct {
	Name string   `yaml:"name" doc:"the list's name"`
	From string   `yaml:"from" doc:"where it is published: a file, or an https address"`
	Keys []string `yaml:"keys" doc:"keys of whom it may be signed by, as \"sallyport policy key\" prints them"`
}

// attacksEvery is how often the file and the lists are looked at again.
const attacksEvery = time.Minute

// attackLists keeps the signatures that count up to date: those of the owner's own file, and of every list.
type attackLists struct {
	s      *Sallyport
	file   string
	client *http.Client

	mu      sync.Mutex // guards below, and is held over a look
	own     []detect.Signature
	raw     []byte // of the file
	problem string
	lists   []*subscribed
}

// subscribed is one list and what was last taken of it.
type subscribed struct {
	AttackList
	keys    []ed25519.PublicKey
	etag    string
	list    detect.List
	raw     []byte
	problem string
}

func (c *AttackList) check() error {
	if !detect.NamesList(c.Name) || c.From == "" || len(c.Keys) == 0 {
		return fmt.Errorf("config: detect.lists: %q: name (lower case, digits, dashes), from and keys are required", c.Name)
	}
	for _, k := range c.Keys {
		if _, err := detect.KeyOf(k); err != nil {
			return fmt.Errorf("config: detect.lists: %q: %w", c.Name, err)
		}
	}
	if !strings.Contains(c.From, "://") {
		return nil
	}
	u, err := url.Parse(c.From)
	if err != nil || u.User != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !thisMachine(u.Hostname())) {
		return fmt.Errorf("config: detect.lists: %q: %q is neither a file nor an https address (http only of this machine)", c.Name, c.From)
	}
	return nil
}

func thisMachine(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }

// openAttacks reads the owner's own file, which must be there, and what was last taken of each list.
func (s *Sallyport) openAttacks(ctx context.Context) (*attackLists, error) {
	c := &s.Config.Detect
	a := &attackLists{s: s, file: c.Signatures, client: &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > 3 || r.URL.Scheme != via[0].URL.Scheme {
			return errors.New("a redirect to another scheme, or too many")
		}
		return nil
	}}}
	if a.file != "" {
		if err := a.readOwn(); err != nil {
			return nil, fmt.Errorf("config: detect.signatures: %q: %w", a.file, err)
		}
	}
	for _, l := range c.Lists {
		n := &subscribed{AttackList: l}
		for _, k := range l.Keys {
			key, err := detect.KeyOf(k)
			if err != nil {
				return nil, err
			}
			n.keys = append(n.keys, key)
		}
		a.lists = append(a.lists, n)
		if data, err := os.ReadFile(a.kept(n)); err == nil {
			n.problem = problemOf(a.take(ctx, n, data, false)) // the first look fetches it anew
		}
	}
	return a, a.apply()
}

func (a *attackLists) kept(l *subscribed) string {
	return filepath.Join(layout(a.s.Config.Data).snapshots, "attacks-"+l.Name)
}

func (a *attackLists) readOwn() error {
	b, err := os.ReadFile(a.file)
	if err != nil || a.raw != nil && bytes.Equal(b, a.raw) {
		return err
	}
	list, err := detect.ReadSignatures(b)
	if err == nil {
		a.own, a.raw = list, b
	}
	return err
}

// apply puts what is known in force.
func (a *attackLists) apply() error {
	all := a.own
	for _, l := range a.lists {
		all = append(all[:len(all):len(all)], l.list.Signatures...)
	}
	return a.s.Detect.SetSignatures(all)
}

func attackMark(name string) string { return "default/detect/list/" + name }

// take makes data what counts of l, if it is signed, of that name, and not older than what ever counted. news says
// that it did not stand here before, so that it is recorded and kept.
func (a *attackLists) take(ctx context.Context, l *subscribed, data []byte, news bool) error {
	if l.raw != nil && bytes.Equal(data, l.raw) {
		return nil
	}
	list, err := detect.ReadList(data, l.keys, a.s.Ledger.Now())
	if err != nil {
		return err
	}
	if list.Name != l.Name {
		return fmt.Errorf("the list is called %q", list.Name)
	}
	var newest int64
	revision, err := a.s.stored(ctx, attackMark(l.Name), &newest)
	if err != nil {
		return err
	}
	if newest = max(newest, l.list.Sequence); list.Sequence < newest {
		return fmt.Errorf("sequence %d is older than %d, which was in force", list.Sequence, newest)
	}
	before := l.list
	l.list = list
	if err := a.apply(); err != nil {
		l.list = before
		return err
	}
	l.raw = data
	if !news {
		return nil
	}
	value, err := action.Canonical(list.Sequence)
	if err == nil && (revision == 0 || list.Sequence > newest) {
		_, err = a.s.Store.Put(ctx, attackMark(l.Name), value, revision)
	}
	return errors.Join(err, writeDurably(a.kept(l), data), a.record(ctx, l.Name, action.StatusNone, codeAttackList, map[string]any{
		"sequence": list.Sequence, "expires_ms": list.Expires.UnixMilli(), "signatures": len(list.Signatures), "key": list.KeyID}))
}

const (
	codeAttackList        = "detect.list"
	codeAttackListRefused = "detect.list.refused"
)

// record says in the log which list counts from now on, or why one could not be taken.
func (a *attackLists) record(ctx context.Context, name string, status action.Status, code string, detail map[string]any) error {
	body, err := action.Canonical(detail)
	if err != nil {
		return err
	}
	_, err = a.s.Ledger.Append(ctx, &action.Record{Kind: action.KindPolicy, Tenant: "default", TimeMs: a.s.Ledger.Now().UnixMilli(),
		Subject: "detect.list/" + name, Status: status, Codes: []string{code},
		Parts: []action.PayloadPart{{Name: action.PartDetail, Owner: "policy", Data: body}}})
	return err
}

// look reads everything once more. What cannot be read leaves what counted before, until that expires; that it
// could not is recorded once.
func (a *attackLists) look(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file != "" {
		if err := a.again(ctx, "signatures", &a.problem, a.lookOwn()); err != nil {
			return err
		}
	}
	for _, l := range a.lists {
		data, etag, err := a.fetch(ctx, l)
		if err == nil && data != nil {
			if err = a.take(ctx, l, data, true); err == nil {
				l.etag = etag // what was refused is fetched again
			}
		}
		if err := a.again(ctx, l.Name, &l.problem, err); err != nil {
			return err
		}
	}
	return nil
}

func (a *attackLists) lookOwn() error {
	before, raw := a.own, a.raw
	err := a.readOwn()
	if err == nil {
		err = a.apply()
	}
	if err != nil {
		a.own, a.raw = before, raw
	}
	return err
}

// again notes how a look went, and records the first failure of several.
func (a *attackLists) again(ctx context.Context, name string, problem *string, err error) error {
	was := *problem
	if *problem = problemOf(err); err == nil || was != "" || ctx.Err() != nil {
		return nil
	}
	return a.record(ctx, name, action.StatusRefused, codeAttackListRefused, map[string]any{"problem": action.Clip(err.Error(), 2000)})
}

func problemOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// fetch returns what is published, nil for what did not change.
func (a *attackLists) fetch(ctx context.Context, l *subscribed) (data []byte, etag string, err error) {
	if !strings.Contains(l.From, "://") {
		f, err := os.Open(l.From)
		if err != nil {
			return nil, "", err
		}
		defer func() { _ = f.Close() }()
		data, err = atMost(f, detect.MaxListBytes)
		return data, "", err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.From, nil)
	if err != nil {
		return nil, "", err
	}
	if l.etag != "" {
		r.Header.Set("If-None-Match", l.etag)
	}
	resp, err := a.client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusNotModified:
		return nil, l.etag, nil
	case http.StatusOK:
	default:
		return nil, "", fmt.Errorf("status %d", resp.StatusCode)
	}
	data, err = atMost(resp.Body, detect.MaxListBytes)
	return data, resp.Header.Get("ETag"), err
}

func atMost(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("more than %d bytes", most)
	}
	return data, err
}

// Run looks again and again until ctx ends.
func (a *attackLists) Run(ctx context.Context) error {
	if a.file == "" && len(a.lists) == 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(attacksEvery)
	defer tick.Stop()
	for {
		if err := a.look(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// metrics tell what counts of each list. A list's name is the operator's own.
func (a *attackLists) metrics(reg *prometheus.Registry) {
	for _, l := range a.lists {
		gauge := func(name, help string, value func() float64) {
			reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sallyport_" + name, Help: help, ConstLabels: prometheus.Labels{"list": l.Name}},
				func() float64 { a.mu.Lock(); defer a.mu.Unlock(); return value() }))
		}
		gauge("attack_signatures", "Signatures of confirmed attacks of a subscribed list.", func() float64 { return float64(len(l.list.Signatures)) })
		gauge("attack_list_failing", "1 if the last look at a subscribed list failed.", func() float64 {
			if l.problem != "" {
				return 1
			}
			return 0
		})
	}
}
