// The tests of the live page in a real browser, in a module of their own: what drives
// a browser is nothing that the users of dispatch have to download.
module github.com/seed-bb4b4d74/dispatch/dispatchdebug/browsertest

go 1.25.0

replace github.com/seed-bb4b4d74/dispatch => ../..

require (
	github.com/chromedp/cdproto v0.159.0
	github.com/chromedp/chromedp v0.23.0
	github.com/seed-bb4b4d74/dispatch v0.1.0
)

require (
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	golang.org/x/sync v0.22.0 // indirect
)
