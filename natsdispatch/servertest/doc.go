// Package servertest tests natsdispatch with real NATS servers, in the test process and as separate
// processes. It is a separate module, so that the dependencies of programs that use natsdispatch contain no
// server.
package servertest
