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
		apiEqual(t, "Name", topic.Name(), name)
		apiEqual(t, "String", topic.String(), name)
		apiEqual(t, "NewTopic's name", dispatch.NewTopic[int, int](name).Name(), name)
		apiEqual(t, "NewPattern's text", dispatch.NewPattern[int, int](name).String(), name)
	}
	for _, text := range []string{"*", ">", "cell.*", "cell.>", "*.*.measure", "*.>", strings.Repeat("*.", 127) + ">"} {
		pattern, err := dispatch.ParsePattern[int, int](text)
		if err != nil {
			t.Errorf("ParsePattern: %v", err)
			continue
		}
		apiEqual(t, "String", pattern.String(), text)
	}
}

func TestFault19InvalidTopicName(t *testing.T) {
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
			apiEqual(t, "ParseTopic beside the error", topic.Name(), "")
			check(t, apiPanic(func() { dispatch.NewTopic[int, int](tt.text) }), tt.inName)

			if tt.inPattern == "" {
				tt.inPattern = tt.inName
			}
			_, err = dispatch.ParsePattern[int, int](tt.text)
			check(t, err, tt.inPattern)
			check(t, apiPanic(func() { dispatch.NewPattern[int, int](tt.text) }), tt.inPattern)
		})
	}
}

// apiPanic returns the error with which f panics, or nil if it does not.
func apiPanic(f func()) (err error) {
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
	apiBubble(t, "copies are equal and the zero Topic has no name", func(t *testing.T) {
		topic := dispatch.NewTopic[int, int]("a")
		handle := topic
		if handle != topic {
			t.Error("a copy is not equal")
		}
		if topic == dispatch.NewTopic[int, int]("b") {
			t.Error("two topics are equal")
		}
		apiEqual(t, "zero Topic", dispatch.Topic[int, int]{}.Name(), "")
		apiEqual(t, "zero Pattern", dispatch.Pattern[int, int]{}.String(), "")
	})
	apiBubble(t, "another handle of the same name is the same topic", func(t *testing.T) {
		d := apiQuiet[int, int]()
		apiMust(d.AddProducer(dispatch.NewTopic[int, int]("a"), apiAnswer[int](1, 0)))
		apiEqual(t, "answers", apiMust(d.Gather(t.Context(), dispatch.NewTopic[int, int]("a"), 0)), []int{1})
	})
	apiBubble(t, "the defaults are the handle's own", func(t *testing.T) {
		d := apiQuiet[int, int]()
		defaults := []dispatch.CallOption{dispatch.WithTimeout(time.Second)}
		quick, slow := dispatch.NewTopic[int, int]("a", defaults...), dispatch.NewTopic[int, int]("a")
		defaults[0] = dispatch.WithTimeout(time.Hour) // too late
		apiMust(d.AddProducer(quick, apiAnswer[int](1, 10*time.Second)))
		for _, tt := range []struct {
			topic dispatch.Topic[int, int]
			want  time.Duration
		}{{quick, time.Second}, {slow, dispatch.DefaultTimeout}} {
			c := apiMust(d.Send(t.Context(), tt.topic, 0))
			<-c.Done()
			apiEqual(t, "duration", c.Report().Elapsed, tt.want)
		}
	})
}

