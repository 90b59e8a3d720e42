// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/ledger"
)

// everyRecord are records of every kind, verdict, status and effect, with and without what may be missing.
func everyRecord(t *testing.T) (out []*record) {
	t.Helper()
	add := func(l ledger.Leaf, o Opened) {
		l.Format, l.Tenant, l.TimeMs, l.LogMs = 1, "default", 1764000000000, 1764000000001
		raw, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		i := uint64(len(out))
		out = append(out, &record{origin: "log.example/1", size: i + 1, Entry: ledger.Entry{Index: i, Leaf: &l, Raw: raw}, Opened: o})
	}
	full := Opened{Names: map[string]string{"agent": "bot \"7\"", "user": "Ånn\n", "server": "mail", "tool": "send\xff"},
		Parts: []Part{{Name: action.PartArguments, Data: []byte("{\"to\":\"a\u2028b\"}")}, {Name: action.PartResult, Data: []byte{0xff, 0}}, {Name: action.PartDetail, Erased: true},
			{Name: action.PartReleased, Data: []byte(strings.Repeat("ä", maxPartBytes))}}}
	for _, kind := range action.Kind("").Values() {
		add(ledger.Leaf{Kind: action.Kind(kind)}, Opened{})
		for _, v := range append(action.Allow.Values(), "") {
			add(ledger.Leaf{Kind: action.Kind(kind), Action: "01J9", Session: "s1", Agent: "ag", User: "us", Actor: "ac", Door: action.DoorMCP, Server: "se", Tool: "to",
				Verdict: action.Verdict(v), Enforced: v != "ask", Rules: []string{"a.b", "c"}, Codes: []string{"x.y"}, Subject: "sub",
				Bundle: action.Bundle{Name: "baseline", Digest: "sha256:00", Sequence: 3}}, full)
		}
	}
	for _, s := range action.StatusNone.Values() {
		for _, e := range action.EffectRead.Values() {
			add(ledger.Leaf{Kind: action.KindOutcome, Status: action.Status(s), Effect: action.Effect(e), Agent: "ag"}, Opened{})
		}
	}
	return out
}

func TestOCSFSaysWhatWasDecided(t *testing.T) {
	for name, c := range map[string]struct {
		leaf ledger.Leaf
		want []string
	}{
		"a denied write": {ledger.Leaf{Kind: action.KindDecision, Verdict: action.Deny, Enforced: true, Effect: action.EffectWrite, Status: action.StatusRefused},
			[]string{`"type_uid":600303`, `"action_id":2`, `"disposition":"Blocked"`, `"status_id":2`, `"severity_id":3`}},
		"a denial that was only observed": {ledger.Leaf{Kind: action.KindIntent, Verdict: action.Deny, Effect: action.EffectRead},
			[]string{`"type_uid":600302`, `"action_id":1`, `"disposition":"Logged"`}},
		"an allowed read":        {ledger.Leaf{Kind: action.KindIntent, Verdict: action.Allow, Enforced: true, Effect: action.EffectRead}, []string{`"action_id":1`, `"disposition":"Allowed"`, `"severity_id":1`}},
		"a session put aside":    {ledger.Leaf{Kind: action.KindDecision, Verdict: action.Quarantine, Enforced: true}, []string{`"disposition":"Quarantined"`, `"severity_id":4`}},
		"one that read a record": {ledger.Leaf{Kind: action.KindAccess, Subject: "4/result", Actor: "ann"}, []string{`"type_uid":300402`, `"uid":"4/result"`, `"user":{"uid":"ann"}`}},
		"an erasure":             {ledger.Leaf{Kind: action.KindErasure, Subject: "p"}, []string{`"type_uid":300404`}},
	} {
		c.leaf.Format, c.leaf.LogMs = 1, 5
		raw, err := c.leaf.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got := string(ocsfEvent(&record{origin: "o", size: 1, Entry: ledger.Entry{Leaf: &c.leaf, Raw: raw}}))
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %s in %s", name, w, got)
			}
		}
	}
}

