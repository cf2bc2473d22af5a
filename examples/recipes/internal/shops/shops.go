// Package shops has the HTTP servers that the recipes and the gateway ask for prices.
package shops

import (
	"fmt"
	"net/http"
	"time"
)

// Sells is a shop that has every item at this price.
func Sells(price float64) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"price": %v}`, price)
	}
}

// Fails is a shop that is overloaded.
func Fails(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "try again later", http.StatusServiceUnavailable)
}

// Hangs is a shop that never answers. It notices when the client leaves.
func Hangs(_ http.ResponseWriter, r *http.Request) {
	<-r.Context().Done()
}

// Slow is a shop that needs time before it answers.
func Slow(takes time.Duration, shop http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(takes):
			shop.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}
