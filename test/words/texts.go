package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A text is a piece of a file that users read.
type text struct {
	line  int // where it begins
	words string
}

// texts returns what users read of a file, whose path is relative to the repository's root
// and has slashes; nothing if the file is for the developers alone.
func texts(file string, source []byte) ([]text, error) {
	switch {
	case strings.HasPrefix(file, "test/"), strings.HasPrefix(file, "docs/adr/"), strings.Contains("/"+file, "/internal/"):
		return nil, nil
	case strings.HasSuffix(file, "_test.go"):
		return examples(file, source)
	}
	switch path.Ext(file) {
	case ".go":
		return program(file, source)
	case ".md":
		return []text{{1, blank(inlineCode, string(source))}}, nil
	case ".html":
		return []text{{1, blank(action, blank(comment, string(source)))}}, nil
	case ".js":
		return sentences(matches(scriptString, blank(lineComment, string(source)))), nil
	}
	if path.Base(file) == "Makefile" {
		return matches(help, string(source)), nil
	}
	return nil, nil
}

var (
	inlineCode   = regexp.MustCompile("`[^`\n]+`") // a quotation
	comment      = regexp.MustCompile(`(?s)<!--.*?-->`)
	action       = regexp.MustCompile(`(?s)\{\{.*?\}\}`)
	lineComment  = regexp.MustCompile(`(?m)(?:^|\s)//.*$`)
	scriptString = regexp.MustCompile("\"[^\"\n]*\"|'[^'\n]*'|`[^`]*`")
	help         = regexp.MustCompile(`(?m)## .*$`)
)

// blank replaces what an expression matches by spaces, so that lines stay where they are.
func blank(e *regexp.Regexp, s string) string {
	return e.ReplaceAllStringFunc(s, func(m string) string {
		return regexp.MustCompile(`[^\n]`).ReplaceAllString(m, " ")
	})
}

func matches(e *regexp.Regexp, s string) (found []text) {
	for _, at := range e.FindAllStringIndex(s, -1) {
		found = append(found, text{1 + strings.Count(s[:at[0]], "\n"), s[at[0]:at[1]]})
	}
	return found
}

// sentences returns the texts of more than one word; the others are names.
func sentences(texts []text) []text {
	return slices.DeleteFunc(texts, func(t text) bool {
		return !strings.Contains(strings.TrimSpace(strings.Trim(t.words, "\"'`")), " ")
	})
}

// program returns the texts of Go code: documentation of packages and of exported names, and
// string literals of more than one word, such as those of errors.
func program(file string, source []byte) ([]text, error) {
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, file, source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	r := &reader{files: files}
	r.comment(parsed.Doc)
	for _, d := range parsed.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() {
				r.comment(d.Doc)
			}
		case *ast.GenDecl:
			r.declaration(d)
		}
	}
	r.literals(parsed)
	return r.found, nil
}

// examples returns the texts of the examples in a file of tests: what they document and print.
func examples(file string, source []byte) ([]text, error) {
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, file, source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	r := &reader{files: files}
	for _, d := range parsed.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || !strings.HasPrefix(f.Name.Name, "Example") {
			continue
		}
		r.comment(f.Doc)
		for _, c := range parsed.Comments {
			if f.Body.Pos() < c.Pos() && c.End() < f.Body.End() {
				r.comment(c)
			}
		}
		r.literals(f)
	}
	return r.found, nil
}

// A reader collects texts.
type reader struct {
	files *token.FileSet
	found []text
}

func (r *reader) comment(c *ast.CommentGroup) {
	if c == nil {
		return
	}
	for _, line := range c.List {
		r.found = append(r.found, text{r.files.Position(line.Pos()).Line, strings.TrimPrefix(line.Text, "//")})
	}
}

// declaration reads the documentation of exported types, constants and variables, and of
// the exported fields and methods of types.
func (r *reader) declaration(d *ast.GenDecl) {
	exported := false
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			if !s.Name.IsExported() {
				continue
			}
			exported = true
			r.comment(s.Doc)
			ast.Inspect(s.Type, func(n ast.Node) bool {
				if f, ok := n.(*ast.Field); ok && (len(f.Names) == 0 || f.Names[0].IsExported()) {
					r.comment(f.Doc)
					r.comment(f.Comment)
				}
				return true
			})
		case *ast.ValueSpec:
			if s.Names[0].IsExported() {
				exported = true
				r.comment(s.Doc)
				r.comment(s.Comment)
			}
		}
	}
	if exported {
		r.comment(d.Doc)
	}
}

func (r *reader) literals(n ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		l, ok := n.(*ast.BasicLit)
		if !ok || l.Kind != token.STRING {
			return true
		}
		if value, err := strconv.Unquote(l.Value); err == nil {
			r.found = append(r.found, sentences([]text{{r.files.Position(l.Pos()).Line, value}})...)
		}
		return true
	})
}
