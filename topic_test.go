package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"strings"
	"testing"
	"testing/synctest"
	texttemplate "text/template"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestTopicNamesFollowTheGrammar(t *testing.T) {
	for _, name := range []string{
		"a", "-", "_", "0", "measure", "cell.3.measure", "A-Z_a-z.0-9", strings.Repeat("x", 255), strings.Repeat("n.", 127) + "n",
	} {
		topic, err := dispatch.ParseTopic[int, int](name)
		if err != nil {
			t.Errorf("ParseTopic: %v", err)
			continue
		}
		equal(t, "Name", topic.Name(), name)
		equal(t, "String", topic.String(), name)
		equal(t, "NewTopic's name", dispatch.NewTopic[int, int](name).Name(), name)
		equal(t, "NewPattern's text", dispatch.NewPattern[int, int](name).String(), name)
	}
	for _, text := range []string{"*", ">", "cell.*", "cell.>", "*.*.measure", "*.>", strings.Repeat("*.", 127) + ">"} {
		pattern, err := dispatch.ParsePattern[int, int](text)
		if err != nil {
			t.Errorf("ParsePattern: %v", err)
			continue
		}
		equal(t, "String", pattern.String(), text)
	}
}

func TestInvalidTopicNamesAreRefused(t *testing.T) {
	tests := []struct {
		name, text string
		// What the error says for a name, and for a pattern if that differs;
		// "valid" if there is none.
		inName, inPattern string
	}{
		{"empty", "", `"": empty token at byte 0`, ""},
		{"empty token", "a..b", `"a..b": empty token at byte 2`, ""},
		{"leading dot", ".a", `".a": empty token at byte 0`, ""},
		{"trailing dot", "a.", `"a.": empty token at byte 2`, ""},
		{"blank inside", "a b", `"a b": invalid character ' ' at byte 1`, ""},
		{"blank before", " a", `" a": invalid character ' ' at byte 0`, ""},
		{"tab after", "a\t", `"a\t": invalid character '\t' at byte 1`, ""},
		{"CR LF", "a\r\nb", `"a\r\nb": invalid character '\r' at byte 1`, ""},
		{"NUL", "a\x00b", `"a\x00b": invalid character '\x00' at byte 1`, ""},
		{"slash", "a/b", `"a/b": invalid character '/' at byte 1`, ""},
		{"umlaut", "mäß", `"mäß": invalid character 'ä' at byte 1`, ""},
		{"kanji", "cell.測定", `"cell.測定": invalid character '測' at byte 5`, ""},
		{"no UTF-8", "a\xff", `"a\xff": invalid byte 0xff at byte 1`, ""},
		{"256 bytes", strings.Repeat("x", 256), "too long (256 bytes, the limit is 255) at byte 255", ""},
		{"10 kB", strings.Repeat("x", 10_000), "too long (10000 bytes, the limit is 255) at byte 255", ""},
		{"10 kB of faults", strings.Repeat("a.", 4) + strings.Repeat("\n", 10_000), `invalid character '\n' at byte 8`, ""},
		{"star", "*", `"*": wildcard '*' in a name at byte 0`, "valid"},
		{"star as token", "a.*.b", `"a.*.b": wildcard '*' in a name at byte 2`, "valid"},
		{"greater", ">", `">": wildcard '>' in a name at byte 0`, "valid"},
		{"greater at the end", "a.>", `"a.>": wildcard '>' in a name at byte 2`, "valid"},
		{"star in a token", "ab*", "wildcard '*' in a name at byte 2", `"ab*": '*' inside a longer token at byte 2`},
		{"greater in a token", "a>", "wildcard '>' in a name at byte 1", `"a>": '>' inside a longer token at byte 1`},
		{"greater before the end", "a.>.b", "wildcard '>' in a name at byte 2", `"a.>.b": '>' before the last token at byte 2`},
	}
	check := func(t *testing.T, err error, want string) {
		t.Helper()
		switch {
		case want == "valid":
			if err != nil {
				t.Errorf("got %v, want no error", err)
			}
		case !errors.Is(err, dispatch.ErrInvalidTopic):
			t.Errorf("got %v, want an error that wraps ErrInvalidTopic", err)
		case !strings.Contains(err.Error(), want):
			t.Errorf("got %q, want what and where: %s", err, want)
		case len(err.Error()) > 500:
			t.Errorf("the message has %d bytes: %v", len(err.Error()), err)
		}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			topic, err := dispatch.ParseTopic[int, int](tt.text)
			check(t, err, tt.inName)
			equal(t, "ParseTopic beside the error", topic.Name(), "")
			check(t, panicOf(func() { dispatch.NewTopic[int, int](tt.text) }), tt.inName)

			if tt.inPattern == "" {
				tt.inPattern = tt.inName
			}
			_, err = dispatch.ParsePattern[int, int](tt.text)
			check(t, err, tt.inPattern)
			check(t, panicOf(func() { dispatch.NewPattern[int, int](tt.text) }), tt.inPattern)
		})
	}
}

