// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"fmt"
	"strings"
)

// DefaultDecoyVariable is the variable that holds the decoy of a run.
const DefaultDecoyVariable = "BACKUP_ACCESS_TOKEN"

// DecoyConfig says whether runs get credentials that open nothing.
type DecoyConfig struct {
	Auto     string `yaml:"auto" doc:"on: each \"sallyport run\" gets a decoy in its environment and one in $TMPDIR/credentials.json, canaries that are looked for in all arguments and results; default off"`
	Variable string `yaml:"variable" doc:"name of the variable that holds the decoy; default BACKUP_ACCESS_TOKEN"`
}

func (c *DecoyConfig) check() error {
	if c.Auto != "" && c.Auto != "on" && c.Auto != "off" {
		return fmt.Errorf("config: detect.canaries.auto: %q is neither on nor off", c.Auto)
	}
	if strings.Trim(c.Variable, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" || len(c.Variable) > 64 {
		return fmt.Errorf("config: detect.canaries.variable: %q is no name of capitals, digits and underscores", c.Variable)
	}
	return nil
}
