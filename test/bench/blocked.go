package main

import (
	"context"

	"github.com/seed-bb4b4d74/dispatch"
)

// besideBlocked returns the side with a second listener, which blocks. Each round has a new
// one: results that wait from earlier rounds would only make garbage collections longer.
func besideBlocked(name string, mailbox ...dispatch.ListenerOption) contender {
	return contender{name, func(producers int) (*side, error) {
		d := dispatch.New[int, int]()
		s, _, err := newDispatchedOn(d, setup{work: quick, producers: producers})
		if err != nil {
			return nil, err
		}
		leave := func() {}
		s.Before = func() error {
			leave()
			release := make(chan struct{})
			l, err := d.AddListener(topic, func(context.Context, result) { <-release }, mailbox...)
			if err != nil {
				return err
			}
			leave = func() {
				l.Remove()
				close(release)
			}
			return nil
		}
		shut := s.close
		s.close = func() {
			leave()
			shut()
		}
		return s, nil
	}}
}