// panicOf returns the error with which f panics, or nil if it does not.
func panicOf(f func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			var ok bool
			if err, ok = v.(error); !ok {
				err = fmt.Errorf("panic with %T, which is no error: %v", v, v)
			}
		}
	}()
	f()
	return nil
}

func TestTopicIsAHandle(t *testing.T) {
	bubble(t, "copies are equal and the zero Topic has no name", func(t *testing.T) {
		topic := dispatch.NewTopic[int, int]("a")
		handle := topic
		if handle != topic {
			t.Error("a copy is not equal")
		}
		if topic == dispatch.NewTopic[int, int]("b") {
			t.Error("two topics are equal")
		}
		equal(t, "zero Topic", dispatch.Topic[int, int]{}.Name(), "")
		equal(t, "zero Pattern", dispatch.Pattern[int, int]{}.String(), "")
	})
	bubble(t, "another handle of the same name is the same topic", func(t *testing.T) {
		d := quiet[int, int]()
		must(d.AddProducer(dispatch.NewTopic[int, int]("a"), answerAfter[int](1, 0)))
		equal(t, "answers", must(d.Gather(t.Context(), dispatch.NewTopic[int, int]("a"), 0)), []int{1})
	})
	bubble(t, "the defaults are the handle's own", func(t *testing.T) {
		d := quiet[int, int]()
		defaults := []dispatch.TopicOption{dispatch.WithTimeout(time.Second)}
		quick, slow := dispatch.NewTopic[int, int]("a", defaults...), dispatch.NewTopic[int, int]("a")
		defaults[0] = dispatch.WithTimeout(time.Hour) // too late
		must(d.AddProducer(quick, answerAfter[int](1, 10*time.Second)))
		for _, tt := range []struct {
			topic dispatch.Topic[int, int]
			want  time.Duration
		}{{quick, time.Second}, {slow, dispatch.DefaultTimeout}} {
			c := must(d.Send(t.Context(), tt.topic, 0))
			<-c.Done()
			equal(t, "duration", c.Report().Elapsed, tt.want)
		}
	})
}

func TestTopicsNameATopicOnceHoweverOftenItIsListed(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := quiet[int, int]()
		a, b := dispatch.NewTopic[int, int]("a"), dispatch.NewTopic[int, int]("b")
		again := dispatch.NewTopic[int, int]("a")
		selector := dispatch.AnyOf(a, b, a, again, b)

		var heard events[int]
		p := must(d.AddProducer(selector, answerAfter[int](7, 0), dispatch.WithName("p")))
		l := must(d.AddListener(dispatch.Topics[int, int]{b, a, b, a}, hear[int](&heard)))
		for _, topic := range []dispatch.Topic[int, int]{a, b, again} {
			c := must(d.Send(t.Context(), topic, 0))
			<-c.Done()
			equal(t, "members", states(c.Report()), "p ok")
		}
		synctest.Wait()
		l.Remove()
		equal(t, "results heard", heard.take(), []int{7, 7, 7})

		// What was registered once is gone after one removal, types and all.
		p.Remove()
		equal(t, "members", memberNames(must(d.Send(t.Context(), a, 0))), []string{})
		must(dispatch.On[int, string](d.Bus()).AddProducer(dispatch.NewTopic[int, string]("a"), answerAfter[int]("", 0)))
	})
}

