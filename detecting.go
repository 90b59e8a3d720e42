// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"fmt"

	"github.com/sallyport/sallyport/detect"
)

// DetectConfig says what is looked for in text.
type DetectConfig struct {
	Injection  string `yaml:"injection" doc:"off: instructions to a model in arguments and results are not looked for; default on"`
	Signatures string `yaml:"signatures" doc:"file of signatures of confirmed attacks, as \"sallyport detect sign\" writes it; read again when it changes"`

	Canaries DecoyConfig `yaml:"canaries"`

	Lists []AttackList `yaml:"lists" doc:"published lists of signatures to subscribe to; asked once a minute"`
}

func (c *DetectConfig) check() error {
	if c.Injection != "" && c.Injection != "on" && c.Injection != "off" {
		return fmt.Errorf("config: detect.injection: %q is neither on nor off", c.Injection)
	}
	if err := c.Canaries.check(); err != nil {
		return err
	}
	names := map[string]bool{"signatures": true}
	for i := range c.Lists {
		if err := c.Lists[i].check(); err != nil {
			return err
		}
		if n := c.Lists[i].Name; names[n] {
			return fmt.Errorf("config: detect.lists: %q stands twice", n)
		}
		names[c.Lists[i].Name] = true
	}
	return nil
}

// openDetector opens the detector. A file of signatures that cannot be read stops the owner: it would be taken
// for protection that is not there.
func (s *Sallyport) openDetector(ctx context.Context) (err error) {
	s.Detect, err = detect.New(detect.Config{Fingerprint: s.Ledger.Fingerprint, Canaries: true, Deaf: s.Config.Detect.Injection == "off", Now: s.Ledger.Now})
	if err == nil {
		s.attacks, err = s.openAttacks(ctx)
	}
	return err
}
