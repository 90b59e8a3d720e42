// SPDX-License-Identifier: Apache-2.0

// Package replaybench replays recorded runs of agents through the HTTP action protocol of an owner and
// counts what was stopped. It knows the format of the recordings, not their content: suites, tools,
// tasks and attacks are whatever the folder holds.
//
// # What it measures
//
// A replay is an open loop: each recorded call is put to the owner, and the recorded output is handed in
// if the call was let through. A call that was stopped counts as a lost task, although an agent might have
// found another way; and the attacks are those that were recorded. The closed loop is a deterministic
// agent that does the user's task, obeys every injection and heeds a hint once.
package replaybench

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Data is one folder of recordings.
type Data struct {
	Suites []string // sorted
	Tools  map[string][]Tool
	Runs   map[string][]Run
	Users  map[taskKey]Task // the newest of each
	Texts  map[string]Text  // by the name that outputs use
	Tenant map[string][]Record
	// Vectors are the harmless texts of the places at which attacks stand, by suite and place.
	Vectors map[string]map[string]string
	Notes   []string // what is missing, in words

	tasks []Task
}

type taskKey struct{ suite, id string }

// Tool is one row of tools.jsonl.
type Tool struct {
	Suite       string         `json:"suite"`
	Name        string         `json:"tool"`
	Description string         `json:"description"`
	Schema      jsontext.Value `json:"schema"`
}

// Task is one row of tasks.jsonl: what a user or an attacker wants, and the calls that do it.
type Task struct {
	Suite   string            `json:"suite"`
	Kind    string            `json:"kind"` // user, injection, vectors
	ID      string            `json:"id"`
	Prompt  string            `json:"prompt"`
	Calls   []TaskCall        `json:"calls"`
	Version string            `json:"version"`
	Harm    []Harm            `json:"harm"`
	Vectors map[string]string `json:"vectors"`
}

// TaskCall is one call of a task's own solution with what it gave.
type TaskCall struct {
	Tool   string         `json:"tool"`
	Args   jsontext.Value `json:"args"`
	Output string         `json:"output"`
	Error  string         `json:"error"` // null reads as none
}

// Harm marks the calls of an attack: one of the tools, with arguments that match.
type Harm struct {
	Tools     []string `json:"tools"`
	ArgsRegex string   `json:"args_regex"`
}

// Run is one recorded run of an agent.
type Run struct {
	ID        string `json:"id"`
	Pipeline  string `json:"pipeline"`
	Suite     string `json:"suite"`
	UserTask  string `json:"user_task"`
	Attack    string `json:"attack"` // "" means none
	Injection string `json:"injection_task"`
	Utility   bool   `json:"utility"`
	Succeeded bool   `json:"attack_success"` // means nothing without an attack
	Steps     []Step `json:"steps"`

	Prompt string `json:"-"` // of the task's version that was run; "" if unknown
}

// Step is what the agent called at once.
type Step struct {
	Said  string `json:"-"` // by the user, before the calls
	Calls []Call `json:"calls"`
	Outs  []Out  `json:"outs"`
}

// Call is one call; Harm marks one that serves the attack.
type Call struct {
	Tool string         `json:"tool"`
	Args jsontext.Value `json:"args"`
	Harm int            `json:"harm"`

	Serves bool `json:"-"` // it serves the attack without being harm itself
}

// Out is the output of the call at the same place.
type Out struct {
	Text     string `json:"c"`
	Err      string `json:"err"`
	Injected int    `json:"inj"`
}

// Text is one output.
type Text struct {
	Injected bool   `json:"injected"`
	Text     string `json:"text"`
}

// Record is one tenant record.
type Record struct {
	Name string
	Data jsontext.Value
}

// The bounds of what is read.
const (
	maxLine  = 64 << 20
	maxBytes = 4 << 30 // of a file, unpacked
)

