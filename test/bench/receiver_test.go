package main

import (
	"strings"
	"testing"
)

// TestVerify makes sure that a side that loses, repeats or falsifies results is
// found out.
func TestVerify(t *testing.T) {
	s := setup{work: quick, producers: 2, listeners: 1}
	for _, test := range []struct {
		values []int
		want   string // in the error
	}{
		{[]int{7, 8}, ""},
		{[]int{8, 7}, ""},
		{[]int{7}, "got 1 results, not 2"},
		{[]int{7, 8, 7}, "got 3 results, not 2"},
		{[]int{7, 7}, "add up to 14, not 15"},
	} {
		rs := newReceivers(s)
		for _, v := range test.values {
			rs[0].receive(v)
		}
		err := rs.verify(s, 1)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got the error %v, want %q", test.values, err, test.want)
		}
	}
}
