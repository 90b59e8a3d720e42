// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Numbers of types, from PostgreSQL's pg_type.dat; they are the same everywhere.
const (
	oidBool, oidBytea, oidChar, oidName, oidInt8, oidInt2, oidInt4, oidText = 16, 17, 18, 19, 20, 21, 23, 25
	oidOID, oidJSON, oidXML, oidFloat4, oidFloat8, oidUnknown               = 26, 114, 142, 700, 701, 705
	oidBpchar, oidVarchar, oidNumeric, oidUUID, oidJSONB                    = 1042, 1043, 1700, 2950, 3802
)

// render shows a value of the wire as policy and detectors can read it: text and numbers as they are, the rest in
// hexadecimal. plain says that text may stand in its place on the wire; clear that it was understood.
func render(oid uint32, format int16, v []byte) (shown any, plain, clear bool) {
	if format == 0 {
		s, ok := asText(v)
		switch oid {
		case oidInt2, oidInt4, oidOID:
			if n, err := strconv.ParseInt(s, 10, 64); err == nil {
				return n, false, true
			}
		}
		return s, textual(oid), ok
	}
	switch oid {
	case oidInt2, oidInt4, oidInt8, oidOID, oidBool, oidFloat4, oidFloat8, oidUUID:
		return fixed(oid, v)
	case oidNumeric:
		if s, ok := numeric(v); ok {
			return s, false, true
		}
	case oidJSONB:
		if len(v) > 1 && v[0] == 1 {
			s, ok := asText(v[1:])
			return s, false, ok
		}
	default:
		if list, ok := array(v, 0); ok {
			return list, false, true
		}
		if s, ok := asText(v); ok {
			return s, textual(oid), textual(oid) || oid == oidBytea
		}
	}
	return hex.EncodeToString(v), false, false
}

func textual(oid uint32) bool {
	switch oid {
	case oidText, oidVarchar, oidBpchar, oidName, oidUnknown, oidXML, oidChar:
		return true
	}
	return false
}

// asText returns v as text; ok is false if it is none, and then it is shown in hexadecimal.
func asText(v []byte) (string, bool) {
	if utf8.Valid(v) && !strings.ContainsFunc(string(v), func(r rune) bool { return r < 0x20 && r != '\n' && r != '\t' && r != '\r' || r == utf8.RuneError }) {
		return string(v), true
	}
	return hex.EncodeToString(v), false
}

func fixed(oid uint32, v []byte) (any, bool, bool) {
	n := len(v)
	switch {
	case oid == oidInt2 && n == 2:
		return int64(int16(binary.BigEndian.Uint16(v))), false, true
	case oid == oidInt4 && n == 4:
		return int64(int32(binary.BigEndian.Uint32(v))), false, true
	case oid == oidOID && n == 4:
		return int64(binary.BigEndian.Uint32(v)), false, true
	case oid == oidInt8 && n == 8:
		i := int64(binary.BigEndian.Uint64(v))
		if i > -(1<<53) && i < 1<<53 {
			return i, false, true
		}
		return strconv.FormatInt(i, 10), false, true
	case oid == oidBool && n == 1:
		return v[0] != 0, false, true
	case oid == oidFloat4 && n == 4:
		return strconv.FormatFloat(float64(math.Float32frombits(binary.BigEndian.Uint32(v))), 'g', -1, 32), false, true
	case oid == oidFloat8 && n == 8:
		return strconv.FormatFloat(math.Float64frombits(binary.BigEndian.Uint64(v)), 'g', -1, 64), false, true
	case oid == oidUUID && n == 16:
		return fmt.Sprintf("%x-%x-%x-%x-%x", v[:4], v[4:6], v[6:8], v[8:10], v[10:]), false, true
	}
	return hex.EncodeToString(v), false, false
}

// numeric renders base-10000 digits: count, weight, sign and scale, then the digits.
func numeric(v []byte) (string, bool) {
	if len(v) < 8 {
		return "", false
	}
	u := func(i int) int { return int(binary.BigEndian.Uint16(v[2*i:])) }
	count, weight, sign, scale := u(0), int(int16(u(1))), u(2), u(3)
	if len(v) != 8+2*count || sign != 0 && sign != 0x4000 || scale > 16383 || weight > 4096 || weight < -4096 {
		return "", false
	}
	digit := func(i int) int {
		if i < 0 || i >= count {
			return 0
		}
		return u(4 + i)
	}
	var b strings.Builder
	if sign == 0x4000 {
		b.WriteByte('-')
	}
	if weight < 0 {
		b.WriteByte('0')
	}
	for i := 0; i <= weight; i++ {
		if i == 0 {
			b.WriteString(strconv.Itoa(digit(0)))
		} else {
			fmt.Fprintf(&b, "%04d", digit(i))
		}
	}
	if scale > 0 {
		var f strings.Builder
		for i := weight + 1; f.Len() < scale; i++ {
			fmt.Fprintf(&f, "%04d", digit(i))
		}
		b.WriteString("." + f.String()[:scale])
	}
	return b.String(), true
}

// array renders a binary array of elements that render knows.
func array(v []byte, depth int) ([]any, bool) {
	if len(v) < 12 || depth > 0 {
		return nil, false
	}
	dims, flags, elem := binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:]), binary.BigEndian.Uint32(v[8:])
	if dims > 6 || flags > 1 || elem == 0 || elem > 1<<20 || len(v) < 12+8*int(dims) {
		return nil, false
	}
	n := 1
	for i := range int(dims) {
		size := int(binary.BigEndian.Uint32(v[12+8*i:]))
		if size < 0 || size > len(v) || n*size > len(v) {
			return nil, false
		}
		n *= size
	}
	if dims == 0 {
		n = 0
	}
	rest, out := v[12+8*int(dims):], []any{}
	for range n {
		if len(rest) < 4 {
			return nil, false
		}
		size := int(int32(binary.BigEndian.Uint32(rest)))
		if rest = rest[4:]; size == -1 {
			out = append(out, nil)
			continue
		}
		if size < 0 || size > len(rest) {
			return nil, false
		}
		shown, _, clear := render(elem, 1, rest[:size])
		if !clear {
			return nil, false
		}
		if _, nested := shown.([]any); nested {
			return nil, false
		}
		out, rest = append(out, shown), rest[size:]
	}
	return out, len(rest) == 0
}
