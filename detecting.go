// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"fmt"
	"os"

	"github.com/sallyport/sallyport/detect"
)

// DetectConfig says what is looked for in text.
type DetectConfig struct {
	Injection  string `yaml:"injection" doc:"off: instructions to a model in arguments and results are not looked for; default on"`
	Signatures string `yaml:"signatures" doc:"file of signatures of confirmed attacks, as \"sallyport detect sign\" writes it"`
}

func (c *DetectConfig) check() error {
	if c.Injection != "" && c.Injection != "on" && c.Injection != "off" {
		return fmt.Errorf("config: detect.injection: %q is neither on nor off", c.Injection)
	}
	return nil
}

// detector opens the detector. A file of signatures that cannot be read stops the owner: it would be taken
// for protection that is not there.
func (s *Sallyport) detector() (*detect.Detector, error) {
	c := detect.Config{Fingerprint: s.Ledger.Fingerprint, Canaries: true, Deaf: s.Config.Detect.Injection == "off", Now: s.Ledger.Now}
	if f := s.Config.Detect.Signatures; f != "" {
		b, err := os.ReadFile(f)
		if err == nil {
			c.Signatures, err = detect.ReadSignatures(b)
		}
		if err != nil {
			return nil, fmt.Errorf("config: detect.signatures: %q: %w", f, err)
		}
	}
	return detect.New(c)
}
