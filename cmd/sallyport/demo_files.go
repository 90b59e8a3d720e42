// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// filesServer is the file server that the demo fetches where Node is there; baseline knows its tools.
const filesServer = "@modelcontextprotocol/server-filesystem@2026.8.31"

// files guards somebody else's server: the official file server from npm. Without Node or without a
// registry the step is left out, and says so.
func (d *demo) files(ctx context.Context) error {
	d.step("Somebody else's server: npx " + filesServer)
	npx, err := exec.LookPath("npx")
	if err != nil {
		d.say("   left out: there is no npx here\n")
		return nil
	}
	fetch, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(fetch, npx, "-y", "--package", filesServer, "--", "node", "-e", "0").CombinedOutput(); err != nil {
		d.say("   left out: npx cannot fetch it (%v: %s)\n", err, firstLine(string(out)))
		return nil
	}
	dir := filepath.Clean(d.data) + "-files"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	session, err := d.connect(ctx, "files", npx, "-y", filesServer, dir)
	if session != nil {
		defer func() { _ = session.Close() }() // the server's exit code is not ours
	}
	if err != nil {
		return err
	}
	_, isError, err := d.callOn(ctx, session, "write_file", map[string]any{"path": filepath.Join(dir, "hello.txt"), "content": "hello"})
	if err := want(false, isError, err); err != nil {
		return err
	}
	_, isError, err = d.callOn(ctx, session, "write_file", map[string]any{"path": "/etc/profile.d/hello.sh", "content": "hello"})
	return want(true, isError, err)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}
