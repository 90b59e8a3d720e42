// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/gateway"
)

// TenantRecord is what is told of one of the organisation's own records: everything but its data.
type TenantRecord struct {
	Name     string `json:"name"`
	Revision uint64 `json:"revision"` // changes with every write; the ETag
	Bytes    int64  `json:"bytes"`
	By       string `json:"by"`
	TimeMs   int64  `json:"time_ms"`
	// Fields says for what each field vouches, by JSON pointer: as declared, and as inferred from the
	// shape of the data where nothing is.
	Fields map[string]string `json:"fields"`
}

// TenantRecords keeps the organisation's own records, which vouch for values. Writes are durable in the
// ledger and name the revision they rest on, 0 for a name that is new.
type TenantRecords interface {
	Put(ctx context.Context, tenant, name string, seen uint64, data jsontext.Value, fields map[string]string, by string) (TenantRecord, error)
	Get(tenant, name string) (TenantRecord, error)
	Delete(ctx context.Context, tenant, name string, seen uint64, by string) error
}

// The errors of TenantRecords.
var (
	ErrNoRecord      = errors.New("records: no such record")
	ErrRecord        = errors.New("records: malformed record")
	ErrRecordUnseen  = errors.New("records: the name is taken")
	ErrRecordChanged = errors.New("records: changed in the meantime")
	ErrRecordsFull   = errors.New("records: too many")
)

// maxRecordBytes bounds one record with its fields.
const maxRecordBytes = 8 << 20

// putRecord needs If-Match where a record of that name is there already.
func (d *desk) putRecord(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if d.cfg.Records == nil {
		return gateway.Refuse(gateway.CodeNotFound, "this is not served here")
	}
	if err := plain(r); err != nil {
		return err
	}
	seen, err := uint64(0), error(nil)
	if len(r.Header["If-Match"]) > 0 {
		if seen, err = ifMatch(r); err != nil {
			return err
		}
	}
	var body struct {
		Data   jsontext.Value    `json:"data"`
		Fields map[string]string `json:"fields"`
	}
	if err := gateway.ReadJSON(w, r, &body, maxRecordBytes); err != nil {
		return err
	}
	if k := body.Data.Kind(); k != '{' && k != '[' {
		return gateway.Refuse(gateway.CodeInvalid, "data is neither an object nor a list")
	}
	got, err := d.cfg.Records.Put(r.Context(), c.Subject.Tenant, r.PathValue("name"), seen, body.Data, body.Fields, nameOf(c))
	if err != nil {
		return translate(err)
	}
	return recordAnswer(w, got)
}

func (d *desk) showRecord(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if d.cfg.Records == nil {
		return gateway.Refuse(gateway.CodeNotFound, "this is not served here")
	}
	if err := plain(r); err != nil {
		return err
	}
	got, err := d.cfg.Records.Get(c.Subject.Tenant, r.PathValue("name"))
	if err != nil {
		return translate(err)
	}
	return recordAnswer(w, got)
}

func (d *desk) deleteRecord(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if d.cfg.Records == nil {
		return gateway.Refuse(gateway.CodeNotFound, "this is not served here")
	}
	if err := plain(r); err != nil {
		return err
	}
	seen, err := ifMatch(r)
	if err != nil {
		return err
	}
	name := r.PathValue("name")
	if err := d.cfg.Records.Delete(r.Context(), c.Subject.Tenant, name, seen, nameOf(c)); err != nil {
		return translate(err)
	}
	return recordAnswer(w, TenantRecord{Name: name})
}

func recordAnswer(w http.ResponseWriter, t TenantRecord) error {
	if t.Fields == nil {
		t.Fields = map[string]string{}
	}
	if t.Revision > 0 {
		etag(w, t.Revision)
	}
	return gateway.WriteJSON(w, http.StatusOK, t)
}
