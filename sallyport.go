// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/admin"
	"github.com/sallyport/sallyport/approval"
	"github.com/sallyport/sallyport/detect"
	"github.com/sallyport/sallyport/enforce"
	"github.com/sallyport/sallyport/flow"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/gateway/egress"
	"github.com/sallyport/sallyport/gateway/hook"
	"github.com/sallyport/sallyport/gateway/mcp"
	"github.com/sallyport/sallyport/identity"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/ledger/export"
	"github.com/sallyport/sallyport/monitor"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/store/sqlite"
	"github.com/sallyport/sallyport/tools"
)

// Sallyport is one owner process: every column over one data directory, and the path that joins them.
// Its exported fields may be used, not replaced.
type Sallyport struct {
	Config   Config
	Ledger   *ledger.Log
	Store    *sqlite.Store
	Tokens   *identity.Tokens
	Kill     *identity.Switch
	Signers  *identity.Signers
	Tools    *tools.Registry
	Detect   *detect.Detector
	Flow     *flow.Flow
	Monitor  *monitor.Counters
	Profiles *monitor.Profiles
	Alarms   *monitor.Alarms
	Policy   *policy.PDP
	Approval *approval.Desk
	Index    *index.Index
	Enforcer *enforce.Enforcer
	MCP      *mcp.Gate
	Egress   *egress.Proxy

	attest         *attestation
	federation     *federation
	certificates   *certificates
	identity       enforce.Source
	egressPolicy   *policy.PDP
	databasePolicy *policy.PDP // nil without databases
	labels         atomic.Pointer[labels]
	bundles        bundles
	world          World

	records  *tenantRecords
	logins   *admin.Sessions
	channels channels
	signIn   *signIn // nil: no provider is configured
	mcpHTTP  *mcp.HTTP
	hooks    []gateway.Route
	llm      []gateway.Route
	judging  *judging
	reviews  reviews
	seeds    *seeder // nil: nothing is seeded by itself
	lock     *os.File
	closers  []func() error
	alarms   chan alarmed // from the policy; recorded by Run
	resumed  keptPast     // that this start went on from
	ending   keptPast     // begun by Run at its end, for Close to finish

	recallLate atomic.Int64 // unix ns at which a session's past could not be read yet
	outlets    []*monitor.Outlet
	attacks    *attackLists

	exporters []*export.Exporter
	views     views
	walls     *wallBook
	asked     askedTwo
	retention RetentionState // as it stands on record
}

// Open takes the data directory, wires the columns over it and restores what the ledger knows. It fails
// with ErrOwned if another process owns the directory. Nothing listens until Serve.
func Open(ctx context.Context, cfg Config) (s *Sallyport, err error) {
	return OpenIn(ctx, cfg, World{})
}

// OpenIn is Open with something in the place of the network that the egress proxy reaches.
func OpenIn(ctx context.Context, cfg Config, world World) (s *Sallyport, err error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s = &Sallyport{Config: cfg, world: world, alarms: make(chan alarmed, 16)}
	if s.lock, err = own(cfg.Data); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
			s = nil
		}
	}()
	if err := s.wire(ctx); err != nil {
		return s, err
	}
	if err := s.restore(ctx); err != nil {
		return s, err
	}
	if err := s.recordStart(ctx); err != nil {
		return s, err
	}
	return s, s.recordRetention(ctx)
}

