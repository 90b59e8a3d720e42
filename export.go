// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/ledger/export"
	"github.com/sallyport/sallyport/store"
)

// ExportReceiver is one receiver of every record of the ledger.
type ExportReceiver struct {
	Name      string   `yaml:"name" doc:"its name; the place up to which it has been told is kept under it"`
	Kind      string   `yaml:"kind" doc:"file, webhook, otlp, splunk or syslog"`
	Format    string   `yaml:"format" doc:"jsonl, cloudevents or ocsf; default jsonl; none for otlp"`
	Path      string   `yaml:"path" doc:"absolute path of a file"`
	URL       string   `yaml:"url" doc:"address of a webhook, of OTLP's /v1/logs, or of Splunk's collector"`
	Address   string   `yaml:"address" doc:"host:port of a syslog receiver, which is reached over TLS"`
	TokenFile string   `yaml:"token_file" doc:"file with the bearer token, or Splunk's token"`
	CAFile    string   `yaml:"ca_file" doc:"certificates (PEM) that the receiver is trusted by; default: the system's"`
	CertFile  string   `yaml:"cert_file" doc:"our certificate (PEM)"`
	KeyFile   string   `yaml:"key_file" doc:"its key (PEM)"`
	Names     bool     `yaml:"names" doc:"send the names of agents, users, servers and tools, not only their pseudonyms; each opening is recorded"`
	Parts     []string `yaml:"parts" doc:"sealed parts to send, like arguments; each opening is recorded"`
}

// checkExport refuses names that two receivers, or two keys of the store, would share.
func checkExport(receivers []ExportReceiver) error {
	names := map[string]bool{}
	for _, r := range receivers {
		if r.Name == "" || len(r.Name) > 64 || strings.Trim(r.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || names[r.Name] {
			return fmt.Errorf("config: export: name %q is not 1 to 64 of a-z, 0-9 and -, or stands twice", r.Name)
		}
		names[r.Name] = true
	}
	return nil
}

// openExport opens the exporters. Each begins with the first record of the log.
func (s *Sallyport) openExport() error {
	for _, r := range s.Config.Export {
		cfg, err := s.exportConfig(r)
		if err != nil {
			return fmt.Errorf("export: %q: %w", r.Name, err)
		}
		e, err := export.New(cfg)
		if err != nil {
			return err
		}
		s.exporters = append(s.exporters, e)
	}
	return nil
}

func (s *Sallyport) exportConfig(r ExportReceiver) (export.Config, error) {
	cfg := export.Config{Name: r.Name, Kind: r.Kind, Format: r.Format, Path: r.Path, URL: r.URL, Address: r.Address, Names: r.Names, Origin: s.Ledger.Origin,
		Size: func() uint64 { return s.Ledger.Checkpoint().Size }, Follow: s.Ledger.Follow}
	for _, p := range r.Parts {
		cfg.Parts = append(cfg.Parts, action.PartName(p))
	}
	cfg.Access = func(ctx context.Context, parts []ledger.PartAt) error {
		_, err := s.Ledger.Opened(ctx, ledger.Access{Actor: "export:" + r.Name, Subject: "export/" + r.Name, Parts: parts})
		return err
	}
	cfg.Load, cfg.Save = s.exportCursor(r.Name)
	if r.TokenFile != "" {
		b, err := os.ReadFile(r.TokenFile)
		if err != nil {
			return cfg, err
		}
		if cfg.Token = string(bytes.TrimSpace(b)); cfg.Token == "" {
			return cfg, fmt.Errorf("token file %q is empty", r.TokenFile)
		}
	}
	if r.CAFile != "" {
		b, err := os.ReadFile(r.CAFile)
		if err != nil {
			return cfg, err
		}
		if cfg.Roots = x509.NewCertPool(); !cfg.Roots.AppendCertsFromPEM(b) {
			return cfg, fmt.Errorf("%q holds no certificate", r.CAFile)
		}
	}
	if r.CertFile != "" || r.KeyFile != "" {
		c, err := tls.LoadX509KeyPair(r.CertFile, r.KeyFile)
		if err != nil {
			return cfg, err
		}
		cfg.Certificate = &c
	}
	return cfg, nil
}

// Exported is how far a receiver of records is.
type Exported struct {
	Name    string `json:"name"`
	Next    uint64 `json:"next"`    // index of the next record that it is sent
	Failed  int64  `json:"failed"`  // attempts since the start
	Problem string `json:"problem"` // why the newest failed
}

// Exports returns how far each receiver is.
func (s *Sallyport) Exports() []Exported {
	out := []Exported{}
	for _, e := range s.exporters {
		st := e.Stats()
		out = append(out, Exported{e.Name(), st.Next, st.Failed, st.Problem})
	}
	return out
}

// exportCursor keeps "INDEX ORIGIN" in the store.
func (s *Sallyport) exportCursor(name string) (load func(context.Context) (string, uint64, error), save func(context.Context, string, uint64) error) {
	key := "default/export/cursor/" + name
	load = func(ctx context.Context) (string, uint64, error) {
		e, err := s.Store.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			return "", 0, nil
		}
		if err != nil {
			return "", 0, err
		}
		index, origin, _ := strings.Cut(string(e.Value), " ")
		n, err := strconv.ParseUint(index, 10, 64)
		return origin, n, err
	}
	save = func(ctx context.Context, origin string, next uint64) error {
		ctx = context.WithoutCancel(ctx) // the receiver has the batch: that must not be forgotten at the end
		e, err := s.Store.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		_, err = s.Store.Put(ctx, key, []byte(strconv.FormatUint(next, 10)+" "+origin), e.Revision)
		return err
	}
	return load, save
}

// exportJobs are the exporters at work.
func (s *Sallyport) exportJobs() (jobs []func(context.Context) error) {
	for _, e := range s.exporters {
		jobs = append(jobs, e.Run)
	}
	return jobs
}

// exportMetrics counts what arrived. An exporter's name is the operator's own.
func (s *Sallyport) exportMetrics(reg *prometheus.Registry) {
	for _, e := range s.exporters {
		l := prometheus.Labels{"exporter": e.Name()}
		reg.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sallyport_export_next_index", Help: "Index of the next record that an exporter sends.", ConstLabels: l},
				func() float64 { return float64(e.Stats().Next) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sallyport_export_failures_total", Help: "Attempts of an exporter that failed, since the start.", ConstLabels: l},
				func() float64 { return float64(e.Stats().Failed) }))
	}
}
