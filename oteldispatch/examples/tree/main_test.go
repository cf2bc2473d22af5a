package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const failure = "dispatch: cell.measure: deadline exceeded: 2 of 3 members did not answer: site-3 failed: probe is open; site-2 late\n\n"

// In virtual time every span has its exact place. The tree is that of the README.
func TestTree(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "<!-- tree -->\n```text\n")
	tree, _, ok := strings.Cut(rest, "```\n<!-- /tree -->\n")
	if !ok {
		t.Fatal("the README has no tree")
	}
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		if err := run(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(failure+tree, out.String()); diff != "" {
			t.Errorf("tree (-want +got):\n%s", diff)
		}
		time.Sleep(time.Minute)
	})
}
