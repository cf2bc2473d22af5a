// Package dispatchdebug serves a live page about a bus of package dispatch: who holds
// things up, what is in flight, how every topic fares, and for each call a waterfall
// that shows who did what when.
//
// # Usage
//
// One line, at the place where the program sets up its HTTP server:
//
//	http.Handle("/debug/dispatch/", dispatchdebug.New(bus))
//
// The path is any that ends in a slash. Nothing is registered on its own account, and
// nothing is needed but this package: the page is embedded and asks nobody else for
// anything. [Handler.Close] ends recording; a handler that lives as long as the
// program need not be closed.
//
// From the moment of New on, the handler records what happens, whether or not anybody
// looks. To look later than something happened is what it is for.
//
// # What is served
//
//	page       …/                the overview
//	           …/?topic=NAME     one topic
//	           …/?call=ID        one call, in flight or kept
//	data.json  …/data.json?…     the same, as data
//	events     …/events?…        the same, again and again as it changes, as server-sent events
//
// The overview takes q (which topics), sort (by what) and page (from 1). The page is
// made of the data and of nothing else, so whatever it shows a script can have. See
// docs/data-json.md for the fields. Its version is in it, and grows when a field goes
// or changes its meaning.
//
// The page needs no JavaScript; with it, it follows the stream. A search is a form, a
// table is sorted by links, and all of it can be used with the keyboard.
//
// # What is kept
//
// Memory is bounded whatever goes on. Of each topic the newest calls are kept in eight
// buckets, by how long they took, and once more if a member failed or was late: so
// quick calls do not push out the slow ones, nor these the failed. [WithRetention] sets
// how many, and how many bytes there are for all. Of one call at most 200 members are
// kept, those in trouble and the slowest first, and 400 callbacks of listeners. Figures
// are kept for the 10,000 topics and 20,000 members that were used last. Names are cut
// at 512 bytes, errors at 1 KiB, stacks at 8 KiB.
//
// Of requests and results nothing is kept, unless [WithSummarize] says what.
//
// # What it costs
//
// Calls in flight are recorded where they run, for less than a microsecond each and
// without allocation; all else is recorded on the observer's own goroutine, which no
// call waits for. Nobody waits for a browser, either. A document is made on the
// goroutine of the request that wants it, and only when that browser is ready to take
// it: what a slow one misses is counted and never made. One that takes nothing for ten
// seconds is let go of.
//
// The handler sets no pprof labels. With dispatch.WithPprofLabels on the bus, a goroutine
// profile shows which goroutine runs which producer.
//
// # Who may see it
//
// By default only this machine, by a name of this machine, and not through a proxy;
// [WithAuth] replaces that rule, and decides as well who sees the texts of errors,
// stacks and summaries. GET and HEAD are the only methods, and nothing can be changed
// from the page. Whatever others have named is shown as text.
//
// # How it was designed
//
// Whoever opens the page has a system that answers too slowly or not at all, and wants
// to know who is to blame; it should take five seconds. So the first thing on it is the
// answer, in words: the names of those who are in the way, the worst first, with what
// they did, where they were added, and a link to a call that shows it. A call begins
// with its verdict in the same way. Figures and tables come after that.
//
// Ink, one blue, and quiet grey are the rule; amber is for late and red for broken, so
// that colour by itself means that something is wrong. It is never the only sign: each
// state has a shape and a word. Figures are set so that digits stay in place as they
// change. docs/adr/0010-live-page.md has the reasons for the rest.
package dispatchdebug
