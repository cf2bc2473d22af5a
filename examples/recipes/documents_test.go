package recipes_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the code on the page")

// The page has its code between comments that say what it is:
//
//	<!-- recipe Retry -->          the function
//	<!-- recipe ExampleRetry -->   what is between the braces of an example, and its output
//	<!-- /recipe -->               the end of each
var recipe = regexp.MustCompile(`(?s)<!-- recipe (\w+) -->\n(.*?)<!-- /recipe -->`)

func TestThePageHasTheCodeOfTheRecipes(t *testing.T) {
	const page = "../../docs/recipes.md"
	old, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	code := functions(t)
	if found, ends := len(recipe.FindAll(old, -1)), bytes.Count(old, []byte("<!-- /recipe -->")); found != ends {
		t.Errorf("%s: %d recipes, but %d ends of recipes", page, found, ends)
	}
	shown := make(map[string]bool)
	updated := recipe.ReplaceAllFunc(old, func(b []byte) []byte {
		name := string(recipe.FindSubmatch(b)[1])
		shown[name] = true
		if code[name] == "" {
			t.Errorf("%s: there is no function %s", page, name)
			return b
		}
		return fmt.Appendf(nil, "<!-- recipe %s -->\n%s<!-- /recipe -->", name, code[name])
	})
	for name := range code {
		if ast.IsExported(name) && !strings.HasPrefix(name, "Example") && !strings.HasPrefix(name, "Test") && !shown[name] {
			t.Errorf("%s does not show %s", page, name)
		}
	}
	switch {
	case bytes.Equal(old, updated):
	case *update:
		if err := os.WriteFile(page, updated, 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not up to date; run go test . -update (-is +should be):\n%s", page, cmp.Diff(string(old), string(updated)))
	}
}

// functions returns the functions of this package and its examples, as the page shows them.
func functions(t *testing.T) map[string]string {
	code := make(map[string]string)
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, source, 0)
		if err != nil {
			t.Fatal(err)
		}
		text := func(from, to token.Pos) string {
			return string(source[files.Position(from).Offset:files.Position(to).Offset])
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			switch {
			case !ok || f.Recv != nil:
			case strings.HasPrefix(f.Name.Name, "Example"):
				body, output, _ := strings.Cut(text(f.Body.Lbrace+2, f.Body.Rbrace), "\t// Output:")
				code[f.Name.Name] = fence("go", dedented(body)) + "\n" + fence("text", uncommented(output))
			default:
				code[f.Name.Name] = fence("go", text(f.Pos(), f.End())+"\n")
			}
		}
	}
	return code
}

func fence(language, text string) string { return "```" + language + "\n" + text + "```\n" }

// dedented takes one tab from the beginning of each line.
func dedented(text string) string {
	return strings.TrimPrefix(strings.ReplaceAll("\n"+text, "\n\t", "\n"), "\n")
}

// uncommented takes the slashes from the beginning of each line.
func uncommented(text string) string {
	return strings.TrimLeft(strings.ReplaceAll(text, "\t// ", ""), " \n")
}
