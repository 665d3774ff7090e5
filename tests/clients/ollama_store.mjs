// Ollama's JavaScript library managing the models of modeld over the Unix socket SOCKET and pulling
// REMOTE; ends with "all checks passed".

import { request } from "node:http";
import { Readable } from "node:stream";

import { Ollama } from "ollama";

const ANSWER = "Hello world! STOP here.";
const { SOCKET: socketPath, REMOTE: remote } = process.env;

// Node's own fetch knows no Unix sockets.
function overSocket(url, { method = "GET", headers, body, signal } = {}) {
  return new Promise((resolve, reject) => {
    const sent = { socketPath, method, signal, headers: Object.fromEntries(new Headers(headers)) };
    // Node sends no body with a DELETE whose length is not said.
    if (body) sent.headers["content-length"] = Buffer.byteLength(body);
    const asked = request(new URL(url), sent, (answer) => {
      const { statusCode: status, headers } = answer;
      resolve(new Response(Readable.toWeb(answer), { status, headers }));
    });
    asked.on("error", reject);
    asked.end(body);
  });
}

const client = new Ollama({ host: "http://localhost", fetch: overSocket });
const messages = [{ role: "user", content: "Hi" }];

function check(what, condition) {
  if (!condition) {
    console.error(`failed: ${what}`);
    process.exit(1);
  }
  console.log(`ok: ${what}`);
}

async function refused(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  return undefined;
}

const steps = [];
for await (const step of await client.pull({ model: remote, stream: true })) steps.push(step.status);
check("pull, streamed", steps[0] === "pulling manifest" && steps.at(-1) === "success");
check("pull, whole", (await client.pull({ model: remote })).status === "success");
const answer = await client.chat({ model: remote, messages });
check("the pulled model answers", answer.message.content === ANSWER);
const none = await refused(() => client.pull({ model: `${remote}-none` }));
check("no such model", none?.status_code === 404 && none.message.includes("does not exist"));

const made = await client.create({ model: "mine", from: "hello", parameters: { num_predict: 2 } });
check("create", made.status === "success");
check("stored parameters", (await client.chat({ model: "mine", messages })).eval_count === 2);
const told = [];
const stream = await client.create({ model: "mine", from: "hello", system: "Else.", stream: true });
for await (const step of stream) told.push(step.status);
check("create, streamed", told.at(-1) === "success");

check("copy", (await client.copy({ source: "mine", destination: "other" })).status === "success");
for (const model of ["mine", "other", remote]) {
  check(`delete ${model}`, (await client.delete({ model })).status === "success");
}
const gone = await refused(() => client.delete({ model: "mine" }));
check("delete of nothing", gone?.status_code === 404);
console.log("all checks passed");
