package natsdispatch

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/seed-bb4b4d74/dispatch"
)

// wireFrames are frames and their bytes on the wire. A change of these bytes breaks the protocol.
var wireFrames = []struct {
	wire   string
	append func(b []byte) []byte
	frame  frame
}{
	{
		"accept\n",
		func(b []byte) []byte { return appendAccept(b, naming{}, nil) },
		frame{kind: kindAccept},
	},
	{
		"accept thermometer site=201 g/ g/replica node/g/far node//alone\n",
		func(b []byte) []byte {
			return appendAccept(b, naming{}, []dispatch.Member{
				{Name: "thermometer"},
				{Name: "site 1"},
				{Group: "g"},
				{Group: "g", Name: "replica"},
				{Node: "node", Group: "g", Name: "far"},
				{Node: "node", Name: "alone"},
			})
		},
		frame{kind: kindAccept, members: []dispatch.Member{
			{Name: "thermometer"},
			{Name: "site 1"},
			{Group: "g"},
			{Group: "g", Name: "replica"},
			{Node: "node", Group: "g", Name: "far"},
			{Node: "node", Name: "alone"},
		}},
	},
	{
		"part 3 4\na\nb\x00\n",
		func(b []byte) []byte { return appendPart(b, 3, []byte("a\nb\x00")) },
		frame{kind: kindPart, member: 3, value: []byte("a\nb\x00")},
	},
	{
		"result 0 5 5\n21.25\n",
		func(b []byte) []byte { return appendResult(b, 0, []byte("21.25"), 5) },
		frame{kind: kindResult, value: []byte("21.25"), size: 5},
	},
	{
		"result 1 0 9\n\n",
		func(b []byte) []byte { return appendResult(b, 1, nil, 9) },
		frame{kind: kindResult, member: 1, value: []byte{}, size: 9},
	},
	{
		"end 0 1 ok\n",
		func(b []byte) []byte { return appendEnd(b, 0, 1, failure{}) },
		frame{kind: kindEnd, results: 1},
	},
	{
		"end 12 3 failed - \"wire \\\"7\\\"\\nis broken\"\n",
		func(b []byte) []byte {
			return appendEnd(b, 12, 3, failure{dispatch.StateFailed, noCode, "wire \"7\"\nis broken"})
		},
		frame{kind: kindEnd, member: 12, results: 3, failure: failure{dispatch.StateFailed, noCode, "wire \"7\"\nis broken"}},
	},
	{
		"final 2 7\n",
		func(b []byte) []byte { return appendFinal(b, 2, 7) },
		frame{kind: kindFinal, count: 2, results: 7},
	},
	{
		"reject rejected overloaded \"full\"\n",
		func(b []byte) []byte { return appendReject(b, failure{dispatch.StateRejected, "overloaded", "full"}) },
		frame{kind: kindReject, failure: failure{dispatch.StateRejected, "overloaded", "full"}},
	},
	{
		"all 9 thermometer g/ site=201\n[1,\"\\n\"]\n\n",
		func(b []byte) []byte {
			return appendAll(b, naming{}, []dispatch.Member{{Name: "thermometer"}, {Group: "g"}, {Name: "site 1"}}, []byte("[1,\"\\n\"]\n"))
		},
		frame{kind: kindAll, members: []dispatch.Member{{Name: "thermometer"}, {Group: "g"}, {Name: "site 1"}}, value: []byte("[1,\"\\n\"]\n")},
	},
	{
		"accept @7 thermometer g/\n",
		func(b []byte) []byte {
			return appendAccept(b, naming{number: 7}, []dispatch.Member{{Name: "thermometer"}, {Group: "g"}})
		},
		frame{kind: kindAccept, list: 7, members: []dispatch.Member{{Name: "thermometer"}, {Group: "g"}}},
	},
	{
		"accept @18446744073709551615\n",
		func(b []byte) []byte {
			return appendAccept(b, naming{number: 1<<64 - 1, alone: true}, []dispatch.Member{{Name: "thermometer"}})
		},
		frame{kind: kindAccept, list: 1<<64 - 1},
	},
	{
		"all 3 @7\n[1]\n",
		func(b []byte) []byte {
			return appendAll(b, naming{number: 7, alone: true}, []dispatch.Member{{Name: "thermometer"}}, []byte("[1]"))
		},
		frame{kind: kindAll, list: 7, value: []byte("[1]")},
	},
	{
		"names @7 thermometer\n",
		func(b []byte) []byte {
			return append(appendList(append(b, kindNames...), naming{number: 7}, []dispatch.Member{{Name: "thermometer"}}), '\n')
		},
		frame{kind: kindNames, list: 7, members: []dispatch.Member{{Name: "thermometer"}}},
	},
	{
		"forgotten\n",
		func(b []byte) []byte { return append(b, kindForgotten+"\n"...) },
		frame{kind: kindForgotten},
	},
}

