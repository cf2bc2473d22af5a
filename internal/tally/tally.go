// Package tally decides when enough is known: the arithmetic of a gathering,
// apart from everything that is concurrent about it.
package tally

// A Verdict says whether a gathering is over and why.
type Verdict int

// The verdicts.
const (
	Open       Verdict = iota // it goes on
	Complete                  // everybody has ended
	Satisfied                 // the quorum is reached
	QuorumLost                // the quorum cannot be reached any more
	FailedFast                // somebody failed, and that is enough
)

// A Tally counts how the members of a gathering end. The zero Tally is that of
// a gathering without members, quorum or impatience.
type Tally struct {
	Members  int32 // how many take part
	Quorum   int32 // how many have to answer; 0: all that will
	FailFast bool  // whether the first failure ends the gathering
	Open     int32 // how many sources may yet bring further members

	Answered int32 // members that gave an answer
	Failed   int32 // members that failed
	Other    int32 // members that ended without answer or failure
}

// Ended returns how many members have ended.
func (t Tally) Ended() int32 { return t.Answered + t.Failed + t.Other }

// Left returns how many members have not ended.
func (t Tally) Left() int32 { return t.Members - t.Ended() }

// Count counts a member that has ended.
func (t *Tally) Count(answered, failed bool) {
	switch {
	case answered:
		t.Answered++
	case failed:
		t.Failed++
	default:
		t.Other++
	}
}

// Verdict judges the counts. Where several verdicts hold, one that is good news
// comes first: the last answer that also reaches the quorum makes it Satisfied.
func (t Tally) Verdict() Verdict {
	switch {
	case t.Quorum > 0 && t.Answered >= t.Quorum:
		return Satisfied
	case t.FailFast && t.Failed > 0:
		return FailedFast
	case t.Open > 0:
		return Open
	case t.Quorum > t.Answered+t.Left():
		return QuorumLost
	case t.Left() == 0:
		return Complete
	default:
		return Open
	}
}
