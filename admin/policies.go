// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"net/http"

	"github.com/sallyport/sallyport/gateway"
)

// maxBundleBytes bounds a bundle as it travels.
const maxBundleBytes = 8 << 20

// Bundles puts bundles in force and gives back those that were. The errors of both are refusals of the gateway.
type Bundles interface {
	// Activate examines the archive of a signed bundle that by brought and, unless dry, puts it in force. The
	// answer encodes as JSON.
	Activate(ctx context.Context, archive []byte, by string, dry bool) (any, error)
	// Archive returns a bundle that is or was in force.
	Archive(ctx context.Context, digest string) ([]byte, error)
}

// activatePolicy needs no If-Match: what is signed names its place in the sequence.
func (d *desk) activatePolicy(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	q, err := queryOnly(r, "dry_run")
	if err != nil {
		return err
	}
	if dry := q.Get("dry_run"); q.Has("dry_run") && dry != "true" && dry != "false" {
		return gateway.Refuse(gateway.CodeMalformed, "dry_run is neither true nor false")
	}
	if d.cfg.Bundles == nil {
		return gateway.Refuse(gateway.CodeNotFound, "this is not served here")
	}
	archive, err := gateway.ReadBody(w, r, "application/gzip", maxBundleBytes)
	if err != nil {
		return err
	}
	got, err := d.cfg.Bundles.Activate(r.Context(), archive, nameOf(c), q.Get("dry_run") == "true")
	if err != nil {
		return err
	}
	return gateway.WriteJSON(w, http.StatusOK, got)
}

// showPolicy hands out a bundle as one archive.
func (d *desk) showPolicy(w http.ResponseWriter, r *http.Request, _ *gateway.Caller) error {
	if err := plain(r); err != nil {
		return err
	}
	if d.cfg.Bundles == nil {
		return gateway.Refuse(gateway.CodeNotFound, "this is not served here")
	}
	archive, err := d.cfg.Bundles.Archive(r.Context(), r.PathValue("digest"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/gzip")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, err = w.Write(archive)
	return err
}
