package registry

import (
	"slices"
	"sort"
)

// chunkSize is the greatest length of a chunk. Copying that much takes less time
// than the other parts of a removal.
const chunkSize = 64

// A list holds registrants in the order of their IDs. It is cut into chunks, so
// that one of very many is quickly added or removed and the list is quickly copied.
//
// A copy may be read while the list changes, because elements of a chunk are not
// overwritten: adding writes behind the end that the copy knows of, and removing
// replaces the chunk.
type list[R Registrant] [][]R

func id[R Registrant](x R) uint64 { return x.Registered().ID }

// add appends a registrant whose ID is greater than any in the list.
func (l *list[R]) add(x R) {
	last := len(*l) - 1
	if last < 0 || len((*l)[last]) == chunkSize {
		*l = append(*l, []R{x})
		return
	}
	(*l)[last] = append((*l)[last], x)
}

// search returns the chunk, and the place in it, of the first registrant whose key
// is at least the one given. The list must be in the order of the keys.
func (l list[R]) search(least uint64, key func(R) uint64) (i, j int) {
	i = sort.Search(len(l), func(i int) bool { return key(l[i][len(l[i])-1]) >= least })
	if i < len(l) {
		j = sort.Search(len(l[i]), func(j int) bool { return key(l[i][j]) >= least })
	}
	return i, j
}

// remove removes a registrant, which must be in the list.
func (l *list[R]) remove(x R) {
	i, j := l.search(id(x), id)
	if chunk := (*l)[i]; len(chunk) > 1 {
		(*l)[i] = slices.Concat(chunk[:j], chunk[j+1:])
		return
	}
	*l = slices.Delete(*l, i, i+1)
}
