// Package natsdispatch spreads the topics of package dispatch over machines that
// are connected by NATS: one line serves the producers of a bus, one line lets a
// bus elsewhere ask them, and the call site does not change.
//
// # Usage
//
// On every machine that has producers, [Serve] lets them be asked:
//
//	node, err := natsdispatch.Serve(nc, cell, Measure, natsdispatch.WithNode("cell-7"))
//
// On the machine that asks, [Join] brings them into the calls of a bus:
//
//	_, err = natsdispatch.Join(nc, floor, Measure)
//	values, err := floor.Gather(ctx, Measure, req)
//
// Local and remote members take part alike: results come one by one as they are
// there, First and quorums end the call at once wherever the answers come from, and
// the report names everybody, as "cell-7/site-1". A process may do both; it then asks
// its own producers once, and not by the network.
//
// The connection is the caller's, who makes and closes it, and sets its handlers.
// nats.Connect(url, [Robust]) is what both sides want of it; what is missing is said
// in an error.
//
// # What is promised
//
//  1. One request goes to all nodes, and each node runs it on its own bus, under the
//     policies of that bus, with the time that the call has left, less a little for
//     the way back. Topic defaults and call options are the asker's.
//  2. Delivery is at most once. A request to a group is not sent again unless [WithResend]
//     says so. One to nodes is if one of them comes back from a broken connection and has not
//     accepted it; it has the same id, and no node runs that twice.
//  3. A member's results come in its order and before its end. What a node has sent
//     and what did not arrive, because one of the two was without a connection, is sent again
//     within the time of the call. What cannot be is named. Neither side, nor the servers,
//     hold more than [WithWindow] of a call on the way, and [WithMaxWaiting] on a node. What producers
//     have returned before it could be sent waits besides, up to [WithMaxBacklog], and so does what the
//     program has not read.
//  4. The end of a call reaches the nodes, with its cause, so that no node works for
//     nothing; and if it does not, because the asker has crashed, the time is bounded.
//  5. Producers of one group on several nodes are one member, and one of them is
//     asked. Those of the same group on the asker's own bus are another member.
//  6. Panics, errors, overload and removal arrive as such: [errors.Is] reaches the
//     sentinels of package dispatch, and [*RemoteError] has the text.
//
// # Who is missing
//
// A node is expected to answer if it has announced itself, or if [WithNodes] names it, and
// also if it answers without that. It is in the call before the request is sent, as
// "node/*"; when it accepts, its members take that place. A node that misses three beats
// stays expected for [WithForget]; one that says bye does not. What becomes of its members:
//
//	accepted, not ended by the deadline                  Late
//	not accepted by the deadline                         node/* or */group Late
//	not accepted within WithAcceptWindow                 node/* Failed, ErrUnreachable
//	no replica of a group has accepted within it         */group Failed, ErrUnreachable
//	said bye, missed its beats, or started again          Gone, at once
//	missed its beats before the call                     node/* Gone, at once
//	all have missed beats, or NATS answers no ping       Failed, ErrUnreachable: we are cut off
//	two processes have its name                          node/* Failed, dispatch.ErrDuplicate
//	refused, for it has too much to do                   node/* Rejected, ErrOverloaded
//	other types, codec or version of the protocol        node/* Failed, ErrIncompatible
//	fewer results have come than it has counted          Failed, ErrLost
//	its results have exceeded WithMaxBacklog             Failed, ErrLost
//	a result that is larger than WithMaxResult           Failed, ErrTooLarge
//	no connection within WithReconnectWait               node/* Failed, ErrUnreachable
//	our connection is closed                             Failed, ErrUnreachable
//
// The star stands for all members of a node, whose names the asker does not know then. If there
// is no connection and no node is known, or a request is larger than the server
// allows, the report lists the relay itself, "nats:dispatch.default", as Failed. If
// there is no node, a call has no remote members, and local ones are unaffected.
//
// A call waits for its local members and for the nodes that it expects, and ends when
// all are known to have ended. The first calls after Join, or after a reconnect, ask at once,
// and do not end before the nodes have had [WithDiscovery] to announce themselves, but wait
// no longer for that than a quarter of their time.
//
// # Stopping
//
// Call [Node.Drain] before nc.Drain: it finishes what the node has in hand, waits until the askers have
// had it, and says bye.
// nc.Drain alone loses what is in hand, which the error handler is told.
//
// # Values
//
// Requests and results are written by a [Codec]: [JSON], [Gob], or one of your own.
// Serve and Join refuse types of which their codec would write nothing. Error texts are cut at
// 4 KiB, and less if the server's max_payload is small, which has to be at least 2 KiB.
// Both sides compare a [Fingerprint] of their types, so that nodes that were built
// with incompatible types are refused, and do not misread values; [WithTypes] is for types that grow.
// Results that are larger than one message are sent in pieces, requests are not.
//
// # Errors
//
// A server reports what it refuses asynchronously. Serve and Join wait for its answer to
// what they send and return its refusal; later ones, among them those of replies and
// requests, go to [WithErrorHandler] and [Node.Err] or [Remote.Err] within one beat,
// or two seconds. They are found by asking the connection for its last error: one that
// is followed by another at once may be missed. What the server refuses other parts of the
// program is left to them. The error handler of the connection, of which there is only
// one, stays the caller's.
//
// What happens to nodes and to the connection is told to [OnNode] and logged, once each, whether
// there are calls or not; see [NodeEvent] and [WithLogger].
//
// Node names are what nodes say they are. Subjects and permissions of the server bound
// who may speak; [WithVerify] with [WithSign] proves who has spoken. See docs/security.md.
//
// # Concurrency
//
// Everything may be used concurrently. A [Node] at rest has one goroutine of its own
// besides those of its subscriptions, and after its first request another one, which waits for
// the next. A [Remote] has three, and a request in hand has up
// to three on the node and one at the asker. Close waits for all of them. No lock is
// held while codecs, hooks or producers run.
//
// The protocol is described in docs/wire-protocol.md; programs in other languages can
// answer and ask by it.
package natsdispatch
