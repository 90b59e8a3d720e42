// SPDX-License-Identifier: Apache-2.0

package export

import (
	"net/url"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/ledger"
)

// The formats of a record.
const (
	JSONLines   = "jsonl"       // {"id","index","leaf","origin","size"}
	CloudEvents = "cloudevents" // CloudEvents 1.0 in JSON; data is what JSONLines holds
)

// encoder writes one record as JSON without line breaks. The leaf stands in it byte for byte, so that its
// hash can be computed from what was sent.
type encoder func(origin string, size uint64, e ledger.Entry) []byte

var encoders = map[string]encoder{JSONLines: jsonLine, CloudEvents: cloudEvent}

// id is one record's identity for ever.
func id(origin string, index uint64) string { return origin + "/" + strconv.FormatUint(index, 10) }

// jsonLine needs no escapes but for Go's quoting: strings of a leaf and names of logs are printable ASCII
// without quote and backslash.
func jsonLine(origin string, size uint64, e ledger.Entry) []byte {
	b := make([]byte, 0, len(e.Raw)+2*len(origin)+96)
	b = append(b, `{"id":`...)
	b = strconv.AppendQuote(b, id(origin, e.Index))
	b = append(b, `,"index":`...)
	b = strconv.AppendUint(b, e.Index, 10)
	b = append(b, `,"leaf":`...)
	b = append(b, e.Raw...)
	b = append(b, `,"origin":`...)
	b = strconv.AppendQuote(b, origin)
	b = append(b, `,"size":`...)
	b = strconv.AppendUint(b, size, 10)
	return append(b, '}')
}

// cloudEvent is the record as a CloudEvents 1.0 event: source and id together name it once, as the
// specification wants.
func cloudEvent(origin string, size uint64, e ledger.Entry) []byte {
	b := append([]byte(nil), `{"specversion":"1.0","id":`...)
	b = strconv.AppendQuote(b, id(origin, e.Index))
	b = append(b, `,"source":`...)
	b = strconv.AppendQuote(b, "/sallyport/ledger/"+url.PathEscape(origin))
	b = append(b, `,"type":`...)
	b = strconv.AppendQuote(b, "sallyport.ledger."+string(e.Leaf.Kind)+".v1")
	if e.Leaf.Action != "" {
		b = append(b, `,"subject":`...)
		b = strconv.AppendQuote(b, e.Leaf.Action)
	}
	b = append(b, `,"time":"`...)
	b = time.UnixMilli(e.Leaf.LogMs).UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	b = append(b, `","datacontenttype":"application/json","data":`...)
	b = append(b, jsonLine(origin, size, e)...)
	return append(b, '}')
}
