// SPDX-License-Identifier: Apache-2.0

package replaybench

import (
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// dialogue is one run of an agent that talks with its user between its calls, as tau-bench records it.
type dialogue struct {
	Domain string         `json:"domain"`
	Task   jsontext.Value `json:"task_id"`
	Trial  jsontext.Value `json:"trial"`
	Reward float64        `json:"reward"`
	Steps  []struct {
		User   string         `json:"user"`
		Tool   string         `json:"tool"`
		Args   jsontext.Value `json:"args"`
		Output jsontext.Value `json:"output"`
	} `json:"steps"`
}

// dialogues reads a folder of dialogues: there are no attacks, and nothing is told of the tools but how
// they were called. It reports whether the folder is one.
func (d *Data) dialogues(dir string) (bool, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl*"))
	if err != nil {
		return false, err
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".gz")
		if name == "policy.jsonl" || !strings.HasSuffix(name, ".jsonl") {
			continue
		}
		if err := rows(dir, name, true, d, d.dialogue); err != nil {
			return false, err
		}
	}
	if len(d.Runs) > 0 {
		d.Notes = append(d.Notes, "these are dialogues: tools are known by how they were called, and each of the user's turns is told as his words")
	}
	return len(d.Runs) > 0, nil
}

func (d *Data) dialogue(t dialogue) error {
	if t.Domain == "" || len(t.Steps) == 0 {
		return fmt.Errorf("domain and steps are required: %w", fs.ErrInvalid)
	}
	task := string(t.Task)
	r := Run{ID: t.Domain + "/" + task + "/" + string(t.Trial), Pipeline: "dialogue", Suite: t.Domain, UserTask: task, Utility: t.Reward == 1}
	said := ""
	for _, s := range t.Steps {
		if s.Tool == "" {
			said += s.User + "\n"
			continue
		}
		text := string(s.Output)
		if s.Output.Kind() == '"' {
			_ = json.Unmarshal(s.Output, &text, lenient)
		}
		name := fmt.Sprintf("dialogue-%d", len(d.Texts))
		d.Texts[name] = Text{Text: text}
		r.Steps = append(r.Steps, Step{Said: said, Calls: []Call{{Tool: s.Tool, Args: s.Args}}, Outs: []Out{{Text: name}}})
		said = ""
		d.called(t.Domain, s.Tool, s.Args)
	}
	d.Runs[t.Domain] = append(d.Runs[t.Domain], r)
	return nil
}

// called adds what a call shows of its tool.
func (d *Data) called(suite, tool string, args jsontext.Value) {
	tools := d.Tools[suite]
	i := slices.IndexFunc(tools, func(t Tool) bool { return t.Name == tool })
	if i < 0 {
		tools = append(tools, Tool{Suite: suite, Name: tool})
		i = len(tools) - 1
	}
	var schema struct {
		Type       string                       `json:"type"`
		Properties map[string]map[string]string `json:"properties"`
	}
	_ = json.Unmarshal(tools[i].Schema, &schema, lenient)
	var of map[string]jsontext.Value
	if json.Unmarshal(args, &of, lenient) == nil {
		if schema.Properties == nil {
			schema.Properties = map[string]map[string]string{}
		}
		for _, name := range slices.Sorted(maps.Keys(of)) {
			if kind := kindOf(of[name]); kind != "" {
				schema.Properties[name] = map[string]string{"type": kind}
			}
		}
	}
	schema.Type = "object"
	if b, err := json.Marshal(schema, json.Deterministic(true)); err == nil {
		tools[i].Schema = b
	}
	d.Tools[suite] = tools
}

func kindOf(v jsontext.Value) string {
	switch v.Kind() {
	case '"':
		return "string"
	case '0':
		return "number"
	case 't', 'f':
		return "boolean"
	case '[':
		return "array"
	case '{':
		return "object"
	}
	return ""
}
