package main

import (
	"strings"
)

func rejectChecks() []check {
	return []check{
		{"reject: another version", "A node that does not know the version rejects the request with incompatible.", rejectVersion},
		{"reject: another codec", "A node that does not know the codec rejects the request with incompatible.", rejectCodec},
		{"reject: other types", "If the types on both sides are different, the node rejects the request with incompatible.", rejectTypes},
		{"reject: a budget that is no number", "A malformed request is rejected with malformed.", rejectBudget},
		{"reject: a call that is no id", "The id of a call has 1 to 128 bytes without blanks.", rejectCall},
		{"reject: a body that the codec cannot read", "A malformed request is rejected with malformed.", rejectBody},
		{"reject: too many hops", "Above 64 hops a request is rejected with too-deep.", rejectHops},
		{"reject: the headers of NATS services", "A reject has Nats-Service-Error and Nats-Service-Error-Code, 409 for incompatible.", rejectServiceHeaders},
	}
}

func rejectVersion(e *examiner) error {
	_, err := e.rejected("incompatible", e.request, func(a *asking) { a.set("Dispatch-Version", "999") })
	return err
}

func rejectCodec(e *examiner) error {
	_, err := e.rejected("incompatible", e.request, func(a *asking) { a.set("Dispatch-Codec", "runes") })
	return err
}

func rejectTypes(e *examiner) error {
	if e.about.Types == "" {
		return skipped("the node announces no types")
	}
	_, err := e.rejected("incompatible", e.request, func(a *asking) { a.set("Dispatch-Types", "other-than-"+e.about.Types) })
	return err
}

func rejectBudget(e *examiner) error {
	_, err := e.rejected("malformed", e.request, func(a *asking) { a.set("Dispatch-Budget", "soon") })
	return err
}

func rejectCall(e *examiner) error {
	_, err := e.rejected("malformed", e.request, func(a *asking) { a.set("Dispatch-Call", strings.Repeat("x", 129)) })
	if err != nil {
		return err
	}
	_, err = e.rejected("malformed", e.request, func(a *asking) { delete(a.msg.Header, "Dispatch-Call") })
	return err
}

func rejectBody(e *examiner) error {
	_, err := e.rejected("malformed", `{"`, nil)
	return err
}

func rejectHops(e *examiner) error {
	_, err := e.rejected("too-deep", e.request, func(a *asking) { a.set("Dispatch-Hops", "65") })
	return err
}

func rejectServiceHeaders(e *examiner) error {
	r, err := e.rejected("incompatible", e.request, func(a *asking) { a.set("Dispatch-Codec", "runes") })
	if err != nil {
		return err
	}
	h := r.messages[0].Header
	if h.Get("Nats-Service-Error") == "" || h.Get("Nats-Service-Error-Code") != "409" {
		return wrong("Nats-Service-Error with a text, Nats-Service-Error-Code: 409", "%q and %q", h.Get("Nats-Service-Error"), h.Get("Nats-Service-Error-Code"))
	}
	return nil
}
