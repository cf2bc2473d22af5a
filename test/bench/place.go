package main

import (
	"cmp"
	"slices"
	"strings"
)

// occasion is what was done while a lock was held that others waited for.
type occasion string

const (
	duringLookup  occasion = "Send, looking for producers"
	duringSend    occasion = "Send, otherwise"
	duringRest    occasion = "the rest of dispatch"
	duringRuntime occasion = "the runtime's own locks"
	duringOther   occasion = "elsewhere"
)

var occasions = []occasion{duringLookup, duringSend, duringRest, duringRuntime, duringOther}

// judge tells the occasion by the functions on a stack, and where in dispatch it
// was: the innermost of its functions, or nothing.
func judge(functions []string) (during occasion, where string) {
	sending, looking := false, false
	for _, f := range functions {
		name, ours := dispatchFunction(f)
		if ours && where == "" {
			where = name
		}
		sending = sending || ours && strings.HasSuffix(name, ").Send")
		looking = looking || ours && strings.HasPrefix(name, "(*registry).") || strings.HasPrefix(f, "sync.(*Map).")
	}
	switch {
	case strings.HasPrefix(functions[0], "runtime."):
		return duringRuntime, ""
	case sending && looking:
		return duringLookup, where
	case sending:
		return duringSend, where
	case where != "":
		return duringRest, where
	default:
		return duringOther, ""
	}
}

// module is the path of dispatch.
const module = "github.com/seed-bb4b4d74/dispatch"

// dispatchFunction returns the short name of a function if it is one of dispatch
// or of the packages below it, apart from this one.
func dispatchFunction(function string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(function, module)
	switch {
	case !ok || strings.HasPrefix(rest, "/test/bench."):
		return "", false
	case strings.HasPrefix(rest, "/internal/"):
		return strings.TrimPrefix(rest, "/internal/"), true
	default:
		return strings.CutPrefix(rest, ".")
	}
}

// findings are contentions by what they happened to.
type findings struct {
	during map[occasion]contentions
	where  map[string]contentions // the functions of dispatch
}

func newFindings(seen map[stack]contentions) findings {
	f := findings{make(map[occasion]contentions), make(map[string]contentions)}
	for s, met := range seen {
		if met.count == 0 {
			continue
		}
		during, where := judge(s.functions())
		f.during[during] = f.during[during].plus(met)
		if where != "" {
			f.where[where] = f.where[where].plus(met)
		}
	}
	return f
}

// worst returns at most n functions, those with the most contentions.
func (f findings) worst(n int) (names []string) {
	for name := range f.where {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(f.where[b].count, f.where[a].count), cmp.Compare(a, b))
	})
	return names[:min(n, len(names))]
}
