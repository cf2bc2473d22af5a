package dispatch_test

import "log/slog"

var quietLogger = slog.New(slog.DiscardHandler)
