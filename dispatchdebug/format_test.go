package dispatchdebug

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
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

// A timeout can be as long as a duration can be.
func TestTheLongestDuration(t *testing.T) {
	const century = 100 * 365 * 24 * time.Hour
	want(t, "the longest", duration(math.MaxInt64), "106751 d 23 h")
	want(t, "nearly the longest", duration(math.MaxInt64-time.Second/2), "106751 d 23 h")
	want(t, "a century", duration(century), "36500 d")
	inBubble(t, func(b *bench) {
		b.add("never", after(2*century, "", nil))
		if _, err := b.d.AddListener(measure, func(ctx context.Context, _ dispatch.Result[string, string]) {
			time.Sleep(time.Hour)
			if _, err := b.d.Send(ctx, measure, "vss", dispatch.WithTimeout(math.MaxInt64), dispatch.WithTargets("never")); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		b.add("quick", after(0, "", nil))
		c := b.send(dispatch.WithTimeout(math.MaxInt64))
		time.Sleep(2 * time.Hour)
		w := b.waterfall(c.ID())
		want(t, "verdict", w.Verdict, "In flight for 2 h of 106751 d 23 h, waiting for")
		for _, r := range w.Rows {
			if r.Deadline < math.MaxInt64-24*time.Hour {
				t.Errorf("%s %s has its deadline after %v", r.Kind, r.Name, r.Deadline)
			}
		}
		time.Sleep(century)
		want(t, "a century later", b.waterfall(c.ID()).Verdict, "In flight for 36500 d 2 h of 106751 d 23 h, waiting for")
		c.Cancel(nil)
	})
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
