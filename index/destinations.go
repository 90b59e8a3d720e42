// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"fmt"

	"github.com/sallyport/sallyport/action"
)

// Destination is where an agent's actions went, in numbers. Denied counts quarantined ones too.
type Destination struct {
	Server  string        `json:"server"` // a server of tools, or host and port of the egress proxy
	Agent   string        `json:"agent"`
	Effect  action.Effect `json:"effect"`
	Tools   int64         `json:"tools"` // how many different ones
	FirstMs int64         `json:"first_ms"`
	LastMs  int64         `json:"last_ms"`
	Allowed int64         `json:"allowed"`
	Asked   int64         `json:"asked"`
	Denied  int64         `json:"denied"`
	Last    uint64        `json:"last"` // ledger index of the latest
}

// The bounds of Destinations.
const (
	MaxDestinations = 20_000 // decisions that are looked at
	maxGroups       = 1_000
)

// Destinations groups the latest decisions of gate one since a time by server, agent and effect, the latest
// used first.
func (x *Index) Destinations(ctx context.Context, since int64) ([]Destination, error) {
	rows, err := x.read(ctx, `SELECT server, agent, effect, count(DISTINCT tool), min(time_ms), max(time_ms),
		sum(verdict = 'allow'), sum(verdict = 'ask'), sum(verdict IN ('deny', 'quarantine')), max(idx)
		FROM (SELECT * FROM records WHERE verdict <> '' AND phase = 'before' AND server <> '' AND time_ms >= ? ORDER BY idx DESC LIMIT ?)
		GROUP BY server, agent, effect ORDER BY max(idx) DESC LIMIT ?`, since, MaxDestinations, maxGroups)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []Destination{}
	for rows.Next() {
		var d Destination
		if err := rows.Scan(&d.Server, &d.Agent, &d.Effect, &d.Tools, &d.FirstMs, &d.LastMs, &d.Allowed, &d.Asked, &d.Denied, &d.Last); err != nil {
			return nil, fmt.Errorf("index: destinations: %w", err)
		}
		out = append(out, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("index: destinations: %w", err)
	}
	r := x.reader(ctx)
	for i := range out {
		if err := r.name(nameServer, &out[i].Server); err != nil {
			return nil, err
		}
		if err := r.name(nameAgent, &out[i].Agent); err != nil {
			return nil, err
		}
	}
	return out, nil
}
