// SPDX-License-Identifier: Apache-2.0

package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/store/sqlite"
)

// crashEnv names the file that this test binary fills, as a process of its own, until it is killed.
const crashEnv = "SALLYPORT_TEST_STORE"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnv); path != "" {
		fmt.Fprintln(os.Stderr, fill(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// fill puts key after key and names each on standard output once its Put has returned.
func fill(path string) error {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		key := fmt.Sprintf("default/%d/%d", os.Getpid(), i)
		if _, err := s.Put(ctx, key, []byte(key), 0); err != nil {
			return err
		}
		fmt.Println(key)
	}
}

func TestKilledWriterLosesNothingItAcknowledged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	var acknowledged []string
	for round := range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashEnv+"="+path)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			acknowledged = append(acknowledged, lines.Text())
			if n == 10+13*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if cmd.Wait() == nil || stderr.Len() > 0 {
			t.Fatalf("round %d: the writer ended by itself: %s", round, stderr.String())
		}
	}
	s := openAt(t, path)
	for _, key := range acknowledged {
		if e, err := s.Get(context.Background(), key); err != nil || string(e.Value) != key {
			t.Errorf("%s: %q, %v", key, e.Value, err)
		}
	}
	if len(acknowledged) < 150 {
		t.Errorf("only %d writes were acknowledged", len(acknowledged))
	}
}
