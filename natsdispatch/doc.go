// Package natsdispatch connects the topics of package dispatch across machines with NATS:
// one line serves the producers of a bus, one line lets a
// bus on another machine ask them, and the call site does not change.
//
// # Usage
//
// On every machine that has producers, [Serve] makes the bus answer requests from other machines:
//
//	node, err := natsdispatch.Serve(nc, cell, Measure, natsdispatch.WithNode("cell-7"))
//
// On the machine that asks, [Join] adds these producers to the calls of a bus:
//
//	_, err = natsdispatch.Join(nc, floor, Measure)
//	values, err := floor.Gather(ctx, Measure, req)
//
// Local and remote members follow the same rules: results arrive one by one,
// First and quorums end the call at once wherever the answers come from, and
// the report names every member, such as "cell-7/site-1". A process may call both functions; a call
// then asks the process's own producers once, and not over the network.
//
// The caller makes and closes the connection, and sets its handlers.
// nats.Connect(url, [Robust]) sets the options that both sides need; Serve and Join return an error
// if one is missing.
//
// # What is promised
//
//  1. One request goes to all nodes, and each node runs it on its own bus, under the
//     policies of that bus, with the time that the call has left, minus a little for
//     the way back. The asker's topic defaults and call options apply to the call.
//  2. Delivery is at most once. A request to a group is repeated only with [WithResend]. A request
//     to nodes is repeated to a node that comes back from a broken connection and has not accepted it. The
//     repetition is for the same process of the node, and has the same id, which no node runs twice.
//  3. A member's results arrive in the order in which the member returned them, and before its end. If
//     messages of a node are lost because one side had no connection, the node sends them again
//     within the time of the call. Results that cannot be sent again are reported as lost. [WithWindow] bounds
//     the bytes of a call that are on their way, and [WithMaxWaiting] the bytes of replies that a node
//     holds. If producers return results faster than the node can send them, further results wait on the
//     node, up to [WithMaxBacklog]. At the asker, a call keeps the results that the program has not read.
//  4. The end of a call reaches the nodes, with its cause, so that no node works for a call that
//     has ended. If the asker has crashed, the nodes stop at the end of the call's time.
//  5. The replicas of one group on several nodes are one member, and one of them is
//     asked. The replicas of this group on the asker's own bus are another member. A group whose name has more
//     than 341 bytes may be too long for a subject, and a name that is no UTF-8 cannot be announced. The node
//     reports such a group once, and then asks it only for [dispatch.WithTargets] with the name of the node.
//  6. Panics, errors, overload and removal keep their kind: [errors.Is] reaches the
//     sentinels of package dispatch that the protocol knows, and [*RemoteError] has the text.
//
// # Who is missing
//
// A call expects each node that has announced itself, or that [WithNodes] names. The node is in the call
// before the request is sent, as "node/*"; when the node accepts, its members replace "node/*". A node that
// answers but was not expected also takes part. A node that misses three beats
// stays expected for [WithForget]; a node that says bye is forgotten at once. The outcomes of a node's members:
//
//	accepted, not ended by the deadline                  Late
//	not accepted by the deadline                         node/* or */group Late
//	not accepted within WithAcceptWindow                 node/* Failed, ErrUnreachable
//	no replica accepted within WithAcceptWindow          */group Failed, ErrUnreachable
//	said bye, missed its beats, or started again          Gone, at once
//	missed its beats before the call                     node/* Gone, at once
//	all have missed beats, or NATS answers no ping       Failed, ErrUnreachable: the asker is cut off
//	two processes have the node's name on the topic      node/* Failed, dispatch.ErrDuplicate
//	refused, because it has too many requests            node/* Rejected, ErrOverloaded
//	other types, codec or version of the protocol        node/* Failed, ErrIncompatible
//	fewer results have arrived than the node counted     Failed, ErrLost
//	more results waited than WithMaxBacklog allows       Failed, ErrLost
//	a result that is larger than WithMaxResult           Failed, ErrTooLarge
//	the request fits into a message, but not to a group  */group Failed, ErrTooLarge
//	no connection within WithReconnectWait               node/* Failed, ErrUnreachable
//	the asker's connection is closed                     Failed, ErrUnreachable
//
// The star stands for all members of a node whose names the asker does not know. If there
// is no connection and no node is known, or a request is larger than the server
// allows, the report lists the relay itself, "nats:dispatch.default", as Failed. If
// there is no node, a call has no remote members, and local members are unaffected.
//
// A call ends when all its local members and the nodes that it expects have ended. The first calls after
// Join, or after a reconnect, ask at once. They do not end before the nodes have had [WithDiscovery] to
// announce themselves, but wait for this at most a quarter of their time, and not if the server says that no
// node has subscribed to the topic.
//
// # Stopping
//
// Call [Node.Drain] before nc.Drain. Node.Drain finishes the requests that the node has accepted, waits until
// the askers have the replies, and says bye. nc.Drain alone loses these requests, and
// the node reports this to [WithErrorHandler].
//
// # Values
//
// Requests and results are written by a [Codec]: [JSON], [Gob], or one of your own.
// Serve and Join refuse types of which their codec would write nothing. The server's max_payload must be
// at least 2 KiB. Error texts are cut at 4 KiB, or less if max_payload is small.
// Both sides compare a [Fingerprint] of their types, so a node with
// incompatible types is refused and does not misread values. Use [WithTypes] if the types change in a way
// that both sides can read.
// Results that are larger than one message are sent in pieces; requests are not.
//
// # Errors
//
// A server reports refusals asynchronously. Serve and Join wait for the server's answer and
// return a refusal. Later refusals, such as those of replies and
// requests, go to [WithErrorHandler]: a node reports them within one beat, also in [Node.Err], and an asker
// within two seconds, also in [Remote.Err]. natsdispatch reads the last error of the connection, so a refusal may be missed
// if another error follows at once. Refusals that concern other parts of the
// program are ignored. The error handler of the connection stays the caller's.
//
// Codecs, the methods of values and errors, and the functions and loggers of options may panic or call
// runtime.Goexit. A result that cannot be written or read then fails its member, a request that cannot be written
// or read fails, and a function or logger is skipped. After runtime.Goexit in a codec all members of a node,
// or of the call, may fail. The event is logged; the stack of a panic is logged at most once a minute.
// This holds also with [dispatch.WithPanicCrash], which concerns the code that the bus calls.
//
// Each event of a node or connection is reported to [OnNode] and logged, once, whether
// there are calls or not; see [NodeEvent] and [WithLogger].
//
// A node chooses its name. Subjects and permissions of the server limit
// which clients may send; [WithVerify] with [WithSign] proves the sender. See docs/security.md.
//
// # Concurrency
//
// All functions and methods may be used concurrently. A [Node] at rest has one goroutine
// besides those of its subscriptions, and after its first request a second one, which waits for
// the next. A [Remote] has three. An open request has up to four goroutines on the node and one at
// the asker. Close waits for all of them. No lock is held while codecs, hooks or producers run.
//
// docs/wire-protocol.md describes the protocol; programs in other languages can use it to
// answer and ask.
package natsdispatch
