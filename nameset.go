package dispatch

// nameSet is a set of the names of WithTargets or WithRequired. It knows which of them stand for a member without
// a comparison of each name with each member.
type nameSet struct {
	names []string            // in order, each once
	at    map[string]int      // where a name is in names
	met   []bool              // of each name: a member has had it
	under map[string][]string // the names before a slash, and those that go on behind it: "g" has "g/a" and "g/b"
	left  int                 // names that no member has had yet
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
	s.met, s.left = make([]bool, len(s.names)), len(s.names)
	return s
}

// meets reports whether a name of the set stands for the member, see [Member.Matches], and notes all that do.
func (s *nameSet) meets(m Member) (found bool) {
	found = s.meetsHere(m, "")
	if m.Node == "" {
		return found
	}
	node := m.Node + "/"
	found = s.meetsHere(m, node) || found
	return s.meet(node+"*") || found
}

// meetsHere is meets for the names that have this prefix before those of [Member.matchesHere].
func (s *nameSet) meetsHere(m Member, prefix string) (found bool) {
	found = m.Name != "" && s.meet(prefix+m.Name)
	if m.Group == "" {
		return found
	}
	group := prefix + m.Group
	found = s.meet(group) || found
	if m.Name != "" {
		return s.meet(group+"/"+m.Name) || found
	}
	for _, replica := range s.under[group] {
		found = s.meet(replica) || found
	}
	return found
}

func (s *nameSet) meet(name string) bool {
	i, ok := s.at[name]
	if ok && !s.met[i] {
		s.met[i] = true
		s.left--
	}
	return ok
}

// missing returns the names that no member has had.
func (s *nameSet) missing() (missing []string) {
	for i, name := range s.names {
		if !s.met[i] {
			missing = append(missing, name)
		}
	}
	return missing
}
