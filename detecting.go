// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"fmt"

	"github.com/sallyport/sallyport/detect"
)

// DetectConfig says what is looked for in text.
type DetectConfig struct {
	Injection string `yaml:"injection" doc:"off: instructions to a model in arguments and results are not looked for; default on"`
}

func (c *DetectConfig) check() error {
	if c.Injection != "" && c.Injection != "on" && c.Injection != "off" {
		return fmt.Errorf("config: detect.injection: %q is neither on nor off", c.Injection)
	}
	return nil
}

func (s *Sallyport) detectConfig() detect.Config {
	return detect.Config{Fingerprint: s.Ledger.Fingerprint, Deaf: s.Config.Detect.Injection == "off"}
}
