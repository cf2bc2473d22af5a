// Package dispatch asks many parties at once, acts on each answer as it comes,
// stops at the deadline and knows who did not answer.
package dispatch
