package timelines_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the blocks of the documents")

// A document has its blocks between comments that say what they are:
//
//	<!-- timeline quorum -->   the picture of a scenario
//	<!-- report quorum -->     what the reports of its calls say
//	<!-- body quorum -->       what is between the braces of a function here
//	<!-- code quorum -->       a whole declaration
//	<!-- /… -->                the end of each
var (
	block  = regexp.MustCompile(`(?s)<!-- (timeline|report|body|code) (\w+) -->\n(.*?)<!-- /(\w+) -->`)
	opened = regexp.MustCompile(`<!-- /(?:timeline|report|body|code) -->`)
)

func TestTimelines(t *testing.T) {
	all := make(map[string]played)
	for _, name := range slices.Sorted(maps.Keys(scenarios)) {
		t.Run(name, func(t *testing.T) { all[name] = scenarios[name].run(t) })
	}
	if t.Failed() {
		return
	}
	code := declarations(t)
	shown := make(map[string]bool)
	for _, name := range documents(t) {
		old, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found, ends := len(block.FindAll(old, -1)), len(opened.FindAll(old, -1)); found != ends {
			t.Errorf("%s: %d blocks, but %d ends of blocks", name, found, ends)
			continue
		}
		updated := block.ReplaceAllFunc(old, func(b []byte) []byte {
			m := block.FindSubmatch(b)
			kind, subject := string(m[1]), string(m[2])
			if end := string(m[4]); end != kind {
				t.Errorf("%s: %s %s ends with /%s", name, kind, subject, end)
			}
			var text string
			switch kind {
			case "timeline":
				text = fence("text", all[subject].picture)
				shown[subject] = true
			case "report":
				text = fence("text", all[subject].report)
			default:
				text = fence("go", code[kind+" "+subject])
			}
			if text == "" {
				t.Errorf("%s: there is no %s %s", name, kind, subject)
				return b
			}
			return fmt.Appendf(nil, "<!-- %s %s -->\n%s<!-- /%s -->", kind, subject, text, kind)
		})
		switch {
		case bytes.Equal(old, updated):
		case *update:
			if err := os.WriteFile(name, updated, 0o644); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("%s is not up to date; run go test ./test/timelines -update (-is +should be):\n%s", name, cmp.Diff(string(old), string(updated)))
		}
	}
	for name := range scenarios {
		if !shown[name] {
			t.Errorf("no document shows the time line of %s", name)
		}
	}
}

func fence(language, text string) string {
	if text == "" {
		return ""
	}
	return "```" + language + "\n" + text + "```\n"
}

const root = "../.."

// documents returns the paths of all documents that may have blocks.
func documents(t *testing.T) (names []string) {
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// declarations returns the source of the declarations in the tests of this
// package, and what is between the braces of its functions.
func declarations(t *testing.T) map[string]string {
	code := make(map[string]string)
	paths, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, source, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		text := func(from, to token.Pos) string {
			return string(source[files.Position(from).Offset:files.Position(to).Offset])
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				name := d.Name.Name
				if d.Recv != nil {
					receiver := d.Recv.List[0].Type
					if star, ok := receiver.(*ast.StarExpr); ok {
						receiver = star.X
					}
					name = fmt.Sprint(receiver, "_", name)
				}
				code["code "+name] = text(d.Pos(), d.End()) + "\n"
				code["body "+name] = dedented(text(d.Body.Lbrace+2, d.Body.Rbrace))
			case *ast.GenDecl:
				if len(d.Specs) == 0 {
					continue
				}
				switch s := d.Specs[0].(type) {
				case *ast.TypeSpec:
					code["code "+s.Name.Name] = text(d.Pos(), d.End()) + "\n"
				case *ast.ValueSpec:
					code["code "+s.Names[0].Name] = text(d.Pos(), d.End()) + "\n"
				}
			}
		}
	}
	return code
}

// dedented takes one tab from the beginning of each line.
func dedented(text string) string {
	var b strings.Builder
	for l := range strings.Lines(text) {
		b.WriteString(strings.TrimPrefix(l, "\t"))
	}
	return b.String()
}

// Links lead somewhere, also those from the pages of policies and those to a
// heading.
func TestTimelinesLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^):#]*)(#[^)]*)?\)`)
	quoted := regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
	for _, name := range append(documents(t), filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(quoted.ReplaceAllString(string(text), ""), -1) {
			target := name
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(name), m[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", name, err)
			} else if m[2] != "" && !slices.Contains(headings(t, target), m[2]) {
				t.Errorf("%s: %s has no heading %s", name, target, m[2])
			}
		}
	}
}

// headings returns the anchors of a document's headings.
func headings(t *testing.T, name string) (anchors []string) {
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	drop := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		anchors = append(anchors, "#"+strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return anchors
}
