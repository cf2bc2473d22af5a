package main

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const requestPath = rootPath + "/test/house/request"

// way is the files in which one request executes statements.
type way struct{ root, internal []string }

// way runs the program in request under coverage. A list made from the code would have all
// files of all branches; this list has the files that an ordinary request executes, including
// goroutines and callbacks.
func (c *code) way() (w way, err error) {
	temp, err := os.MkdirTemp("", "house")
	if err != nil {
		return w, err
	}
	defer func() { _ = os.RemoveAll(temp) }()
	binary, counters, profile := filepath.Join(temp, "request"), filepath.Join(temp, "counters"), filepath.Join(temp, "profile")
	if err := os.Mkdir(counters, 0o700); err != nil {
		return w, err
	}
	// A program can clear its counters only in atomic mode, and only if it is covered itself.
	covered := "-coverpkg=" + strings.Join(append(c.paths(), requestPath), ",")
	if _, err := output("go", "build", "-o", binary, "-cover", "-covermode=atomic", covered, requestPath); err != nil {
		return w, err
	}
	if _, err := output(binary, counters); err != nil {
		return w, err
	}
	if _, err := output("go", "tool", "covdata", "textfmt", "-i="+counters, "-o="+profile); err != nil {
		return w, err
	}
	text, err := os.ReadFile(profile)
	if err != nil {
		return w, err
	}
	files := executed(string(text))
	for _, f := range files {
		if path.Dir(f) == rootPath {
			w.root = append(w.root, path.Base(f))
		} else if below, ok := strings.CutPrefix(f, internalPath); ok {
			w.internal = append(w.internal, below)
		}
	}
	return w, nil
}

// executed returns the files of a coverage profile that have statements which were
// executed. Its lines are "file:from,to statements count".
func executed(profile string) (files []string) {
	for line := range strings.Lines(profile) {
		file, rest, ok := strings.Cut(line, ":")
		if ok && file != "mode" && !strings.HasSuffix(strings.TrimSpace(rest), " 0") {
			files = append(files, file)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}
