// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// proc answers Envoy's filter ext_proc: a request passes gate one before it is forwarded, its response gate two
// before it is returned. Bodies are judged where the filter sends them buffered; one that is not shown is stated as
// unseen, and policy decides on that.
type proc struct {
	procv3.UnimplementedExternalProcessorServer
	owner  *owner
	server string // under which policies and records know what passes here
	log    *slog.Logger
}

// passage is one request on its way. It belongs to its stream.
type passage struct {
	p        *proc
	request  message
	response message
	modes    *procv3.ProtocolConfiguration
	id       string // of the action; "" until gate one has passed
	ended    bool   // gate two has passed
}

// Process takes one request through both gates. A message that makes no sense in its place ends the stream with an
// error, on which Envoy fails the request.
func (p *proc) Process(stream procv3.ExternalProcessor_ProcessServer) error {
	x := passage{p: p}
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
			x.abandon()
			return nil
		}
		if err != nil {
			x.abandon()
			return err
		}
		if in.GetProtocolConfig() != nil {
			x.modes = in.GetProtocolConfig()
		}
		out, err := x.take(stream.Context(), in)
		if err != nil {
			x.abandon()
			return err
		}
		if err := stream.Send(out); err != nil {
			x.abandon()
			return err
		}
		if out.GetImmediateResponse() != nil {
			x.abandon()
			return nil
		}
	}
}

var errOrder = status.Error(codes.InvalidArgument, "a message stands in the wrong place")

func (x *passage) take(ctx context.Context, in *procv3.ProcessingRequest) (*procv3.ProcessingResponse, error) {
	switch {
	case in.GetRequestHeaders() != nil:
		return x.requestHeaders(ctx, in.GetRequestHeaders())
	case in.GetRequestBody() != nil:
		b := in.GetRequestBody()
		if x.request.URL == "" || x.id != "" || !b.GetEndOfStream() {
			return nil, errOrder
		}
		x.request.setBody(b.GetBody())
		return x.gateOne(ctx, &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_RequestBody{RequestBody: &procv3.BodyResponse{}}})
	case in.GetResponseHeaders() != nil:
		return x.responseHeaders(ctx, in.GetResponseHeaders())
	case in.GetResponseBody() != nil:
		b := in.GetResponseBody()
		if x.id == "" || x.ended || !b.GetEndOfStream() {
			return nil, errOrder
		}
		x.response.setBody(b.GetBody())
		return x.gateTwo(ctx, true)
	case in.GetRequestTrailers() != nil && x.id != "":
		return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_RequestTrailers{RequestTrailers: &procv3.TrailersResponse{}}}, nil
	case in.GetResponseTrailers() != nil && x.ended:
		return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &procv3.TrailersResponse{}}}, nil
	}
	return nil, errOrder
}

func fields(h *procv3.HttpHeaders) map[string]string {
	out := map[string]string{}
	for _, f := range h.GetHeaders().GetHeaders() {
		v := f.GetValue()
		if len(f.GetRawValue()) > 0 {
			v = string(f.GetRawValue())
		}
		if old, ok := out[f.GetKey()]; ok {
			v = old + ", " + v
		}
		out[f.GetKey()] = v
	}
	return out
}

func (x *passage) requestHeaders(ctx context.Context, h *procv3.HttpHeaders) (*procv3.ProcessingResponse, error) {
	if x.request.URL != "" {
		return nil, errOrder
	}
	f := fields(h)
	url, ok := address(f[":scheme"], f[":authority"], f[":path"])
	if !ok || f[":method"] == "" {
		return immediate(typev3.StatusCode_BadRequest, "malformed", "The request cannot be read.", ""), nil
	}
	x.request = message{Method: f[":method"], URL: url, Headers: clean(f)}
	pass := &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_RequestHeaders{RequestHeaders: &procv3.HeadersResponse{}}}
	if !h.GetEndOfStream() && buffered(x.modes.GetRequestBodyMode()) {
		return pass, nil // decided with the body: Envoy forwards nothing before
	}
	x.request.Unseen = !h.GetEndOfStream()
	return x.gateOne(ctx, pass)
}

func buffered(m filterv3.ProcessingMode_BodySendMode) bool {
	return m == filterv3.ProcessingMode_BUFFERED
}

func (x *passage) gateOne(ctx context.Context, pass *procv3.ProcessingResponse) (*procv3.ProcessingResponse, error) {
	sent, err := json.Marshal(&x.request, json.Deterministic(true))
	if err != nil {
		return immediate(typev3.StatusCode_BadRequest, "malformed", "The request cannot be read.", ""), nil
	}
	// A client may choose its own x-request-id: the id of the call is ours.
	out, err := x.p.owner.before(ctx, &attempt{CallID: "envoy-" + rand.Text(), Tool: tool{x.p.server, "http_" + strings.ToLower(x.request.Method)}, Arguments: sent})
	switch {
	case err != nil:
		x.p.log.Error("no decision", "error", err.Error())
		return immediate(typev3.StatusCode_ServiceUnavailable, "unavailable", "No decision could be made.", ""), nil
	case out.Decision.Effect == "ask":
		return immediate(typev3.StatusCode_Forbidden, "approval_required", out.Decision.Hint, out.Approval.ID), nil
	case out.Decision.Effect != "allow" || out.ID == "":
		return immediate(typev3.StatusCode_Forbidden, "not_permitted", out.Decision.Hint, ""), nil
	}
	x.id = out.ID
	if !same(out.Arguments, sent) {
		return immediate(typev3.StatusCode_Forbidden, "not_permitted", "This request may only run with other contents.", ""), nil
	}
	return pass, nil
}

