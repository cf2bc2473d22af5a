// The properties that hold for every schedule, in a module of their own: what the
// tests are made with is nothing that the users of dispatch have to download.
module github.com/seed-bb4b4d74/dispatch/test/property

go 1.25.0

require (
	github.com/seed-bb4b4d74/dispatch v0.1.0
	pgregory.net/rapid v1.3.0
)

require golang.org/x/sync v0.22.0 // indirect

replace github.com/seed-bb4b4d74/dispatch => ../..
