module github.com/seed-bb4b4d74/dispatch

go 1.25.0

require (
	github.com/google/go-cmp v0.7.0
	golang.org/x/sync v0.22.0
)
