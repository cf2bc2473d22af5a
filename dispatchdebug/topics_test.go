package dispatchdebug

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestPagesOfTopics(t *testing.T) {
	inBubble(t, func(b *bench) {
		for i := range 250 {
			_, err := b.d.AddProducer(dispatch.NewTopic[string, string](fmt.Sprintf("Line-%03d", i)), after(0, "", nil))
			if err != nil {
				t.Fatal(err)
			}
		}
		for parameters, expected := range map[string]string{
			"":                     "page 1 of 3, rows 1-100 of 250, Line-000 to Line-099",
			"page=3":               "page 3 of 3, rows 201-250 of 250, Line-200 to Line-249",
			"page=99":              "page 3 of 3, rows 201-250 of 250, Line-200 to Line-249",
			"page=-1":              "page 1 of 3, rows 1-100 of 250, Line-000 to Line-099",
			"q=line-1":             "page 1 of 1, rows 1-100 of 100, Line-100 to Line-199",
			"q=+LINE-24+":          "page 1 of 1, rows 1-10 of 10, Line-240 to Line-249",
			"sort=p99&page=2":      "page 2 of 3, rows 101-200 of 250, Line-100 to Line-199",
			"q=string&sort=absurd": "page 1 of 3, rows 1-100 of 250, Line-000 to Line-099",
		} {
			l := b.data(parameters).Topics
			got := fmt.Sprintf("page %d of %d, rows %d-%d of %d, %s to %s", l.Page, l.Pages, l.First, l.Last, l.Matching, l.Rows[0].Name, l.Rows[len(l.Rows)-1].Name)
			want(t, parameters, got, expected)
			want(t, "total", l.Total, 250)
		}
		l := b.data("q=nowhere").Topics
		want(t, "nothing found", fmt.Sprint(l.Matching, len(l.Rows), l.Page, l.Pages), "0 0 1 1")
	})
}

func TestTopicsAreSorted(t *testing.T) {
	inBubble(t, func(b *bench) {
		busy := func(name string, n int, took time.Duration, err error) {
			topic := dispatch.NewTopic[string, string](name, dispatch.WithTimeout(time.Second))
			if _, e := b.d.AddProducer(topic, after(took, "", err)); e != nil {
				t.Fatal(e)
			}
			for range n {
				if c, e := b.d.Send(b.t.Context(), topic, ""); e != nil {
					t.Fatal(e)
				} else {
					<-c.Done()
				}
			}
		}
		busy("busy", 9, time.Millisecond, nil)
		busy("failing", 2, time.Millisecond, errors.New("no"))
		busy("late", 1, time.Minute, nil)
		busy("slow", 1, 900*time.Millisecond, nil)
		busy("unused", 0, 0, nil)
		for sort, first := range map[string]string{"name": "busy", "sends": "busy", "failed": "failing", "late": "late", "p50": "late", "p99": "late"} {
			rows := b.data("sort=" + sort).Topics.Rows
			want(t, sort, rows[0].Name, first)
		}
		rows := b.data("sort=p99").Topics.Rows
		want(t, "second", rows[1].Name, "slow")
		want(t, "what is not known comes last", rows[4].Name+" "+duration(rows[4].P99), "unused –")
	})
}

func TestTopicsThatOnlyPatternsServe(t *testing.T) {
	inBubble(t, func(b *bench) {
		if _, err := b.d.AddProducer(dispatch.NewPattern[string, string]("cell.*"), after(0, "", nil), dispatch.WithName("any")); err != nil {
			t.Fatal(err)
		}
		if _, err := b.d.AddProducer(dispatch.NewPattern[string, string]("other.*"), after(0, "", nil)); err != nil {
			t.Fatal(err)
		}
		b.call()
		doc := b.data("topic=cell.measure").Topic
		if !doc.Known || len(doc.Members) != 1 || doc.Members[0].Name != "any" || doc.Members[0].On != "cell.*" {
			t.Errorf("got %+v", doc)
		}
		want(t, "rows", b.data("").Topics.Rows[0].Name, "cell.measure")
	})
}

// Of the registrations by patterns, a topic has those whose patterns match its name.
func TestATopicHasNoRegistrationsOfPatternsThatDoNotMatch(t *testing.T) {
	inBubble(t, func(b *bench) {
		add := func(pattern string, options ...dispatch.ProducerOption) {
			if _, err := b.d.AddProducer(dispatch.NewPattern[string, string](pattern), after(0, "", nil), options...); err != nil {
				t.Fatal(err)
			}
		}
		add("cell.*", dispatch.WithName("p1"), dispatch.WithGroup("g"))
		add("cell.*", dispatch.WithName("p2"), dispatch.WithGroup("g"))
		add("other.*", dispatch.WithName("p3"))
		panics := func(context.Context, dispatch.Result[string, string]) { panic("disk is full") }
		for _, pattern := range []string{"cell.>", "other.>"} {
			if _, err := b.d.AddListener(dispatch.NewPattern[string, string](pattern), panics, dispatch.WithName("on "+pattern)); err != nil {
				t.Fatal(err)
			}
		}
		b.call()
		if _, err := b.d.Gather(b.t.Context(), dispatch.NewTopic[string, string]("other.x"), ""); err != nil {
			t.Fatal(err)
		}
		for name, is := range map[string]string{"cell.measure": "2 1 [on cell.>] [on cell.>]", "other.x": "1 1 [on other.>] [on other.>]"} {
			doc := b.data("topic=" + name)
			var listening, suspects []string
			for _, l := range doc.Topic.Listening {
				listening = append(listening, l.Name)
			}
			for _, s := range doc.Suspects {
				suspects = append(suspects, s.Name)
			}
			want(t, "producers, listeners and suspects of "+name, fmt.Sprint(doc.Topic.Producers, doc.Topic.Listeners, listening, suspects), is)
		}
	})
}

