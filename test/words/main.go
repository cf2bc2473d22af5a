// Words finds what is ruled out in the texts that users read: documents, the documentation
// of exported names, texts of options and errors, pages, and what examples print. It prints
// the place of each such word, and what to write instead, and fails if there are any.
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

func main() {
	places, err := find(os.DirFS("."))
	if err != nil {
		fmt.Fprintln(os.Stderr, "words:", err)
		os.Exit(2)
	}
	for _, p := range places {
		fmt.Println(p)
	}
	if len(places) > 0 {
		fmt.Fprintf(os.Stderr, "words: %d are ruled out in what users read\n", len(places))
		os.Exit(1)
	}
}

// find returns the places of all words that are ruled out, in the order of the files.
func find(root fs.FS) (places []string, err error) {
	return places, fs.WalkDir(root, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := path.Base(file); entry.IsDir() {
			if name == "node_modules" || name == "testdata" || name != "." && strings.HasPrefix(name, ".") {
				return fs.SkipDir
			}
			return nil
		}
		source, err := fs.ReadFile(root, file)
		if err != nil {
			return err
		}
		read, err := texts(file, source)
		if err != nil {
			return err
		}
		slices.SortStableFunc(read, func(a, b text) int { return a.line - b.line })
		for _, t := range read {
			for _, at := range expression.FindAllStringIndex(t.words, -1) {
				word := t.words[at[0]:at[1]]
				if !isAllowed(file, word) {
					line := t.line + strings.Count(t.words[:at[0]], "\n")
					places = append(places, fmt.Sprintf("%s:%d: %q: write %s", file, line, word, instead(word)))
				}
			}
		}
		return nil
	})
}
