import { accept, escape, Failure } from "./frames.js";
import { failureOf, Reply } from "./reply.js";
import { Request, version } from "./request.js";

const cancelsKept = 60_000; // milliseconds

// A Node answers the requests of a topic on behalf of its members. Each member is an
// async generator, which is given the request and a signal that tells it to stop.
export class Node {
  #connection;
  #members;
  #beat;
  #subjects;
  #subscriptions = [];
  #timer;
  #announcements = 0;
  #draining = false;
  #seen = new Map(); // by call: until when it is remembered
  #work = new Map(); // by call: how to cancel it, and a promise of its end

  constructor(connection, { name, topic, members, beat = 2000, prefix = "dispatch", space = "default" }) {
    this.name = name;
    this.topic = topic;
    this.epoch = Date.now() * 1000;
    this.#connection = connection;
    this.#members = members;
    this.#beat = beat;
    this.#subjects = {
      ask: `${prefix}.v${version}.${space}.ask.${topic}`,
      presence: `${prefix}.${space}.presence.${escape(name)}.${topic}`,
      probe: `${prefix}.${space}.probe`,
    };
  }

  // serve begins to answer.
  async serve() {
    const subscribe = (subject, hear) =>
      this.#subscriptions.push(
        this.#connection.subscribe(subject, {
          callback: (err, message) => (err ? console.error(`${subject}: ${err.message}`) : hear(message)),
        }),
      );
    subscribe(this.#subjects.ask, (message) => this.#hear(message));
    for (const [subject, hear] of this.moreSubjects(this.#subjects.ask)) {
      subscribe(subject, hear);
    }
    subscribe(this.#subjects.probe, (message) => this.#hearProbe(message));
    await this.#connection.flush(); // nobody is to ask before the server knows of us
    this.#announce("hello");
    this.#timer = setInterval(() => {
      this.#forget();
      this.#announce("beat");
    }, this.#beat);
  }

  // drain takes nothing new, finishes what there is, and says bye.
  async drain() {
    this.#draining = true;
    this.#announce("change");
    await Promise.all(this.#subscriptions.map((subscription) => subscription.drain()));
    await Promise.all(Array.from(this.#work.values(), ({ ended }) => ended));
    clearInterval(this.#timer);
    this.#announce("bye");
    await this.#connection.flush();
  }

  #announce(event, subject = this.#subjects.presence) {
    this.#connection.publish(
      subject,
      JSON.stringify({
        node: this.name,
        topic: this.topic,
        event,
        epoch: this.epoch,
        seq: this.#announcements++,
        beat_ms: this.#beat,
        versions: this.versions,
        codecs: ["json"],
        draining: this.#draining,
      }),
    );
  }

  #hearProbe(message) {
    if (message.reply && matches(message.string(), this.topic)) {
      this.#announce("beat", message.reply);
    }
  }

  // What a node of version 2 does in another way.
  get versions() {
    return [version];
  }
  moreSubjects() {
    return [];
  }
  read(message) {
    return new Request(message);
  }
  replyTo(request) {
    return new Reply(this.#connection, this, request.reply);
  }
  again() {} // the request has come before
  cancelled() {} // of a request that is done

  #hear(message) {
    const request = this.read(message);
    if (request.type === "cancel") {
      this.#cancel(request);
    } else if (request.type === "request" && request.reply) {
      this.#take(request);
    }
  }

  #cancel(request) {
    if (request.node && request.node !== this.name) {
      return;
    }
    const work = this.#work.get(request.call);
    if (work) {
      work.cancel(request.cause());
    } else {
      this.cancelled(request);
      this.#remember(request.call, cancelsKept); // the request may be behind its cancel
    }
  }

  #take(request) {
    if (this.#seen.has(request.call)) {
      this.again(request);
      return;
    }
    const reply = this.replyTo(request);
    let body;
    try {
      request.check();
      if (request.milliseconds <= 0) {
        return;
      }
      this.#remember(request.call, request.milliseconds);
      body = request.body();
    } catch (err) {
      reply.reject(failureOf(err));
      return;
    }
    const stop = new AbortController();
    const late = () => stop.abort(new Failure("late", "deadline", "the budget is used up"));
    const timer = setTimeout(late, Math.min(request.milliseconds, 2 ** 31 - 1));
    const ended = this.#answer(request, body, reply, stop.signal)
      .catch((err) => console.error(`reply: ${err.message}`))
      .finally(() => {
        clearTimeout(timer);
        this.#work.delete(request.call);
      });
    const cancel = (cause) => {
      reply.silence();
      stop.abort(cause);
    };
    this.#work.set(request.call, { cancel, ended });
  }

  async #answer(request, body, reply, signal) {
    const names = Object.keys(this.#members).filter((name) => request.targets?.includes(name) ?? true);
    reply.send(accept(names));
    await Promise.all(names.map((name, i) => run(this.#members[name](body, signal), i, reply, signal)));
    reply.final(names.length);
  }

  #remember(call, milliseconds) {
    this.#seen.set(call, Date.now() + milliseconds);
  }

  #forget() {
    for (const [call, until] of this.#seen) {
      if (until <= Date.now()) {
        this.#seen.delete(call);
      }
    }
  }
}

// run sends what a member yields, until it ends or is to stop.
async function run(values, member, reply, signal) {
  const stopped = new Promise((_, stop) => signal.addEventListener("abort", () => stop(signal.reason)));
  let results = 0;
  try {
    for (;;) {
      // Who does not look at the signal is not waited for.
      const { value, done } = await Promise.race([values.next(), stopped]);
      signal.throwIfAborted();
      if (done) {
        break;
      }
      reply.result(member, value);
      results++;
    }
    reply.end(member, results);
  } catch (err) {
    reply.end(member, results, failureOf(signal.aborted ? signal.reason : err));
  }
}

// matches reports whether a topic matches a pattern: * stands for one token, > at the
// end for the rest.
function matches(pattern, topic) {
  const tokens = topic.split(".");
  const wanted = pattern.split(".");
  const rest = wanted.at(-1) === ">";
  if (rest ? tokens.length < wanted.length : tokens.length !== wanted.length) {
    return false;
  }
  return wanted.every((token, i) => token === "*" || token === tokens[i] || (rest && i === wanted.length - 1));
}
