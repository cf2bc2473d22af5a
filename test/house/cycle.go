package main

import (
	"maps"
	"slices"
)

// cycle returns the files of the largest cycle: the largest set of files each of
// which leads to all others of the set. A file leads to another one if it uses a
// type, function, method, variable, constant or field that is declared there.
func (p *pack) cycle() (largest []string) {
	for _, component := range components(p.uses()) {
		if len(component) > len(largest) {
			largest = component
		}
	}
	slices.Sort(largest)
	return largest
}

// uses returns which files each file uses.
func (p *pack) uses() map[string]map[string]bool {
	uses := make(map[string]map[string]bool)
	for _, f := range p.syntax {
		uses[p.file(f.Package)] = make(map[string]bool)
	}
	for name, object := range p.info.Uses {
		if object.Pkg() == p.types && object.Pos().IsValid() {
			uses[p.file(name.Pos())][p.file(object.Pos())] = true
		}
	}
	return uses
}

// components returns the strongly connected components of a graph, by Tarjan's
// algorithm.
func components(graph map[string]map[string]bool) (all [][]string) {
	index, low := make(map[string]int), make(map[string]int)
	var stack []string
	var visit func(string)
	visit = func(node string) {
		index[node] = len(index) + 1
		low[node] = index[node]
		stack = append(stack, node)
		for next := range graph[node] {
			if index[next] == 0 {
				visit(next)
				low[node] = min(low[node], low[next])
			} else if slices.Contains(stack, next) {
				low[node] = min(low[node], index[next])
			}
		}
		if low[node] == index[node] {
			i := slices.Index(stack, node)
			all = append(all, slices.Clone(stack[i:]))
			stack = stack[:i]
		}
	}
	for _, node := range slices.Sorted(maps.Keys(graph)) {
		if index[node] == 0 {
			visit(node)
		}
	}
	return all
}
