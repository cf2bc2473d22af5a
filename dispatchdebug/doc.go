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
// nothing is needed but this package: the page is embedded and loads nothing from
// elsewhere. [Handler.Close] ends recording and the streams to browsers. Without it
// [http.Server.Shutdown] waits for browsers that show the page:
//
//	page := dispatchdebug.New(bus)
//	http.Handle("/debug/dispatch/", page)
//	server.RegisterOnShutdown(page.Close)
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
// The overview takes q (which topics), sort (by what) and page (from 1); a topic and a call
// take q and sort for their members. The page is made of the data and of nothing else, so
// a script can have all that it shows. See docs/data-json.md for the fields. The document
// has a version, which grows when a field goes or changes its meaning.
//
// The page needs no JavaScript; with it, it follows the stream. A search is a form, a
// table is sorted by links, and all of it can be used with the keyboard. Rows keep their
// places while it is brought up to date.
//
// # What is kept
//
// Memory is bounded, however much goes on. Of each topic the newest calls are kept in eight
// buckets, by how long they took, and once more if a member failed or was late: so
// quick calls do not push out the slow ones, nor these the failed. A call is also kept
// while somebody looks at it, and while a run of it has not returned. [WithRetention] sets
// how many calls are kept, and how many bytes there are for all calls and figures. Of one
// call at most 200 members are kept, those in trouble and the slowest first, and 400
// callbacks of listeners. Names are cut at 512 bytes, errors at 1 KiB, stacks at 8 KiB.
//
// Requests and results are not kept, unless [WithSummarize] says what of them is.
//
// # What it costs
//
// The handler has only hooks that follow, see [dispatch.Observer]: they run on the
// observer's own goroutine, no call waits for them, and calls run as if they were not
// observed. Calls in flight are those of a Snapshot, which is taken when somebody looks, at
// most ten times a second. [WithSummarize] and [WithListenerTimes] need other hooks, which
// make calls cost more.
//
// No call waits for a browser either. A document is made on the goroutine of the request
// that wants it, and only when that browser is ready to take it: what a slow one misses is
// counted and never made. A stream that takes nothing for ten seconds ends. There are at
// most 32; one more takes the place of the one that has taken nothing for longest.
//
// The handler sets no pprof labels. With dispatch.WithPprofLabels on the bus, a goroutine
// profile shows which goroutine runs which producer.
//
// # Who may see it
//
// By default only this machine, by a name of this machine, and not through a proxy.
// [WithAuth] replaces that rule, and decides as well who sees the texts of errors,
// stacks and summaries; [WithToken] replaces it with a token. Behind a proxy one of the two
// is a must. GET and HEAD are the only methods, and nothing can be changed from the page.
// What others have named is shown as text.
//
// # How it is designed
//
// An operator who opens the page has a system that answers too slowly or not at all, and
// wants to know who is to blame within five seconds. So the first thing on the page is the
// answer, in words: the names of those who hold things up, sorted by the time that calls
// lost to them, with what they did, where they were added, and a link to a call that shows
// it. A call begins with its verdict in the same way. Figures and tables come after that.
//
// Ink, one blue, and quiet grey are the rule; amber is for late and red for broken, so
// that color by itself means that something is wrong. It is never the only sign: each
// state has a shape and a word. docs/adr/0010-live-page.md and
// docs/adr/0025-suspects-by-time-lost.md have the reasons for the rest.
package dispatchdebug
