import { headers } from "@nats-io/transport-node";

import { end, escape, Failure, final, reject, result } from "./frames.js";
import { version } from "./request.js";

const mostHeaders = 4096; // bytes, of all headers of a reply

// A Reply is what a node has to say to one request.
export class Reply {
  #connection;
  #node;
  #subject;
  #sequence = 0;
  #results = 0;
  #silent = false;

  constructor(connection, node, subject) {
    this.#connection = connection;
    this.#node = node;
    this.#subject = subject;
    this.room = connection.info.max_payload - mostHeaders; // bytes of a value in a message
  }

  // silence ends the reply: nobody waits for what is still to come.
  silence() {
    this.#silent = true;
  }

  send(body, failure) {
    if (this.#silent) {
      return;
    }
    const h = headers();
    h.set("Dispatch-Version", String(version));
    h.set("Dispatch-Node", escape(this.#node.name));
    h.set("Dispatch-Epoch", String(this.#node.epoch));
    h.set("Dispatch-Seq", String(this.#sequence++));
    if (failure) {
      h.set("Nats-Service-Error", failure.message.replace(/[^ -~]/g, " ").slice(0, 256));
      h.set("Nats-Service-Error-Code", failure.serviceCode);
    }
    this.#connection.publish(this.#subject, body, { headers: h });
  }

  reject(failure) {
    this.send(reject(failure), failure);
  }

  // final says that all members have ended.
  final(members) {
    this.send(final(members, this.#results), undefined, false, true);
  }

  // result sends a value, in several messages if it is too large for one.
  result(member, value) {
    for (const frame of result(member, Buffer.from(JSON.stringify(value)), this.room)) {
      this.send(frame, undefined, true);
    }
    this.#results++;
  }

  // end says how a member has ended, after so many results.
  end(member, results, failure) {
    this.send(end(member, results, failure), failure);
  }
}

// failureOf is the Failure that an error is to the asker.
export function failureOf(error) {
  return error instanceof Failure ? error : new Failure("failed", "-", String(error?.message ?? error));
}