// If there are more members than the page shows, the slowest are shown, wherever they are.
func TestTheSlowestOfManyMembersAreShown(t *testing.T) {
	inBubble(t, func(b *bench) {
		site := func(i int) dispatch.Member { return dispatch.Member{Node: "cell-7", Name: fmt.Sprintf("site-%03d", i)} }
		const sites = mostMembersShown + 10
		b.relay("relay", func(_ context.Context, _ string, to *dispatch.Roster[string]) error {
			for i := range sites {
				to.Name(site(i))
			}
			time.Sleep(10 * time.Millisecond)
			for i := range sites - 1 {
				to.End(site(i), nil)
			}
			time.Sleep(100 * time.Millisecond)
			to.End(site(sites-1), nil)
			return nil
		})
		b.call()
		p := b.data("topic=cell.measure").Topic
		want(t, "order, first member, number of others", fmt.Sprint(p.Sort, " ", p.Members[0].Name, " ", p.MoreCount), "p99 cell-7/site-109 11")
	})
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		is            bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a.b", "a", false},
		{"a", "a.b", false},
		{"*", "a", true},
		{"*", "a.b", false},
		{"a.*", "a.b", true},
		{"a.*", "a", false},
		{"*.b", "a.b", true},
		{"*.c", "a.b", false},
		{"a.*.c", "a.b.c", true},
		{">", "a", true},
		{">", "a.b", true},
		{"a.>", "a", false},
		{"a.>", "a.b.c", true},
		{"b.>", "a.b.c", false},
	} {
		if covers(c.pattern, c.name) != c.is {
			t.Errorf("%s covers %s: got %t", c.pattern, c.name, !c.is)
		}
	}
}

func TestATopicInFull(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.add("quick", after(0, "", nil))
		b.add("flaky", after(20*time.Millisecond, "", errors.New("probe is open")))
		b.add("hangs", deaf(10*time.Minute))
		b.call()
		id := b.call()
		time.Sleep(time.Second)
		p := b.data("topic=cell.measure").Topic
		by := map[string]memberPart{}
		for _, m := range p.Members {
			by[m.Name] = m
		}
		want(t, "quick", fmt.Sprint(by["quick"].State, by["quick"].Runs, by["quick"].LastState, by["quick"].FailedShare), "idle2ok0")
		f := by["flaky"]
		want(t, "flaky", fmt.Sprint(f.Failed, f.FailedShare, f.LastError, f.Last, f.LastBadCall), fmt.Sprint(2, 1, "probe is open", 20*time.Millisecond, id))
		want(t, "hangs", fmt.Sprint(by["hangs"].State, by["hangs"].Abandoned, by["hangs"].Late), "stuck2 2")
		if !strings.Contains(f.AddedAt, "kit_test.go:") {
			t.Errorf("added at %q", f.AddedAt)
		}
		for _, bucket := range p.Buckets {
			kept := 0
			switch bucket.Name {
			case "under 10 s", "late", "failed":
				kept = 2
			}
			want(t, bucket.Name, fmt.Sprint(bucket.Calls, len(bucket.Kept)), fmt.Sprint(kept, kept))
			if kept > 0 {
				want(t, "the newest", bucket.Kept[0].ID, id)
			}
		}
	})
}

// Without JavaScript the page is complete, and names are shown as text.
func TestPageIsServedWhole(t *testing.T) {
	const hostile = `<script>alert("x")</script>`
	inBubble(t, func(b *bench) {
		b.add(hostile, after(0, "", errors.New(hostile)))
		b.add("hangs", deaf(10*time.Minute))
		relay := func(_ context.Context, _ string, to *dispatch.Roster[string]) error {
			to.Name(dispatch.Member{Node: hostile, Name: "far"})
			return nil
		}
		if _, err := b.d.AddRelay(measure, relay); err != nil {
			t.Fatal(err)
		}
		id := b.call()
		time.Sleep(time.Second)
		for address, texts := range map[string][]string{
			"/":                     {"Who holds things up?", "cell.measure", "has not returned", "&lt;script&gt;", "kit_test.go:"},
			"/?topic=cell.measure":  {"last error", "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;", "stuck", "Calls by duration"},
			"/?call=" + id.String(): {"Ended at its deadline of 1 s", "still running", "by 1 s so far", `data-kind="late"`, "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;/far"},
		} {
			w := ask(b.h, address)
			body := w.Body.String()
			want(t, address, w.Code, http.StatusOK)
			if strings.Contains(body, hostile) {
				t.Errorf("%s: a name is not text", address)
			}
			for _, text := range texts {
				if !strings.Contains(body, text) {
					t.Errorf("%s: %q is missing", address, text)
				}
			}
			if !strings.HasSuffix(strings.TrimSpace(body), "</html>") {
				t.Errorf("%s: it ends in %.80q", address, body[max(len(body)-80, 0):])
			}
		}
	}, WithSummarize(func(any) string { return hostile }, 100))
}
