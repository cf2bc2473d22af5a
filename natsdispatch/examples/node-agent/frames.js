// The frames of a reply, as the wire protocol has them.

// escape writes a name so that it is a token of a subject and a word of a frame.
export function escape(name) {
  return Array.from(Buffer.from(name), (byte) => {
    const char = String.fromCharCode(byte);
    return /[A-Za-z0-9_-]/.test(char) ? char : "=" + byte.toString(16).toUpperCase().padStart(2, "0");
  }).join("");
}

export function unescape(word) {
  const bytes = word.replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return Buffer.from(bytes, "latin1").toString();
}

// A Failure is how something ends other than well.
export class Failure extends Error {
  constructor(state, code, text) {
    super(text);
    this.state = state;
    this.code = code;
  }

  toString() {
    // The text is ASCII like the rest of the line.
    const text = JSON.stringify(this.message).replace(/[\u007f-\uffff]/g, (char) => {
      return "\\u" + char.charCodeAt(0).toString(16).padStart(4, "0");
    });
    return `${this.state} ${this.code} ${text}`;
  }

  // serviceCode is for tools that know nothing of this protocol.
  get serviceCode() {
    const codes = { malformed: "400", incompatible: "409", overloaded: "429", gone: "410" };
    return codes[this.code] ?? "500";
  }
}

export const accept = (members) => `${["accept", ...members.map(escape)].join(" ")}\n`;
export const end = (member, results, failure) => `end ${member} ${results} ${failure ?? "ok"}\n`;
export const final = (members, results) => `final ${members} ${results}\n`;
export const reject = (failure) => `reject ${failure}\n`;

// result yields a value in as many frames as it takes if each has room for so many
// bytes of it.
export function* result(member, value, room) {
  let at = 0;
  for (; value.length - at > room; at += room) {
    yield frame(`part ${member} ${room}\n`, value.subarray(at, at + room));
  }
  yield frame(`result ${member} ${value.length - at} ${value.length}\n`, value.subarray(at));
}

const frame = (line, value) => Buffer.concat([Buffer.from(line), value, Buffer.from("\n")]);
