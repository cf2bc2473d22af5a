package dispatch_test

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The program of the README is the one that Example runs and checks.
func TestREADMEProgramIsTheExample(t *testing.T) {
	_, rest, ok := strings.Cut(readFile(t, "README.md"), "```go\n")
	if !ok {
		t.Fatal("README.md has no Go code")
	}
	program, _, _ := strings.Cut(rest, "```\n")
	if formatted, err := format.Source([]byte(program)); err != nil {
		t.Fatal(err)
	} else if diff := cmp.Diff(string(formatted), program); diff != "" {
		t.Errorf("gofmt would change the program (-want +got):\n%s", diff)
	}
	example, _, _ := strings.Cut(body(t, readFile(t, "example_test.go"), "Example"), "\t// Output:")
	if diff := cmp.Diff(example, body(t, program, "main")); diff != "" {
		t.Errorf("program of the README (-Example +README):\n%s", diff)
	}
	_, output, _ := strings.Cut(rest, "```text\n")
	output, _, _ = strings.Cut(output, "```\n")
	_, want, _ := strings.Cut(body(t, readFile(t, "example_test.go"), "Example"), "// Output:\n")
	want = regexp.MustCompile(`(?m)^\s*// `).ReplaceAllString(want, "")
	if diff := cmp.Diff(want, output); diff != "" {
		t.Errorf("output in the README (-Example +README):\n%s", diff)
	}
}

// A fresh machine needs two commands, one for an example and one for all tests, and CI
// runs the latter as it stands there.
func TestREADMEHasTwoCommands(t *testing.T) {
	_, rest, _ := strings.Cut(readFile(t, "README.md"), "```sh\n")
	block, _, _ := strings.Cut(rest, "```\n")
	var commands []string
	for line := range strings.Lines(block) {
		command, _, _ := strings.Cut(line, "#")
		commands = append(commands, strings.TrimSpace(command))
	}
	if diff := cmp.Diff([]string{"go run ./examples/quickstart", "make test"}, commands); diff != "" {
		t.Errorf("commands (-want +README.md):\n%s", diff)
	}
	if script := readFile(t, ".ci/run"); !strings.Contains(script, "\nmake test\n") {
		t.Error(".ci/run does not run make test")
	}
}

// The table of options in the README has every option once, and no other.
func TestREADMEListsTheOptions(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "options.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil || !f.Name.IsExported() {
			continue
		}
		if result := fmt.Sprint(f.Type.Results.List[0].Type); strings.HasSuffix(result, "Option") {
			want = append(want, f.Name.Name)
		}
	}
	slices.Sort(want)
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `((?:With|On)[A-Za-z]+)").FindAllStringSubmatch(readFile(t, "README.md"), -1) {
		got = append(got, m[1])
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("options (-options.go +README.md):\n%s", diff)
	}
}

// Links from one document to another lead somewhere.
func TestLinksInDocuments(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	code := regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md"} {
		documents, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range documents {
			for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(readFile(t, document), ""), -1) {
				if _, err := os.Stat(filepath.Join(filepath.Dir(document), m[1])); err != nil {
					t.Errorf("%s: %v", document, err)
				}
			}
		}
	}
}

// The examples that the README names are there, and all that are there are named.
func TestREADMENamesTheExamples(t *testing.T) {
	_, table, _ := strings.Cut(readFile(t, "README.md"), "| promise | example |")
	table, _, _ = strings.Cut(table, "\n\n")
	var named []string
	for row := range strings.Lines(table) {
		_, examples, _ := strings.Cut(strings.TrimPrefix(row, "|"), "|")
		for _, m := range regexp.MustCompile("`([A-Za-z_]+)`").FindAllStringSubmatch(examples, -1) {
			named = append(named, m[1])
		}
	}
	slices.Sort(named)
	var there []string
	for _, m := range regexp.MustCompile(`(?m)^func Example([A-Za-z_]+)\(\)`).FindAllStringSubmatch(readFile(t, "example_test.go"), -1) {
		// A suffix in lower case tells another example of the same name apart.
		name := regexp.MustCompile(`_[a-z]+$`).ReplaceAllString(m[1], "")
		there = append(there, name)
	}
	slices.Sort(there)
	if diff := cmp.Diff(slices.Compact(there), slices.Compact(named)); diff != "" {
		t.Errorf("examples (-example_test.go +README.md):\n%s", diff)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// body returns what is between the braces of a function.
func body(t *testing.T, source, name string) string {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "", source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == name {
			return strings.TrimPrefix(source[files.Position(f.Body.Lbrace).Offset+1:files.Position(f.Body.Rbrace).Offset], "\n")
		}
	}
	t.Fatalf("there is no func %s", name)
	return ""
}
