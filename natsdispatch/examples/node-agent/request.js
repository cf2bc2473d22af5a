import { Failure, unescape } from "./frames.js";

export const version = 1;

const mostHops = 64;

// A Request is what somebody asks. It is read without knowing what a node makes of it.
export class Request {
  constructor(message, headers = message.headers, text = message.string()) {
    const header = (key) => headers?.get(key) ?? "";
    this.message = message;
    this.text = text;
    this.type = header("Dispatch-Type");
    this.call = header("Dispatch-Call");
    this.node = unescape(header("Dispatch-Node")); // of a cancel: empty for all
    this.version = header("Dispatch-Version");
    this.budget = header("Dispatch-Budget");
    this.codec = header("Dispatch-Codec");
    this.hops = Number(header("Dispatch-Hops") || "1");
    this.window = Number(header("Dispatch-Window") || "0"); // of version 2
    this.targets = headers?.has("Dispatch-Targets")
      ? header("Dispatch-Targets").split(" ").filter(Boolean).map(unescape)
      : undefined;
  }

  get reply() {
    return this.message.reply;
  }

  // milliseconds is how long the call has left.
  get milliseconds() {
    return Number(this.budget) / 1000;
  }

  // check throws the Failure with which the request is to be rejected.
  check() {
    if (this.version !== String(this.speaks ?? version)) {
      throw new Failure("failed", "incompatible", `version ${JSON.stringify(this.version)} is not ${version}`);
    }
    if (!/^\S{1,128}$/.test(this.call)) {
      throw new Failure("failed", "malformed", "the id of the call");
    }
    if (!/^-?\d+$/.test(this.budget)) {
      throw new Failure("failed", "malformed", `the budget ${JSON.stringify(this.budget)}`);
    }
    if (this.codec !== "json") {
      throw new Failure("failed", "incompatible", `the codec ${JSON.stringify(this.codec)} is not json`);
    }
    if (!(this.hops <= mostHops)) {
      throw new Failure("failed", "too-deep", `${this.hops} requests have led to this one`);
    }
  }

  // body returns what is asked, or throws as check does.
  body() {
    try {
      return JSON.parse(this.text);
    } catch (err) {
      throw new Failure("failed", "malformed", `the request is no JSON: ${err.message}`);
    }
  }

  // cause is why a request is cancelled.
  cause() {
    const [, code, text] = /^(\S+) ?(.*)$/s.exec(this.text) ?? [];
    return new Failure("cancelled", code ?? "cancelled", parseText(text));
  }
}

function parseText(text) {
  try {
    return String(JSON.parse(text));
  } catch {
    return ""; // it is only for people
  }
}
