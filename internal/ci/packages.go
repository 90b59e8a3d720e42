// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// pkg is one package of the module, with what its source says.
type pkg struct {
	Dir          string
	ImportPath   string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	TestImports  []string
	XTestImports []string

	concurrent bool     // starts goroutines itself, tests included
	renews     bool     // its tests take -update and then write generated files
	fuzz       []string // names of fuzz targets
}

// packages lists the module and reads its syntax.
func (r *run) packages() ([]*pkg, error) {
	out, err := r.output("go", "list", "-json=Dir,ImportPath,GoFiles,TestGoFiles,XTestGoFiles,TestImports,XTestImports", "./...")
	if err != nil {
		return nil, err
	}
	var list []*pkg
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		p := &pkg{}
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, err
		}
		if err := p.parse(); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
}

func (p *pkg) tested() bool { return len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 }

func (p *pkg) parse() error {
	for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				p.concurrent = true
			case *ast.CallExpr:
				p.call(n)
			case *ast.FuncDecl:
				if strings.HasSuffix(name, "_test.go") && n.Recv == nil && strings.HasPrefix(n.Name.Name, "Fuzz") {
					p.fuzz = append(p.fuzz, n.Name.Name)
				}
			}
			return true
		})
	}
	return nil
}

// call notes WaitGroup.Go and its like, servers, parallel tests, and the -update flag.
func (p *pkg) call(c *ast.CallExpr) {
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	switch sel.Sel.Name {
	case "Go", "Parallel", "Serve", "NewServer":
		p.concurrent = true
	case "Bool":
		if len(c.Args) > 0 {
			if l, ok := c.Args[0].(*ast.BasicLit); ok && l.Value == `"update"` {
				p.renews = true
			}
		}
	}
}

// split sorts the tested packages into those that run under the race detector and the others. The rule: a
// package that starts goroutines, or whose tests import one of ours that does.
func split(list []*pkg) (race, plain []string) {
	starts := map[string]bool{}
	for _, p := range list {
		starts[p.ImportPath] = p.concurrent
	}
	for _, p := range list {
		if !p.tested() {
			continue
		}
		imports := slices.Concat(p.TestImports, p.XTestImports)
		if p.concurrent || slices.ContainsFunc(imports, func(i string) bool { return starts[i] }) {
			race = append(race, p.ImportPath)
		} else {
			plain = append(plain, p.ImportPath)
		}
	}
	return race, plain
}
