package dispatchdebug_test

import (
	"crypto/subtle"
	"log"
	"net/http"

	"github.com/seed-bb4b4d74/dispatch"
	"github.com/seed-bb4b4d74/dispatch/dispatchdebug"
)

func ExampleNew() {
	bus := dispatch.NewBus()

	mux := http.NewServeMux()
	mux.Handle("/debug/dispatch/", dispatchdebug.New(bus))
	log.Fatal(http.ListenAndServe("localhost:8080", mux))
}

// Every user with the password may see the page, from any machine. Only the administrator sees
// the texts of errors.
func ExampleWithAuth() {
	const password = "read it from a file"
	auth := func(r *http.Request) (view, sensitive bool) {
		user, given, _ := r.BasicAuth()
		ok := subtle.ConstantTimeCompare([]byte(given), []byte(password)) == 1
		return ok, ok && user == "admin"
	}

	bus := dispatch.NewBus()
	http.Handle("/debug/dispatch/", dispatchdebug.New(bus, dispatchdebug.WithAuth(auth)))
}
