package dispatchdebug

import (
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// version is the version of data.json. It increases when a field is removed or gets another
// meaning, and not when a field is added.
const version = 2

// A document is the content of data.json, of the events of the stream, and of the page.
// docs/data-json.md describes it. All durations are nanoseconds. A duration or share of -1 is
// not known.
type document struct {
	Version      int            `json:"version"`
	Now          time.Time      `json:"now"`
	Sensitive    bool           `json:"sensitive"` // errors, stacks and summaries are in it
	Bus          busPart        `json:"bus"`
	Page         pagePart       `json:"page"`
	Suspects     []suspect      `json:"suspects"` // now and in the last minute
	MoreSuspects int            `json:"more_suspects"`
	Earlier      []suspect      `json:"earlier"` // before the last minute
	MoreEarlier  int            `json:"more_earlier"`
	Elsewhere    *elsewherePart `json:"elsewhere,omitempty"` // in the overview
	Calls        *callsPart     `json:"calls,omitempty"`     // in flight
	Topics       *topicList     `json:"topics,omitempty"`    // a page of them
	Topic        *topicPart     `json:"topic,omitempty"`     // the one asked for
	Call         *callPart      `json:"call,omitempty"`      // the one asked for
	Kept         *keptList      `json:"kept,omitempty"`      // calls that were searched for
}

type busPart struct {
	State           string        `json:"state"`
	Uptime          time.Duration `json:"uptime_ns"`
	Sent            uint64        `json:"sent"`
	Calls           uint64        `json:"calls"` // that ended since recording began
	InFlight        int           `json:"in_flight"`
	MaxInFlight     int           `json:"max_in_flight"`
	SendersWaiting  int           `json:"senders_waiting"`
	Abandoned       int           `json:"abandoned"`
	Late            uint64        `json:"late"`
	Failed          uint64        `json:"failed"`
	Panics          uint64        `json:"panics"`
	Dropped         uint64        `json:"dropped"`
	Misuse          uint64        `json:"misuse"`
	Minute          minutePart    `json:"last_minute"`
	DispatchVersion string        `json:"dispatch_version"`
	GoVersion       string        `json:"go_version"`
}

// minutePart counts what happened in the last minute.
type minutePart struct {
	Calls   uint64 `json:"calls"` // that ended
	Late    uint64 `json:"late"`
	Failed  uint64 `json:"failed"`
	Panics  uint64 `json:"panics"`
	Dropped uint64 `json:"dropped"`
}

type pagePart struct {
	Recording      bool          `json:"recording"`
	RecordingFor   time.Duration `json:"recording_ns"`
	Missed         uint64        `json:"missed"` // events that the recorder was too slow for
	Kept           int           `json:"kept"`   // calls
	KeptBytes      int           `json:"kept_bytes"`
	LetGo          uint64        `json:"let_go"`
	Viewers        int           `json:"viewers"`
	UpdatesDropped uint64        `json:"updates_dropped"` // that a browser was too slow for
}

// A suspect is a possible cause of slow calls or missing answers.
type suspect struct {
	Key      string          `json:"key"`
	Kind     string          `json:"kind"` // the first of kinds
	Kinds    []string        `json:"kinds"`
	Severity string          `json:"severity"`
	Name     string          `json:"name"`
	Text     string          `json:"text"`
	Topic    string          `json:"topic"`
	AddedAt  string          `json:"added_at"`
	Error    string          `json:"error"`
	Call     dispatch.CallID `json:"call"`    // that shows it
	Lost     time.Duration   `json:"lost_ns"` // by calls in flight and those of the last minute, in whole milliseconds
	Last     time.Duration   `json:"last_ns"` // how long ago it did this last; 0 if it goes on
	Also     []string        `json:"also"`    // other members of which the same is true
	MoreAlso int             `json:"more_also"`
}

// latencies are those of the newest runs. Where more is true, runs that were cut off
// may have taken longer.
type latencies struct {
	P50     time.Duration `json:"p50_ns"`
	P50More bool          `json:"p50_more"`
	P99     time.Duration `json:"p99_ns"`
	P99More bool          `json:"p99_more"`
	Max     time.Duration `json:"max_ns"`
	MaxMore bool          `json:"max_more"`
}

var noLatencies = latencies{P50: unknown, P99: unknown, Max: unknown}

func (w *window) latencies() latencies {
	p50, p99, longest := w.quantile(0.5), w.quantile(0.99), w.longest()
	return latencies{p50.took, p50.more, p99.took, p99.more, longest.took(), longest > 0 && longest.cut()}
}

type callsPart struct {
	Total int          `json:"total"`
	More  int          `json:"more"` // beyond the rows
	Rows  []flightPart `json:"rows"` // the oldest first
}

// flightPart is a call in flight, in short.
type flightPart struct {
	ID      dispatch.CallID `json:"id"`
	Topic   string          `json:"topic"`
	Elapsed time.Duration   `json:"elapsed_ns"`
	Budget  time.Duration   `json:"budget_ns"`
	Used    float64         `json:"used"` // of the budget
	Members int             `json:"members"`
	Ended   int             `json:"ended"`
	// How many producers are missing before members are asked.
	WaitsFor int           `json:"waits_for"`
	Waiting  []waitingPart `json:"waiting"` // some of those that have not ended
	More     int           `json:"more"`    // of them
	Tone     string        `json:"tone"`
}

type waitingPart struct {
	Name    string        `json:"name"`
	State   string        `json:"state"` // running or queued
	Running time.Duration `json:"running_ns"`

	member dispatch.Member
}

type topicList struct {
	Query    string      `json:"query"`
	Sort     string      `json:"sort"`
	Page     int         `json:"page"` // from 1
	Pages    int         `json:"pages"`
	Total    int         `json:"total"`
	Matching int         `json:"matching"`
	First    int         `json:"first"` // the place of the first row, from 1
	Last     int         `json:"last"`
	Rows     []topicLine `json:"rows"`
}

// topicLine is a topic, in short.
type topicLine struct {
	Name      string `json:"name"`
	Request   string `json:"request"`
	Result    string `json:"result"`
	Producers int    `json:"producers"`
	Listeners int    `json:"listeners"`
	Sends     uint64 `json:"sends"`
	InFlight  int    `json:"in_flight"`
	latencies
	Minute      spark   `json:"minute"`
	FailedShare float64 `json:"failed_share"` // of the last 64 calls
	LateShare   float64 `json:"late_share"`
}

type topicPart struct {
	topicLine
	Known     bool           `json:"known"`
	Query     string         `json:"query"`
	Sort      string         `json:"sort"`
	Matching  int            `json:"matching"`
	Members   []memberPart   `json:"members"`
	Listening []listenerPart `json:"listening"`
	Buckets   []bucketPart   `json:"buckets"`
	MoreCount int            `json:"more_members"`
}

type memberPart struct {
	Key         string  `json:"key"`
	Name        string  `json:"name"`
	Group       string  `json:"group"`
	Kind        string  `json:"kind"`
	On          string  `json:"on"`
	AddedAt     string  `json:"added_at"`
	Tone        string  `json:"tone"`
	State       string  `json:"state"`
	Running     int     `json:"running"`
	Waiting     int     `json:"waiting"` // calls that wait for their turn with it
	Abandoned   int     `json:"abandoned"`
	Runs        uint64  `json:"runs"`
	Late        uint64  `json:"late"`
	Failed      uint64  `json:"failed"`
	Panicked    uint64  `json:"panicked"`
	LateShare   float64 `json:"late_share"`
	FailedShare float64 `json:"failed_share"`
	latencies
	Minute      spark           `json:"minute"`
	Last        time.Duration   `json:"last_ns"`
	LastState   string          `json:"last_state"`
	LastCall    dispatch.CallID `json:"last_call"`
	LastError   string          `json:"last_error"`
	LastBadCall dispatch.CallID `json:"last_bad_call"`
}

type listenerPart struct {
	Key       string        `json:"key"`
	Name      string        `json:"name"`
	On        string        `json:"on"`
	AddedAt   string        `json:"added_at"`
	Tone      string        `json:"tone"`
	State     string        `json:"state"`
	Queued    int           `json:"queued"`
	Waiting   time.Duration `json:"waiting_ns"`
	Delivered uint64        `json:"delivered"`
	Dropped   uint64        `json:"dropped"`
	Panicked  uint64        `json:"panicked"`
	latencies
	Last time.Duration `json:"last_ns"`
}

type bucketPart struct {
	Name  string     `json:"name"`
	Tone  string     `json:"tone"`
	Calls uint64     `json:"calls"` // that ever fell into it
	Share float64    `json:"share"` // of the fullest one
	Kept  []keptPart `json:"kept"`  // the newest first
}

// keptList is a search of the calls that are kept.
type keptList struct {
	Query    string        `json:"query"`
	Topic    string        `json:"topic"`   // the only one; empty for all
	Outcome  string        `json:"outcome"` // the only one; empty for all
	Over     time.Duration `json:"over_ns"` // what took at least that long
	Sort     string        `json:"sort"`    // newest or slowest
	Total    int           `json:"total"`
	Matching int           `json:"matching"`
	Rows     []keptPart    `json:"rows"`
}

type keptPart struct {
	Topic   string          `json:"topic"`
	ID      dispatch.CallID `json:"id"`
	Reason  string          `json:"reason"`
	Ended   time.Time       `json:"ended"`
	Elapsed time.Duration   `json:"elapsed_ns"`
	Age     time.Duration   `json:"age_ns"`
	Last    string          `json:"last"` // the member that ended last
	Tone    string          `json:"tone"`
}

// callPart is a call, and its waterfall.
type callPart struct {
	ID       dispatch.CallID  `json:"id"`
	Known    bool             `json:"known"`
	Query    string           `json:"query"`
	Sort     string           `json:"sort"`
	Only     string           `json:"only"` // critical: the rows are those of the critical path
	Matching int              `json:"matching"`
	Topic    string           `json:"topic"`
	Parent   dispatch.CallID  `json:"parent"`
	Started  time.Time        `json:"started"`
	InFlight bool             `json:"in_flight"`
	Reason   string           `json:"reason"`
	Tone     string           `json:"tone"`
	Verdict  string           `json:"verdict"`
	Culprits []culprit        `json:"culprits"` // the members that the verdict is about
	More     int              `json:"more_culprits"`
	Elapsed  time.Duration    `json:"elapsed_ns"`
	Budget   time.Duration    `json:"budget_ns"`
	Scale    time.Duration    `json:"scale_ns"` // the time at the right edge
	Within   bool             `json:"deadline_within"`
	Ticks    []tick           `json:"ticks"`
	Request  string           `json:"request"`
	Rows     []rowPart        `json:"rows"`
	Left     int              `json:"left"` // members without a row
	Heard    []heardPart      `json:"heard"`
	States   []stateCountPart `json:"states"`
}

type culprit struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

type tick struct {
	At   time.Duration `json:"at_ns"`
	Text string        `json:"text"`

	scale time.Duration
}

// rowPart is one row of the waterfall: a member, a replica, or a nested call.
type rowPart struct {
	Key    string `json:"key"`
	Kind   string `json:"kind"` // member, replica or call
	Indent int    `json:"indent"`
	// The end of the call waited for it, through nested calls.
	Critical bool            `json:"critical"`
	Name     string          `json:"name"`
	State    string          `json:"state"`
	Text     string          `json:"text"`
	Call     dispatch.CallID `json:"call"` // of a nested one
	Bars     []bar           `json:"bars"`
	Error    string          `json:"error"`
	Stack    string          `json:"stack"`
	Summary  string          `json:"summary"`
	Results  int             `json:"results"`
	// The deadline of the call that the row belongs to, on the time line.
	Deadline time.Duration `json:"deadline_ns"`
	End      time.Duration `json:"end_ns"`
	Open     bool          `json:"open"` // the call is in flight, and its end is now

	scale time.Duration
}

// bar is one stretch of time on a row. A stretch that has not ended is open. The drawing cuts
// off a stretch at the scale.
type bar struct {
	Kind   string        `json:"kind"` // queued, running, late, listener
	Start  time.Duration `json:"start_ns"`
	Length time.Duration `json:"length_ns"`
	Open   bool          `json:"open"`
	Text   string        `json:"text"`

	scale time.Duration
}

// heardPart sums up the callbacks of one listener in a call.
type heardPart struct {
	Name     string        `json:"name"`
	Calls    int           `json:"calls"`
	Total    time.Duration `json:"total_ns"`
	Longest  time.Duration `json:"longest_ns"`
	Panicked int           `json:"panicked"`
	Share    float64       `json:"share"` // of the longest total
}

type stateCountPart struct {
	State string `json:"state"`
	Count int    `json:"count"`
}
