// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/index"
	"github.com/sallyport/sallyport/monitor"
)

// Alerts shows and answers single alerts, by their index in the ledger.
type Alerts interface {
	// Alert returns an alert, or ErrNoAlert.
	Alert(ctx context.Context, index uint64) (monitor.Alert, error)
	// Acknowledge puts on record that by has seen it, and whether it was wrong and why.
	Acknowledge(ctx context.Context, index uint64, by string, wrong bool, reason string) error
}

// ErrNoAlert means that the ledger has no alert there.
var ErrNoAlert = errors.New("admin: no alert stands there")

// maxReason bounds what people write about an alert, in bytes.
const maxReason = 1024

// alertAt reads the index in the path.
func (d *desk) alertAt(r *http.Request) (uint64, error) {
	n, err := strconv.ParseUint(r.PathValue("index"), 10, 63)
	if err != nil || d.cfg.Alerts == nil {
		return 0, gateway.Refuse(gateway.CodeNotFound, "")
	}
	return n, nil
}

type shownAlert struct {
	Index uint64        `json:"index"`
	Alert monitor.Alert `json:"alert"`
}

func (d *desk) showAlert(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	n, err := d.alertAt(r)
	if err != nil {
		return err
	}
	a, err := d.cfg.Alerts.Alert(r.Context(), n)
	if err == nil {
		err = d.cfg.Shown(r.Context(), c, "alerts", []index.PartAt{{Index: n, Part: action.PartDetail}})
	}
	if err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, shownAlert{n, a})
}

func (d *desk) acknowledgeAlert(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	n, err := d.alertAt(r)
	if err != nil {
		return err
	}
	var body struct {
		Wrong  bool   `json:"wrong"`
		Reason string `json:"reason"`
	}
	if err := gateway.ReadJSON(w, r, &body, 4<<10); err != nil {
		return err
	}
	if len(body.Reason) > maxReason || body.Wrong && body.Reason == "" {
		return gateway.Refuse(gateway.CodeInvalid, "a wrong alert needs a reason of at most %d bytes", maxReason)
	}
	if err := d.cfg.Alerts.Acknowledge(r.Context(), n, nameOf(c), body.Wrong, body.Reason); err != nil {
		return translate(err)
	}
	return gateway.WriteJSON(w, http.StatusOK, struct {
		Status string `json:"status"`
	}{"recorded"})
}
