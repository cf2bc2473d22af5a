// Package dispatchdebug serves a live page about a bus of package dispatch. The page names the
// producers that hold calls up and the listeners that are behind, shows the calls in flight and
// figures of every topic, and draws each call as a waterfall of its members.
//
// # Usage
//
// Add one line where the program sets up its HTTP server:
//
//	http.Handle("/debug/dispatch/", dispatchdebug.New(bus))
//
// The path can be any path that ends in a slash. The package does not register the handler on
// its own. The page is embedded and loads nothing from other servers. [Handler.Close] ends the
// recording and the streams to browsers. Without it, [http.Server.Shutdown] waits for browsers
// that show the page:
//
//	page := dispatchdebug.New(bus)
//	http.Handle("/debug/dispatch/", page)
//	server.RegisterOnShutdown(page.Close)
//
// The handler records from the call of New on, also while no browser shows the page. So the page
// shows what happened before it was opened.
//
// # What is served
//
//	page       …/                the overview
//	           …/?topic=NAME     one topic
//	           …/?call=ID        one call, in flight or kept
//	data.json  …/data.json?…     the same, as data
//	events     …/events?…        the same each time it changes, as server-sent events
//
// The overview has the parameters q (text to search for), sort and page (from 1). Topics and
// calls have q and sort for their members. The page contains nothing that is not in the data, so
// a script gets all that the page shows. docs/data-json.md describes the fields. The document has
// a version, which increases when a field is removed or gets another meaning.
//
// The page works without JavaScript; with JavaScript, it follows the stream. Search is a form,
// tables are sorted by links, and the keyboard is enough to use the page. Rows keep their places
// while the page is updated.
//
// # What is kept
//
// Memory is bounded. For each topic, the handler keeps the newest calls in eight buckets: six by
// duration, one for calls with late members, and one for calls with failed members. So quick
// calls do not displace slow or failed ones. Calls that end within 50 ms, and that all members
// have answered or declined, are all counted, but at most one is kept every 10 ms. The handler
// also keeps a call while a browser shows it. If a run does not return, the handler keeps its
// call until it returns, but at most one such call of each member. [WithRetention] bounds the
// number of calls in a bucket, and the bytes for all calls and figures. Of one call, the handler
// keeps at most 200 members (first those that the end of the call waited for, then those with
// problems, then the slowest) and 400 callbacks of listeners. Names are cut at 512 bytes, errors at 1 KiB, and stacks at 8 KiB.
//
// Requests and results are not kept. [WithSummarize] keeps a summary of them.
//
// # What it costs
//
// The handler has only hooks that follow, see [dispatch.Observer]: they run on the observer's own
// goroutine, no call waits for them, and calls run as if they were not observed. Calls in flight
// come from a Snapshot. New takes one; after that, the handler takes them only for HTTP requests, and
// at most ten times a second. [WithSummarize] and [WithListenerTimes] need other hooks, which make calls cost more.
//
// No call waits for a browser. The goroutine of an HTTP request makes the document, and a stream
// makes the next document only when the browser is ready to take it. Updates that a browser is
// too slow for are counted and not made. A stream to a browser that takes nothing for ten seconds
// ends. There are at most 32 streams. A further stream replaces the one whose browser has taken
// nothing for the longest time.
//
// The handler sets no pprof labels. With dispatch.WithPprofLabels on the bus, a goroutine
// profile shows which goroutine runs which producer.
//
// # Who may see it
//
// By default the page is shown only to requests from the same machine, to a local host name, not
// through a proxy, and not made by a page of another site. [WithAuth] replaces this rule, and also decides whether a request gets
// texts of errors, stacks and summaries. [WithToken] replaces the rule with a token. Behind a
// proxy, use one of the two. The only methods are GET and HEAD, and the page cannot change
// anything. Names and texts from the program are shown as text, never as HTML.
//
// # How it is designed
//
// An operator opens the page because a system answers slowly or not at all, and needs to know the
// cause within five seconds. So the page begins with the answer in words: the names of the
// suspects, sorted by the time that calls lost to them, with what they did, where they were
// added, and a link to a call that shows it. The page of a call begins with its verdict in the
// same way. Figures and tables follow.
//
// Colors mean that something is wrong: amber is late and red is broken. Everything else is black,
// gray and one blue. Each state also has a shape and a word, so no state is shown by its color
// alone. docs/adr/0010-live-page.md and docs/adr/0025-suspects-by-time-lost.md explain the
// other decisions.
package dispatchdebug
