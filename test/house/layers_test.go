package main

import (
	"go/ast"
	"os"
	"path"
	"strings"
	"testing"
)

func readArchitecture(t *testing.T) (string, *code) {
	t.Helper()
	page, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := load()
	if err != nil {
		t.Fatal(err)
	}
	return string(page), code
}

func TestFilesUseOnlyTheLayersBelow(t *testing.T) {
	page, code := readArchitecture(t)
	of, names, err := layers(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range upward(code.root().uses(), of, names) {
		t.Error(wrong)
	}
	if got := strings.Join(names, " "); got != "typed acting state bus registered words" {
		t.Errorf("the layers are %s", got)
	}
}

func TestTheCycleOfFilesStaysSmall(t *testing.T) {
	_, code := readArchitecture(t)
	if cycle := code.root().cycle(); len(cycle) > 8 {
		t.Errorf("%d files use each other: %v", len(cycle), cycle)
	}
}

func TestArchitectureNamesFunctionsWhereTheyAre(t *testing.T) {
	page, code := readArchitecture(t)
	declared := make(map[string]map[string]bool)
	for _, p := range code.packages {
		for _, f := range p.syntax {
			file := p.file(f.Package)
			if p != code.root() {
				file = path.Base(p.path) + "/" + file
			}
			declared[file] = make(map[string]bool)
			for _, d := range f.Decls {
				switch d := d.(type) {
				case *ast.FuncDecl:
					declared[file][d.Name.Name] = true
				case *ast.GenDecl:
					for _, s := range d.Specs {
						if s, ok := s.(*ast.TypeSpec); ok {
							declared[file][s.Name.Name] = true
						}
					}
				}
			}
		}
	}
	if n := len(located.FindAllString(page, -1)); n < 30 {
		t.Errorf("the page names functions in %d places, want many more", n)
	}
	for _, wrong := range misplaced(page, declared) {
		t.Error(wrong)
	}
}

func TestUpwardUseIsFound(t *testing.T) {
	page := "\n package dispatch\n  high  a.go  b.go   words\n        c.go\n  low   d.go\n      │\n"
	of, names, err := layers(page)
	if err != nil {
		t.Fatal(err)
	}
	uses := map[string]map[string]bool{"a.go": {"d.go": true}, "b.go": {"c.go": true}, "d.go": {"c.go": true}, "e.go": {}}
	got := strings.Join(upward(uses, of, names), "\n")
	if want := "d.go (low) uses c.go (high)\ne.go is in no layer\nthere is no c.go"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMisplacedFunctionsAreFound(t *testing.T) {
	page := "see a.go: `f`, `T.g` and b/c.go: `h` or x.go alone"
	declared := map[string]map[string]bool{"a.go": {"f": true}, "z/b/c.go": {"h": true}}
	if got := strings.Join(misplaced(page, declared), "\n"); got != "T.g is not in a.go" {
		t.Errorf("got %q", got)
	}
}
