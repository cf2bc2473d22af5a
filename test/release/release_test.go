// Package release tests the script that makes the commit of a release.
package release

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const changeLog = "# Change log\n\n## [0.2.0] - Unreleased\n\n- New.\n\n## [0.1.0] - 2026-01-02\n\n- Old.\n"

// files are those of a repository with two released modules and one for tests.
func files() map[string]string {
	return map[string]string{
		"CHANGELOG.md": changeLog,
		"go.mod":       "module example.test/root\n\ngo 1.25.0\n",
		"root.go":      "package root\n",
		"nested/go.mod": "module example.test/root/nested\n\ngo 1.25.0\n\n" +
			"require example.test/root v0.1.0\n\nreplace example.test/root => ../\n",
		"nested/nested.go": "package nested\n\nimport _ \"example.test/root\"\n",
		"nested/test/go.mod": "module example.test/root/nested/test\n\ngo 1.25.0\n\n" +
			"require (\n\texample.test/root v0.1.0 // indirect\n\texample.test/root/nested v0.1.0\n)\n\n" +
			"replace (\n\texample.test/root => ../../\n\texample.test/root/nested => ../\n)\n",
		"nested/test/test.go": "package test\n\nimport _ \"example.test/root/nested\"\n",
	}
}

// repository is a Git repository with these files, and the script, in one commit.
type repository struct {
	t         *testing.T
	directory string
}

func newRepository(t *testing.T, files map[string]string) *repository {
	t.Helper()
	if testing.Short() {
		t.Skip("runs git many times")
	}
	for _, tool := range []string{"git", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("this machine lacks " + tool)
		}
	}
	script, err := os.ReadFile("../../.ci/release")
	if err != nil {
		t.Fatal(err)
	}
	r := &repository{t: t, directory: t.TempDir()}
	files[".ci/release"] = string(script)
	for name, content := range files {
		r.write(name, content)
	}
	for name, value := range map[string]string{
		"GOWORK": "off", "GOFLAGS": "-buildvcs=false", "GOPROXY": "off", "GIT_CONFIG_GLOBAL": os.DevNull, "GIT_CONFIG_SYSTEM": os.DevNull,
		"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.test", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.test",
	} {
		t.Setenv(name, value)
	}
	r.must("git", "init", "-q")
	r.must("git", "add", "-A")
	r.must("git", "commit", "-q", "-m", "all: everything")
	return r
}

func (r *repository) write(name, content string) {
	r.t.Helper()
	name = filepath.Join(r.directory, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o700); err != nil {
		r.t.Fatal(err)
	}
}

