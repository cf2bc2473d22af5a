import { escape } from "./frames.js";
import { Reply } from "./reply.js";

const leastMessage = 1024; // bytes, which a message may take however small the window is

// A Reply2 is a Reply of version 2: it waits for credit, and keeps what is not acknowledged.
export class Reply2 extends Reply {
  #connection;
  #node;
  #subject;
  #silent = false;
  #granted; // bytes that may be sent in all
  #sent = 0;
  #next = 0; // the number of the next message
  #kept = []; // sent and not acknowledged: { number, body }
  #waiting = []; // without credit: { frame, values }

  constructor(connection, node, subject, window) {
    super(connection, node, subject);
    this.#connection = connection;
    this.#node = node;
    this.#subject = subject;
    this.#granted = window;
    this.room = Math.min(this.room, Math.max(Math.floor(window / 2), leastMessage) - 200 - 3 * node.name.length);
  }

  silence() {
    super.silence();
    this.#silent = true;
    this.#kept = [];
    this.#waiting = [];
  }

  // send sends a frame, or a value when there is credit for it. The final waits for values, too,
  // because it is the last frame.
  send(frame, failure, values = false, last = false) {
    this.#waiting.push({ frame, values });
    if (!values && !last && this.#waiting.length > 1) {
      this.#number(this.#waiting.pop().frame, false); // it overtakes values
    }
    this.#flush();
  }

  #flush() {
    while (this.#waiting.length > 0) {
      const { frame, values } = this.#waiting[0];
      if (values && this.#sent + this.#head(0).length + frame.length > this.#granted) {
        return;
      }
      this.#waiting.shift();
      this.#number(frame, values);
    }
  }

  #head(number) {
    return Buffer.from(`v2 ${escape(this.#node.name)} ${this.#node.epoch} ${String(number).padStart(10, "0")}\n`);
  }

  // #number sends a message for the first time.
  #number(frame, values) {
    if (this.#silent) {
      return;
    }
    const number = this.#next++;
    const body = Buffer.concat([this.#head(number), Buffer.from(frame)]);
    if (values) {
      this.#sent += body.length;
    }
    this.#kept.push({ number, body });
    this.#publish(body);
  }

  #publish(body) {
    if (!this.#connection.isClosed()) {
      this.#connection.publish(this.#subject, body);
    }
  }

  acknowledge(next, granted) {
    this.#granted = Math.max(this.#granted, granted);
    this.#kept = this.#kept.filter(({ number }) => number >= next);
    this.#flush();
  }

  // resume sends once more what is not acknowledged.
  resume() {
    if (this.#kept.length === 0) {
      this.#number("", false); // so that the asker hears that it has all
      return;
    }
    this.#kept.forEach(({ body }) => this.#publish(body));
  }

  remind() {
    const last = this.#kept.at(-1);
    if (last) {
      this.#publish(last.body);
    }
  }
}
