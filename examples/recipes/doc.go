// Package recipes contains recipes for programs that use dispatch: retries, circuit
// breakers, limits, caches, filters, and a gateway for browsers. Each recipe is an ordinary
// function around a producer, a listener or a dispatcher. Copy the recipe that you need and
// change it. The page docs/recipes.md shows and explains the recipes.
//
// All functions return values that are safe for concurrent use, as producers must be.
package recipes
