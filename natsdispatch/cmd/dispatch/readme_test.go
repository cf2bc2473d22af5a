package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-bb4b4d74/dispatch/natsdispatch"
)

var update = flag.Bool("update", false, "write what the sessions print into README.md")

// The commands in both files README.md print what the files show, apart from durations and the order of
// lines.
func TestSessionsOfTheReadme(t *testing.T) {
	url := startServer(t, "")
	cell(t, connect(t, url), "cell-7", sites{"site-1": volts(3.31), "site-2": hangs}, natsdispatch.WithPublish())
	cell(t, connect(t, url), "cell-8", sites{
		"site-1": func(context.Context, request) (reading, error) {
			time.Sleep(700 * time.Millisecond)
			return reading{3.29}, nil
		},
		"site-2": func(context.Context, request) (reading, error) { return reading{}, errors.New("the probe is open") },
	}, natsdispatch.WithPublish())
	candidate(t, url)
	for file, sessions := range map[string]int{"README.md": 5, "../../README.md": 2} {
		readme, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(session.FindAll(readme, -1)); n != sessions {
			t.Fatalf("there are %d sessions in %s, want %d", n, file, sessions)
		}
		written := session.ReplaceAllStringFunc(string(readme), func(block string) string {
			parts := session.FindStringSubmatch(block)
			printed := perform(t, url, parts[1])
			if diff := cmp.Diff(roughly(parts[2]), roughly(printed)); diff != "" && !*update {
				t.Errorf("dispatch %s prints\n%s\nother than %s says: %s", parts[1], printed, file, diff)
			}
			return "```console\n$ dispatch " + parts[1] + "\n" + printed + "```"
		})
		if *update {
			if err := os.WriteFile(file, []byte(written), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// session matches a command in a README.md, with its output.
var session = regexp.MustCompile("(?s)```console\n\\$ dispatch ([^\n]*)\n(.*?)```")

// perform runs a command line and returns its output. If the command is listen, perform also asks twice
// while it runs.
func perform(t *testing.T, url, line string) string {
	t.Helper()
	p := start(t, "", []string{"NATS_URL=" + url}, words(line)...)
	if strings.HasPrefix(line, "listen") {
		p.says("listening")
		for range 2 {
			run(t, exitPartial, url, "ask", "cell.measure", "--timeout", "2s")
		}
	}
	p.waited()
	return p.stdout()
}

// candidate starts a node in its own space, for the sessions that test a node.
func candidate(t *testing.T, url string) {
	t.Helper()
	cell(t, connect(t, url), "candidate", sites{
		"site-1": func(ctx context.Context, r request) (reading, error) {
			if r.Pin == "slow" {
				return hangs(ctx, r)
			}
			return reading{3.3}, nil
		},
	}, natsdispatch.WithSpace("trial"))
}

// words splits a command line into arguments. Arguments may be in single quotes.
func words(line string) (all []string) {
	for _, m := range regexp.MustCompile(`'([^']*)'|(\S+)`).FindAllStringSubmatch(line, -1) {
		all = append(all, m[1]+m[2])
	}
	return all
}

// roughly replaces what differs from run to run, and returns the sorted lines.
func roughly(text string) []string {
	for _, vary := range [][2]string{
		{`\d\d:\d\d:\d\d`, "T"},
		{`\d+(\.\d)? m?s\b`, "N s"},
		{`_ns":\d+`, `_ns":N`},
		{`"seq":\d+`, `"seq":N`},
		{`█+`, "█"},
		{` +`, " "},
	} {
		text = regexp.MustCompile(vary[0]).ReplaceAllString(text, vary[1])
	}
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return lines
}
