// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// maxFile bounds what is read of one file: an entry bundle has at most 256 entries of 65,535 bytes.
const maxFile = 256 * (2 + 65535)

// bucket is a folder of an object store that speaks S3: Amazon's, Google's (its XML API), or one of your own.
type bucket struct {
	c      *minio.Client
	name   string
	prefix string
}

// openBucket takes credentials from where the tools of AWS look for them: AWS_ACCESS_KEY_ID and its like, the shared
// file, or the machine's role.
func openBucket(endpoint, name, prefix string, plain bool) (*bucket, error) {
	c, err := minio.New(endpoint, &minio.Options{Secure: !plain, Creds: credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{}})})
	if err != nil {
		return nil, fmt.Errorf("bucket: %w", err)
	}
	return &bucket{c, name, prefix}, nil
}

// Get is target's.
func (b *bucket) Get(ctx context.Context, name string) ([]byte, error) {
	o, err := b.c.GetObject(ctx, b.name, path.Join(b.prefix, name), minio.GetObjectOptions{})
	if err != nil {
		return nil, fmt.Errorf("bucket: %w", err)
	}
	defer o.Close()
	data, err := io.ReadAll(io.LimitReader(o, maxFile+1))
	if minio.ToErrorResponse(err).Code == "NoSuchKey" {
		return nil, fs.ErrNotExist
	}
	if err != nil || len(data) > maxFile {
		return nil, fmt.Errorf("bucket: %q: %d bytes: %w", name, len(data), err)
	}
	return data, nil
}

// Put is target's. A checkpoint is short-lived for caches, everything else never changes.
func (b *bucket) Put(ctx context.Context, name string, data []byte) error {
	opt := minio.PutObjectOptions{ContentType: "application/octet-stream", CacheControl: "public, max-age=31536000, immutable", DisableMultipart: true}
	if !strings.Contains(name, "/") {
		opt.ContentType, opt.CacheControl = "text/plain; charset=utf-8", "no-cache"
	}
	if _, err := b.c.PutObject(ctx, b.name, path.Join(b.prefix, name), bytes.NewReader(data), int64(len(data)), opt); err != nil {
		return fmt.Errorf("bucket: %q: %w", name, err)
	}
	return nil
}
