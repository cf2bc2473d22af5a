package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	rootPath     = "github.com/seed-bb4b4d74/dispatch"
	internalPath = rootPath + "/internal/"
)

// code is the root package and the packages below internal that it imports.
type code struct {
	fset     *token.FileSet
	dir      string // of the root package
	packages []*pack
}

// pack is a package without tests: its syntax, and the meaning of its names.
type pack struct {
	fset   *token.FileSet
	path   string
	syntax []*ast.File
	types  *types.Package
	info   types.Info
}

// load reads the code. It reads imported packages from the compiler's export data, which go
// list makes; so the program needs only the standard library.
func load() (*code, error) {
	c := &code{fset: token.NewFileSet()}
	listed, err := output("go", "list", "-deps", "-export", "-json=ImportPath,Dir,GoFiles,Export", rootPath)
	if err != nil {
		return nil, err
	}
	exports := make(map[string]string)
	imports := importer.ForCompiler(c.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	// Dependencies come before what depends on them.
	for decoder := json.NewDecoder(bytes.NewReader(listed)); ; {
		var p struct {
			ImportPath, Dir, Export string
			GoFiles                 []string
		}
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			return c, nil
		case err != nil:
			return nil, err
		}
		exports[p.ImportPath] = p.Export
		if p.ImportPath != rootPath && !strings.HasPrefix(p.ImportPath, internalPath) {
			continue
		}
		read := &pack{fset: c.fset, path: p.ImportPath, info: types.Info{
			Defs: make(map[*ast.Ident]types.Object), Uses: make(map[*ast.Ident]types.Object),
		}}
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(c.fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			read.syntax = append(read.syntax, file)
		}
		config := types.Config{Importer: imports}
		if read.types, err = config.Check(p.ImportPath, c.fset, read.syntax, &read.info); err != nil {
			return nil, err
		}
		c.packages, c.dir = append(c.packages, read), p.Dir
	}
}

// root returns the root package, which comes last.
func (c *code) root() *pack { return c.packages[len(c.packages)-1] }

// paths returns the import paths of the packages.
func (c *code) paths() (paths []string) {
	for _, p := range c.packages {
		paths = append(paths, p.path)
	}
	return paths
}

// file returns the name of the file that has the position, without its directory.
func (p *pack) file(at token.Pos) string { return filepath.Base(p.fset.Position(at).Filename) }

func output(name string, args ...string) ([]byte, error) {
	command := exec.Command(name, args...)
	command.Env = append(os.Environ(), "GOCOVERDIR=") // what a covered program would write at its end
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", command, err, &stderr)
	}
	return out, nil
}
