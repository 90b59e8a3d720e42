// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"net"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/go-json-experiment/json"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
)

// authz answers Envoy's filter ext_authz: whether a request may be forwarded. Each answer is a decision on record
// (AuthZEN); what the upstream answers is not seen.
type authz struct {
	authv3.UnimplementedAuthorizationServer
	owner *owner
	log   *slog.Logger
}

// Check decides on one request.
func (a *authz) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	e, ok := evaluationOf(r)
	if !ok {
		return denied(typev3.StatusCode_BadRequest, "malformed", "The request cannot be read.", ""), nil
	}
	out, err := a.owner.evaluate(ctx, e)
	if err != nil {
		a.log.Error("no decision", "error", err.Error())
		return denied(typev3.StatusCode_ServiceUnavailable, "unavailable", "No decision could be made.", ""), nil
	}
	if !out.Decision {
		why := "not_permitted"
		if out.Context.Request.ID != "" {
			why = "approval_required"
		}
		return denied(typev3.StatusCode_Forbidden, why, out.Context.User["en"], out.Context.Request.ID), nil
	}
	return &authv3.CheckResponse{Status: &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}}, nil
}

// evaluationOf states a request. Whom Envoy authenticated is the subject; what a client says of itself is not.
func evaluationOf(r *authv3.CheckRequest) (*evaluation, bool) {
	h := r.GetAttributes().GetRequest().GetHttp()
	url, ok := address(h.GetScheme(), h.GetHost(), h.GetPath())
	if !ok || h.GetMethod() == "" {
		return nil, false
	}
	m := message{Headers: clean(h.GetHeaders())}
	switch {
	case len(h.GetRawBody()) > 0:
		m.setBody(h.GetRawBody())
	case h.GetBody() != "":
		m.setBody([]byte(h.GetBody()))
	default:
		m.Unseen = h.GetSize() != 0 && h.GetHeaders()["content-length"] != "0"
	}
	if h.GetHeaders()["x-envoy-auth-partial-body"] == "true" {
		m.Unseen = true
	}
	source := r.GetAttributes().GetSource()
	who := entity{Type: "workload", ID: source.GetPrincipal()}
	if who.ID == "" {
		who = entity{Type: "anonymous", ID: "anonymous"}
	}
	if s := source.GetAddress().GetSocketAddress(); s != nil {
		who.Properties = map[string]any{"address": s.GetAddress()}
	}
	host, _, err := net.SplitHostPort(h.GetHost())
	if err != nil {
		host = h.GetHost()
	}
	path, _, _ := strings.Cut(h.GetPath(), "?")
	return &evaluation{Subject: who, Action: entity{Name: h.GetMethod()},
		Resource: entity{Type: "http", ID: strings.ToLower(host), Properties: map[string]any{"url": url, "path": path}},
		Context:  map[string]any{"request": &m}}, true
}

type refusal struct {
	Error    string `json:"error"`
	Hint     string `json:"hint,omitempty"`
	Approval string `json:"approval,omitempty"`
}

func refusalBody(why, hint, approval string) []byte {
	b, err := json.Marshal(refusal{why, hint, approval}, json.Deterministic(true))
	if err != nil {
		return []byte(`{"error":"not_permitted"}`)
	}
	return b
}

func denied(code typev3.StatusCode, why, hint, approval string) *authv3.CheckResponse {
	return &authv3.CheckResponse{Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: code}, Body: string(refusalBody(why, hint, approval)),
			Headers: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "content-type", Value: "application/json"}}},
		}}}
}
