// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
)

type deskRun struct {
	Task        int     `json:"task_id"`
	Trial       int     `json:"trial"`
	Reward      float64 `json:"reward"`
	Instruction string  `json:"instruction"`
	Truth       []struct {
		Tool string         `json:"tool"`
		Args map[string]any `json:"args"`
	} `json:"ground_truth"`
	Steps []struct {
		Tool   string         `json:"tool"`
		Args   map[string]any `json:"args"`
		Output string         `json:"output"`
	} `json:"steps"`
}

// desk plays the booking service: it knows reservations, users and routes from what its tools answered, in this run or
// (before anything changed) in another one.
type desk struct {
	users, reservations map[string]map[string]any
	routes              map[string][2]string
	user, last          string
}

var deskWrites = []string{"book_reservation", "update_reservation_flights", "update_reservation_baggages",
	"update_reservation_passengers", "cancel_reservation", "send_certificate"}

func (d *desk) hear(tool string, args map[string]any, output string) {
	var one map[string]any
	if json.Unmarshal([]byte(output), &one) == nil {
		if id, ok := one["reservation_id"].(string); ok {
			d.reservations[id], d.last = one, id
			d.route(one["flights"])
		} else if tool == "get_user_details" {
			d.users[args["user_id"].(string)] = one
		}
	}
	// Long answers were cut when they were recorded.
	for _, m := range deskRoute.FindAllStringSubmatch(output, -1) {
		d.routes[m[1]] = [2]string{m[2], m[3]}
	}
}

var deskRoute = regexp.MustCompile(`"flight_number": "([A-Z0-9]+)", "origin": "([A-Z]+)", "destination": "([A-Z]+)"`)

func (d *desk) route(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			d.route(e)
		}
	case map[string]any:
		n, _ := v["flight_number"].(string)
		from, _ := v["origin"].(string)
		to, _ := v["destination"].(string)
		if n != "" && from != "" && to != "" {
			d.routes[n] = [2]string{from, to}
		}
	}
}

var deskNow = time.Date(2024, 5, 15, 15, 0, 0, 0, time.UTC)

// facts is what the service states of a call.
func (d *desk) facts(args map[string]any) map[string]any {
	id, _ := args["reservation_id"].(string)
	r := d.reservations[id]
	if r == nil && id == "" {
		r = d.reservations[d.last]
	}
	owner, _ := args["user_id"].(string)
	if id != "" && r != nil {
		owner, _ = r["user_id"].(string)
	}
	u := d.users[owner]
	f := map[string]any{"own": yes(owner != "" && owner == d.user), "member": "unknown", "cancelled": "unknown", "delayed": "unknown",
		"payment": "unknown", "profile": "unknown", "reason": "unknown"}
	if u != nil {
		f["member"] = u["membership"]
	}
	if r != nil {
		f["cabin"], f["insured"], f["bags"] = r["cabin"], r["insurance"], r["total_baggages"]
		f["passengers"] = len(r["passengers"].([]any))
		if at, err := time.Parse("2006-01-02T15:04:05", r["created_at"].(string)); err == nil {
			f["hours"] = int(deskNow.Sub(at) / time.Hour)
		}
		f["used"] = "no"
		for _, e := range r["flights"].([]any) {
			if day, _ := e.(map[string]any)["date"].(string); day <= "2024-05-15" {
				f["used"] = "unknown" // the day has come; whether anybody flew is not recorded
			}
		}
		if flights, ok := args["flights"].([]any); ok {
			f["same_flights"], f["same_trip"] = d.trip(r, flights)
		}
	}
	d.payments(f, args, u)
	return f
}

func (d *desk) payments(f, args, u map[string]any) {
	ids := []string{}
	if id, ok := args["payment_id"].(string); ok {
		ids = append(ids, id)
	}
	list, _ := args["payment_methods"].([]any)
	for _, p := range list {
		id, _ := p.(map[string]any)["payment_id"].(string)
		ids = append(ids, id)
	}
	kinds, known := map[string]int{}, true
	methods, _ := u["payment_methods"].(map[string]any)
	for _, id := range ids {
		kind := id[:max(strings.LastIndexByte(id, '_'), 0)]
		kinds[kind]++
		f["payment"] = kind
		_, in := methods[id]
		known = known && in
	}
	f["profile"] = yes(known)
	f["certificates"], f["credit_cards"], f["gift_cards"] = kinds["certificate"], kinds["credit_card"], kinds["gift_card"]
}