var frameDiff = cmp.Options{cmp.AllowUnexported(frame{}, failure{}), cmpopts.EquateEmpty()}

func TestGoldenFrames(t *testing.T) {
	var all []byte
	var want []frame
	for _, c := range wireFrames {
		if got := string(c.append(nil)); got != c.wire {
			t.Errorf("written %q, want %q", got, c.wire)
		}
		all = append(append(all, c.wire...), "a-kind-of-tomorrow 1 2 3\n"...)
		want = append(want, c.frame)
	}
	var got []frame
	for f, err := range frames(all) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, f)
	}
	if d := cmp.Diff(want, got, frameDiff); d != "" {
		t.Errorf("read (-want +got):\n%s", d)
	}
}

func TestFramesMalformed(t *testing.T) {
	for _, body := range []string{
		"accept", "accept a//b/c\n", "accept /\n", "accept a=4\n", "accept a=zz\n", "accept ä\n",
		"part 0 5\nabcd\n", "part 0 3\nabcd\n", "part 0\nx\n", "part 0 1\nx", "result 0 1\nx\n", "result 0 1 -1\nx\n",
		"end\n", "end 0\n", "end 99999999999 0 ok\n", "end 0 0 failed - nothing\n", "final\n", "final 1\n", "final  1\n",
		"reject ok\n", "result 0 1073741825 1\nx\n", "end 4294967297 0 ok\n", "end 4294967295 0 ok\n", "all\n", "all 2 a\n[\n", "all x a\n", "all 2 a//b/c\n[]\n",
	} {
		n, failed := 0, false
		for _, err := range frames([]byte(body)) {
			n, failed = n+1, err != nil
		}
		if !failed || n != 1 {
			t.Errorf("%q: %d frames, malformed: %v; want an error alone", body, n, failed)
		}
	}
}

// An unknown code is read as no code, and an unknown state as failed.
func TestFramesUnknownFailure(t *testing.T) {
	for f, err := range frames([]byte("end 0 0 bewildered new-code \"x\"\nend 0 0 gone\n")) {
		if err != nil {
			t.Fatal(err)
		}
		if f.failure.code != noCode || f.failure.state != dispatch.StateFailed && f.failure.state != dispatch.StateGone {
			t.Errorf("read %+v", f.failure)
		}
	}
}

// A frame that was read from any bytes is read as the same frame after it is written.
func FuzzFrames(f *testing.F) {
	for _, c := range wireFrames {
		f.Add([]byte(c.wire))
	}
	f.Add([]byte("end 0 0 bewildered new-code \"x\"\nnew\n\naccept a  b \n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		read := func(b []byte) (all []frame, complete bool) {
			for f, err := range frames(b) {
				if err != nil {
					return all, false
				}
				all = append(all, f)
			}
			return all, true
		}
		all, _ := read(body)
		var again []byte
		for _, f := range all {
			switch f.kind {
			case kindAccept:
				again = appendAccept(again, naming{number: f.list}, f.members)
			case kindPart:
				again = appendPart(again, f.member, f.value)
			case kindResult:
				again = appendResult(again, f.member, f.value, f.size)
			case kindEnd:
				again = appendEnd(again, f.member, f.results, f.failure)
			case kindFinal:
				again = appendFinal(again, f.count, f.results)
			case kindReject:
				again = appendReject(again, f.failure)
			case kindAll:
				again = appendAll(again, naming{number: f.list}, f.members, f.value)
			case kindNames:
				again = append(appendList(append(again, kindNames...), naming{number: f.list}, f.members), '\n')
			case kindForgotten:
				again = append(again, kindForgotten+"\n"...)
			default:
				t.Fatalf("read a frame of kind %q", f.kind)
			}
		}
		got, complete := read(again)
		if d := cmp.Diff(all, got, frameDiff); d != "" || !complete {
			t.Errorf("%q is read as something else when written anew (-first +second):\n%s", body, d)
		}
	})
}

