// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy"
	"github.com/sallyport/sallyport/tools"
)

// toolsHelp says what knownTools is for, as the end of a command's help.
const toolsHelp = `With --tools or --registry Cedar policies
that read the arguments of known tools are checked against the schemas of these, as at an activation`

// knownTools are the tools whose arguments an author's policies are checked against.
type knownTools struct {
	files    []string
	registry bool
}

func (k *knownTools) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&k.files, "tools", nil, "what \"sallyport tools list --json\" wrote, or SERVER=FILE with the answer of a server to tools/list; may be repeated")
	cmd.Flags().BoolVar(&k.registry, "registry", false, "the approved tools of the owner's registry")
}

// authored is how a folder is loaded that somebody writes at.
func (a *app) authored(ctx context.Context, dir string, known *knownTools) (policy.Config, error) {
	cfg := policy.Config{Dir: dir, Now: time.Now, Check: sallyport.ReadableBundle}
	schemas := map[string][]byte{}
	for _, arg := range known.files {
		if err := readTools(arg, schemas); err != nil {
			return cfg, err
		}
	}
	if known.registry {
		c, err := a.owner(ctx, false)
		if err != nil {
			return cfg, err
		}
		pins, err := list[tools.Pin](ctx, c, "/people/v1/tools", nil, 0)
		if err != nil {
			return cfg, err
		}
		if err := approvedTools(pins, schemas); err != nil {
			return cfg, err
		}
	}
	cfg.Tools = func() map[string][]byte { return schemas }
	return cfg, nil
}

// maxToolsFile bounds a file of definitions.
const maxToolsFile = 64 << 20

// readTools adds the schemas of a file. With a server's name it is the server's own list, which says nothing of approvals.
func readTools(arg string, to map[string][]byte) error {
	server, file, named := strings.Cut(arg, "=")
	if !named {
		server, file = "", arg
	}
	f, err := os.Open(file)
	if err != nil {
		return hinted{fmt.Errorf("--tools: %w", err), "sallyport tools list --json > tools.json"}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxToolsFile+1))
	if err == nil && len(data) > maxToolsFile {
		err = fmt.Errorf("it is larger than %d bytes", maxToolsFile)
	}
	if err == nil {
		err = toolsIn(server, data, to)
	}
	if err != nil {
		return fmt.Errorf("--tools: %q: %w", file, err)
	}
	return nil
}

func toolsIn(server string, data []byte, to map[string][]byte) error {
	data = bytes.TrimSpace(data)
	if server == "" {
		var pins []tools.Pin
		if err := json.Unmarshal(data, &pins); err != nil {
			return err
		}
		return approvedTools(pins, to)
	}
	var defs []jsontext.Value
	if bytes.HasPrefix(data, []byte("{")) {
		var answer struct {
			Tools []jsontext.Value `json:"tools"`
		}
		if err := json.Unmarshal(data, &answer); err != nil {
			return err
		}
		defs = answer.Tools
	} else if err := json.Unmarshal(data, &defs); err != nil {
		return err
	}
	if len(defs) == 0 {
		return fmt.Errorf("no tools are in it")
	}
	for i, raw := range defs {
		d, err := tools.ReadDefinition(raw)
		if err != nil {
			return fmt.Errorf("tool %d: %w", i+1, err)
		}
		if len(d.InputSchema) > 0 {
			to[action.ToolKey(server, d.Name)] = d.InputSchema
		}
	}
	return nil
}

// approvedTools adds the schemas of approved definitions.
func approvedTools(pins []tools.Pin, to map[string][]byte) error {
	for _, p := range pins {
		if p.State != action.DefinitionApproved {
			continue
		}
		d, err := tools.ReadDefinition(p.Definition)
		if err != nil {
			return fmt.Errorf("%s/%s: %w", p.Server, p.Name, err)
		}
		if len(d.InputSchema) > 0 {
			to[action.ToolKey(p.Server, p.Name)] = d.InputSchema
		}
	}
	return nil
}