// TestPatternSelectsTopics registers by pattern and by name in every order.
func TestPatternSelectsTopics(t *testing.T) {
	orders := []struct {
		name string
		// The producer "pattern" and, on the topic itself, the producer "name".
		add  []string
		want []string
	}{
		{"none by name", []string{"pattern"}, []string{"pattern"}},
		{"name first", []string{"name", "pattern"}, []string{"name", "pattern"}},
		{"pattern first", []string{"pattern", "name"}, []string{"pattern", "name"}},
		{"name has gone", []string{"pattern", "name", "-name"}, []string{"pattern"}},
		{"name had gone before", []string{"name", "-name", "pattern"}, []string{"pattern"}},
		{"name has gone and come again", []string{"pattern", "name", "-name", "name"}, []string{"pattern", "name"}},
		{"pattern has gone", []string{"pattern", "name", "-pattern"}, []string{"name"}},
		{"pattern has gone alone", []string{"pattern", "-pattern"}, nil},
		{"both have gone", []string{"name", "pattern", "-pattern", "-name"}, nil},
	}
	matches := []struct {
		pattern, topic string
		want           bool
	}{
		{"cell.*.measure", "cell.3.measure", true},
		{"cell.*.measure", "cell.measure", false},
		{"cell.*.measure", "cell.3.4.measure", false},
		{"cell.>", "cell.3", true},
		{"cell.>", "cell.3.measure", true},
		{"cell.>", "cell", false},
		{"cell.>", "cellar.3", false},
		{">", "cell", true},
		{"*", "cell", true},
		{"*", "cell.3", false},
		{"cell.3", "cell.3", true},
		{"Cell", "cell", false},
	}
	for _, order := range orders {
		for _, match := range matches {
			bubble(t, fmt.Sprintf("%s/%s on %s", order.name, match.pattern, match.topic), func(t *testing.T) {
				d := quiet[int, string]()
				topic := dispatch.NewTopic[int, string](match.topic)
				selectors := map[string]dispatch.Selector[int, string]{
					"pattern": dispatch.NewPattern[int, string](match.pattern),
					"name":    topic,
				}
				var heard events[string]
				added := make(map[string][]*dispatch.Registration)
				for _, who := range order.add {
					if gone, ok := strings.CutPrefix(who, "-"); ok {
						for _, r := range added[gone] {
							r.Remove()
						}
						continue
					}
					p := must(d.AddProducer(selectors[who], answerAfter[int](who, 0), dispatch.WithName(who)))
					l := must(d.AddListener(selectors[who], func(_ context.Context, r dispatch.Result[int, string]) {
						heard.add(who + " hears " + r.Value)
					}))
					added[who] = []*dispatch.Registration{p, l}
				}
				var want, wantHeard []string
				for _, who := range order.want {
					if who == "name" || match.want {
						want = append(want, who)
					}
				}
				for _, asked := range want {
					for _, hearer := range want {
						wantHeard = append(wantHeard, hearer+" hears "+asked)
					}
				}

				c := must(d.Send(t.Context(), topic, 0))
				<-c.Done()
				var got []string
				for _, o := range c.Report().Outcomes {
					got = append(got, o.Member.Name)
				}
				equal(t, "members, in the order of registration", got, want)
				atRest(t, d.Bus())
				equal(t, "results heard", ordered(heard.take()), ordered(wantHeard))
			})
		}
	}
}

