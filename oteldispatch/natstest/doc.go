// Package natstest has the tests of packages natsdispatch and oteldispatch together:
// a call that is answered on another machine is one trace. They have a module of
// their own because the two know nothing of each other, and neither is to be in the
// module graph of the other's users.
package natstest
