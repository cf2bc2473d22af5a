package dispatchtest

import "testing"

// RelayRules returns the tests of TestRelay by name. The tests of this package run them on
// relays that must fail.
func RelayRules() map[string]func(testing.TB, Join) {
	rules := make(map[string]func(testing.TB, Join))
	for _, rule := range relayRules {
		rules[rule.name] = rule.test
	}
	return rules
}
