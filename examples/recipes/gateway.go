package recipes

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/seed-bb4b4d74/dispatch"
)

// Gateway returns a handler that converts an HTTP request with ask, sends it to the members
// of the topic, and streams their answers: a result event for each result, as it arrives,
// and an end event with the members that did not answer. A client that accepts
// text/event-stream, such as the EventSource of a browser, gets server-sent events. Other
// clients get lines of JSON.
//
// If ask returns an error, the status is 400; if Send returns an error, the status is 503.
// The call is canceled when the client disconnects.
func Gateway[Req, Res any](d *dispatch.Dispatcher[Req, Res], topic dispatch.Topic[Req, Res], ask func(*http.Request) (Req, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := ask(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		call, err := d.Send(r.Context(), topic, req) // the context ends when the client disconnects
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		out := openStream(w, r)
		for r := range call.Results() {
			if out.send("result", newAnswer(r.From, r.Value)) != nil {
				return // this ends the context of the request, and so the call
			}
		}
		_ = out.send("end", newEnding(call.Report()))
	})
}

// answer is what a result event says.
type answer struct {
	From  string          `json:"from"`
	Value json.RawMessage `json:"value"`
	Error string          `json:"error,omitempty"` // why JSON has no form for the value
}

func newAnswer(from dispatch.Member, value any) answer {
	a := answer{From: from.String()}
	var err error
	if a.Value, err = json.Marshal(value); err != nil {
		a.Error = err.Error()
	}
	return a
}

// ending is what the end event says.
type ending struct {
	Reason  dispatch.Reason `json:"reason"`
	Elapsed time.Duration   `json:"elapsed_ns"`
	Missing []missing       `json:"missing"` // the members that did not answer
}

type missing struct {
	From  string         `json:"from"`
	State dispatch.State `json:"state"`
	Error string         `json:"error"`
}

func newEnding(r dispatch.Report) ending {
	e := ending{r.Reason, r.Elapsed, []missing{}}
	for _, o := range r.Missing() {
		e.Missing = append(e.Missing, missing{o.Member.String(), o.State, o.Err.Error()})
	}
	return e
}

// stream writes events as they come, as server-sent events or as lines of JSON.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	format  string // of the name of an event and its data
}

func openStream(w http.ResponseWriter, r *http.Request) *stream {
	s := &stream{w: w, control: http.NewResponseController(w), format: "{%q:%s}\n"}
	header := w.Header()
	header.Set("Content-Type", "application/x-ndjson")
	if acceptsEvents(r.Header) {
		s.format = "event: %s\ndata: %s\n\n"
		header.Set("Content-Type", "text/event-stream")
	}
	header.Set("Vary", "Accept")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // some proxies keep a response until it is whole
	_ = s.control.Flush()                 // the client knows now that it is being served
	return s
}

func (s *stream) send(event string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	// A client that does not read is disconnected. If the writer has no deadlines, those of the server apply.
	_ = s.control.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(s.w, s.format, event, data); err != nil {
		return err
	}
	return s.control.Flush()
}

func acceptsEvents(h http.Header) bool {
	for kind := range strings.SplitSeq(strings.Join(h.Values("Accept"), ","), ",") {
		if media, _, err := mime.ParseMediaType(kind); err == nil && media == "text/event-stream" {
			return true
		}
	}
	return false
}
