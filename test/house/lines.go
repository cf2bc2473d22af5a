package main

import (
	"fmt"
	"go/ast"
	"go/scanner"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
)

// lines returns the code lines of all packages.
func (c *code) lines() (n int) {
	for _, p := range c.packages {
		n += p.lines()
	}
	return n
}

// lines returns how many lines of the package have more than a comment.
func (p *pack) lines() (n int) {
	for _, f := range p.syntax {
		n += p.linesOf(f)
	}
	return n
}

func (p *pack) linesOf(f *ast.File) int {
	source, err := os.ReadFile(p.fset.Position(f.Package).Filename)
	if err != nil {
		panic(err) // it has just been parsed
	}
	return codeLines(source)
}

// parts returns the code lines of each layer of the root package, and of each internal package.
func (c *code) parts() (lines []string, err error) {
	page, err := os.ReadFile(filepath.Join(c.dir, "docs", "architecture.md"))
	if err != nil {
		return nil, err
	}
	of, names, err := layers(string(page))
	if err != nil {
		return nil, err
	}
	sums := make([]int, len(names))
	for _, f := range c.root().syntax {
		sums[of[c.root().file(f.Package)]] += c.root().linesOf(f)
	}
	for i, name := range names {
		lines = append(lines, fmt.Sprintf("%s %d", name, sums[i]))
	}
	for _, p := range c.packages[:len(c.packages)-1] {
		lines = append(lines, fmt.Sprintf("%s %d", strings.TrimPrefix(p.path, rootPath+"/"), p.lines()))
	}
	return lines, nil
}

// codeLines returns how many lines have a token, or a part of one.
func codeLines(source []byte) int {
	fset := token.NewFileSet()
	file := fset.AddFile("", -1, len(source))
	var s scanner.Scanner
	s.Init(file, source, nil, 0) // which leaves out comments
	lines := make(map[int]bool)
	for {
		at, kind, text := s.Scan()
		if kind == token.EOF {
			return len(lines)
		}
		if kind == token.SEMICOLON && text == "\n" {
			continue // not in the source
		}
		first := file.Line(at)
		for i := range 1 + strings.Count(text, "\n") {
			lines[first+i] = true
		}
	}
}

// longest returns the longest function and how many lines it has from its first to
// its last.
func (c *code) longest() (lines int, name string) {
	for _, p := range c.packages {
		for _, f := range p.syntax {
			for _, d := range f.Decls {
				function, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				if n := p.fset.Position(function.End()).Line - p.fset.Position(function.Pos()).Line + 1; n > lines {
					lines, name = n, fmt.Sprintf("%s in %s", p.functionName(function), p.file(function.Pos()))
				}
			}
		}
	}
	return lines, name
}

func (p *pack) functionName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	return fmt.Sprintf("(%s).%s", types.ExprString(f.Recv.List[0].Type), f.Name.Name)
}
