"use strict";

// The stream of the present question. An EventSource that is not closed connects again
// when its stream ends, and that would ask all shops once more.
let source;

const element = (id) => document.getElementById(id);

function ask(item) {
  source?.close();
  element("answers").replaceChildren();
  element("missing").textContent = "";
  element("status").textContent = "Asking…";
  source = new EventSource("prices?" + new URLSearchParams({ item }));
  source.addEventListener("result", (e) => show(JSON.parse(e.data)));
  source.addEventListener("end", (e) => finish(JSON.parse(e.data)));
  source.addEventListener("error", () => {
    source.close();
    element("status").textContent = "The gateway does not answer, or the connection broke: there may be more prices.";
  });
}

// textContent and not innerHTML: what shops say is text.
function show(answer) {
  const row = element("answers").insertRow();
  row.insertCell().textContent = answer.from;
  row.insertCell().textContent = answer.error ?? answer.value.toFixed(2);
}

function finish(end) {
  source.close();
  element("status").textContent = `The call has ended (${end.reason}) after ${Math.round(end.elapsed_ns / 1e6)} ms.`;
  if (end.missing.length > 0) {
    element("missing").textContent = "Did not answer: " + end.missing.map(why).join(", ");
  }
}

// Late and canceled members have no reason of their own.
function why({ from, state, error }) {
  return `${from} (${state === "late" || state === "canceled" ? state : `${state}: ${error}`})`;
}

// A browser keeps a page that it may come back to, and the connections of that page with it.
addEventListener("pagehide", () => {
  if (source && source.readyState !== EventSource.CLOSED) {
    source.close();
    element("status").textContent = "You left the page before the call had ended: there may be more prices.";
  }
});

document.forms[0].addEventListener("submit", (e) => {
  e.preventDefault();
  ask(element("item").value);
});
