// SPDX-License-Identifier: Apache-2.0

// Command train makes the embedded model of package detect: from generated text, and from the public sets
// under --data if there are any. The same input gives the same bytes on one architecture.
//
//	go run ./detect/train --data DIR --out detect/model.bin
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"sort"

	"github.com/sallyport/sallyport/detect/learn"
)

func main() {
	data, out := flag.String("data", "", "folder of prompt sets and recorded tool outputs"), flag.String("out", "model.bin", "where to write the model")
	flag.Parse()
	if err := run(*data, *out); err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}

func run(data, out string) error {
	samples, err := learn.Corpus(data)
	if err != nil {
		return err
	}
	count := map[string]int{}
	for _, s := range samples {
		kind := "benign"
		if s.Attack {
			kind = "attack"
		}
		count[s.Source+", "+kind]++
	}
	names := make([]string, 0, len(count))
	for n := range count {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		fmt.Printf("%-30s %6d\n", n, count[n])
	}
	b := learn.Train(samples).Bytes()
	fmt.Printf("%d bytes, sha256 %x\n", len(b), sha256.Sum256(b))
	return os.WriteFile(out, b, 0o644)
}
