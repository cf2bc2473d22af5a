// The recipes of docs/recipes.md, in a module of their own: the libraries that they are
// made with are nothing that the users of dispatch have to download.
module github.com/seed-bb4b4d74/dispatch/examples/recipes

go 1.26.0

replace github.com/seed-bb4b4d74/dispatch => ../..

require (
	github.com/chromedp/cdproto v0.159.0
	github.com/chromedp/chromedp v0.23.0
	github.com/failsafe-go/failsafe-go v0.9.8
	github.com/google/go-cmp v0.7.0
	github.com/jellydator/ttlcache/v3 v3.4.1
	github.com/seed-bb4b4d74/dispatch v0.1.0
	golang.org/x/sync v0.24.0
	golang.org/x/time v0.16.0
)

require (
	github.com/bits-and-blooms/bitset v1.24.4 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
)
