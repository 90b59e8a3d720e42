// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/index"
)

// SeedsConfig says how reviewers are tested without anybody's doing.
type SeedsConfig struct {
	PerWeek int      `yaml:"per_week" doc:"seeded requests a week, on average, at random times; default none"`
	From    string   `yaml:"from" doc:"file with those that are drawn from: a JSON array of {tool, agent, user, arguments, facts}"`
	Hours   string   `yaml:"hours" doc:"hours of the owner's clock within which they come, such as 9-17; default all"`
	Days    []string `yaml:"days" doc:"days on which they come, such as mon; default all"`
	Groups  []string `yaml:"groups" doc:"groups of which one, drawn by lot, has to answer; default: whom the policy asks"`
}

// The bounds of a schedule.
const (
	maxSeedsAWeek   = 50
	maxSeedFile     = 256 << 10
	maxSeedPatterns = 200
	seedEvery       = time.Minute // one draw
	seedQuiet       = time.Hour   // since the latest alert
)

// seedAuthor stands on record as who seeded what the schedule shows. Somebody of this very name could answer none of it.
const seedAuthor = "owner:/schedule"

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// pattern is one request that can be shown.
type pattern struct {
	Tool      string         `json:"tool"`
	Agent     string         `json:"agent"`
	User      string         `json:"user"`
	Arguments jsontext.Value `json:"arguments"`
	Facts     jsontext.Value `json:"facts"` // in place of agent and user
}

func (c *SeedsConfig) check(groups []Group) error {
	if c.PerWeek < 0 || c.PerWeek > maxSeedsAWeek {
		return fmt.Errorf("config: approval.seeds.per_week: %d is not 0 to %d", c.PerWeek, maxSeedsAWeek)
	}
	if c.PerWeek > 0 && c.From == "" {
		return errors.New("config: approval.seeds.from: missing: nothing could be shown")
	}
	if _, _, err := c.hours(); err != nil {
		return fmt.Errorf("config: approval.seeds.hours: %w", err)
	}
	for _, d := range c.Days {
		if !slices.Contains(weekdays, d) {
			return fmt.Errorf("config: approval.seeds.days: %q is none of %s", d, strings.Join(weekdays, ", "))
		}
	}
	for _, g := range c.Groups {
		if !slices.ContainsFunc(groups, func(k Group) bool { return k.Name == g }) {
			return fmt.Errorf("config: approval.seeds.groups: %q is none of approval.groups", g)
		}
	}
	return nil
}

// hours returns the first hour and the one after the last.
func (c *SeedsConfig) hours() (from, to int, err error) {
	if c.Hours == "" {
		return 0, 24, nil
	}
	a, b, _ := strings.Cut(c.Hours, "-")
	from, err1 := strconv.Atoi(a)
	to, err2 := strconv.Atoi(b)
	if err1 != nil || err2 != nil || from < 0 || to > 24 || from >= to {
		return 0, 0, fmt.Errorf("%q is not such as 9-17", c.Hours)
	}
	return from, to, nil
}

// seeder draws, once a minute, whether a request is to be shown now. Each minute within the hours is as likely as every
// other, and nothing is kept from one to the next: nobody can tell from the past when one comes, and a restart changes
// nothing. Not safe for concurrent use.
type seeder struct {
	cfg      SeedsConfig
	patterns []pattern
	rand     io.Reader
	quiet    func(ctx context.Context) (bool, error) // nothing is going on that people should look at instead
	show     func(ctx context.Context, p pattern, group string) error
}

