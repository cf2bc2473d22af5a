package main

import (
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/seed-bb4b4d74/dispatch"
)

func TestThePageShowsPricesAsTheyCome(t *testing.T) {
	s := newScene(t)
	s.expires()
	tb := s.open()
	tb.ask("lamp & <b>shade</b>")
	tb.text("answers", "a\t12.50") // b has not answered yet
	tb.text("status", "Asking…")
	wait(t, "b to be asked", s.asked)
	wait(t, "c to fail", s.failed)
	s.expire()
	tb.text("missing", "Did not answer: b (late), c (failed: 503 Service Unavailable)")
	tb.until("document.getElementById('status').innerText.replace(/[0-9]+/, '7')", "The call has ended (deadline) after 7 ms.")
	tb.until("source.readyState === EventSource.CLOSED", "true") // or it would ask again
	wantStates(t, wait(t, "the end of the call", s.ended), dispatch.ReasonDeadline, dispatch.StateLate)
}

func TestTheCallIsCanceledWhenThePageIsLeft(t *testing.T) {
	s := newScene(t)
	tb := s.open()
	tb.askUntilBHangs(s)
	tb.navigate("about:blank") // the browser keeps the page, to go back to it
	wait(t, "b to see its client leave", s.left)
	wantStates(t, wait(t, "the end of the call", s.ended), dispatch.ReasonCanceled, dispatch.StateCanceled)
	if _, err := chromedp.Run(tb.ctx, chromedp.Evaluate[bool]("setTimeout(() => history.back()), true")); err != nil {
		t.Fatal(err)
	}
	tb.until("location.pathname === '/' && !document.getElementById('status').innerText.startsWith('Asking')", "true")
}

func TestThePageForgetsTheQuestionBefore(t *testing.T) {
	s := newScene(t)
	tb := s.open()
	tb.askUntilBHangs(s)
	tb.ask("desk")
	wait(t, "b to see its client leave", s.left)
	wantStates(t, wait(t, "the end of the call", s.ended), dispatch.ReasonCanceled, dispatch.StateCanceled)
	wait(t, "b to be asked again", s.asked)
	wait(t, "c to fail again", s.failed)
	tb.text("answers", "a\t12.50")
	s.d.Close()
	tb.text("missing", "Did not answer: b (canceled), c (failed: 503 Service Unavailable)")
	tb.text("answers", "a\t12.50")
}

func TestThePageSaysThatTheServerHasEndedTheCall(t *testing.T) {
	s := newScene(t)
	tb := s.open()
	tb.askUntilBHangs(s)
	s.d.Close()
	tb.text("missing", "Did not answer: b (canceled), c (failed: 503 Service Unavailable)")
	tb.ask("lamp")
	tb.text("missing", "")
	tb.text("status", "The gateway does not answer, or the connection broke: there may be more prices.")
}

func TestThePageSaysThatTheConnectionBroke(t *testing.T) {
	s := newScene(t)
	tb := s.open()
	tb.ask("lamp")
	tb.text("answers", "a\t12.50")
	wait(t, "b to be asked", s.asked)
	s.gateway.CloseClientConnections()
	tb.text("status", "The gateway does not answer, or the connection broke: there may be more prices.")
	tb.until("source.readyState === EventSource.CLOSED", "true")
	tb.text("answers", "a\t12.50")
}

// askUntilBHangs asks, and waits until b is the only shop that has not answered.
func (tb *tab) askUntilBHangs(s *scene) {
	tb.ask("lamp")
	tb.text("answers", "a\t12.50")
	wait(s.t, "b to be asked", s.asked)
	wait(s.t, "c to fail", s.failed)
}
