// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/identity"
)

func FuzzRequestParts(f *testing.F) {
	for _, s := range []string{"limit=5&cursor=x", "limit=5;limit=6", "q=%zz", "kind=alert&since=1", `"7"`, `W/"7"`, `"30d"`, `1e9`, `"99999999999999h"`, `-0`,
		`"0.00001d"`, "null", `"\u0031h"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := &http.Request{URL: &url.URL{RawQuery: s}, Header: http.Header{"If-Match": {s}}}
		q, p, err := params(r, &gateway.Caller{}, filterNames...)
		if err == nil {
			if p.Limit < 1 || p.Limit > maxLimit || len(p.After) > maxParamBytes {
				t.Errorf("the page is %+v", p)
			}
			if g, err := filter(q); err == nil && (g.Since < 0 || g.Until < 0 || g.Kind != "" && !g.Kind.Known()) {
				t.Errorf("the filter is %+v", g)
			}
		}
		if rev, err := ifMatch(r); err == nil && (rev == 0 || s != `"`+strconv.FormatUint(rev, 10)+`"`) {
			t.Errorf("%q is revision %d", s, rev)
		}
		if v := jsontext.Value(s); action.Check(v, action.Limits{}) == nil {
			if d, err := duration(v); err == nil && d != 0 && (d < time.Second || d > identity.MaxTTL) {
				t.Errorf("%q lasts %v", s, d)
			}
		}
	})
}
