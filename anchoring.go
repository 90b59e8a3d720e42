// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/ledger"
	"github.com/sallyport/sallyport/ledger/anchor"
)

// AnchorOrder says who is to anchor the newest checkpoint: one authority, one Rekor log, a node of an
// Ethereum chain with an account, or some calendars. With
// Complete nothing is anchored, and the calendars are asked for what is still pending.
type AnchorOrder struct {
	TSA       string   `json:"tsa"`
	Rekor     string   `json:"rekor"`
	Ethereum  string   `json:"ethereum"`
	From      string   `json:"from"` // account of the node that pays
	Calendars []string `json:"calendars"`
	Complete  bool     `json:"complete"`
}

// AnchorAnswer is what came of an order.
type AnchorAnswer struct {
	ledger.Anchored
	NewRecords uint64 `json:"new_records"` // since the anchor before it
	Completed  int    `json:"completed"`
	Pending    int    `json:"pending"`
}

const maxCalendars = 8

func (o *AnchorOrder) check() error {
	addresses, kinds := slices.Clone(o.Calendars), 0
	for _, single := range []string{o.TSA, o.Rekor, o.Ethereum} {
		if single != "" {
			addresses, kinds = append(addresses, single), kinds+1
		}
	}
	if len(o.Calendars) > 0 {
		kinds++
	}
	if kinds != 1 || len(o.Calendars) > maxCalendars || o.Complete && len(o.Calendars) == 0 || (o.Ethereum == "") != (o.From == "") {
		return gateway.Refuse(gateway.CodeInvalid, "one of tsa, rekor, ethereum with from, and 1 to %d calendars is needed, and calendars to complete", maxCalendars)
	}
	for _, a := range addresses {
		if u, err := url.Parse(a); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return gateway.Refuse(gateway.CodeInvalid, "%q is no address", action.Clip(a, 64))
		}
	}
	return nil
}

// ledgerAnchor has the newest checkpoint anchored.
func (s *Sallyport) ledgerAnchor(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	var order AnchorOrder
	if err := gateway.ReadJSON(w, r, &order, 16384); err != nil {
		return err
	}
	if err := order.check(); err != nil {
		return err
	}
	var out AnchorAnswer
	var err error
	calendars := anchor.OTS{Calendars: order.Calendars}
	if order.Complete {
		out.Completed, out.Pending, err = s.Ledger.CompleteAnchors(r.Context(), calendars)
	} else {
		var who anchor.Anchor = calendars
		switch {
		case order.TSA != "":
			who = anchor.RFC3161{URL: order.TSA}
		case order.Rekor != "":
			who = anchor.Rekor{URL: order.Rekor}
		case order.Ethereum != "":
			who = anchor.Ethereum{URL: order.Ethereum, From: order.From}
		}
		var before uint64
		if before, err = s.lastAnchor(r.Context()); err == nil {
			out.Anchored, _, err = s.Ledger.Anchor(r.Context(), who, c.Name)
			out.NewRecords = out.Size - min(out.Size, before)
		}
	}
	if err != nil {
		return gateway.Refuse(gateway.CodeInvalid, "%v", err)
	}
	return gateway.WriteJSON(w, http.StatusOK, out)
}

// lastAnchor is the number of records under the newest anchor.
func (s *Sallyport) lastAnchor(ctx context.Context) (size uint64, err error) {
	err = s.Ledger.Select(ctx, 0, []string{string(action.KindAnchor)}, func(e ledger.Entry) error {
		if _, number, ok := strings.Cut(e.Leaf.Subject, "/"); ok {
			if n, err := strconv.ParseUint(number, 10, 63); err == nil {
				size = max(size, n)
			}
		}
		return nil
	})
	return size, err
}
