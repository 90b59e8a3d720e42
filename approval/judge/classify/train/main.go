// SPDX-License-Identifier: Apache-2.0

// Command train makes the embedded models of package classify from the cases beside it. The same cases give the same
// bytes on one architecture.
//
//	go run ./approval/judge/classify/train --out approval/judge/classify/model.bin
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/sallyport/sallyport/approval/judge/classify"
)

func main() {
	out := flag.String("out", "model.bin", "where to write the models")
	flag.Parse()
	sets, err := classify.Sets()
	if err == nil {
		err = os.WriteFile(*out, classify.Train(sets).Bytes(), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
	for _, f := range classify.Measure(sets) {
		fmt.Printf("%d %-10s %d/%d cases  precision %.2f recall %.2f at 0.5; %.2f, %.2f at 0.8\n", f.ID, f.Name, f.Bad, f.Good, f.Precision, f.Recall, f.Sure, f.SureFound)
	}
}
