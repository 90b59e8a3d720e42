// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gateway/hook"
)

// codexHook is a hook as Codex lists it.
type codexHook struct {
	Event   string `json:"eventName"`
	Command string `json:"command"`
	Source  string `json:"sourcePath"`
	Enabled bool   `json:"enabled"`
	Trust   string `json:"trustStatus"`
}

// trusted asks Codex itself which of our hooks it would run: it passes over those that nobody has trusted, without a
// word. Where no codex is found nothing is added.
func (f *hostFile) trusted(ctx context.Context, d *hookDiagnosis, command, project string) {
	if f.host != hook.Codex {
		return
	}
	exe, err := exec.LookPath("codex")
	if err != nil {
		return
	}
	const check = "Codex runs the hooks"
	list, err := codexHooks(ctx, exe, project)
	if err != nil {
		d.add(check, err)
		return
	}
	for _, event := range f.events {
		if !runs(list, event, command) {
			err = errors.Join(err, fmt.Errorf("%s is not trusted: open codex, type /hooks and trust it", event))
		}
	}
	d.add(check, err)
}

func runs(list []codexHook, event, command string) bool {
	for _, h := range list {
		if strings.EqualFold(h.Event, event) && h.Command == command && h.Enabled && (h.Trust == "trusted" || h.Trust == "managed") {
			return true
		}
	}
	return false
}

// codexHooks lists the hooks that Codex finds for a folder, by its own protocol for editors.
func codexHooks(ctx context.Context, exe, project string) (list []codexHook, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if project == "" {
		if project, err = os.Getwd(); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, exe, "app-server")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() { _ = in.Close(); cancel(); _ = cmd.Wait() }()
	asked, err := json.Marshal(map[string]any{"id": 2, "method": "hooks/list", "params": map[string]any{"cwds": []string{project}}})
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(in, `{"id":1,"method":"initialize","params":{"clientInfo":{"name":"sallyport","title":"sallyport","version":"1"}}}`+"\n"+
		`{"method":"initialized"}`+"\n"+string(asked)+"\n"); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(io.LimitReader(out, 4<<20))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var m struct {
			ID     any `json:"id"`
			Result struct {
				Data []struct {
					Hooks []codexHook `json:"hooks"`
				} `json:"data"`
			} `json:"result"`
			Error struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if json.Unmarshal(lines.Bytes(), &m) != nil || m.ID != 2.0 {
			continue
		}
		if m.Error.Message != "" {
			return nil, fmt.Errorf("codex: %s", m.Error.Message)
		}
		for _, d := range m.Result.Data {
			list = append(list, d.Hooks...)
		}
		return list, nil
	}
	return nil, errors.New("codex does not list its hooks")
}
