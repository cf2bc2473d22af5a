package dispatch

// nameSet is a set of the names of WithTargets or WithRequired. It knows which of them stand for a member without
// a comparison of each name with each member.
type nameSet struct {
	names []string            // in order, each once
	at    map[string]int      // where a name is in names
	met   []int               // of each name: how many members have it
	under map[string][]string // the names before a slash, and those that go on behind it: "g" has "g/a" and "g/b"
	left  int                 // names that no member has
}

func newNameSet(names []string) *nameSet {
	s := &nameSet{at: make(map[string]int, len(names))}
	for _, name := range names {
		if _, again := s.at[name]; again {
			continue
		}
		s.at[name] = len(s.names)
		s.names = append(s.names, name)
		for i := range len(name) - 1 {
			if name[i] == '/' {
				if s.under == nil {
					s.under = make(map[string][]string)
				}
				s.under[name[:i]] = append(s.under[name[:i]], name)
			}
		}
	}
	s.met, s.left = make([]int, len(s.names)), len(s.names)
	return s
}

// meets reports whether a name of the set stands for the member, see [Member.Matches], and notes all that do.
func (s *nameSet) meets(m Member) (found bool) { return s.count(m, 1) }

// loses takes back what meets has noted of a member.
func (s *nameSet) loses(m Member) { s.count(m, -1) }

// count reports whether a name of the set stands for the member, and counts by for all that do.
func (s *nameSet) count(m Member, by int) (found bool) {
	found = s.countHere(m, "", by)
	if m.Node == "" {
		return found
	}
	node := m.Node + "/"
	found = s.countHere(m, node, by) || found
	return s.add(node+"*", by) || found
}

// countHere is count for the names that have this prefix before those of [Member.matchesHere].
func (s *nameSet) countHere(m Member, prefix string, by int) (found bool) {
	found = m.Name != "" && s.add(prefix+m.Name, by)
	if m.Group == "" {
		return found
	}
	group := prefix + m.Group
	found = s.add(group, by) || found
	if m.Name != "" {
		return s.add(group+"/"+m.Name, by) || found
	}
	for _, replica := range s.under[group] {
		found = s.add(replica, by) || found
	}
	return found
}

// add counts by for a name, and reports whether the set has it.
func (s *nameSet) add(name string, by int) bool {
	i, ok := s.at[name]
	if !ok {
		return false
	}
	if s.met[i] == 0 {
		s.left--
	}
	if s.met[i] += by; s.met[i] == 0 {
		s.left++
	}
	return true
}

// missing returns the names that no member has.
func (s *nameSet) missing() (missing []string) {
	for i, name := range s.names {
		if s.met[i] == 0 {
			missing = append(missing, name)
		}
	}
	return missing
}
