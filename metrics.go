// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sallyport/sallyport/action"
)

// metrics serves what the owner counts, in the Prometheus format. No label holds an agent's id, a tool's
// name or an argument: those are unbounded, and people who read metrics need not see them.
func (s *Sallyport) metrics() http.Handler {
	reg := prometheus.NewRegistry()
	gauge := func(name, help string, value func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sallyport_" + name, Help: help}, value))
	}
	counter := func(name, help string, value func() float64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sallyport_" + name, Help: help}, value))
	}
	counter("ledger_records_total", "Records in the log.", func() float64 { return float64(s.Ledger.Stats().Size) })
	counter("ledger_batches_total", "Group commits since the start.", func() float64 { return float64(s.Ledger.Stats().Batches) })
	counter("ledger_bytes_total", "Bytes written to the log since the start.", func() float64 { return float64(s.Ledger.Stats().Bytes) })
	gauge("ledger_fdatasync_seconds", "Median fdatasync of the log's disk, measured at the start.", func() float64 { return float64(s.Ledger.Stats().FdatasyncUs) / 1e6 })
	gauge("ledger_queue_bytes", "Bytes that wait for the disk.", func() float64 { return float64(s.Ledger.Stats().QueueBytes) })
	gauge("ledger_room_bytes", "Preallocated bytes that are free.", func() float64 { return float64(s.Ledger.Stats().RoomBytes) })
	gauge("ledger_unpublished", "Records that the tiles do not hold yet.", func() float64 {
		st := s.Ledger.Stats()
		return float64(st.Size - min(st.Size, st.Published))
	})
	gauge("ledger_stopped", "1 if the log accepts nothing.", func() float64 {
		if s.Ledger.Stats().Stopped != "" {
			return 1
		}
		return 0
	})
	gauge("kills_in_force", "Kill orders in force.", func() float64 { return float64(len(s.Kill.Orders())) })
	counter("unenforced_decisions_total", "Recorded decisions that observe mode let pass, since the start.", func() float64 { return float64(s.Enforcer.Unenforced()) })
	reg.MustRegister(observedMetrics{s})
	s.monitorMetrics(reg)
	s.exportMetrics(reg)
	s.attacks.metrics(reg)
	s.channelMetrics(reg)
	reg.MustRegister(newRuleMetrics(s.reviews))
	for _, v := range action.Allow.Values() {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sallyport_decisions_total", Help: "Recorded decisions of both gates.",
			ConstLabels: prometheus.Labels{"verdict": v}}, func() float64 { return float64(s.Enforcer.Decisions(action.Verdict(v))) }))
	}
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
}

// observedMetrics says which agents and tools are observed only, by the bundle in force.
type observedMetrics struct{ s *Sallyport }

// maxObserved bounds the series; a bundle with more entries names only the first.
const maxObserved = 1000

var observedDesc = prometheus.NewDesc("sallyport_observed", "1 for each agent and tool whose denials and questions are recorded but not carried out, by the bundle in force.",
	[]string{"tenant", "agent", "tool"}, nil)

// Describe makes observedMetrics a prometheus.Collector.
func (observedMetrics) Describe(to chan<- *prometheus.Desc) { to <- observedDesc }

// Collect makes observedMetrics a prometheus.Collector.
func (m observedMetrics) Collect(to chan<- prometheus.Metric) {
	manifest := m.s.Policy.Active().Manifest()
	seen := map[[3]string]bool{}
	for _, o := range manifest.Observed(m.s.Ledger.Now()) {
		labels := [3]string{o.Tenant, o.Agent, o.Tool}
		if seen[labels] || len(seen) >= maxObserved {
			continue
		}
		seen[labels] = true
		if one, err := prometheus.NewConstMetric(observedDesc, prometheus.GaugeValue, 1, labels[:]...); err == nil {
			to <- one
		}
	}
}