func TestEscape(t *testing.T) {
	for name, want := range map[string]string{
		"plain-Name_7": "plain-Name_7", "site 1": "site=201", "a.b": "a=2Eb", "=": "=3D", "é": "=C3=A9", "*": "=2A", ">": "=3E", "\n": "=0A",
	} {
		got := escape(name)
		back, err := unescape(got)
		if got != want || back != name || err != nil {
			t.Errorf("%q is written %q and read %q, %v; want %q", name, got, back, err, want)
		}
	}
	for _, s := range []string{"a b", "=", "=2", "=2e", "=G0", "a.b", "é"} {
		if name, err := unescape(s); err == nil {
			t.Errorf("%q is read as %q", s, name)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, topic string
		want           bool
	}{
		{"a.b", "a.b", true},
		{"a.b", "a.c", false},
		{"a.b", "a", false},
		{"a", "a.b", false},
		{"*.b", "a.b", true},
		{"a.*", "a.b", true},
		{"a.*", "a", false},
		{"a.*", "a.b.c", false},
		{"a.>", "a.b.c", true},
		{"a.>", "a", false},
		{">", "a", true},
		{"", "a", false},
		{"a.", "a", false},
	} {
		if got := matches(c.pattern, c.topic); got != c.want {
			t.Errorf("%q matches %q: %v, want %v", c.pattern, c.topic, got, c.want)
		}
	}
}

func TestMessagesAreFilled(t *testing.T) {
	o := new(outbox)
	o.init(200, 1000, &store{most: most}, nil)
	o.accept(dispatch.Member{Name: "a"})
	value := bytes.Repeat([]byte("x"), 300)
	o.result(dispatch.Member{Name: "a"}, value, nil)
	for range 10 {
		o.result(dispatch.Member{Name: "a"}, []byte("short"), nil)
	}
	o.end(dispatch.Outcome{Member: dispatch.Member{Name: "a"}, State: dispatch.StateOK, Results: 11})
	o.finish()
	messages := o.take(nil)
	var all []byte
	for i, m := range messages {
		if len(m.body) > 200 {
			t.Errorf("message %d has %d bytes, want at most 200", i, len(m.body))
		}
		all = append(all, m.body...)
	}
	if n := len(messages); n > 5 {
		t.Errorf("%d messages, want at most 5", n)
	}
	kinds := []string{}
	for f, err := range frames(all) {
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, f.kind)
	}
	if want := []string{kindAccept, kindPart, kindPart, kindResult}; !slices.Equal(kinds[:4], want) || len(kinds) != 16 {
		t.Errorf("frames %q, want %q, ten more results, an end and a final", kinds, want)
	}
	if again := o.take(nil); again != nil {
		t.Errorf("after the final there are %d messages more", len(again))
	}
}

// A member with a result that cannot be sent has failed, even if its outcome is OK, and no further frame
// of this member is sent.
func TestOutboxOfABrokenMember(t *testing.T) {
	o := new(outbox)
	o.init(1000, 5, &store{most: most}, nil)
	a := dispatch.Member{Name: "a"}
	o.accept(a)
	o.result(a, []byte("short"), nil)
	o.end(dispatch.Outcome{Member: a, State: dispatch.StateOK, Results: 3})
	o.result(a, []byte("too long"), nil)
	o.result(a, []byte("again"), nil)
	o.end(dispatch.Outcome{Member: a, State: dispatch.StateOK, Results: 3})
	o.finish()
	got := string(o.take(nil)[0].body)
	want := "accept a\nresult 0 5 5\nshort\nend 0 3 ok\n" +
		"end 0 1 failed too-large \"natsdispatch: too large: a result of 8 bytes; WithMaxResult allows 5\"\nfinal 1 1\n"
	if got != want {
		t.Errorf("sent %q, want %q", got, want)
	}
}