// TestEveryFormatSaysWhetherADecisionWasCarriedOut: "enforced" of the leaf alone is easily missed.
func TestEveryFormatSaysWhetherADecisionWasCarriedOut(t *testing.T) {
	for name, c := range map[string]struct {
		leaf ledger.Leaf
		want string
	}{
		"a denial that was only observed": {ledger.Leaf{Kind: action.KindIntent, Verdict: action.Deny}, "observe"},
		"a denial":                        {ledger.Leaf{Kind: action.KindDecision, Verdict: action.Deny, Enforced: true}, "enforce"},
		"no decision":                     {ledger.Leaf{Kind: action.KindAccess}, ""},
	} {
		r := &record{origin: "o", Entry: ledger.Entry{Leaf: &c.leaf, Raw: []byte(`{}`)}}
		for form, encode := range map[string]encoder{"jsonl": jsonLine, "cloudevents": cloudEvent, "ocsf": ocsfEvent, "otlp": otlpRecord,
			"splunk": func(r *record) []byte { return (&splunk{}).envelope(r, []byte(`{}`), "x") }} {
			got := string(encode(r))
			said := strings.Contains(got, `"mode":"`+c.want+`"`) || strings.Contains(got, `"key":"sallyport.mode","value":{"stringValue":"`+c.want+`"}`)
			if said != (c.want != "") || c.want == "" && strings.Contains(got, `mode"`) {
				t.Errorf("%s as %s: %s", name, form, got)
			}
		}
	}
}

// TestOTLPIsOTLP reads what was written with the protocol's own definition, which refuses unknown members.
func TestOTLPIsOTLP(t *testing.T) {
	var body []byte
	r := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) { body, _ = io.ReadAll(q.Body) }))
	defer r.Close()
	post, err := newPoster(&Config{URL: r.URL + "/v1/logs"}, "Bearer")
	if err != nil {
		t.Fatal(err)
	}
	var records [][]byte
	every := everyRecord(t)
	for _, e := range every {
		records = append(records, otlpRecord(e))
	}
	if err := newOTLP(post).write(t.Context(), 0, records); err != nil {
		t.Fatal(err)
	}
	var data logsv1.LogsData
	if err := protojson.Unmarshal(body, &data); err != nil {
		t.Fatal(err)
	}
	logs := data.ResourceLogs[0].ScopeLogs[0]
	if len(logs.LogRecords) != len(every) || logs.SchemaUrl != semconv.SchemaURL {
		t.Fatalf("%d records of %d, %q", len(logs.LogRecords), len(every), logs.SchemaUrl)
	}
	got := logs.LogRecords[1]
	at := map[string]string{}
	for _, a := range got.Attributes {
		at[a.Key] = a.Value.GetStringValue()
	}
	for k, want := range map[string]string{string(semconv.LogRecordUIDKey): "log.example/1/1", string(semconv.GenAIOperationNameKey): semconv.GenAIOperationNameExecuteTool.Value.AsString(),
		string(semconv.GenAIAgentNameKey): `bot "7"`, string(semconv.GenAIAgentIDKey): "ag", string(semconv.McpMethodNameKey): semconv.McpMethodNameToolsCall.Value.AsString(),
		string(semconv.GenAIConversationIDKey): "s1", string(semconv.UserIDKey): "us", string(semconv.GenAIToolNameKey): "send\uFFFD", "sallyport.verdict": "allow", "sallyport.rules": "a.b c"} {
		if at[k] != want {
			t.Errorf("%s is %q, not %q", k, at[k], want)
		}
	}
	if got.TimeUnixNano != 1764000000000e6 || got.Body.GetStringValue() != string(every[1].Raw) {
		t.Errorf("%d, %s", got.TimeUnixNano, got.Body)
	}
}

// TestEveryFormatCarriesTheLeafByteForByte: its hash can be computed from what was sent.
func TestEveryFormatCarriesTheLeafByteForByte(t *testing.T) {
	for _, r := range everyRecord(t) {
		for name, form := range encoders {
			b := form(r)
			if !jsontext.Value(b).IsValid() || bytes.ContainsAny(b, "\n\r") {
				t.Fatalf("%s: %s", name, b)
			}
			at := bytes.Index(b, []byte(`"leaf":`)) + len(`"leaf":`)
			d := jsontext.NewDecoder(bytes.NewReader(b[at:]))
			v, err := d.ReadValue()
			if err != nil || sha256.Sum256(v) != sha256.Sum256(r.Raw) {
				t.Errorf("%s: %v: %s", name, err, v)
			}
		}
	}
}

func FuzzPartsStayJSON(f *testing.F) {
	f.Add([]byte("plain"), "agent")
	f.Add([]byte{0xff, 0xfe, '"', '\\', '\n'}, "a\xc3")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		r := &record{origin: "o", Entry: ledger.Entry{Leaf: &ledger.Leaf{Kind: action.KindIntent, Tool: "t"}, Raw: []byte(`{}`)},
			Opened: Opened{Names: map[string]string{"agent": name, "tool": name}, Parts: []Part{{Name: action.PartResult, Data: data}}}}
		for form, encode := range map[string]encoder{"jsonl": jsonLine, "cloudevents": cloudEvent, "ocsf": ocsfEvent, "otlp": otlpRecord} {
			if b := encode(r); !jsontext.Value(b).IsValid() || bytes.ContainsAny(b, "\n\r") {
				t.Errorf("%s: %q", form, b)
			}
		}
	})
}