func TestPatternListenerHearsTopicsThatAppearUnderACall(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := quiet[int, int]()
		topic := dispatch.NewTopic[int, int]("cell.3")
		var all, late events[int]
		must(d.AddListener(dispatch.NewPattern[int, int]("cell.*"), hear[int](&all)))
		must(d.AddProducer(dispatch.NewPattern[int, int](">"), answerAfter[int](1, time.Second)))
		must(d.AddProducer(dispatch.NewPattern[int, int]("*.3"), answerAfter[int](2, 3*time.Second)))

		// The call begins when nothing is registered on the topic by name.
		c := must(d.Send(t.Context(), topic, 0))
		time.Sleep(2 * time.Second)
		must(d.AddListener(topic, hear[int](&late)))
		<-c.Done()
		atRest(t, d.Bus())
		equal(t, "heard by pattern", all.take(), []int{1, 2})
		equal(t, "heard by name", late.take(), []int{2})
	})
}

type reading struct{ Volts float64 }

func TestPatternPassesOverTopicsOfOtherTypes(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		b := quiet[int, int]().Bus()
		ints, readings := dispatch.On[int, int](b), dispatch.On[int, reading](b)
		var heardInts events[int]
		var heardReadings events[reading]

		// One topic of other types is there before the pattern, one comes after.
		before, after := dispatch.NewTopic[int, reading]("cell.before"), dispatch.NewTopic[int, reading]("cell.after")
		must(readings.AddProducer(before, answerAfter[int](reading{1}, 0)))
		must(ints.AddProducer(dispatch.NewPattern[int, int]("cell.>"), answerAfter[int](9, 0)))
		must(ints.AddListener(dispatch.NewPattern[int, int](">"), hear[int](&heardInts)))
		must(readings.AddListener(dispatch.NewPattern[int, reading](">"), hear[int](&heardReadings)))
		must(readings.AddProducer(after, answerAfter[int](reading{2}, 0)))

		equal(t, "before", must(readings.Gather(t.Context(), before, 0)), []reading{{1}})
		synctest.Wait() // results of different calls have no order
		equal(t, "after", must(readings.Gather(t.Context(), after, 0)), []reading{{2}})
		equal(t, "own", must(ints.Gather(t.Context(), dispatch.NewTopic[int, int]("cell.own"), 0)), []int{9})

		synctest.Wait()
		// Patterns bind nothing: a name that only patterns match can be asked
		// with either pair of types, and each finds its own.
		must(readings.AddProducer(dispatch.NewPattern[int, reading]("cell.>"), answerAfter[int](reading{3}, 0)))
		equal(t, "own, after", must(ints.Gather(t.Context(), dispatch.NewTopic[int, int]("cell.own"), 0)), []int{9})
		equal(t, "own, as readings", must(readings.Gather(t.Context(), dispatch.NewTopic[int, reading]("cell.own"), 0)), []reading{{3}})

		atRest(t, b)
		equal(t, "ints heard", heardInts.take(), []int{9, 9})
		equal(t, "readings heard", heardReadings.take(), []reading{{1}, {2}, {3}})
	})
}

