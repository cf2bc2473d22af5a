// Package servertest tests natsdispatch against real NATS servers, in the test process and
// in processes of their own. It is a module of its own, so that who uses natsdispatch
// has no server among their dependencies.
package servertest
