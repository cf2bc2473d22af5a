package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/test/books"
)

// auditor collects the records of each call: the entry of the sender and the testimony of each
// witness. It checks them when they are complete, and forgets them.
type auditor struct {
	witnesses int         // how many give a testimony of each call
	cut       atomic.Bool // the bus has been closed

	calls   atomic.Int64
	results atomic.Int64

	mu    sync.Mutex // guards the fields below
	files map[dispatch.CallID]*file
	wrong []error
}

// file has the records of one call that have arrived.
type file struct {
	entry       *books.Entry
	testimonies []books.Testimony
}

// enter adds the entry of a call.
func (a *auditor) enter(e *books.Entry) {
	a.calls.Add(1)
	a.results.Add(int64(len(e.Results)))
	a.add(e.Report.Call, func(f *file) { f.entry = e })
}

// hear adds the testimony of a witness.
func (a *auditor) hear(t books.Testimony) {
	if t.Report.Topic != asked.Name() {
		return // the calls of other topics are not checked
	}
	a.add(t.Report.Call, func(f *file) { f.testimonies = append(f.testimonies, t) })
}

func (a *auditor) add(id dispatch.CallID, put func(*file)) {
	a.mu.Lock()
	f := a.files[id]
	if f == nil {
		f = new(file)
		a.files[id] = f
	}
	put(f)
	complete := f.entry != nil && len(f.testimonies) == a.witnesses
	if complete {
		delete(a.files, id)
	}
	a.mu.Unlock()
	if complete {
		a.check(f)
	}
}

func (a *auditor) check(f *file) {
	err := f.entry.Check()
	gave := map[*books.Witness]bool{}
	for _, t := range f.testimonies {
		err = errors.Join(err, f.entry.Proves(t, t.Witness.Hearing, a.cut.Load()))
		if gave[t.Witness] {
			err = errors.Join(err, fmt.Errorf("%s was told of the end of call %v twice", t.Witness.Name, f.entry.Report.Call))
		}
		gave[t.Witness] = true
	}
	a.report(err)
}

// report records an error, unless err is nil.
func (a *auditor) report(err error) {
	if err == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wrong = append(a.wrong, err)
}

// finish checks that no record is missing after the end of the bus.
func (a *auditor) finish() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, f := range a.files {
		a.wrong = append(a.wrong, fmt.Errorf("call %v: %d of %d witnesses were told of its end, entry: %v", id, len(f.testimonies), a.witnesses, f.entry))
	}
}

// verdict reports whether there were no errors, and prints the first ones.
func (a *auditor) verdict() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, err := range a.wrong[:min(len(a.wrong), 10)] {
		fmt.Printf("\nBROKEN: %v\n", err)
	}
	return len(a.wrong) == 0
}