// Load reads a folder. Only tools, runs and outputs must be there; what else is missing is noted, and
// tenant, if given, takes the place of environments.jsonl.
func Load(dir, tenant string) (*Data, error) {
	d := &Data{Tools: map[string][]Tool{}, Runs: map[string][]Run{}, Users: map[taskKey]Task{}, Texts: map[string]Text{},
		Tenant: map[string][]Record{}, Vectors: map[string]map[string]string{}}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("replay: %q is no folder of recordings", dir)
	}
	if none(dir, "tools.jsonl") && none(dir, "traces.jsonl") {
		if is, err := d.dialogues(dir); is || err != nil {
			return d, errors.Join(err, d.settle())
		}
	}
	err := errors.Join(
		rows(dir, "tools.jsonl", true, d, func(t Tool) error {
			if t.Suite == "" || t.Name == "" {
				return errors.New("suite and tool are required")
			}
			d.Tools[t.Suite] = append(d.Tools[t.Suite], t)
			return nil
		}),
		rows(dir, "tasks.jsonl", false, d, d.task),
		rows(dir, "traces.jsonl", true, d, func(r Run) error {
			if r.Suite == "" || r.ID == "" {
				return errors.New("suite and id are required")
			}
			d.Runs[r.Suite] = append(d.Runs[r.Suite], r)
			return nil
		}),
		rows(dir, "contents.jsonl", true, d, func(t struct {
			Name string `json:"c"`
			Text
		}) error {
			d.Texts[t.Name] = t.Text
			return nil
		}))
	if err != nil {
		return nil, err
	}
	if tenant != "" {
		err = d.tenantFile(tenant)
	} else {
		err = rows(dir, "environments.jsonl", false, d, d.environment)
	}
	if err != nil {
		return nil, err
	}
	return d, d.settle()
}

// task keeps a row; the last version of a user's task wins for the closed loop.
func (d *Data) task(t Task) error {
	switch t.Kind {
	case "user":
		d.Users[taskKey{t.Suite, t.ID}] = t
	case "vectors":
		d.Vectors[t.Suite] = t.Vectors
		return nil
	case "injection":
	default:
		return fmt.Errorf("kind %q is none of user, injection, vectors", t.Kind)
	}
	if t.Suite == "" || t.ID == "" {
		return errors.New("suite and id are required")
	}
	d.tasks = append(d.tasks, t)
	return nil
}

type environment struct {
	Suite string                    `json:"suite"`
	Data  map[string]jsontext.Value `json:"environment"`
}

func (d *Data) environment(e environment) error {
	if e.Suite == "" || e.Data == nil {
		return errors.New("suite and environment are required")
	}
	d.Tenant[e.Suite] = records(e.Data)
	return nil
}