func (r *repository) run(name string, args ...string) (string, error) {
	cmd := exec.CommandContext(r.t.Context(), name, args...)
	cmd.Dir = r.directory
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (r *repository) must(name string, args ...string) string {
	r.t.Helper()
	out, err := r.run(name, args...)
	if err != nil {
		r.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func (r *repository) release(version string) (string, error) {
	return r.run("bash", ".ci/release", version, ".", "nested")
}

func TestReleaseIsOneCommit(t *testing.T) {
	for _, heading := range []string{"## [0.2.0] - Unreleased", "## [Unreleased]"} {
		t.Run(heading, func(t *testing.T) {
			before := files()
			before["CHANGELOG.md"] = strings.Replace(changeLog, "## [0.2.0] - Unreleased", heading, 1)
			r := newRepository(t, maps.Clone(before))
			out, err := r.release("v0.2.0")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for name, content := range files() {
				want := strings.ReplaceAll(content, " v0.1.0", " v0.2.0")
				got, err := os.ReadFile(filepath.Join(r.directory, name))
				if err != nil {
					t.Fatal(err)
				}
				if name == "CHANGELOG.md" {
					got = regexp.MustCompile(`(?m)^## \[0\.2\.0\] - \d{4}-\d\d-\d\d$`).ReplaceAll(got, []byte("## [0.2.0] - Unreleased"))
				}
				if diff := cmp.Diff(want, string(got)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			if got := r.must("git", "log", "--format=%s"); got != "all: release v0.2.0\nall: everything\n" {
				t.Errorf("the commits are %q", got)
			}
			if got := r.must("git", "status", "--porcelain") + r.must("git", "tag"); got != "" {
				t.Errorf("changes and tags: %q, want none", got)
			}
			commit := strings.TrimSpace(r.must("git", "rev-parse", "--short", "HEAD"))
			for _, want := range []string{
				"git tag -a v0.2.0 -m v0.2.0 " + commit, "git tag -a nested/v0.2.0 -m nested/v0.2.0 " + commit, "git push origin v0.2.0 nested/v0.2.0",
			} {
				if !slices.Contains(strings.Split(out, "\n"), "\t"+want) {
					t.Errorf("%q is missing in:\n%s", want, out)
				}
			}
		})
	}
}

// A release that is refused changes nothing.
func TestReleaseRefuses(t *testing.T) {
	nothing := func(*repository) {}
	for _, tt := range []struct {
		name, version string
		arrange       func(*repository)
		want          string
	}{
		{"no version", "", nothing, `VERSION is "", want a version such as v0.1.0`},
		{"no v", "0.2.0", nothing, `VERSION is "0.2.0"`},
		{"two numbers", "v0.2", nothing, `VERSION is "v0.2"`},
		{"a zero in front", "v0.02.0", nothing, `VERSION is "v0.02.0"`},
		{"what follows", "v0.2.0 ", nothing, `VERSION is "v0.2.0 "`},
		{"another path", "v2.0.0", nothing, "do not end in v2"},
		{"a change", "v0.2.0", func(r *repository) { r.write("root.go", "package root // changed\n") }, "not committed"},
		{"a new file", "v0.2.0", func(r *repository) { r.write("new.go", "package root\n") }, "not committed"},
		{"a tag of the root", "v0.2.0", func(r *repository) { r.must("git", "tag", "v0.2.0") }, "the tag v0.2.0 is there already"},
		{"a tag of a nested module", "v0.2.0", func(r *repository) { r.must("git", "tag", "nested/v0.2.0") }, "the tag nested/v0.2.0 is there already"},
		{"another section", "v0.3.0", nothing, `the change log begins with "## [0.2.0] - Unreleased", want "## [Unreleased]" or "## [0.3.0] - Unreleased"`},
		{"a module that does not load", "v0.2.0", func(r *repository) {
			r.write("nested/nested.go", "package nested\n\nimport _ \"example.test/other\"\n")
			r.must("git", "commit", "-q", "-a", "-m", "nested: import what is not there")
		}, "example.test/other"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRepository(t, files())
			tt.arrange(r)
			state := func() string {
				return r.must("git", "rev-parse", "HEAD") + r.must("git", "status", "--porcelain") + r.must("git", "tag") + r.must("git", "diff")
			}
			before := state()
			out, err := r.release(tt.version)
			if err == nil || !strings.Contains(out, tt.want) {
				t.Errorf("got %v and %q, want a failure that says %q", err, out, tt.want)
			}
			if diff := cmp.Diff(before, state()); diff != "" {
				t.Errorf("the repository has changed (-before +after):\n%s", diff)
			}
		})
	}
}

// The tag of a command names a commit that is not on the branch, in which the command has no
// replace directives: go install refuses those.
func TestACommandIsTaggedWithoutReplace(t *testing.T) {
	with := files()
	const requires = "module example.test/root/command\n\ngo 1.25.0\n\nrequire example.test/root v0.1.0\n"
	with["command/go.mod"] = requires + "\nreplace example.test/root => ../\n\nreplace (\n\texample.test/root/nested => ../nested\n)\n"
	with["command/main.go"] = "package main\n\nimport _ \"example.test/root\"\n\nfunc main() {}\n"
	r := newRepository(t, with)
	out, err := r.run("bash", ".ci/release", "v0.2.0", ".", "nested", "command")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tag := regexp.MustCompile(`(?m)^\tgit tag -a command/v0\.2\.0 -m command/v0\.2\.0 (\w+)$`).FindStringSubmatch(out)
	if tag == nil {
		t.Fatalf("no tag of the command in:\n%s", out)
	}
	want := strings.ReplaceAll(requires, "v0.1.0", "v0.2.0") + "\n"
	if diff := cmp.Diff(want, r.must("git", "show", tag[1]+":command/go.mod")); diff != "" {
		t.Errorf("go.mod under the tag (-want +got):\n%s", diff)
	}
	if got := r.must("git", "diff", "--name-only", "HEAD", tag[1]); got != "command/go.mod\n" {
		t.Errorf("the commit of the tag changes %q", got)
	}
	if head, parent := r.must("git", "rev-parse", "HEAD"), r.must("git", "rev-parse", tag[1]+"^"); parent != head {
		t.Errorf("the parent of the commit is %s, want the release %s", parent, head)
	}
	if !strings.Contains(r.must("git", "show", "HEAD:command/go.mod"), "replace") || r.must("git", "status", "--porcelain") != "" {
		t.Error("the replace directives have not stayed on the branch")
	}
}
