import { headers } from "@nats-io/transport-node";

import { escape } from "./frames.js";
import { Node } from "./node.js";
import { Reply2 } from "./reply2.js";
import { Request } from "./request.js";

const head = "v2 request\n";
const reminders = [50, 100, 200, 400, 800]; // milliseconds after a reconnect

// A Node2 speaks version 2 of the protocol with those who do, and version 1 with others.
export class Node2 extends Node {
  #connection;
  #replies = new Map(); // by call: those that the asker has not acknowledged

  constructor(connection, options) {
    super(connection, options);
    this.#connection = connection;
    this.#watch();
  }

  get versions() {
    return [1, 2];
  }

  moreSubjects(ask) {
    return [[`${ask}.=${escape(this.name)}`, (message) => this.#hearAcks(message)]];
  }

  // read reads a request whose headers are in its body, too.
  read(message) {
    const text = message.string();
    const end = text.indexOf("\n\n");
    if (!text.startsWith(head) || end < 0) {
      return new Request(message);
    }
    const lines = headers();
    for (const line of text.slice(head.length, end).split("\n")) {
      const [key, ...value] = line.split(": ");
      lines.set(key, value.join(": "));
    }
    const request = new Request(message, lines, text.slice(end + 2));
    request.speaks = 2;
    return request;
  }

  replyTo(request) {
    if (!(request.window > 0)) {
      return super.replyTo(request);
    }
    const known = this.#replies.get(request.call);
    if (known) {
      return known;
    }
    const reply = new Reply2(this.#connection, this, request.reply, request.window);
    this.#replies.set(request.call, reply);
    const forget = () => this.#drop(request.call, reply);
    setTimeout(forget, Math.min(request.milliseconds, 2 ** 31 - 1)).unref();
    return reply;
  }

  // again sends what was said to a request that comes for the second time.
  again(request) {
    if (request.window > 0) {
      this.#resume(request.call, 0, 0, request.reply);
    }
  }

  cancelled(request) {
    this.#drop(request.call, this.#replies.get(request.call));
  }

  #drop(call, reply) {
    if (reply && this.#replies.get(call) === reply) {
      reply.silence();
      this.#replies.delete(call);
    }
  }

  #hearAcks(message) {
    for (const line of message.string().split("\n")) {
      const [kind, call, next, bytes] = line.split(" ");
      if (kind === "ack") {
        this.#replies.get(call)?.acknowledge(Number(next), Number(bytes));
      } else if (kind === "resume") {
        this.#resume(call, Number(next), Number(bytes), message.reply);
      } else if (kind === "done") {
        this.#drop(call, this.#replies.get(call));
      }
    }
  }

  #resume(call, next, bytes, subject) {
    const reply = this.#replies.get(call);
    if (reply) {
      reply.acknowledge(next, bytes);
      reply.resume();
    } else {
      this.#connection.publish(subject, `v2 ${escape(this.name)} ${this.epoch} -\nforgotten\n`);
    }
  }

  // #watch reminds askers of what they may not have heard when the connection was broken.
  async #watch() {
    for await (const { type } of this.#connection.status()) {
      if (type !== "reconnect") {
        continue;
      }
      for (const pause of reminders) {
        setTimeout(() => this.#replies.forEach((reply) => reply.remind()), pause).unref();
      }
    }
  }
}
