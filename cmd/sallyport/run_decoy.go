// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport"
	"github.com/sallyport/sallyport/internal/confine"
)

// decoys give a run credentials that open nothing: one in its environment, one in a file of its temporary
// folder. Nobody has a reason to use them, so that whatever takes them out gives itself away: each is a
// canary of this run alone, which is looked for in all arguments and results.
func decoys(ctx context.Context, c *client, cfg *sallyport.DecoyConfig, run, tmp string, spec *confine.Spec) error {
	if cfg.Auto != "on" {
		return nil
	}
	made := func(of string) (string, error) {
		var out struct {
			Canary string `json:"canary"`
		}
		err := c.call(ctx, http.MethodPost, "/people/v1/canaries", map[string]string{"name": "run/" + run + "/" + of}, &out)
		if err != nil {
			return "", fmt.Errorf("decoy of the %s: %w", of, err)
		}
		return out.Canary, nil
	}
	env, err := made("environment")
	if err != nil {
		return err
	}
	file, err := made("file")
	if err != nil {
		return err
	}
	b, err := json.Marshal(map[string]string{"access_token": file, "scope": "backup"}, json.Deterministic(true))
	if err != nil {
		return err
	}
	name := cfg.Variable
	if name == "" {
		name = sallyport.DefaultDecoyVariable
	}
	spec.Env = append(spec.Env, name+"="+env)
	return os.WriteFile(filepath.Join(tmp, "credentials.json"), b, 0o600)
}