// TestNameOfOtherTypesIsRefused has a topic in use and tries to use its name
// with other types in every way there is.
func TestNameOfOtherTypesIsRefused(t *testing.T) {
	type reading struct{} // its name and package do not tell it from others
	tests := []struct {
		name string
		use  func(ctx context.Context, d *dispatch.Dispatcher[int, reading]) error
	}{
		{"AddProducer", func(_ context.Context, d *dispatch.Dispatcher[int, reading]) error {
			_, err := d.AddProducer(dispatch.NewTopic[int, reading]("a"), answerAfter[int](reading{}, 0))
			return err
		}},
		{"AddListener", func(_ context.Context, d *dispatch.Dispatcher[int, reading]) error {
			_, err := d.AddListener(dispatch.NewTopic[int, reading]("a"), func(context.Context, dispatch.Result[int, reading]) {})
			return err
		}},
		{"the last of several topics", func(_ context.Context, d *dispatch.Dispatcher[int, reading]) error {
			topics := dispatch.AnyOf(dispatch.NewTopic[int, reading]("new"), dispatch.NewTopic[int, reading]("a"))
			_, err := d.AddProducer(topics, answerAfter[int](reading{}, 0))
			return err
		}},
		{"Send", func(ctx context.Context, d *dispatch.Dispatcher[int, reading]) error {
			_, err := d.Send(ctx, dispatch.NewTopic[int, reading]("a"), 0)
			return err
		}},
		{"Gather", func(ctx context.Context, d *dispatch.Dispatcher[int, reading]) error {
			_, err := d.Gather(ctx, dispatch.NewTopic[int, reading]("a"), 0)
			return err
		}},
		{"First", func(ctx context.Context, d *dispatch.Dispatcher[int, reading]) error {
			_, err := d.First(ctx, dispatch.NewTopic[int, reading]("a"), 0)
			return err
		}},
		{"Stream", func(ctx context.Context, d *dispatch.Dispatcher[int, reading]) error {
			for _, err := range d.Stream(ctx, dispatch.NewTopic[int, reading]("a"), 0) {
				return err
			}
			return nil
		}},
	}
	for _, tt := range tests {
		bubble(t, tt.name, func(t *testing.T) {
			d := quiet[int, string]()
			must(d.AddProducer(dispatch.NewTopic[int, string]("a"), answerAfter[int]("", 0)))
			err := tt.use(t.Context(), dispatch.On[int, reading](d.Bus()))
			if !errors.Is(err, dispatch.ErrTopicType) {
				t.Fatalf("got %v, want ErrTopicType", err)
			}
			for _, want := range []string{`"a"`, "int → string", "dispatch_test.reading", "github.com/seed-bb4b4d74/dispatch"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error %q does not name %s", err, want)
				}
			}
			// What was refused has left no trace.
			must(d.AddProducer(dispatch.NewTopic[int, string]("new"), answerAfter[int]("", 0)))
			equal(t, "a", must(d.Gather(t.Context(), dispatch.NewTopic[int, string]("a"), 0)), []string{""})
			atRest(t, d.Bus())
		})
	}
	bubble(t, "requests of another type", func(t *testing.T) {
		d := quiet[int, string]()
		must(d.AddListener(dispatch.NewTopic[int, string]("a"), func(context.Context, dispatch.Result[int, string]) {}))
		_, err := dispatch.On[reading, string](d.Bus()).AddProducer(dispatch.NewTopic[reading, string]("a"), answerAfter[reading]("", 0))
		if !errors.Is(err, dispatch.ErrTopicType) || !strings.Contains(err.Error(), "reading → string") {
			t.Errorf("got %v, want ErrTopicType that names reading → string", err)
		}
	})
}

