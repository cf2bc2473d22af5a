// A node of dispatch that is not written in Go. It knows the wire protocol and
// nothing else of dispatch, and answers on the topic cell.measure:
//
//	npm ci
//	node agent.js nats://127.0.0.1:4222 oven-2
//
// It speaks versions 1 and 2 of the protocol, and with "2000 1" behind the name only version 1.
//
// Ended by SIGTERM or Ctrl-C it finishes what it has been asked.
import { setTimeout as sleep } from "node:timers/promises";

import { connect } from "@nats-io/transport-node";

import { Node } from "./node.js";
import { Node2 } from "./node2.js";

const [server = "nats://127.0.0.1:4222", name = "oven-2", beat = "2000", version = "2"] = process.argv.slice(2);

const members = {
  // The thermometer answers at once.
  async *thermometer() {
    yield { Value: 21.25, Unit: "°C" };
  },

  // The oven tells of every degree on the way.
  async *oven(request, signal) {
    try {
      for (let degree = 1; degree <= (request.Heat ?? 0); degree++) {
        await sleep(10, undefined, { signal });
        yield { Value: 20 + degree, Unit: "°C" };
      }
    } catch (err) {
      console.log(`the oven is switched off: ${signal.reason?.code ?? err}`);
      throw err;
    }
  },

  // The camera's pictures are as large as one likes.
  async *camera(request) {
    if (request.Door === "open") {
      throw new Error("the door is open: “✗”");
    }
    yield { Picture: "#".repeat(request.Pixels ?? 1) };
  },
};

const connection = await connect({ servers: server, maxReconnectAttempts: -1, reconnectTimeWait: 250 });
const node = new (version === "1" ? Node : Node2)(connection, { name, topic: "cell.measure", members, beat: Number(beat) });
await node.serve();
console.log(`${name} answers on cell.measure`);

const leave = async () => {
  await node.drain();
  await connection.close();
};
process.once("SIGTERM", leave);
process.once("SIGINT", leave);
await connection.closed();
