package main

import (
	"errors"
	"strings"
	"testing"
)

// full is an output that takes nothing, such as a file on a full disk.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// A command whose output is lost says so, and does not claim that all is well. A command that would go on ends.
func TestOutputIsLost(t *testing.T) {
	url := startServer(t, "")
	cell(t, connect(t, url), "cell-7", sites{"site-1": volts(1)})
	for _, args := range [][]string{
		{"ask", "cell.measure"},
		{"ask", "cell.measure", "--json"},
		{"nodes"},
		{"nodes", "--watch"},
		{"nodes", "--watch", "--json"},
		{"conformance", "--list"},
		{"ask", "--help"},
		{"help"},
	} {
		var said strings.Builder
		p := &program{stdin: strings.NewReader(""), stdout: full{}, stderr: &said, width: 80, getenv: func(name string) string {
			return map[string]string{"NATS_URL": url, "HOME": t.TempDir()}[name]
		}}
		if status := p.run(t.Context(), args); status != exitOutput || !strings.HasSuffix(said.String(), "write the output: no space left\n") {
			t.Errorf("%q ended with %d, and said %q", args, status, said.String())
		}
	}
}
