// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/approval/judge"
	"github.com/sallyport/sallyport/enforce"
)

// JudgeConfig is one second system. Rules ask for it with the channel judge.
type JudgeConfig struct {
	Name         string        `yaml:"name" doc:"as records name it"`
	Kind         string        `yaml:"kind" doc:"openai (and what speaks its chat completions), anthropic, webhook, or classifier for the built-in rules about final answers and messages"`
	URL          string        `yaml:"url" doc:"of a model's API up to and without /chat/completions or /v1/messages; of a webhook the whole"`
	Model        string        `yaml:"model" doc:"name of the model"`
	Constitution string        `yaml:"constitution" doc:"file of numbered rules for the model; bundle:constitution/FILE is one of the bundle in force"`
	SecretFile   string        `yaml:"secret_file" doc:"file with the API key, or with the key that a webhook shares with us"`
	Timeout      time.Duration `yaml:"timeout" doc:"after which there is no opinion"`
	RefuseMilli  int           `yaml:"refuse_milli" doc:"of a classifier: chance of a broken rule, of 1000, from which it refuses; default 800"`
	ConfirmMilli int           `yaml:"confirm_milli" doc:"of a classifier: chance up to which it confirms; default 0, never"`
}

// maxJudged bounds the requests that wait for a second system; beyond it they are left to people.
const maxJudged = 64

// judging is the second system with what it needs.
type judging struct {
	chains chains
	queue  chan toJudge

	mu       sync.Mutex // guards below
	requests map[string]string
	order    []string
}

type toJudge struct {
	id      string
	query   *action.Query
	judge   judge.Judge
	expires time.Time
}

// The bounds of what is remembered of users' words for judges.
const (
	maxHeard      = 4096
	maxHeardBytes = 16 << 10
)

func (s *Sallyport) openJudges() error {
	s.reviews = newReviews(s)
	s.judging = &judging{queue: make(chan toJudge, maxJudged), requests: map[string]string{}}
	var first judge.First
	byName := map[string]judge.Judge{}
	for _, c := range s.Config.Approval.Judges {
		j, err := s.openJudge(c)
		if err != nil {
			return fmt.Errorf("approval.judges: %q: %w", c.Name, err)
		}
		first = append(first, j)
		byName[c.Name] = j
	}
	var err error
	s.judging.chains, err = s.openChains(byName, first)
	return err
}

func (s *Sallyport) openJudge(c JudgeConfig) (judge.Judge, error) {
	secret := func() (string, error) {
		b, err := os.ReadFile(c.SecretFile)
		return strings.TrimSpace(string(b)), err
	}
	if c.Kind == "classifier" {
		return judge.NewClassifier(judge.ClassifierConfig{Name: c.Name, RefuseMilli: c.RefuseMilli, ConfirmMilli: c.ConfirmMilli})
	}
	if c.Kind == "webhook" {
		return judge.NewWebhook(judge.WebhookConfig{Name: c.Name, URL: c.URL, Timeout: c.Timeout, Secret: func() ([]byte, error) {
			s, err := secret()
			return []byte(s), err
		}})
	}
	m := judge.ModelConfig{Name: c.Name, Kind: c.Kind, URL: c.URL, Model: c.Model, Timeout: c.Timeout}
	if c.SecretFile != "" {
		m.Secret = secret
	}
	if file, ok := constitutionIn(c.Constitution); ok {
		return &fromBundle{cfg: m, file: file, read: func(name string) ([]byte, bool) { return s.Policy.File(name) }}, nil
	}
	b, err := s.readFile(c.Constitution)
	if err != nil {
		return nil, err
	}
	if m.Constitution, err = judge.ReadConstitution(c.Constitution, b); err != nil {
		return nil, err
	}
	return judge.NewModel(m)
}

// hear remembers what the user asked for, for judges, and passes everything on to flow.
func (s *Sallyport) hear(ctx context.Context, session string, sub *action.Subject, said enforce.Said) {
	s.Flow.Hear(ctx, session, sub, said)
	if len(s.Config.Approval.Judges) == 0 || said.Kind != action.PartUserRequest || !said.By.HostScoped() {
		return
	}
	j := s.judging
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.requests[session]; !ok {
		j.order = append(j.order, session)
	}
	j.requests[session] = action.Clip(string(said.Text), maxHeardBytes)
	for len(j.order) > maxHeard {
		delete(j.requests, j.order[0])
		j.order = j.order[1:]
	}
}

// toJudge queues a request that opened; one too many is left to people.
func (s *Sallyport) toJudge(id string, r enforce.Request, expires time.Time) {
	j := s.judging.chains.of(judgedRules(&r.Decision))
	if j == nil {
		return
	}
	select {
	case s.judging.queue <- toJudge{id, r.Query, j, expires}:
	default:
	}
}

// runJudges asks the second system, two requests at a time.
func (s *Sallyport) runJudges(ctx context.Context) error {
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case t := <-s.judging.queue:
					s.judgeOne(ctx, t)
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// judgeOne asks about one request and answers it as the judge says. What goes wrong leaves it to people.
func (s *Sallyport) judgeOne(ctx context.Context, t toJudge) {
	c := judge.Case{ID: t.id, Expires: t.expires, Text: judge.TextOf(t.query)}
	s.judging.mu.Lock()
	c.Request = s.judging.requests[t.query.Context.Session.ID]
	s.judging.mu.Unlock()
	var o judge.Opinion
	var err error
	if c.Call, err = judge.CallOf(t.query); err != nil {
		o = judge.Opinion{Verdict: judge.Unsure, Detail: judge.Detail{Format: "judge.v1", Judge: t.judge.Name(), Fault: err.Error()}}
	} else {
		o = t.judge.Judge(ctx, c)
	}
	detail, err := action.Canonical(o.Detail)
	if err != nil {
		return
	}
	verdict := map[judge.Verdict]action.Verdict{judge.Confirm: action.Allow, judge.Refuse: action.Deny}[o.Verdict]
	// What cannot be recorded or answered any more stays with people, or has ended.
	_ = s.Approval.Opine(ctx, t.id, approval.Opinion{By: t.judge.Name(), Verdict: verdict, Reason: o.Reason, Detail: detail})
}
