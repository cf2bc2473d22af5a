package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The digests of "abc" are the test vectors that the standards themselves give,
// except those of crc32 and fnv1a-64, which are widely published.
var abc = map[string]string{
	"crc32":    "352441c2",
	"fnv1a-64": "e71fa2190541574b",
	"md5":      "900150983cd24fb0d6963f7d28e17f72",
	"sha1":     "a9993e364706816aba3e25717850c26c9cd0d89d",
	"sha256":   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	"sha512": "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a" +
		"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
	"sha3-256": "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
}

// file writes a file and returns its path.
func file(t *testing.T, name, contents string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(contents), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// linesOf returns the lines that the program prints for the file's digests, sorted.
func linesOf(path string, digests map[string]string) (lines []string) {
	for name, digest := range digests {
		lines = append(lines, name+" "+digest+" "+path)
	}
	slices.Sort(lines)
	return lines
}

// printed returns the lines of the output with digests, with single blanks and sorted, and the
// other lines as they are.
func printed(out string) (digests, others []string) {
	digest := regexp.MustCompile(`^(\S+) +([0-9a-f]+)  (\S+)$`)
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if m := digest.FindStringSubmatch(line); m != nil {
			digests = append(digests, strings.Join(m[1:], " "))
		} else {
			others = append(others, line)
		}
	}
	slices.Sort(digests)
	return digests, others
}

func TestDigest(t *testing.T) {
	path := file(t, "abc", "abc")
	var out, errs bytes.Buffer
	if status := run(t.Context(), []string{path}, &out, &errs); status != 0 {
		t.Errorf("exit status is %d, want 0", status)
	}
	digests, others := printed(out.String())
	if diff := cmp.Diff(linesOf(path, abc), digests); diff != "" {
		t.Errorf("digests (-want +got):\n%s", diff)
	}
	summary := regexp.MustCompile("^" + regexp.QuoteMeta(path) + `: 7 of 7 digests in \S+\nfiles: 1 done, 0 failed$`)
	if got := strings.Join(others, "\n"); !summary.MatchString(got) {
		t.Errorf("summary is %q, want it to match %s", got, summary)
	}
	if errs.Len() > 0 {
		t.Errorf("standard error has %q, want nothing", &errs)
	}
}

func TestDigestGoesOnAfterAFileThatCannotBeRead(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	directory := t.TempDir() // can be opened, but not read
	path := file(t, "abc", "abc")
	var out, errs bytes.Buffer
	if status := run(t.Context(), []string{missing, directory, path}, &out, &errs); status != 1 {
		t.Errorf("exit status is %d, want 1", status)
	}
	digests, others := printed(out.String())
	if diff := cmp.Diff(linesOf(path, abc), digests); diff != "" {
		t.Errorf("digests (-want +got):\n%s", diff)
	}
	if got, want := others[len(others)-1], "files: 1 done, 2 failed"; got != want {
		t.Errorf("last line is %q, want %q", got, want)
	}
	_, reason := os.ReadFile(missing)
	complaints := slices.Collect(strings.Lines(errs.String()))
	if len(complaints) != 2 {
		t.Fatalf("standard error has %d lines, want one for each file:\n%s", len(complaints), &errs)
	}
	if want := "digest: " + missing + ": failed: " + reason.Error() + "\n"; complaints[0] != want {
		t.Errorf("first complaint is %q, want %q", complaints[0], want)
	}
	if want := "digest: " + directory + ": failed: "; !strings.HasPrefix(complaints[1], want) {
		t.Errorf("second complaint is %q, want it to begin with %q", complaints[1], want)
	}
}

func TestDigestOfALargeFileIsThatOfAllOfIt(t *testing.T) {
	const million = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
	path := file(t, "million", strings.Repeat("a", 1_000_000))
	var out, errs bytes.Buffer
	run(t.Context(), []string{path}, &out, &errs)
	digests, _ := printed(out.String())
	if want := "sha256 " + million + " " + path; !slices.Contains(digests, want) {
		t.Errorf("no line %q in:\n%s%s", want, &out, &errs)
	}
}

func TestDigestUsage(t *testing.T) {
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		errs   string // how standard error begins
	}{
		{"no arguments", nil, 2, "usage: digest "},
		{"help", []string{"-h"}, 0, "usage: digest "},
		{"unknown flag", []string{"-x"}, 2, "flag provided but not defined: -x\nusage: "},
		{"timeout that is none", []string{"-timeout", "0s", "abc"}, 2, "digest: dispatch: invalid option"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if status := run(t.Context(), tt.args, &out, &errs); status != tt.status {
				t.Errorf("exit status is %d, want %d", status, tt.status)
			}
			if !strings.HasPrefix(errs.String(), tt.errs) {
				t.Errorf("standard error is %q, want it to begin with %q", &errs, tt.errs)
			}
			if out.Len() > 0 {
				t.Errorf("standard output has %q, want nothing", &out)
			}
		})
	}
}

func TestDigestStopsWhenInterrupted(t *testing.T) {
	path := file(t, "abc", "abc")
	ctx, interrupt := context.WithCancelCause(t.Context())
	interrupt(errors.New("interrupt"))
	var out, errs bytes.Buffer
	if status := run(ctx, []string{path}, &out, &errs); status != 1 {
		t.Errorf("exit status is %d, want 1", status)
	}
	if got, want := errs.String(), "digest: interrupted before "+path+"\n"; got != want {
		t.Errorf("standard error is %q, want %q", got, want)
	}
	if out.Len() > 0 {
		t.Errorf("standard output has %q, want nothing", &out)
	}
}

// endless is a file without an end.
type endless struct{ reads int }

func (e *endless) Read(p []byte) (int, error) {
	e.reads++
	return len(p), nil
}

func TestReadingEndsWithTheContext(t *testing.T) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	var file endless
	r := reader{ctx, &file}
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatalf("error before the end is %v", err)
	}
	cancel(cause)
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, cause) || file.reads != 1 {
		t.Errorf("error is %v after %d reads, want %v after 1", err, file.reads, cause)
	}
}
