package main

import "testing"

func TestJudge(t *testing.T) {
	const (
		send = module + ".(*Dispatcher[...]).Send"
		main = module + "/test/bench.main"
	)
	for _, test := range []struct {
		functions []string
		during    occasion
		where     string
	}{
		{[]string{"sync.(*Mutex).Unlock", module + ".(*registry).route", send, main}, duringLookup, "(*registry).route"},
		{[]string{"sync.(*Mutex).Unlock", "sync.(*Map).Load", module + ".(*Bus).find", send}, duringLookup, "(*Bus).find"},
		{[]string{"sync.(*Mutex).Unlock", module + "/internal/ledger.(*Ledger).Enter", send}, duringSend, "ledger.(*Ledger).Enter"},
		{[]string{"sync.(*Mutex).Unlock", module + ".(*call).leave"}, duringRest, "(*call).leave"},
		{[]string{"runtime.unlock", "runtime.newproc", send}, duringRuntime, ""},
		{[]string{"sync.(*Mutex).Unlock", main}, duringOther, ""},
	} {
		if during, where := judge(test.functions); during != test.during || where != test.where {
			t.Errorf("%q: %q, %q; want %q, %q", test.functions, during, where, test.during, test.where)
		}
	}
}