// wire opens the columns, one line each but for their seams.
func (s *Sallyport) wire(ctx context.Context) error {
	c, d := &s.Config, layout(s.Config.Data)
	var key []byte
	return first(
		func() (err error) { s.Ledger, err = opened(s, s.openLedger, s.ledgerConfig()); return err },
		func() (err error) {
			s.Store, err = opened(s, func(c sqlite.Config) (*sqlite.Store, error) { return sqlite.Open(ctx, c) }, sqlite.Config{Path: d.store})
			return err
		},
		func() (err error) { s.Policy, err = s.openPolicy(ctx); return err },
		func() (err error) { key, err = secretKey(filepath.Join(d.keys, "identity")); return err },
		func() (err error) {
			s.Tokens, err = identity.Open(ctx, identity.Config{Store: s.Store, Key: key, Record: s.Ledger.Append, Past: s.past,
				TokensDir: d.tokens, PeerUIDs: c.Identity.PeerUIDs, Now: s.Ledger.Now})
			return err
		},
		func() (err error) {
			s.Kill, err = identity.OpenSwitch(ctx, identity.SwitchConfig{Store: s.Store, Key: key, Record: s.Ledger.Append, Past: s.past,
				Tokens: s.Tokens, SingleOperator: c.Identity.SingleOperator, ReleaseDelay: c.Identity.ReleaseDelay,
				Factor: func() bool { return s.Signers.Any() }, Lease: killLease, Held: s.held, Now: s.Ledger.Now})
			return err
		},
		func() error { s.walls = newWallBook(s.Tokens); return nil },
		s.openFederation,
		s.openCertificates,
		func() (err error) { s.identity, err = s.identityFacts(); return err },
		func() error { return s.openAttest(ctx, key) },
		func() error { return s.openSigners(ctx, key) },
		s.openJudges,
		func() error { return s.openDetector(ctx) },
		func() error { return s.openTools(ctx) },
		func() (err error) {
			s.Flow, err = flow.New(flow.Config{Store: s.Store, Fingerprint: s.Ledger.Fingerprint, Declared: s.declared, Tool: s.flowTool, Recall: s.recall})
			return err
		},
		func() error { s.records = s.newTenantRecords(); return nil },
		s.openMonitor,
		s.openExport,
		s.openEgressPolicy,
		s.openDatabasePolicy,
		func() (err error) {
			s.Approval, err = approval.Open(ctx, approval.Config{Store: s.Store, Record: s.Ledger.Append, Past: s.past, Now: s.Ledger.Now,
				TTL: c.Approval.TTL, GrantTTL: c.Approval.GrantTTL, MaxPending: c.Approval.MaxPending, Prove: s.prove, Opened: s.toJudge})
			return err
		},
		func() (err error) {
			s.Index, err = opened(s, func(c index.Config) (*index.Index, error) { return index.Open(ctx, c) }, s.indexConfig())
			return err
		},
		func() (err error) {
			decider, err := s.decider()
			if err != nil {
				return err
			}
			s.Enforcer, err = enforce.New(enforce.Config{
				Stages: s.stages(), Decider: decider, Approver: s.Approval, Recorder: s.recorder(), ReasoningAsked: s.Config.Ledger.Reasoning == "policy", Payloads: s.Ledger, Standing: s.Kill,
				Store: s.Store, Random: rand.Reader, Fingerprint: s.Ledger.Fingerprint, Scrub: s.Detect.Scrub, Redact: s.Detect.Redact, Mask: s.Detect.Mask,
				Now: s.Ledger.Now, Hear: s.hear, History: s.history, Quarantine: s.quarantine, Denied: s.denied, Asked: s.Profiles.Asked, AskFor: c.Approval.TTL,
				InformDeadline: c.Gateway.FactsDeadline,
			})
			return err
		},
		func() (err error) {
			s.MCP, err = mcp.New(mcp.Config{Enforcer: s.Enforcer, Observe: s.observe, Visible: s.visible, Answer: s.clientAnswer, Now: s.Ledger.Now})
			return err
		},
		func() (err error) {
			s.mcpHTTP, err = mcp.NewHTTP(mcp.HTTPConfig{Gate: s.MCP, Upstream: s.httpUpstream, Separation: separationOf})
			return err
		},
		func() (err error) {
			s.llm, err = s.llmRoutes()
			return err
		},
		func() (err error) {
			s.hooks, err = hook.Routes(hook.Config{Enforcer: s.Enforcer, Host: hostScoped, Answer: s.clientAnswer, Separation: separationOf})
			return err
		},
		s.openEgress,
		s.openLogins,
		s.openSignIn,
		func() error { return s.openChannels(key) },
		s.openSeeds,
	)
}

// small reports that what is read of q is so little that no source which reads memory only can be late.
func small(q *action.Query) bool {
	return len(q.Action.Arguments)+len(q.Context.Result.Content) <= 16<<10
}

// stages are the fact sources in the order of the path.
func (s *Sallyport) stages() [][]enforce.Source {
	least := s.Config.Gateway.FactsDeadline
	return [][]enforce.Source{
		{
			{Name: "tools", Informer: s.Tools, Quick: small},
			s.identity,
			{Name: "attest", Informer: s.Attested(), Deadline: enforce.Inline},
		},
		{
			{Name: "detect", Informer: s.Detect, Deadline: max(2*time.Second, least), Quick: small},
			{Name: "monitor", Informer: s.Monitor, Deadline: enforce.Inline},
		},
		{{Name: "flow", Informer: s.Flow, Deadline: max(time.Second, least)}},
		{{Name: "profiles", Informer: s.Profiles, Deadline: enforce.Inline}}, // they look at where values come from
	}
}

// Run does what happens in the background until ctx ends, and returns the first failure.
func (s *Sallyport) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	jobs := []func(context.Context) error{s.Ledger.Run, s.Enforcer.Run, s.Approval.Run, s.Index.Run, s.mcpHTTP.Run, s.sweepLabels, s.recordAlarms, s.keepSelf,
		s.Kill.Run, s.watchKills, s.runJudges, s.followPolicy, s.retain, s.workloadRun, s.attacks.Run, s.collateralRun}
	jobs = append(jobs, s.monitorJobs()...)
	jobs = append(jobs, s.exportJobs()...)
	jobs = append(jobs, s.loginJobs()...)
	jobs = append(jobs, s.channelJobs()...)
	jobs = append(jobs, s.seedJobs()...)
	errs := make(chan error, len(jobs))
	var wg sync.WaitGroup
	for _, job := range jobs {
		wg.Go(func() {
			errs <- job(ctx)
			cancel() // one that ends takes the others along: an owner without its follower is half an owner
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return nil
}

// Close releases the columns in reverse order and gives the data directory up.
func (s *Sallyport) Close() error {
	var errs []error
	s.keepEnding()
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
		s.lock = nil
	}
	return errors.Join(errs...)
}

// opened opens a column that must be closed again.
func opened[C any, T interface{ Close() error }](s *Sallyport, open func(C) (T, error), cfg C) (T, error) {
	t, err := open(cfg)
	if err == nil {
		s.closers = append(s.closers, t.Close)
	}
	return t, err
}

func first(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
