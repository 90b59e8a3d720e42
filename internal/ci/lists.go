// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// rows reads a list of n columns separated by "|", without comments and empty lines.
func rows(file string, n int) ([][]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out [][]string
	for i, line := range strings.Split(string(b), "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "|")
		if len(f) != n {
			return nil, fmt.Errorf("%s:%d: %d columns, not %d", file, i+1, len(f), n)
		}
		for j := range f {
			if f[j] = strings.TrimSpace(f[j]); f[j] == "" {
				return nil, fmt.Errorf("%s:%d: column %d is empty", file, i+1, j+1)
			}
		}
		out = append(out, f)
	}
	return out, nil
}

// allowed are the skips that may be: a test, a text that its printed reason must contain, and why.
type allowed [][]string

func readAllowed(file string) (allowed, error) { return rows(file, 3) }

func (a allowed) permit(s skip) (why string, ok bool) {
	pkg, test, _ := strings.Cut(s.name, " ")
	for _, row := range a {
		wantPkg, wantTest, _ := strings.Cut(row[0], " ")
		okPkg, _ := path.Match(wantPkg, pkg)
		okTest, _ := path.Match(wantTest, strings.ReplaceAll(test, "/", ":"))
		if okPkg && okTest && s.reason != "" && strings.Contains(s.reason, row[1]) {
			return row[2], true
		}
	}
	return "", false
}

// budgets are seconds of test time by column; "*" is for those that have no row.
type budgets map[string]float64

func readBudgets(file string) (budgets, error) {
	list, err := rows(file, 2)
	if err != nil {
		return nil, err
	}
	out := budgets{}
	for _, row := range list {
		if out[row[0]], err = strconv.ParseFloat(row[1], 64); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", file, row[0], err)
		}
	}
	return out, nil
}

func (b budgets) of(column string) float64 {
	if s, ok := b[column]; ok {
		return s
	}
	return b["*"]
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