// records makes a record of each part of an environment; single values share one.
func records(data map[string]jsontext.Value) []Record {
	var out []Record
	single := map[string]jsontext.Value{}
	for name, v := range data {
		if k := v.Kind(); k == '{' || k == '[' {
			out = append(out, Record{strings.ReplaceAll(name, "/", "_"), v})
		} else {
			single[name] = v
		}
	}
	if b, err := json.Marshal(single, json.Deterministic(true)); err == nil && len(single) > 0 {
		out = append(out, Record{"environment", b})
	}
	slices.SortFunc(out, func(a, b Record) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// tenantFile reads records that hold for every suite: one JSON object of named records, or the lines of
// an environments.jsonl.
func (d *Data) tenantFile(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var one map[string]jsontext.Value
	if !strings.HasSuffix(path, ".gz") && json.Unmarshal(b, &one, lenient) == nil && one["environment"] == nil {
		for s := range d.Tools {
			d.Tenant[s] = records(one)
		}
		return nil
	}
	dir, name := filepath.Split(path)
	return rows(dir, name, true, d, d.environment)
}

// settle gives every run its prompt and drops suites without runs.
func (d *Data) settle() error {
	versions := d.versions()
	for suite, runs := range d.Runs {
		if len(d.Tools[suite]) == 0 {
			return fmt.Errorf("replay: traces.jsonl: suite %q has no tools in tools.jsonl", suite)
		}
		d.Suites = append(d.Suites, suite)
		missing := 0
		for i := range runs {
			r := &runs[i]
			t, ok := d.user(suite, r.UserTask, versions[r.Pipeline])
			if r.Prompt = t.Prompt; !ok && r.Pipeline != "dialogue" {
				missing++
			}
		}
		if missing > 0 {
			d.Notes = append(d.Notes, fmt.Sprintf("%s: %d of %d runs belong to no user task in tasks.jsonl; they run without the user's request", suite, missing, len(runs)))
		}
		if len(d.Tenant[suite]) == 0 {
			d.Notes = append(d.Notes, suite+": no environment; it runs without tenant records")
		}
	}
	slices.Sort(d.Suites)
	slices.Sort(d.Notes)
	if len(d.Suites) == 0 {
		return errors.New("replay: traces.jsonl holds no run")
	}
	return nil
}

// user is the user's task of a version, or the first of that name.
func (d *Data) user(suite, id, version string) (Task, bool) {
	var found Task
	ok := false
	for i := range d.tasks {
		t := &d.tasks[i]
		if t.Kind != "user" || t.Suite != suite || t.ID != id {
			continue
		}
		if t.Version == version {
			return *t, true
		}
		if !ok {
			found, ok = *t, true
		}
	}
	return found, ok
}

// versions tells which version of the tasks each pipeline ran: rows do not say it. A pipeline that ran a
// task which only a later version has ran that one, any other the first.
func (d *Data) versions() map[string]string {
	of := map[[2]string][]string{} // suite and id -> versions, in the file's order
	var order []string
	for i := range d.tasks {
		t := &d.tasks[i]
		k := [2]string{t.Suite, t.ID}
		of[k] = append(of[k], t.Version)
		if !slices.Contains(order, t.Version) {
			order = append(order, t.Version)
		}
	}
	slices.Sort(order)
	out := map[string]string{}
	for _, runs := range d.Runs {
		for i := range runs {
			r := &runs[i]
			for _, id := range []string{r.UserTask, r.Injection} {
				have := of[[2]string{r.Suite, id}]
				if len(have) == 0 {
					continue
				}
				if first := slices.Min(have); first > out[r.Pipeline] {
					out[r.Pipeline] = first
				}
			}
		}
	}
	return out
}

var lenient = json.JoinOptions(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))

// rows reads NAME or NAME.gz of a folder, a JSON value a line.
func rows[T any](dir, name string, required bool, d *Data, fn func(T) error) error {
	f, path, err := open(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		if required {
			return fmt.Errorf("replay: %s holds neither %s nor %s.gz", dir, name, name)
		}
		d.Notes = append(d.Notes, fmt.Sprintf("there is no %s in the folder", name))
		return nil
	}
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	defer func() { _ = f.Close() }()
	var src io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return fmt.Errorf("replay: %s: %w", path, err)
		}
		src = z
	}
	limited := &io.LimitedReader{R: src, N: maxBytes}
	s := bufio.NewScanner(limited)
	s.Buffer(make([]byte, 0, 1<<20), maxLine)
	for n := 1; s.Scan(); n++ {
		line := bytes.TrimSpace(s.Bytes())
		if len(line) == 0 {
			continue
		}
		var v T
		if err := json.Unmarshal(line, &v, lenient); err != nil {
			return fmt.Errorf("replay: %s: line %d: %w", path, n, err)
		}
		if err := fn(v); err != nil {
			return fmt.Errorf("replay: %s: line %d: %w", path, n, err)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("replay: %s: %w", path, err)
	}
	if limited.N <= 0 {
		return fmt.Errorf("replay: %s: more than %d bytes", path, int64(maxBytes))
	}
	return nil
}

// none reports whether a folder has no such file.
func none(dir, name string) bool {
	f, _, err := open(dir, name)
	if err == nil {
		_ = f.Close()
	}
	return errors.Is(err, fs.ErrNotExist)
}

func open(dir, name string) (*os.File, string, error) {
	path := filepath.Join(dir, name)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !strings.HasSuffix(name, ".gz") {
		path += ".gz"
		f, err = os.Open(path)
	}
	return f, path, err
}

// Only keeps the named suites (none means all) and about limit runs of each, spread evenly.
func (d *Data) Only(suites []string, limit int) error {
	for _, s := range suites {
		if !slices.Contains(d.Suites, s) {
			return fmt.Errorf("replay: there is no suite %q; there are %s", s, strings.Join(d.Suites, ", "))
		}
	}
	d.Suites = slices.DeleteFunc(d.Suites, func(s string) bool { return len(suites) > 0 && !slices.Contains(suites, s) })
	if limit <= 0 {
		return nil
	}
	for _, s := range d.Suites {
		all := d.Runs[s]
		if len(all) <= limit {
			continue
		}
		kept := make([]Run, 0, limit)
		for i := range limit {
			kept = append(kept, all[i*len(all)/limit])
		}
		d.Runs[s] = kept
	}
	return nil
}
