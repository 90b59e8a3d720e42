// SPDX-License-Identifier: Apache-2.0

package jose

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/go-json-experiment/json"
)

// Seconds is a NumericDate of RFC 7519. A fraction is cut off.
type Seconds int64

// UnmarshalJSON reads a number between the years 1970 and 9999.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var f float64
	if jsontext.Value(b).Kind() != '0' {
		return ErrToken
	}
	if err := json.Unmarshal(b, &f); err != nil || f < 0 || f > 253402300799 {
		return ErrToken
	}
	*s = Seconds(f)
	return nil
}

// Time returns the time.
func (s Seconds) Time() time.Time { return time.Unix(int64(s), 0) }

// Audience is aud: one text, or a list of them.
type Audience []string

// UnmarshalJSON reads either form.
func (a *Audience) UnmarshalJSON(b []byte) error {
	if jsontext.Value(b).Kind() == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*a = Audience{s}
		return nil
	}
	var l []string
	if err := json.Unmarshal(b, &l); err != nil || len(l) > 64 {
		return ErrToken
	}
	*a = l
	return nil
}
