package dispatch

// ReportOf completes a report with what only the engine knows.
func ReportOf(r Report, cause error, quorum int, first bool) Report {
	r.cause, r.quorum, r.first = cause, quorum, first
	return r
}

func FirstErr(r Report) error               { return r.firstErr() }
func GroupError(r Report) error             { return groupError(r) }
func Is(err, sentinel error) bool           { return is(err, sentinel) }
func TooFewProducers(wanted, had int) error { return tooFewProducers(wanted, had) }
func WithKind(cause, kind error) error      { return withKind(cause, kind) }
