package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// layers reads from docs/architecture.md the layers of the root package, the highest one
// first, and returns in which layer each file is.
func layers(page string) (of map[string]int, names []string, err error) {
	_, rest, ok := strings.Cut(page, "\n package dispatch\n")
	picture, _, closed := strings.Cut(rest, "│")
	if !ok || !closed {
		return nil, nil, fmt.Errorf("the page has no picture of package dispatch")
	}
	of = make(map[string]int)
	for line := range strings.Lines(picture) {
		words := strings.Fields(line)
		if len(words) > 0 && !strings.HasSuffix(words[0], ".go") {
			names = append(names, words[0])
		}
		for _, word := range words {
			if strings.HasSuffix(word, ".go") {
				of[word] = len(names) - 1
			}
		}
	}
	return of, names, nil
}

// upward returns what is wrong with the files of the package: they are in no layer, or use
// a layer above their own.
func upward(uses map[string]map[string]bool, of map[string]int, names []string) (wrong []string) {
	for file, used := range uses {
		own, ok := of[file]
		if !ok {
			wrong = append(wrong, file+" is in no layer")
			continue
		}
		for other := range used {
			if layer, ok := of[other]; ok && layer < own {
				wrong = append(wrong, fmt.Sprintf("%s (%s) uses %s (%s)", file, names[own], other, names[layer]))
			}
		}
	}
	for file := range of {
		if _, ok := uses[file]; !ok {
			wrong = append(wrong, "there is no "+file)
		}
	}
	slices.Sort(wrong)
	return wrong
}

var (
	located  = regexp.MustCompile("((?:[a-z]+/)?[a-z_]+\\.go): ((?:`[^`]+`(?:, (?:with )?| and )?)+)")
	function = regexp.MustCompile("`([^`]+)`")
)

// misplaced returns the functions and types that the page says to be in a file where they
// are not. declared has the names that each file declares; the files of internal packages
// are known by the last folder and the name.
func misplaced(page string, declared map[string]map[string]bool) (wrong []string) {
	for _, m := range located.FindAllStringSubmatch(page, -1) {
		for _, f := range function.FindAllStringSubmatch(m[2], -1) {
			name := f[1][strings.LastIndex(f[1], ".")+1:]
			there := false
			for file, names := range declared {
				there = there || (file == m[1] || strings.HasSuffix(file, "/"+m[1])) && names[name]
			}
			if !there {
				wrong = append(wrong, fmt.Sprintf("%s is not in %s", f[1], m[1]))
			}
		}
	}
	return wrong
}