func TestTopicForgetsItsTypesWithItsLastRegistration(t *testing.T) {
	hear := func(context.Context, dispatch.Result[int, int]) {}
	tests := []struct {
		name string
		add  func(d *dispatch.Dispatcher[int, int], a, b dispatch.Topic[int, int]) []*dispatch.Registration
	}{
		{"a producer", func(d *dispatch.Dispatcher[int, int], a, _ dispatch.Topic[int, int]) []*dispatch.Registration {
			return []*dispatch.Registration{must(d.AddProducer(a, answerAfter[int](0, 0)))}
		}},
		{"a listener", func(d *dispatch.Dispatcher[int, int], a, _ dispatch.Topic[int, int]) []*dispatch.Registration {
			return []*dispatch.Registration{must(d.AddListener(a, hear))}
		}},
		{"both", func(d *dispatch.Dispatcher[int, int], a, _ dispatch.Topic[int, int]) []*dispatch.Registration {
			return []*dispatch.Registration{must(d.AddListener(a, hear)), must(d.AddProducer(a, answerAfter[int](0, 0)))}
		}},
		{"several topics", func(d *dispatch.Dispatcher[int, int], a, b dispatch.Topic[int, int]) []*dispatch.Registration {
			return []*dispatch.Registration{must(d.AddListener(dispatch.AnyOf(b, a), hear)), must(d.AddProducer(a, answerAfter[int](0, 0)))}
		}},
		{"a pattern over it", func(d *dispatch.Dispatcher[int, int], a, _ dispatch.Topic[int, int]) []*dispatch.Registration {
			must(d.AddProducer(dispatch.NewPattern[int, int](">"), answerAfter[int](0, 0)))
			return []*dispatch.Registration{must(d.AddProducer(a, answerAfter[int](0, 0)))}
		}},
		{"a pattern that came first", func(d *dispatch.Dispatcher[int, int], a, _ dispatch.Topic[int, int]) []*dispatch.Registration {
			r := must(d.AddProducer(a, answerAfter[int](0, 0)))
			must(d.AddListener(dispatch.NewPattern[int, int](">"), hear))
			return []*dispatch.Registration{r}
		}},
	}
	for _, tt := range tests {
		bubble(t, tt.name, func(t *testing.T) {
			d := quiet[int, int]()
			others := dispatch.On[int, string](d.Bus())
			added := tt.add(d, dispatch.NewTopic[int, int]("a"), dispatch.NewTopic[int, int]("b"))
			other := dispatch.NewTopic[int, string]("a")
			for _, r := range added {
				if _, err := others.AddProducer(other, answerAfter[int]("", 0)); !errors.Is(err, dispatch.ErrTopicType) {
					t.Fatalf("before the last has gone: got %v, want ErrTopicType", err)
				}
				r.Remove()
			}
			must(others.AddProducer(other, answerAfter[int]("new", 0)))
			equal(t, "answers", must(others.Gather(t.Context(), other, 0)), []string{"new"})
			if _, err := d.Send(t.Context(), dispatch.NewTopic[int, int]("a"), 0); !errors.Is(err, dispatch.ErrTopicType) {
				t.Errorf("got %v, want ErrTopicType for the types that were the first", err)
			}
			atRest(t, d.Bus())
		})
	}
}

func TestSendBindsNoTypes(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := quiet[int, int]()
		c := must(d.Send(t.Context(), dispatch.NewTopic[int, int]("a"), 0))
		equal(t, "reason", c.Report().Reason, dispatch.ReasonNoProducers)
		others := dispatch.On[string, string](d.Bus())
		must(others.Send(t.Context(), dispatch.NewTopic[string, string]("a"), ""))
		must(others.AddProducer(dispatch.NewTopic[string, string]("a"), answerAfter[string]("", 0)))
	})
}

func TestDispatchersOfDifferentTypesShareABus(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		ints := quiet[int, int]()
		strs := dispatch.On[string, string](ints.Bus())
		if strs.Bus() != ints.Bus() {
			t.Error("On gives a bus of its own")
		}
		a, b := dispatch.NewTopic[int, int]("a"), dispatch.NewTopic[string, string]("b")
		must(ints.AddProducer(a, answerAfter[int](1, 0)))
		must(strs.AddProducer(b, answerAfter[string]("one", 0)))
		equal(t, "ints", must(ints.Gather(t.Context(), a, 0)), []int{1})
		equal(t, "strings", must(strs.Gather(t.Context(), b, "")), []string{"one"})
		equal(t, "another view", must(dispatch.On[int, int](strs.Bus()).Gather(t.Context(), a, 0)), []int{1})

		first, second := must(ints.Send(t.Context(), a, 0)), must(strs.Send(t.Context(), b, ""))
		if first.ID() == second.ID() {
			t.Error("two calls of a bus have the same ID")
		}
		if err := strs.Close(); err != nil {
			t.Error(err)
		}
		if _, err := ints.Send(t.Context(), a, 0); !errors.Is(err, dispatch.ErrClosed) {
			t.Errorf("got %v, want ErrClosed for all dispatchers of a closed bus", err)
		}
		if _, err := quiet[int, int]().Send(t.Context(), a, 0); err != nil {
			t.Errorf("a bus of its own is not affected: %v", err)
		}
	})
}

