// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sallyport/sallyport/policies"
	"github.com/sallyport/sallyport/policy/bundle"
)

// A composition is a bundle of several packs, in the making.
type composition struct {
	files   map[string]string
	params  yaml.Node       // one mapping of all parameters, with their comments
	keys    map[string]bool // of params
	settles []bundle.Settle
	copied  []bundle.Copied
}

// Compose returns the files of a bundle in which each of packs has a folder of its own. Each pack's
// cases stay about that pack alone, under the parameters that it came with, so that they hold whatever the
// bundle's own parameters become.
func Compose(name, owner string, packs []string) (map[string]string, error) {
	c := composition{files: map[string]string{}, keys: map[string]bool{}, params: yaml.Node{Kind: yaml.MappingNode}}
	for _, p := range packs {
		if err := c.add(p); err != nil {
			return nil, err
		}
	}
	manifest := struct {
		Version     int             `yaml:"version"`
		Name        string          `yaml:"name"`
		Sequence    int             `yaml:"sequence"`
		Description string          `yaml:"description"`
		Owner       string          `yaml:"owner"`
		Packs       []bundle.Copied `yaml:"packs,omitempty"`
		Settles     []bundle.Settle `yaml:"settles,omitempty"`
	}{1, name, 1, "The packs " + strings.Join(packs, ", ") + ".", owner, c.copied, c.settles}
	var err error
	if c.files[bundle.ManifestFile], err = yamlText(manifest); err != nil {
		return nil, err
	}
	if len(c.params.Content) > 0 {
		c.files[bundle.ParamsFile], err = yamlText(&c.params)
	}
	return c.files, err
}

func yamlText(v any) (string, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return b.String(), enc.Close()
}

func (c *composition) add(pack string) error {
	fsys, err := policies.Pack(pack)
	if err != nil {
		return err
	}
	data, err := fs.ReadFile(fsys, bundle.ManifestFile)
	if err != nil {
		return err
	}
	m, err := bundle.ReadManifest(data)
	if err != nil {
		return err
	}
	from, err := shipped(pack)
	if err != nil {
		return err
	}
	c.copied = append(c.copied, from)
	c.settles = append(c.settles, m.Settles...)
	params, err := fs.ReadFile(fsys, bundle.ParamsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	own, err := c.merge(params)
	if err != nil {
		return fmt.Errorf("pack %q: %w", pack, err)
	}
	return fs.WalkDir(fsys, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || file == bundle.ManifestFile || file == bundle.ParamsFile {
			return err
		}
		data, err := fs.ReadFile(fsys, file)
		if err != nil {
			return err
		}
		rest, isTest := strings.CutPrefix(file, "tests/")
		if !isTest {
			c.files[path.Join(pack, file)] = string(data)
			return nil
		}
		head := "pack: " + pack + "\n"
		if !bytes.HasPrefix(data, []byte("params:")) && !bytes.Contains(data, []byte("\nparams:")) {
			head += "params: " + own + "\n"
		}
		c.files[path.Join("tests", pack, rest)] = head + string(data)
		return nil
	})
}

// merge adds the parameters that are not there yet and returns the pack's own in one line.
func (c *composition) merge(params []byte) (string, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(params, &doc); err != nil {
		return "", err
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return "{}", nil
	}
	all := doc.Content[0].Content
	for i := 0; i+1 < len(all); i += 2 {
		key := all[i].Value
		if c.keys[key] {
			continue
		}
		c.keys[key] = true
		c.params.Content = append(c.params.Content, all[i], all[i+1])
	}
	var plain map[string]any
	if err := yaml.Unmarshal(params, &plain); err != nil {
		return "", err
	}
	line := yaml.Node{}
	if err := line.Encode(plain); err != nil {
		return "", err
	}
	line.Style = yaml.FlowStyle
	text, err := yamlText(&line)
	return strings.TrimSpace(strings.ReplaceAll(text, "\n", " ")), err
}
