// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/action"
)

const crashDir = "SALLYPORT_LEDGER_CRASH_DIR"

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		crashChild(dir)
		return
	}
	os.Exit(m.Run())
}

func crashConfig(dir string) Config {
	return Config{Wal: filepath.Join(dir, "wal"), Keys: filepath.Join(dir, "keys"), Tiles: filepath.Join(dir, "tiles"),
		SegmentBytes: 512 << 10, MinFreeBytes: 1, Publish: 5 * time.Millisecond}
}

// crashChild appends with several writers until it is killed, and prints what was acknowledged.
func crashChild(dir string) {
	l, err := Open(crashConfig(dir))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = l.Run(context.Background()) })
	var out sync.Mutex
	for w := range 8 {
		running.Go(func() {
			for i := int(l.Checkpoint().Size); ; i++ {
				r := testRecord(fmt.Sprintf("w%d", w), i)
				r.User = fmt.Sprintf("user %d", i%50)
				if w == 0 {
					r.Durability = action.DurabilityLazy
				}
				receipt, err := l.Append(context.Background(), r)
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				if receipt.Size == 0 {
					continue // lazy: not promised yet
				}
				out.Lock()
				fmt.Println("acked", receipt.Index, receipt.Leaf)
				out.Unlock()
			}
		})
	}
	running.Wait()
}

// TestKilledProcessLosesNothing kills a writing process again and again. SALLYPORT_SOAK=1 does so 200
// times.
func TestKilledProcessLosesNothing(t *testing.T) {
	rounds := 4
	if os.Getenv("SALLYPORT_SOAK") == "1" {
		rounds = 200
	}
	if testing.Short() {
		t.Skip("kills processes")
	}
	dir := t.TempDir()
	acked := map[uint64]string{}
	random := rand.New(rand.NewPCG(5, 6))
	for round := range rounds {
		killedChild(t, dir, 20+random.IntN(400), acked)
		l := mustOpen(t, crashConfig(dir))
		for index, leaf := range acked {
			if e, err := l.Read(index); err != nil || digest(leafHash(e.Raw)) != leaf {
				t.Fatalf("round %d: acknowledged entry %d is lost: %v", round, index, err)
			}
		}
		if err := l.Publish(context.Background()); err != nil {
			t.Fatal(err)
		}
		mustClose(t, l)
		if r, err := verifyDir(t, dir, Options{}); err != nil {
			t.Fatalf("round %d: %v\n%s", round, err, r.Text())
		}
	}
	if len(acked) < rounds*20 {
		t.Fatalf("only %d records were acknowledged", len(acked))
	}
}

// killedChild runs a writing process and kills it after a number of acknowledgements, so that a slow
// machine gets as far as a fast one. It adds what was acknowledged to acked.
func killedChild(t *testing.T, dir string, left int, acked map[uint64]string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) != 3 || f[0] != "acked" {
			if len(f) > 0 && f[0] == "error" {
				t.Error(lines.Text())
			}
			continue // the last line may be torn
		}
		index, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil || len(f[2]) != len("sha256:")+64 {
			continue
		}
		acked[index] = f[2]
		if left--; left == 0 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
}
