package main

import (
	"strings"
)

func groupChecks() []check {
	return []check{
		{"group: left out of requests to all", "To a request on the ask subject a node answers for its members that are in no group.", groupLeftOut},
		{"group: one member", "To a request on a group's subject a node answers for its replicas of that group alone.", groupAlone},
	}
}

func groupLeftOut(e *examiner) error {
	if len(e.about.Groups) == 0 {
		return skipped("the node announces no groups")
	}
	r, err := e.answered(e.request, nil)
	if err != nil {
		return err
	}
	for _, word := range r.members() {
		if group, _, found := strings.Cut(word, "/"); found && strings.Count(word, "/") == 1 {
			return wrong("no member of group "+group, "%s", r)
		}
	}
	return nil
}

func groupAlone(e *examiner) error {
	if len(e.about.Groups) == 0 {
		return skipped("the node announces no groups")
	}
	for _, group := range e.about.Groups {
		r, err := e.answered(e.request, func(a *asking) {
			a.msg.Subject = e.prefix + ".v1." + e.space + ".group." + escape(group) + "." + e.topic
			a.set("Dispatch-Group", escape(group))
		})
		if err != nil {
			return err
		}
		if all := r.members(); len(all) != 1 || !strings.HasPrefix(all[0], escape(group)+"/") {
			return wrong("accept "+escape(group)+"/…, one member", "%s", r)
		}
	}
	return nil
}
