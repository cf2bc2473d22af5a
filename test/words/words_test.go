package main

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// What users read is searched, and nothing else is.
func TestFindsWhatUsersRead(t *testing.T) {
	tree := fstest.MapFS{}
	for name, source := range map[string]string{
		"README.md":             "Lest\n`lest` is quoted\nof\nlate\n",
		"docs/adr/0001-past.md": "lest",
		"Makefile":              "all: ## made anew\n# anew\n",
		"page/a.html":           "<!-- lest -->\n{{if .Lest}}anew{{end}}\n",
		"page/a.js":             "// \"not anew\" is a comment\nsay(\"late\", nobody, \"asks anew\");\n",
		"page/a.css":            "/* anew */",
		"node_modules/a/a.md":   "anew",
		".ci/a.md":              "anew",
		"test/words/a.md":       "anew",
		"internal/a/a.go":       "// Package a is made anew.\npackage a\n",
		"natsdispatch/a.md":     "it was cancelled anew\n",
		"b.md":                  "cancelled\n",
		"a_test.go":             "package a\n\nimport \"fmt\"\n\n// Anew.\nfunc TestA() {}\n\nfunc Example() {\n\tfmt.Println(\"not anew\")\n\t// Output:\n\t// not anew\n}\n",
		"a.go": `// Package a is made anew.
package a

// anew is not exported.
const anew = "anew"

// B is made anew.
type B struct {
	// C is made anew.
	C int // and anew
	d int // anew
}

// E is made anew.
var E = errors.New("made anew")

// f is made anew.
func f() {
	// anew
}

// G is made anew.
func G() {}
`,
	} {
		tree[name] = &fstest.MapFile{Data: []byte(source)}
	}
	got, err := find(tree)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`Makefile:1: "anew": write again`,
		`README.md:1: "Lest": write so that … not, to avoid`,
		`README.md:3: "of\nlate": write recently`,
		`a.go:1: "anew": write again`,
		`a.go:7: "anew": write again`,
		`a.go:9: "anew": write again`,
		`a.go:10: "anew": write again`,
		`a.go:14: "anew": write again`,
		`a.go:15: "anew": write again`,
		`a.go:22: "anew": write again`,
		`a_test.go:9: "anew": write again`,
		`a_test.go:11: "anew": write again`,
		`b.md:1: "cancelled": write canceled, canceling`,
		`natsdispatch/a.md:1: "anew": write again`,
		`page/a.html:2: "anew": write again`,
		`page/a.js:2: "anew": write again`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
}

// Every pattern finds itself in its plain form, and says what to write instead.
func TestEveryWordHasAnAlternative(t *testing.T) {
	for _, word := range []string{"Whoever", "behaviour", "cancelling", "are owed", "got round to", "in  vain", "labelled", "one likes"} {
		if !expression.MatchString(word) || instead(word) == "" {
			t.Errorf("%q is not found, or has no alternative", word)
		}
	}
}
