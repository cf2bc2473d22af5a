package dispatch_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Every promise of docs/contract.md has its number, and names at least one test that holds it;
// all tests that it names exist.
func TestContractNamesTheTestsThatHoldIt(t *testing.T) {
	exists := namesOfTests(t)
	promise := regexp.MustCompile(`(?m)^(\d+)\. `)
	contract := readFile(t, "docs/contract.md")
	starts := promise.FindAllStringSubmatchIndex(contract, -1)
	if len(starts) == 0 {
		t.Fatal("docs/contract.md has no numbered promise")
	}
	for i, start := range starts {
		end := len(contract)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		number := contract[start[2]:start[3]]
		if number != strconv.Itoa(i+1) {
			t.Errorf("promise %d has the number %s", i+1, number)
		}
		_, tests, ok := strings.Cut(contract[start[0]:end], "\n"+strings.Repeat(" ", len(number)+2)+"Tests: ")
		if !ok {
			t.Errorf("promise %s has no line with tests", number)
			continue
		}
		tests, _, _ = strings.Cut(tests, ".\n")
		names := regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(tests, -1)
		if len(names) == 0 {
			t.Errorf("promise %s names no test", number)
		}
		for _, name := range names {
			if !exists[name[1]] {
				t.Errorf("promise %s names %s, which is no test", number, name[1])
			}
		}
	}
}

// namesOfTests returns the names of all tests, examples and fuzz targets of all modules.
func namesOfTests(t *testing.T) map[string]bool {
	t.Helper()
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Example|Fuzz)\w*)\(`)
	names := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); name == "node_modules" || name != "." && strings.HasPrefix(name, ".") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range declaration.FindAllStringSubmatch(string(source), -1) {
			names[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
