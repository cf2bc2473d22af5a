// Package recipes has what dispatch leaves to others: retries, circuit breakers, limits,
// caches, filters, and a gateway for browsers. Each recipe is an ordinary function around
// a producer, a listener or a dispatcher, to be copied and changed. The page
// docs/recipes.md shows and explains them.
//
// All functions return values that may be used concurrently, as producers must be.
package recipes
