package dispatchdebug

import (
	"encoding/json"
	"os"
	"testing"
)

// testdata/formats.json has the texts of figures. A browser test compares them with those that
// the browser makes.
func TestFormats(t *testing.T) {
	text, err := os.ReadFile("testdata/formats.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases map[string][]struct {
		Value json.RawMessage
		Text  string
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	for name, format := range map[string]func(json.RawMessage) string{
		"duration": formatter(t, duration), "share": formatter(t, share), "count": formatter(t, count[int]), "bytes": formatter(t, bytesText),
		"short": formatter(t, shortType), "place": formatter(t, shortPlace), "clock": formatter(t, clock),
	} {
		if len(cases[name]) < 2 {
			t.Errorf("no cases for %s", name)
		}
		for _, c := range cases[name] {
			if got := format(c.Value); got != c.Text {
				t.Errorf("%s of %s: got %q, want %q", name, c.Value, got, c.Text)
			}
		}
		delete(cases, name)
	}
	if len(cases) > 0 {
		t.Errorf("cases for nothing: %v", cases)
	}
}

func formatter[T any](t *testing.T, format func(T) string) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		return format(v)
	}
}

func TestCut(t *testing.T) {
	for _, tc := range []struct {
		s    string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abcdef", 5, "ab…"}, {"äöü", 5, "ä…"}, {"äöü", 4, "…"}, {"abc", 2, ""}, {"", 1, ""}} {
		if got := cut(tc.s, tc.n); got != tc.want || len(got) > tc.n {
			t.Errorf("cut(%q, %d): got %q, want %q", tc.s, tc.n, got, tc.want)
		}
	}
}
