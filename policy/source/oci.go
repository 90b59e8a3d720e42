// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/policy/bundle"
)

// The media types of a bundle in a registry: an OCI image manifest with one layer, the archive.
const (
	ManifestType = "application/vnd.oci.image.manifest.v1+json"
	LayerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

const maxManifestBytes = 1 << 20

// The forms of repositories and tags are those of the OCI distribution specification.
var (
	repository = regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
	reference  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// registry reads oci://HOST/REPOSITORY:TAG.
func (s *Source) registry(u *url.URL) error {
	name, tag, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), ":")
	if !ok || !repository.MatchString(name) || !reference.MatchString(tag) || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("source %q: oci://HOST/REPOSITORY:TAG is wanted", s.cfg.Source)
	}
	scheme := "https"
	if local(u.Hostname()) {
		scheme = "http"
	}
	s.at, s.within, s.repository = scheme+"://"+u.Host+"/v2/"+name, tag, name
	return nil
}

// pull fetches the manifest of the tag and, if it is a new one, its layer. Both must be what their digests say.
func (s *Source) pull(ctx context.Context) (archive []byte, digest string, err error) {
	text, err := s.blob(ctx, s.at+"/manifests/"+s.within, ManifestType, maxManifestBytes)
	if err != nil {
		return nil, "", err
	}
	digest = bundle.Sum(text)
	if digest == s.etag {
		return nil, digest, nil
	}
	var m struct {
		MediaType string `json:"mediaType"`
		Layers    []struct {
			MediaType string `json:"mediaType"`
			Digest    string `json:"digest"`
			Size      int64  `json:"size"`
		} `json:"layers"`
	}
	if err := action.Check(text, action.Limits{}); err != nil {
		return nil, digest, fmt.Errorf("manifest: %w", err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, digest, errors.New("the manifest is none")
	}
	if m.MediaType != ManifestType || len(m.Layers) != 1 || m.Layers[0].MediaType != LayerType || !digestForm.MatchString(m.Layers[0].Digest) {
		return nil, digest, fmt.Errorf("the manifest does not name one layer of type %s", LayerType)
	}
	l := m.Layers[0]
	if archive, err = s.blob(ctx, s.at+"/blobs/"+l.Digest, "", bundle.MaxArchiveBytes); err != nil {
		return nil, digest, err
	}
	if int64(len(archive)) != l.Size || bundle.Sum(archive) != l.Digest {
		return nil, digest, errors.New("the layer is not what the manifest says")
	}
	s.etag = digest
	return archive, digest, nil
}

func (s *Source) blob(ctx context.Context, at, accept string, most int64) ([]byte, error) {
	header := http.Header{}
	if accept != "" {
		header.Set("Accept", accept)
	}
	resp, err := s.request(ctx, at, header)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		_ = resp.Body.Close()
		if s.granted, err = s.answer(ctx, resp.Header.Get("WWW-Authenticate")); err == nil {
			resp, err = s.request(ctx, at, header)
		}
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	return bounded(resp.Body, most)
}
