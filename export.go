// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/ledger/export"
	"github.com/sallyport/sallyport/store"
)

// ExportReceiver is one receiver of every record of the ledger.
type ExportReceiver struct {
	Name      string `yaml:"name" doc:"its name; the place up to which it has been told is kept under it"`
	Kind      string `yaml:"kind" doc:"file or webhook"`
	Format    string `yaml:"format" doc:"jsonl or cloudevents; default jsonl"`
	Path      string `yaml:"path" doc:"absolute path of a file"`
	URL       string `yaml:"url" doc:"address of a webhook"`
	TokenFile string `yaml:"token_file" doc:"file with the bearer token of a webhook"`
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
		cfg := export.Config{Name: r.Name, Kind: r.Kind, Format: r.Format, Path: r.Path, URL: r.URL, Origin: s.Ledger.Origin,
			Size: func() uint64 { return s.Ledger.Checkpoint().Size }, Follow: s.Ledger.Follow}
		if r.TokenFile != "" {
			b, err := os.ReadFile(r.TokenFile)
			if err != nil {
				return fmt.Errorf("export: %q: %w", r.Name, err)
			}
			if cfg.Token = string(bytes.TrimSpace(b)); cfg.Token == "" {
				return fmt.Errorf("export: %q: token file %q is empty", r.Name, r.TokenFile)
			}
		}
		cfg.Load, cfg.Save = s.exportCursor(r.Name)
		e, err := export.New(cfg)
		if err != nil {
			return err
		}
		s.exporters = append(s.exporters, e)
	}
	return nil
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