// readPatterns reads the requests of a schedule.
func readPatterns(file string) ([]pattern, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("approval.seeds.from: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxSeedFile+1))
	if err != nil || len(b) > maxSeedFile {
		return nil, fmt.Errorf("approval.seeds.from: %q cannot be read, or is larger than %d bytes", file, maxSeedFile)
	}
	return patterns(b)
}

func patterns(b []byte) ([]pattern, error) {
	var all []pattern
	if err := action.Read(b, &all, action.Limits{Bytes: maxSeedFile}); err != nil {
		return nil, fmt.Errorf("approval.seeds.from: %w", err)
	}
	if len(all) == 0 || len(all) > maxSeedPatterns {
		return nil, fmt.Errorf("approval.seeds.from: %d requests are not 1 to %d", len(all), maxSeedPatterns)
	}
	for i, p := range all {
		switch {
		case p.Tool == "":
			return nil, fmt.Errorf("approval.seeds.from: request %d names no tool", i)
		case len(p.Arguments) > 0 && p.Arguments.Kind() != '{':
			return nil, fmt.Errorf("approval.seeds.from: request %d: the arguments are no object", i)
		case (p.Agent == "") == (len(p.Facts) == 0):
			return nil, fmt.Errorf("approval.seeds.from: request %d needs either an agent or facts", i)
		}
	}
	return all, nil
}

// turn draws for the minute that now is in.
func (s *seeder) turn(ctx context.Context, now time.Time) error {
	from, to, err := s.cfg.hours()
	if err != nil {
		return err
	}
	days := len(s.cfg.Days)
	if days == 0 {
		days = len(weekdays)
	} else if !slices.Contains(s.cfg.Days, weekdays[now.Weekday()]) {
		return nil
	}
	if h := now.Hour(); h < from || h >= to {
		return nil
	}
	minutes := uint64(days * (to - from) * 60)
	if n, err := s.lot(minutes); err != nil || n >= uint64(s.cfg.PerWeek) {
		return err
	}
	if quiet, err := s.quiet(ctx); err != nil || !quiet {
		return err
	}
	n, err := s.lot(uint64(len(s.patterns)))
	if err != nil {
		return err
	}
	group := ""
	if len(s.cfg.Groups) > 0 {
		g, err := s.lot(uint64(len(s.cfg.Groups)))
		if err != nil {
			return err
		}
		group = s.cfg.Groups[g]
	}
	return s.show(ctx, s.patterns[n], group)
}

// lot draws a number below n. Its bias is below n in 2^64.
func (s *seeder) lot(n uint64) (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(s.rand, b[:]); err != nil {
		return 0, fmt.Errorf("seeds: reading randomness: %w", err)
	}
	return binary.BigEndian.Uint64(b[:]) % n, nil
}

// openSeeds reads the schedule.
func (s *Sallyport) openSeeds() error {
	c := s.Config.Approval.Seeds
	if c.PerWeek == 0 {
		return nil
	}
	all, err := readPatterns(c.From)
	if err != nil {
		return err
	}
	s.seeds = &seeder{cfg: c, patterns: all, rand: rand.Reader, quiet: s.calm, show: s.showSeed}
	return nil
}

// seedJobs keep the schedule.
func (s *Sallyport) seedJobs() []func(context.Context) error {
	if s.seeds == nil {
		return nil
	}
	return []func(context.Context) error{func(ctx context.Context) error {
		tick := time.NewTicker(seedEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				if err := s.seeds.turn(ctx, s.Ledger.Now()); err != nil && ctx.Err() == nil {
					s.alarm("seeds.failed", err.Error())
				}
			}
		}
	}}
}

// calm reports whether nothing is stopped, and no alert is younger than an hour.
func (s *Sallyport) calm(ctx context.Context) (bool, error) {
	if len(s.Kill.Orders()) > 0 {
		return false, nil
	}
	p, err := s.Index.Alerts(ctx, index.Filter{Since: s.Ledger.Now().Add(-seedQuiet).UnixMilli()}, 1, "")
	return err == nil && len(p.Items) == 0, err
}

// showSeed puts p before people, as of a session that its agent really had lately.
func (s *Sallyport) showSeed(ctx context.Context, p pattern, group string) error {
	facts := p.Facts
	if len(facts) == 0 {
		session := lookalike(s.Ledger.Now())
		if had, err := s.Index.Sessions(ctx, index.Filter{Agent: p.Agent}, 1, ""); err == nil && len(had.Items) > 0 {
			session = had.Items[0].ID
		}
		var err error
		facts, err = action.Canonical(map[string]any{"subject": map[string]any{"id": p.Agent, "user": map[string]any{"id": p.User}},
			"context": map[string]any{"session": map[string]any{"id": session}}})
		if err != nil {
			return err
		}
	}
	server, tool := action.SplitToolKey(p.Tool)
	q, d, err := s.reviews.seedDoc(ctx, admin.Trial{Server: server, Tool: tool, Arguments: p.Arguments, Facts: facts})
	if err != nil {
		return fmt.Errorf("seeds: %q: %w", p.Tool, err)
	}
	if group != "" {
		d.Matches = slices.Clone(d.Matches)
		for i := range d.Matches {
			if d.Matches[i].Verdict == action.Ask {
				d.Matches[i].Approver.Group = group
			}
		}
	}
	_, err = s.Approval.Seed(ctx, seedAuthor, enforce.Request{Action: lookalike(s.Ledger.Now()), Query: q, Decision: d, Bytes: q.Action.Arguments})
	if errors.Is(err, approval.ErrSeeds) {
		return nil // there are enough today
	}
	return err
}
