package dispatchdebug

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Every field of data.json is described, everything that is described is a field, and every
// path in the bindings of the page is the path of a field.
func TestDocumentIsDescribed(t *testing.T) {
	text, err := os.ReadFile("../docs/data-json.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	fieldsOf(reflect.TypeFor[document](), names)
	if len(names) < 100 {
		t.Fatalf("only %d fields were found", len(names))
	}
	for name := range names {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/data-json.md does not describe %s", name)
		}
	}
	// A name in backquotes is a field. Other words in backquotes are listed here.
	others := strings.Fields("WithMaxInFlight WithMinProducers WithSummarize WithListenerTimes _more ended replaced suspects=all topic=NAME call=ID q=TEXT sort=BY page=N [] _ns only=critical outcome=STATE over=100ms sort=newest sort=slowest")
	others = append(others, kindNames[:]...)
	others = append(others, "queued", "running", "listener", "call", "GROUP/NAME")
	for i, word := range strings.Split(string(text), "`") {
		if i%2 == 1 && word != "" && !strings.Contains(word, "\n") && !names[word] && !slices.Contains(others, word) {
			t.Errorf("docs/data-json.md describes %s, which is no field", word)
		}
	}
	names["gone"] = true // page.js sets it
	for _, attribute := range []string{"text", "show", "hide", "list", "with", "key"} {
		for _, rest := range strings.Split(pageHTML, " data-"+attribute+`="`)[1:] {
			binding, _, _ := strings.Cut(rest, `"`)
			path, _, _ := strings.Cut(binding, "|")
			if strings.Contains(path, "{{") {
				continue // the user of the template gives it
			}
			for name := range strings.SplitSeq(path, ".") {
				if name != "" && !names[name] {
					t.Errorf(`data-%s="%s" is bound to no field`, attribute, binding)
				}
			}
		}
	}
}

// fieldsOf collects the names of all fields that t has in JSON.
func fieldsOf(t reflect.Type, names map[string]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.PkgPath() == "time" {
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names[name] = true
		} else if !f.Anonymous {
			continue
		}
		fieldsOf(f.Type, names)
	}
}
