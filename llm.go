// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/gateway/llm"
)

// LLMConfig configures the door to the APIs of models.
type LLMConfig struct {
	OpenAI     LLMUpstream `yaml:"openai"`
	Anthropic  LLMUpstream `yaml:"anthropic"`
	ToolServer string      `yaml:"tool_server" doc:"server of tools whose name tells none; default: llm"`
}

// LLMUpstream is one provider.
type LLMUpstream struct {
	URL     string `yaml:"url" doc:"base address of the API, OpenAI's with /v1, Anthropic's without; \"\" closes the door"`
	KeyFile string `yaml:"key_file" doc:"file with the credential that we present there"`
}

func (c *LLMConfig) check() error {
	for name, u := range map[string]LLMUpstream{"openai": c.OpenAI, "anthropic": c.Anthropic} {
		if u.URL == "" {
			continue
		}
		p, err := url.Parse(u.URL)
		if err != nil || p.Scheme != "http" && p.Scheme != "https" || p.Host == "" || p.User != nil || p.RawQuery != "" || p.Fragment != "" {
			return fmt.Errorf("config: llm.%s.url: %q is no base address", name, u.URL)
		}
	}
	return nil
}

// upstream reads the credential for each request, so that it can be changed without a restart.
func (u LLMUpstream) upstream() llm.Upstream {
	up := llm.Upstream{URL: u.URL}
	if u.KeyFile != "" {
		up.Key = func() (string, error) {
			b, err := os.ReadFile(u.KeyFile)
			if err != nil {
				return "", err
			}
			key := strings.TrimSpace(string(b))
			if key == "" || strings.ContainsAny(key, "\r\n") {
				return "", errors.New("the file with the provider's credential holds no single line")
			}
			return key, nil
		}
	}
	return up
}

// llmRoutes are the endpoints of models.
func (s *Sallyport) llmRoutes() ([]gateway.Route, error) {
	c := &s.Config.LLM
	return llm.Routes(llm.Config{Enforcer: s.Enforcer, OpenAI: c.OpenAI.upstream(), Anthropic: c.Anthropic.upstream(), Host: hostScoped,
		Separation: separationOf, ToolServer: c.ToolServer})
}
