package main

import (
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
)

// checksOfVersion1 returns the checks of version 1, in the order of docs/wire-protocol.md. Each check sends
// its own requests, so that it can fail alone.
func checksOfVersion1() []check {
	return slices.Concat(presenceChecks(), requestChecks(), replyChecks(), rejectChecks(), timeChecks(), groupChecks(), []check{{
		"the node is still there",
		"A message that is malformed or not meant for a node is ignored or rejected.",
		stillThere,
	}})
}

func stillThere(e *examiner) error {
	subject := e.prefix + ".v1." + e.space + ".ask." + e.topic
	for _, h := range []nats.Header{nil, {"Dispatch-Type": {"request"}}, {"Dispatch-Type": {"cancel"}}} {
		m := nats.NewMsg(subject)
		m.Header, m.Data = h, []byte("\x00\xff{")
		if err := e.nc.PublishMsg(m); err != nil {
			return err
		}
	}
	if err := e.nc.Publish(e.prefix+"."+e.space+".probe", []byte(e.topic)); err != nil { // without a reply subject
		return err
	}
	if _, err := e.answered(e.request, nil); err != nil {
		return err
	}
	in, err := e.probe(e.topic)
	if err != nil {
		return err
	}
	defer in.close()
	a, err := e.announced(in)
	if err == nil && a.Epoch != e.about.Epoch {
		err = wrong(fmt.Sprintf("the epoch %d, for the node has not started again", e.about.Epoch), "%d", a.Epoch)
	}
	return err
}
