package dispatchtest

import "testing"

// RelayRules are the tests of which TestRelay consists, by name: the tests of the
// suite run them on relays that must not pass.
func RelayRules() map[string]func(testing.TB, Join) {
	rules := make(map[string]func(testing.TB, Join))
	for _, rule := range relayRules {
		rules[rule.name] = rule.test
	}
	return rules
}