func TestTopicsNameATopicOnceHoweverOftenItIsListed(t *testing.T) {
	apiBubble(t, "", func(t *testing.T) {
		d := apiQuiet[int, int]()
		a, b := dispatch.NewTopic[int, int]("a"), dispatch.NewTopic[int, int]("b")
		again := dispatch.NewTopic[int, int]("a")
		selector := dispatch.AnyOf(a, b, a, again, b)

		var heard apiEvents[int]
		p := apiMust(d.AddProducer(selector, apiAnswer[int](7, 0), dispatch.WithName("p")))
		l := apiMust(d.AddListener(dispatch.Topics[int, int]{b, a, b, a}, apiHear[int](&heard)))
		for _, topic := range []dispatch.Topic[int, int]{a, b, again} {
			c := apiMust(d.Send(t.Context(), topic, 0))
			<-c.Done()
			apiEqual(t, "members", apiEnds(c.Report()), "p ok")
		}
		synctest.Wait()
		l.Remove()
		apiEqual(t, "results heard", heard.take(), []int{7, 7, 7})

		// What was registered once is gone after one removal, types and all.
		p.Remove()
		apiEqual(t, "members", apiAsked(apiMust(d.Send(t.Context(), a, 0))), []string{})
		apiMust(dispatch.On[int, string](d.Bus()).AddProducer(dispatch.NewTopic[int, string]("a"), apiAnswer[int]("", 0)))
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
		{"nobody by name", []string{"pattern"}, []string{"pattern"}},
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
			apiBubble(t, fmt.Sprintf("%s/%s on %s", order.name, match.pattern, match.topic), func(t *testing.T) {
				d := apiQuiet[int, string]()
				topic := dispatch.NewTopic[int, string](match.topic)
				selectors := map[string]dispatch.Selector[int, string]{
					"pattern": dispatch.NewPattern[int, string](match.pattern),
					"name":    topic,
				}
				var heard apiEvents[string]
				added := make(map[string][]*dispatch.Registration)
				for _, who := range order.add {
					if gone, ok := strings.CutPrefix(who, "-"); ok {
						for _, r := range added[gone] {
							r.Remove()
						}
						continue
					}
					p := apiMust(d.AddProducer(selectors[who], apiAnswer[int](who, 0), dispatch.WithName(who)))
					l := apiMust(d.AddListener(selectors[who], func(_ context.Context, r dispatch.Result[int, string]) {
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

				c := apiMust(d.Send(t.Context(), topic, 0))
				<-c.Done()
				var got []string
				for _, o := range c.Report().Outcomes {
					got = append(got, o.Member.Name)
				}
				apiEqual(t, "members, in the order of registration", got, want)
				apiAtRest(t, d.Bus())
				apiEqual(t, "results heard", apiSorted(heard.take()), apiSorted(wantHeard))
			})
		}
	}
}

func TestPatternListenerHearsTopicsThatAppearUnderACall(t *testing.T) {
	apiBubble(t, "", func(t *testing.T) {
		d := apiQuiet[int, int]()
		topic := dispatch.NewTopic[int, int]("cell.3")
		var all, late apiEvents[int]
		apiMust(d.AddListener(dispatch.NewPattern[int, int]("cell.*"), apiHear[int](&all)))
		apiMust(d.AddProducer(dispatch.NewPattern[int, int](">"), apiAnswer[int](1, time.Second)))
		apiMust(d.AddProducer(dispatch.NewPattern[int, int]("*.3"), apiAnswer[int](2, 3*time.Second)))

		// The call begins when nobody is registered on the topic by name.
		c := apiMust(d.Send(t.Context(), topic, 0))
		time.Sleep(2 * time.Second)
		apiMust(d.AddListener(topic, apiHear[int](&late)))
		<-c.Done()
		apiAtRest(t, d.Bus())
		apiEqual(t, "heard by pattern", all.take(), []int{1, 2})
		apiEqual(t, "heard by name", late.take(), []int{2})
	})
}

type apiReading struct{ Volts float64 }

func TestPatternPassesOverTopicsOfOtherTypes(t *testing.T) {
	apiBubble(t, "", func(t *testing.T) {
		b := apiQuiet[int, int]().Bus()
		ints, readings := dispatch.On[int, int](b), dispatch.On[int, apiReading](b)
		var heardInts apiEvents[int]
		var heardReadings apiEvents[apiReading]

		// One topic of other types is there before the pattern, one comes after.
		before, after := dispatch.NewTopic[int, apiReading]("cell.before"), dispatch.NewTopic[int, apiReading]("cell.after")
		apiMust(readings.AddProducer(before, apiAnswer[int](apiReading{1}, 0)))
		apiMust(ints.AddProducer(dispatch.NewPattern[int, int]("cell.>"), apiAnswer[int](9, 0)))
		apiMust(ints.AddListener(dispatch.NewPattern[int, int](">"), apiHear[int](&heardInts)))
		apiMust(readings.AddListener(dispatch.NewPattern[int, apiReading](">"), apiHear[int](&heardReadings)))
		apiMust(readings.AddProducer(after, apiAnswer[int](apiReading{2}, 0)))

		apiEqual(t, "before", apiMust(readings.Gather(t.Context(), before, 0)), []apiReading{{1}})
		apiEqual(t, "after", apiMust(readings.Gather(t.Context(), after, 0)), []apiReading{{2}})
		apiEqual(t, "own", apiMust(ints.Gather(t.Context(), dispatch.NewTopic[int, int]("cell.own"), 0)), []int{9})

		// Patterns bind nothing: a name that only patterns match can be asked
		// with either pair of types, and each finds its own.
		apiMust(readings.AddProducer(dispatch.NewPattern[int, apiReading]("cell.>"), apiAnswer[int](apiReading{3}, 0)))
		apiEqual(t, "own, after", apiMust(ints.Gather(t.Context(), dispatch.NewTopic[int, int]("cell.own"), 0)), []int{9})
		apiEqual(t, "own, as readings", apiMust(readings.Gather(t.Context(), dispatch.NewTopic[int, apiReading]("cell.own"), 0)), []apiReading{{3}})

		apiAtRest(t, b)
		apiEqual(t, "ints heard", heardInts.take(), []int{9, 9})
		apiEqual(t, "readings heard", heardReadings.take(), []apiReading{{1}, {2}, {3}})
	})
}

// TestFault18SameNameOtherTypes has a topic in use and tries to use its name
// with other types in every way there is.
func TestFault18SameNameOtherTypes(t *testing.T) {
	type reading struct{} // its name and package do not tell it from others
	tests := []struct {
		name string
		use  func(ctx context.Context, d *dispatch.Dispatcher[int, apiReading]) error
	}{
		{"AddProducer", func(_ context.Context, d *dispatch.Dispatcher[int, apiReading]) error {
			_, err := d.AddProducer(dispatch.NewTopic[int, apiReading]("a"), apiAnswer[int](apiReading{}, 0))
			return err
		}},
		{"AddListener", func(_ context.Context, d *dispatch.Dispatcher[int, apiReading]) error {
			_, err := d.AddListener(dispatch.NewTopic[int, apiReading]("a"), func(context.Context, dispatch.Result[int, apiReading]) {})
			return err
		}},
		{"the last of several topics", func(_ context.Context, d *dispatch.Dispatcher[int, apiReading]) error {
			topics := dispatch.AnyOf(dispatch.NewTopic[int, apiReading]("new"), dispatch.NewTopic[int, apiReading]("a"))
			_, err := d.AddProducer(topics, apiAnswer[int](apiReading{}, 0))
			return err
		}},
		{"Send", func(ctx context.Context, d *dispatch.Dispatcher[int, apiReading]) error {
			_, err := d.Send(ctx, dispatch.NewTopic[int, apiReading]("a"), 0)
			return err
		}},
		{"Gather", func(ctx context.Context, d *dispatch.Dispatcher[int, apiReading]) error {
			_, err := d.Gather(ctx, dispatch.NewTopic[int, apiReading]("a"), 0)
			return err
		}},
		{"First", func(ctx context.Context, d *dispatch.Dispatcher[int, apiReading]) error {
			_, err := d.First(ctx, dispatch.NewTopic[int, apiReading]("a"), 0)
			return err
		}},
		{"Stream", func(ctx context.Context, d *dispatch.Dispatcher[int, apiReading]) error {
			for _, err := range d.Stream(ctx, dispatch.NewTopic[int, apiReading]("a"), 0) {
				return err
			}
			return nil
		}},
	}
	for _, tt := range tests {
		apiBubble(t, tt.name, func(t *testing.T) {
			d := apiQuiet[int, string]()
			apiMust(d.AddProducer(dispatch.NewTopic[int, string]("a"), apiAnswer[int]("", 0)))
			err := tt.use(t.Context(), dispatch.On[int, apiReading](d.Bus()))
			if !errors.Is(err, dispatch.ErrTopicType) {
				t.Fatalf("got %v, want ErrTopicType", err)
			}
			for _, want := range []string{`"a"`, "int → string", "dispatch_test.apiReading", "github.com/seed-bb4b4d74/dispatch"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error %q does not name %s", err, want)
				}
			}
			// What was refused has left no trace.
			apiMust(d.AddProducer(dispatch.NewTopic[int, string]("new"), apiAnswer[int]("", 0)))
			apiEqual(t, "a", apiMust(d.Gather(t.Context(), dispatch.NewTopic[int, string]("a"), 0)), []string{""})
			apiAtRest(t, d.Bus())
		})
	}
	apiBubble(t, "requests of another type", func(t *testing.T) {
		d := apiQuiet[int, string]()
		apiMust(d.AddListener(dispatch.NewTopic[int, string]("a"), func(context.Context, dispatch.Result[int, string]) {}))
		_, err := dispatch.On[reading, string](d.Bus()).AddProducer(dispatch.NewTopic[reading, string]("a"), apiAnswer[reading]("", 0))
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
			return []*dispatch.Registration{apiMust(d.AddProducer(a, apiAnswer[int](0, 0)))}
		}},
		{"a listener", func(d *dispatch.Dispatcher[int, int], a, _ dispatch.Topic[int, int]) []*dispatch.Registration {
			return []*dispatch.Registration{apiMust(d.AddListener(a, hear))}
		}},
		{"both", func(d *dispatch.Dispatcher[int, int], a, _ dispatch.Topic[int, int]) []*dispatch.Registration {
			return []*dispatch.Registration{apiMust(d.AddListener(a, hear)), apiMust(d.AddProducer(a, apiAnswer[int](0, 0)))}
		}},
		{"several topics", func(d *dispatch.Dispatcher[int, int], a, b dispatch.Topic[int, int]) []*dispatch.Registration {
			return []*dispatch.Registration{apiMust(d.AddListener(dispatch.AnyOf(b, a), hear)), apiMust(d.AddProducer(a, apiAnswer[int](0, 0)))}
		}},
		{"a pattern over it", func(d *dispatch.Dispatcher[int, int], a, _ dispatch.Topic[int, int]) []*dispatch.Registration {
			apiMust(d.AddProducer(dispatch.NewPattern[int, int](">"), apiAnswer[int](0, 0)))
			return []*dispatch.Registration{apiMust(d.AddProducer(a, apiAnswer[int](0, 0)))}
		}},
		{"a pattern that came first", func(d *dispatch.Dispatcher[int, int], a, _ dispatch.Topic[int, int]) []*dispatch.Registration {
			r := apiMust(d.AddProducer(a, apiAnswer[int](0, 0)))
			apiMust(d.AddListener(dispatch.NewPattern[int, int](">"), hear))
			return []*dispatch.Registration{r}
		}},
	}
	for _, tt := range tests {
		apiBubble(t, tt.name, func(t *testing.T) {
			d := apiQuiet[int, int]()
			others := dispatch.On[int, string](d.Bus())
			added := tt.add(d, dispatch.NewTopic[int, int]("a"), dispatch.NewTopic[int, int]("b"))
			other := dispatch.NewTopic[int, string]("a")
			for _, r := range added {
				if _, err := others.AddProducer(other, apiAnswer[int]("", 0)); !errors.Is(err, dispatch.ErrTopicType) {
					t.Fatalf("before the last has gone: got %v, want ErrTopicType", err)
				}
				r.Remove()
			}
			apiMust(others.AddProducer(other, apiAnswer[int]("new", 0)))
			apiEqual(t, "answers", apiMust(others.Gather(t.Context(), other, 0)), []string{"new"})
			if _, err := d.Send(t.Context(), dispatch.NewTopic[int, int]("a"), 0); !errors.Is(err, dispatch.ErrTopicType) {
				t.Errorf("got %v, want ErrTopicType for the types that were the first", err)
			}
			apiAtRest(t, d.Bus())
		})
	}
}

func TestSendBindsNoTypes(t *testing.T) {
	apiBubble(t, "", func(t *testing.T) {
		d := apiQuiet[int, int]()
		c := apiMust(d.Send(t.Context(), dispatch.NewTopic[int, int]("a"), 0))
		apiEqual(t, "reason", c.Report().Reason, dispatch.ReasonNoProducers)
		others := dispatch.On[string, string](d.Bus())
		apiMust(others.Send(t.Context(), dispatch.NewTopic[string, string]("a"), ""))
		apiMust(others.AddProducer(dispatch.NewTopic[string, string]("a"), apiAnswer[string]("", 0)))
	})
}

func TestDispatchersOfDifferentTypesShareABus(t *testing.T) {
	apiBubble(t, "", func(t *testing.T) {
		ints := apiQuiet[int, int]()
		strs := dispatch.On[string, string](ints.Bus())
		if strs.Bus() != ints.Bus() {
			t.Error("On gives a bus of its own")
		}
		a, b := dispatch.NewTopic[int, int]("a"), dispatch.NewTopic[string, string]("b")
		apiMust(ints.AddProducer(a, apiAnswer[int](1, 0)))
		apiMust(strs.AddProducer(b, apiAnswer[string]("one", 0)))
		apiEqual(t, "ints", apiMust(ints.Gather(t.Context(), a, 0)), []int{1})
		apiEqual(t, "strings", apiMust(strs.Gather(t.Context(), b, "")), []string{"one"})
		apiEqual(t, "another view", apiMust(dispatch.On[int, int](strs.Bus()).Gather(t.Context(), a, 0)), []int{1})

		first, second := apiMust(ints.Send(t.Context(), a, 0)), apiMust(strs.Send(t.Context(), b, ""))
		if first.ID() == second.ID() {
			t.Error("two calls of a bus have the same ID")
		}
		if err := strs.Close(); err != nil {
			t.Error(err)
		}
		if _, err := ints.Send(t.Context(), a, 0); !errors.Is(err, dispatch.ErrClosed) {
			t.Errorf("got %v, want ErrClosed for all dispatchers of a closed bus", err)
		}
		if _, err := apiQuiet[int, int]().Send(t.Context(), a, 0); err != nil {
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
	apiMust(dispatch.On[string, A](b).AddProducer(dispatch.NewTopic[string, A]("kit.clash"), func(context.Context, string) (a A, err error) { return }))
	_, err := dispatch.On[string, B](b).AddProducer(dispatch.NewTopic[string, B]("kit.clash"), func(context.Context, string) (b B, err error) { return })
	return err
}
