// Package natstest has the tests of packages natsdispatch and oteldispatch together: a call
// that is answered on another machine is one trace. The tests have their own module, because
// neither package imports the other, and neither should be in the module graph of the other's
// users.
package natstest
