// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/action"
)

// WriteJSON answers with v: members in the order of their types, maps sorted, nothing escaped for HTML.
// Raw values inside v keep the spelling of their strings and numbers, because argument bytes that were
// decided on must reach the caller as they were; only their white space is dropped. An error means that
// v cannot be encoded, or that the caller has too many large answers open; nothing was written then.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	return writeJSON(w, status, "application/json", v)
}

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) error {
	b, err := json.Marshal(v, json.Deterministic(true), jsontext.PreserveRawStrings(true))
	if err != nil {
		return fmt.Errorf("gateway: answer: %w", err)
	}
	if own, ok := w.(*watched); ok && len(b) > light { // a slow reader keeps it in memory
		if err := own.x.grow(int64(len(b))); err != nil {
			return err
		}
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(b)+1))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a caller that is gone learns the answer by repeating
	_, _ = w.Write([]byte{'\n'})
	return nil
}

// ReadJSON reads the body of r, at most limit bytes, strictly into v: see action.Read. The errors are
// problems: media-type, too-large, slow-body, malformed, too-many-open, busy.
func ReadJSON(w http.ResponseWriter, r *http.Request, v any, limit int64) error {
	b, err := ReadBody(w, r, "application/json", limit)
	if err != nil {
		return err
	}
	return ParseJSON(r.Context(), b, v)
}

// ParseJSON reads a body that ReadBody returned strictly into v. Large bodies take turns, because reading
// one costs many times its memory.
func ParseJSON(ctx context.Context, body []byte, v any) error {
	return exchangeFrom(ctx).parse(ctx, len(body), func() error {
		if err := action.Read(body, v, action.Limits{Bytes: max(len(body), 1)}); err != nil {
			return Refuse(CodeMalformed, "%s", err)
		}
		return nil
	})
}

// ReadBody reads the body of r if its Content-Type is mediaType (in UTF-8 where it says) and it holds at
// most max bytes. The bytes count against the caller's quota until the request ends.
func ReadBody(w http.ResponseWriter, r *http.Request, mediaType string, max int64) ([]byte, error) {
	if err := checkMedia(r, mediaType); err != nil {
		return nil, err
	}
	if r.ContentLength > max {
		return nil, tooLarge(max)
	}
	x := exchangeFrom(r.Context())
	buf := make([]byte, 0, initialBytes(r.ContentLength))
	if err := x.grow(int64(cap(buf))); err != nil {
		return nil, err
	}
	body := http.MaxBytesReader(w, r.Body, max)
	for {
		if len(buf) == cap(buf) {
			next := min(2*int64(cap(buf)), max+1)
			if err := x.grow(next - int64(cap(buf))); err != nil {
				return nil, err
			}
			buf = append(make([]byte, 0, next), buf...)
		}
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, bodyError(err, max)
		}
	}
	// A deadline that stayed would cancel the request while it waits.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return buf, nil
}

// initialBytes trusts a declared length only as far as one small block: memory follows what has come.
func initialBytes(declared int64) int64 {
	if declared < 0 || declared > 64<<10 {
		return 64 << 10
	}
	return declared + 1
}

func checkMedia(r *http.Request, want string) error {
	if len(r.Header["Content-Type"]) != 1 {
		return Refuse(CodeMediaType, "one Content-Type is needed: %s", want)
	}
	got, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || got != want {
		return Refuse(CodeMediaType, "the Content-Type must be %s", want)
	}
	for k, v := range params {
		if k != "charset" || !strings.EqualFold(v, "utf-8") {
			return Refuse(CodeMediaType, "the Content-Type takes no parameter but charset=utf-8")
		}
	}
	if len(r.Header["Content-Encoding"]) > 0 {
		return Refuse(CodeMediaType, "a Content-Encoding is not accepted")
	}
	return nil
}

func bodyError(err error, max int64) error {
	var large *http.MaxBytesError
	var ne net.Error
	switch {
	case errors.As(err, &large):
		return tooLarge(max)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return Refuse(CodeSlowBody, "the body was not complete in time")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return Refuse(CodeMalformed, "the body ended early")
	}
	return Refuse(CodeSlowBody, "the body could not be read")
}

func tooLarge(max int64) error {
	return Refuse(CodeTooLarge, "the body may hold %d bytes", max)
}
