package main

import (
	"strings"
	"testing"
)

func TestFramesThatAreWrong(t *testing.T) {
	for body, want := range map[string]string{
		"accept a":                        "no line feed at its end",
		"accept a b=2F c=2f\n":            "not escaped",
		"accept a  b\n":                   "no name",
		"accept a/b/c/d\n":                "4 parts",
		"accept node//\n":                 "no name",
		"accept @\n":                      "no list",
		"accept @0 a\n":                   "no list",
		"names @x a\n":                    "no list",
		"accept @1 \n":                    "no name",
		"accept a=2\n":                    "ends within an escape",
		"accept a=zz\n":                   "wrong escape",
		"accept ä\n":                      "not escaped",
		"result 0 2 2\nx\n":               "do not follow",
		"result 0 1 1\nxy\n":              "do not follow",
		"result 0 1\nx\n":                 "no number",
		"result 0 1 1 1\nx\n":             `"1" is too much`,
		"part -1 1\nx\n":                  "no number",
		"part 0 9999999999\n":             "no number",
		"final 1\n":                       "no number",
		"end 0 1\n":                       "no state",
		"end 0 1 ok -\n":                  "ok has no code",
		"end 0 1 tired - \"\"\n":          "no state",
		"end 0 1 failed tired \"\"\n":     "no code",
		"end 0 1 failed - tired\n":        "no JSON string",
		"end 0 1 failed -\n":              "no JSON string",
		"reject ok\n":                     "nothing is rejected with it",
		"reject failed incompatible no\n": "no JSON string",
	} {
		if _, err := parseFrames([]byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", body, err, want)
		}
	}
}

func TestFramesThatAreRight(t *testing.T) {
	if all, err := parseFrames([]byte("accept @7\nall 3 @8 a g/\n[1]\nnames @9 b\n")); err != nil || len(all) != 3 ||
		all[0].list != "7" || all[0].words != nil || all[1].list != "8" || len(all[1].words) != 2 || all[2].list != "9" || len(all[2].words) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
	const body = "accept a g/ g/r n/g/r n//r b=20c\nrumour 1 2\npart 0 2\n\n\n\nresult 0 1 3\nx\nend 0 1 ok\nend 1 0 late deadline \"\\u00e4\\n\"\nfinal 6 1\nreject gone - \"\"\naccept\n"
	frames, err := parseFrames([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, f := range frames {
		kinds = append(kinds, f.kind)
	}
	if got, want := strings.Join(kinds, " "), "accept rumour part result end end final reject accept"; got != want {
		t.Fatalf("kinds %q, want %q", got, want)
	}
	var names []string
	for _, word := range frames[0].words {
		name, err := memberName(word)
		if err != nil {
			t.Error(err)
		}
		names = append(names, name)
	}
	if got, want := strings.Join(names, ","), "a,g,g/r,n/g/r,n/r,b c"; got != want {
		t.Errorf("members %q, want %q", got, want)
	}
	if f := frames[2]; string(f.value) != "\n\n" || f.member != 0 {
		t.Errorf("%+v", f)
	}
	if f := frames[5]; f.state != "late" || f.code != "deadline" || f.text != "ä\n" || f.member != 1 {
		t.Errorf("%+v", f)
	}
	if f := frames[6]; f.members != 6 || f.results != 1 {
		t.Errorf("%+v", f)
	}
}