// same compares two texts of JSON by their canonical forms.
func same(a, b jsontext.Value) bool {
	x, y := a.Clone(), b.Clone()
	return x.Canonicalize() == nil && y.Canonicalize() == nil && bytes.Equal(x, y)
}

func (x *passage) responseHeaders(ctx context.Context, h *procv3.HttpHeaders) (*procv3.ProcessingResponse, error) {
	if x.id == "" || x.ended || x.response.Headers != nil {
		return nil, errOrder
	}
	f := fields(h)
	x.response = message{Status: f[":status"], Headers: clean(f)}
	if !h.GetEndOfStream() && buffered(x.modes.GetResponseBodyMode()) {
		return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &procv3.HeadersResponse{}}}, nil
	}
	x.response.Unseen = !h.GetEndOfStream()
	return x.gateTwo(ctx, false)
}

func (x *passage) gateTwo(ctx context.Context, body bool) (*procv3.ProcessingResponse, error) {
	result, err := json.Marshal(&x.response, json.Deterministic(true))
	if err != nil {
		return nil, status.Error(codes.Internal, "the response cannot be stated")
	}
	o := outcome{Status: "done", Result: result, Opaque: x.response.Unseen || x.response.Base64 != nil || encoded(x.response.Headers)}
	if code, err := strconv.Atoi(x.response.Status); err != nil || code >= 400 {
		o.Status = "failed"
	}
	out, err := x.p.owner.after(ctx, x.id, &o)
	switch {
	case err != nil:
		x.p.log.Error("a response is withheld", "error", err.Error())
		return immediate(typev3.StatusCode_BadGateway, "withheld", "The request was carried out; its response is withheld. Do not repeat it.", ""), nil
	case out.Status != "released":
		x.ended = true
		return immediate(typev3.StatusCode_BadGateway, "withheld", out.Decision.Hint, ""), nil
	}
	x.ended = true
	return x.release(out.Result, result, body)
}

// release returns what may go back: the response as it is, or with the body that gate two made of it. Anything else
// that was changed cannot be put into place, so that nothing goes back.
func (x *passage) release(now, before jsontext.Value, body bool) (*procv3.ProcessingResponse, error) {
	common := &procv3.CommonResponse{}
	if !same(now, before) {
		var m message
		if err := json.Unmarshal(now, &m, jsontext.AllowDuplicateNames(false)); err != nil {
			return withheld(), nil
		}
		content, ok := m.body()
		was := x.response
		was.Text, was.Base64, m.Text, m.Base64 = nil, nil, nil, nil
		a, errA := json.Marshal(&was, json.Deterministic(true))
		b, errB := json.Marshal(&m, json.Deterministic(true))
		if !ok || !body || errA != nil || errB != nil || !bytes.Equal(a, b) {
			return withheld(), nil
		}
		common.BodyMutation = &procv3.BodyMutation{Mutation: &procv3.BodyMutation_Body{Body: content}}
		common.HeaderMutation = &procv3.HeaderMutation{RemoveHeaders: []string{"content-length", "etag", "digest", "content-digest", "repr-digest", "content-md5"}}
	}
	if body {
		return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseBody{ResponseBody: &procv3.BodyResponse{Response: common}}}, nil
	}
	return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &procv3.HeadersResponse{Response: common}}}, nil
}

// encoded reports whether a body's form hides what it says.
func encoded(h map[string]string) bool {
	e := strings.ToLower(strings.TrimSpace(h["content-encoding"]))
	return e != "" && e != "identity"
}

func withheld() *procv3.ProcessingResponse {
	return immediate(typev3.StatusCode_BadGateway, "withheld", "The request was carried out; its response is withheld. Do not repeat it.", "")
}

// abandon reports an action whose end we shall not see. The owner records the rest as unknown if even that fails.
func (x *passage) abandon() {
	if x.id == "" || x.ended {
		return
	}
	x.ended = true
	if _, err := x.p.owner.after(context.Background(), x.id, &outcome{Status: "failed", Opaque: true}); err != nil {
		x.p.log.Error("an outcome is not reported", "error", err.Error())
	}
}

func immediate(code typev3.StatusCode, why, hint, approval string) *procv3.ProcessingResponse {
	return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &procv3.ImmediateResponse{
		Status: &typev3.HttpStatus{Code: code}, Body: refusalBody(why, hint, approval),
		Headers: &procv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "content-type", RawValue: []byte("application/json")}}}},
	}}}
}