func (d *desk) trip(r map[string]any, flights []any) (sameFlights, sameTrip string) {
	var was, now [][2]string
	for _, e := range r["flights"].([]any) {
		was = append(was, [2]string{e.(map[string]any)["flight_number"].(string), e.(map[string]any)["date"].(string)})
	}
	var at []string
	for _, e := range flights {
		m := e.(map[string]any)
		now = append(now, [2]string{m["flight_number"].(string), m["date"].(string)})
		way, ok := d.routes[m["flight_number"].(string)]
		if !ok {
			return "no", "unknown"
		}
		at = append(at, way[0], way[1])
	}
	if slices.Equal(was, now) {
		return "yes", "yes"
	}
	end := r["destination"].(string)
	if r["flight_type"] == "round_trip" {
		end = r["origin"].(string)
	}
	return "no", yes(len(at) > 0 && at[0] == r["origin"] && at[len(at)-1] == end && slices.Contains(at, r["destination"].(string)))
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

var deskUser = regexp.MustCompile(`\b[a-z]+_[a-z]+_[0-9]{4}\b`)

func deskRuns(t *testing.T) (out []deskRun) {
	t.Helper()
	root := os.Getenv("SALLYPORT_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "shared", "data") // beside the checkout
	}
	f, err := os.Open(filepath.Join(root, "tau", "airline.jsonl.gz"))
	if err != nil {
		t.Skip("no development data: tau/airline.jsonl.gz is not there (set SALLYPORT_DATA)")
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r deskRun
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// newDesk starts a run with what all runs saw before anything was changed.
func newDesk(all []deskRun, r deskRun) *desk {
	d := &desk{users: map[string]map[string]any{}, reservations: map[string]map[string]any{}, routes: map[string][2]string{}}
	for _, other := range all {
		for _, s := range other.Steps {
			if slices.Contains(deskWrites, s.Tool) {
				break
			}
			d.hear(s.Tool, s.Args, s.Output)
		}
	}
	d.last, d.user = "", deskUser.FindString(r.Instruction)
	return d
}

// TestAirlinePolicyOnRecordedRuns decides every call of recorded runs of an airline's service desk under both forms of its
// written policy: none of a solved run is denied, and what is stopped is listed with the rule.
func TestAirlinePolicyOnRecordedRuns(t *testing.T) {
	all := deskRuns(t)
	load := func(pack, params string) *Compiled {
		c, err := Load(Config{Pack: pack, Params: []byte(params)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	strict := []*Compiled{load("airline", "unverified_passes: false\n"), load("airline-cedar", "unverified_passes: false\n")}
	lax := load("airline", "unverified_passes: true\n")
	count := map[string]int{}
	var stopped []string
	for _, r := range all {
		d := newDesk(all, r)
		kind := "failed"
		if r.Reward == 1 {
			kind = "solved"
		}
		for _, s := range r.Steps {
			if s.Tool == "" {
				continue
			}
			q := deskQuery(t, s.Tool, s.Args, d.facts(s.Args))
			verdict, rules := deskDecide(t, strict[0], q)
			if other, _ := deskDecide(t, strict[1], q); other != verdict {
				t.Errorf("task %d, %s %v: Rego says %s, Cedar %s", r.Task, s.Tool, s.Args, verdict, other)
			}
			relaxed, _ := deskDecide(t, lax, q)
			what := kind
			if slices.Contains(deskWrites, s.Tool) {
				what += " writes"
			} else {
				what += " reads"
			}
			count[what]++
			count[what+" "+string(verdict)]++
			truth := slices.ContainsFunc(r.Truth, func(g struct {
				Tool string         `json:"tool"`
				Args map[string]any `json:"args"`
			}) bool {
				return g.Tool == s.Tool && reflect.DeepEqual(g.Args, s.Args)
			})
			if verdict == action.Deny && (kind == "solved" || truth) || relaxed != action.Allow && kind == "solved" {
				t.Errorf("task %d trial %d (%s, truth %v): %s %v: %s by %s, without asking %s", r.Task, r.Trial, kind, truth, s.Tool, s.Args, verdict, rules, relaxed)
			}
			if verdict != action.Allow {
				stopped = append(stopped, fmt.Sprintf("task %2d trial %d %s %-28s %-4s by %s (expected by the task: %v)", r.Task, r.Trial, kind, s.Tool, verdict, rules, truth))
			}
			d.hear(s.Tool, s.Args, s.Output)
		}
	}
	slices.Sort(stopped)
	t.Logf("%d runs: %v\n%s", len(all), count, strings.Join(stopped, "\n"))
	if count["solved writes"] == 0 || count["failed writes deny"] == 0 {
		t.Error("nothing was decided")
	}
}

func deskQuery(t *testing.T, tool string, args, facts map[string]any) *action.Query {
	t.Helper()
	data, err := action.Canonical(map[string]any{"phase": "before", "subject": map[string]any{"channel": map[string]any{"door": "authzen"}},
		"resource": map[string]any{"server": "authzen", "name": tool}, "action": map[string]any{"arguments": map[string]any{
			"action":   map[string]any{"name": tool, "properties": args},
			"resource": map[string]any{"type": "reservation", "id": "r", "properties": facts}}}})
	if err != nil {
		t.Fatal(err)
	}
	q, err := bundle.ReadPartial(data)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func deskDecide(t *testing.T, c *Compiled, q *action.Query) (action.Verdict, string) {
	t.Helper()
	d, err := c.Decide(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, m := range d.Deciding() {
		rules = append(rules, m.ID)
	}
	return d.Verdict, strings.Join(rules, " ")
}
