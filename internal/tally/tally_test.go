package tally_test

import (
	"fmt"
	"testing"

	"github.com/seed-bb4b4d74/dispatch/internal/tally"
)

func TestVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		tally tally.Tally
		want  tally.Verdict
	}{
		"nobody":                           {tally.Tally{}, tally.Complete},
		"nobody yet":                       {tally.Tally{Open: 1}, tally.Open},
		"nobody, with a quorum":            {tally.Tally{Quorum: 1}, tally.QuorumLost},
		"nobody yet, with a quorum":        {tally.Tally{Quorum: 1, Open: 1}, tally.Open},
		"some are left":                    {tally.Tally{Members: 3, Answered: 1, Failed: 1}, tally.Open},
		"all have answered":                {tally.Tally{Members: 2, Answered: 2}, tally.Complete},
		"all have ended":                   {tally.Tally{Members: 3, Answered: 1, Failed: 1, Other: 1}, tally.Complete},
		"all have ended, more may come":    {tally.Tally{Members: 1, Answered: 1, Open: 1}, tally.Open},
		"quorum not reached":               {tally.Tally{Members: 3, Quorum: 2, Answered: 1, Failed: 1}, tally.Open},
		"quorum reached":                   {tally.Tally{Members: 3, Quorum: 2, Answered: 2}, tally.Satisfied},
		"quorum reached by the last":       {tally.Tally{Members: 2, Quorum: 2, Answered: 2}, tally.Satisfied},
		"quorum exceeded":                  {tally.Tally{Members: 3, Quorum: 2, Answered: 3}, tally.Satisfied},
		"quorum reached, more may come":    {tally.Tally{Members: 1, Quorum: 1, Answered: 1, Open: 1}, tally.Satisfied},
		"quorum lost by failures":          {tally.Tally{Members: 3, Quorum: 2, Failed: 2}, tally.QuorumLost},
		"quorum lost by others":            {tally.Tally{Members: 3, Quorum: 2, Other: 2}, tally.QuorumLost},
		"quorum just possible":             {tally.Tally{Members: 3, Quorum: 2, Other: 1}, tally.Open},
		"quorum beyond the members":        {tally.Tally{Members: 3, Quorum: 4}, tally.QuorumLost},
		"quorum lost, but more may come":   {tally.Tally{Members: 3, Quorum: 2, Failed: 3, Open: 1}, tally.Open},
		"the largest quorum":               {tally.Tally{Members: 1<<31 - 1, Quorum: 1<<31 - 1}, tally.Open},
		"a failure":                        {tally.Tally{Members: 3, Failed: 1}, tally.Open},
		"a failure, fast":                  {tally.Tally{Members: 3, Failed: 1, FailFast: true}, tally.FailedFast},
		"a failure at the last, fast":      {tally.Tally{Members: 1, Failed: 1, FailFast: true}, tally.FailedFast},
		"a failure, fast, more may come":   {tally.Tally{Members: 1, Failed: 1, FailFast: true, Open: 1}, tally.FailedFast},
		"no failure, fast":                 {tally.Tally{Members: 3, Answered: 1, Other: 1, FailFast: true}, tally.Open},
		"good news before a failure":       {tally.Tally{Members: 3, Quorum: 1, Answered: 1, Failed: 1, FailFast: true}, tally.Satisfied},
		"a failure before the lost quorum": {tally.Tally{Members: 2, Quorum: 2, Failed: 1, FailFast: true}, tally.FailedFast},
	} {
		if got := test.tally.Verdict(); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// Every order of ends has one turning point: up to there the gathering is open,
// and it is found by exhausting all small cases.
func TestVerdictAgreesWithItsDefinition(t *testing.T) {
	for members := range int32(5) {
		for quorum := range members + 2 {
			for _, failFast := range []bool{false, true} {
				walk(t, tally.Tally{Members: members, Quorum: quorum, FailFast: failFast})
			}
		}
	}
}

func walk(t *testing.T, now tally.Tally) {
	t.Helper()
	if now.Ended()+now.Left() != now.Members || now.Ended() != now.Answered+now.Failed+now.Other {
		t.Errorf("%+v does not add up", now)
	}
	reachable := now.Answered + now.Left()
	want := tally.Open
	switch {
	case now.Quorum > 0 && now.Answered >= now.Quorum:
		want = tally.Satisfied
	case now.FailFast && now.Failed > 0:
		want = tally.FailedFast
	case reachable < now.Quorum:
		want = tally.QuorumLost
	case now.Left() == 0:
		want = tally.Complete
	}
	if got := now.Verdict(); got != want {
		t.Errorf("%+v: %v, want %v", now, got, want)
	}
	if now.Left() == 0 {
		return
	}
	for _, end := range [][2]bool{{true, false}, {false, true}, {false, false}} {
		next := now
		next.Count(end[0], end[1])
		if next.Ended() != now.Ended()+1 {
			t.Error(fmt.Errorf("%+v: Count(%v) made it %+v", now, end, next))
		}
		walk(t, next)
	}
}