// Types of one name in two packages can be told apart in the error, wherever they stand.
func TestTypeClashSaysWhichTypes(t *testing.T) {
	type (
		html = htmltemplate.Template
		text = texttemplate.Template
	)
	for what, clash := range map[string]func(b *dispatch.Bus) error{
		"types":    clashOf[html, text],
		"pointers": clashOf[*html, *text],
		"slices":   clashOf[[]html, []text],
		"arrays":   clashOf[[2]*html, [2]*text],
		"maps":     clashOf[map[string]html, map[string]text],
		"keys":     clashOf[map[*html]int, map[*text]int],
		"channels": clashOf[chan html, chan text],
		"funcs":    clashOf[func(html) error, func(text) error],
	} {
		t.Run(what, func(t *testing.T) {
			err := clash(dispatch.NewBus())
			if !errors.Is(err, dispatch.ErrTopicType) {
				t.Fatalf("the error is %v", err)
			}
			_, said, _ := strings.Cut(err.Error(), " is ")
			have, want, ok := strings.Cut(said, " on this bus, not ")
			if !ok || !strings.Contains(have, "html/template.Template") || !strings.Contains(want, "text/template.Template") {
				t.Errorf("it says %v", err)
			}
		})
	}
}

// clashOf uses a name for two types of result.
func clashOf[A, B any](b *dispatch.Bus) error {
	must(dispatch.On[string, A](b).AddProducer(dispatch.NewTopic[string, A]("kit.clash"), func(context.Context, string) (a A, err error) { return }))
	_, err := dispatch.On[string, B](b).AddProducer(dispatch.NewTopic[string, B]("kit.clash"), func(context.Context, string) (b B, err error) { return })
	return err
}

// A name may get other types while a call that was sent under the old ones is on
// its way: that concerns listeners who come later, not the call.
func TestTopicChangesItsTypesDuringACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, logged := newDispatcher()
		p := produce(t, d, "a", slow(time.Second, 1))
		c := send(t, d)
		deadlined := send(t, d, dispatch.WithTimeout(500*time.Millisecond))
		synctest.Wait()
		p.Remove()
		retyped := dispatch.NewTopic[string, string](ask.Name())
		heard := 0
		if _, err := dispatch.On[string, string](d.Bus()).AddListener(retyped, func(context.Context, dispatch.Result[string, string]) { heard++ }); err != nil {
			t.Fatal(err)
		}
		<-deadlined.Done()
		<-c.Done()
		synctest.Wait()
		expect(t, c.Report(), "all ended: a ok")
		if heard != 0 {
			t.Errorf("the listener of other types got %d results", heard)
		}
		logged.nothing(t)
	})
}

// TestTopicTakenOverUnderACall has a topic change hands while a call of its
// first types is in flight.
func TestTopicTakenOverUnderACall(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		d := quiet[int, int]()
		others := dispatch.On[int, string](d.Bus())
		a, other := dispatch.NewTopic[int, int]("a"), dispatch.NewTopic[int, string]("a")
		var heard, heardByPattern events[int]
		var heardByOthers events[string]
		must(d.AddListener(dispatch.NewPattern[int, int](">"), hear[int](&heardByPattern)))
		p := must(d.AddProducer(a, answerAfter[int](1, time.Second)))
		l := must(d.AddListener(a, hear[int](&heard)))
		c := must(d.Send(t.Context(), a, 0))
		synctest.Wait() // the producer runs

		p.Remove()
		l.Remove()
		must(others.AddListener(other, hear[int](&heardByOthers)))
		must(others.AddProducer(other, answerAfter[int]("new", 0)))
		equal(t, "answers", must(others.Gather(t.Context(), other, 0)), []string{"new"})
		<-c.Done()
		equal(t, "reason", c.Report().Reason, dispatch.ReasonAllEnded)
		atRest(t, d.Bus())
		equal(t, "heard by the listener that was removed", heard.take(), nil)
		equal(t, "heard by pattern", heardByPattern.take(), []int{1})
		equal(t, "heard by those of other types", heardByOthers.take(), []string{"new"})
	})
}
