package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module writes a module with one package and one test, and returns its directory.
func module(t *testing.T, name, test string) string {
	t.Helper()
	directory := filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{
		"go.mod":      "module example.test/" + name + "\n\ngo 1.25.0\n",
		"one_test.go": "package " + name + "\n\nimport \"testing\"\n\nfunc TestOne(t *testing.T) { " + test + " }\n",
	} {
		if err := os.WriteFile(filepath.Join(directory, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

// TestModulesAreTested has go test build and run modules.
func TestModulesAreTested(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	fails, skips, passes := module(t, "fails", `t.Error("got 1")`), module(t, "skips", `t.Skip("this machine lacks a moon")`), module(t, "passes", "")
	breaks := module(t, "breaks", "undefined()")
	for _, tt := range []struct {
		name    string
		modules []string
		noSkips bool
		status  int
		want    []string
	}{
		{"a module that fails does not stop the others", []string{fails, passes}, false, 1, []string{"got 1", "FAIL\texample.test/fails", "ok  \texample.test/passes", "failed: " + fails}},
		{"a module that does not compile does not stop the others", []string{breaks, passes}, false, 1, []string{"undefined: undefined", "ok  \texample.test/passes"}},
		{"a module that is not there does not stop the others", []string{filepath.Join(passes, "none"), passes}, false, 1, []string{"ok  \texample.test/passes"}},
		{"what is skipped is said", []string{skips, passes}, false, 0, []string{"ok  \texample.test/skips", "this machine lacks a moon: 1 test did not run", "ok  \texample.test/passes"}},
		{"nothing may be skipped", []string{skips, passes}, true, 1, []string{"ok  \texample.test/passes", "failed: nothing may be skipped here"}},
		{"no module", nil, false, 2, []string{"no module"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("GOWORK", "off")
			t.Setenv("GOFLAGS", "")
			var out strings.Builder
			if got := run(t.Context(), &out, tt.modules, tt.noSkips); got != tt.status {
				t.Errorf("the exit status is %d, want %d", got, tt.status)
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing", want)
				}
			}
			if t.Failed() {
				t.Log(out.String())
			}
		})
	}
}

// Without cgo, Go has no race detector on most systems.
func TestWithoutRaceDetectorTestsRun(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	t.Setenv("GOWORK", "off")
	t.Setenv("CGO_ENABLED", "0")
	if lacksRace(t.Context()) == "" {
		t.Skip("this system needs no cgo for the race detector")
	}
	var out strings.Builder
	if got := run(t.Context(), &out, []string{module(t, "passes", "")}, false); got != 0 {
		t.Errorf("the exit status is %d, want 0", got)
	}
	for _, want := range []string{"SKIP\tthis machine lacks the race detector: go: -race requires cgo", "ok  \texample.test/passes"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, &out)
		}
	}
}
