// Anthropic's JavaScript library against modeld at BASE_URL, over the Unix socket SOCKET
// where that is set; ends with "all checks passed".

import { request } from "node:http";
import { Readable } from "node:stream";

import Anthropic from "@anthropic-ai/sdk";

const ANSWER = "Hello world! STOP here.";
const socketPath = process.env.SOCKET;

// Node's own fetch knows no Unix sockets.
function overSocket(url, { method = "GET", headers, body, signal } = {}) {
  return new Promise((resolve, reject) => {
    const sent = { socketPath, method, signal, headers: Object.fromEntries(new Headers(headers)) };
    const asked = request(new URL(url), sent, (answer) => {
      const { statusCode: status, headers } = answer;
      resolve(new Response(Readable.toWeb(answer), { status, headers }));
    });
    asked.on("error", reject);
    asked.end(body);
  });
}

const client = new Anthropic({
  baseURL: process.env.BASE_URL,
  apiKey: "unused",
  maxRetries: 0,
  ...(socketPath && { fetch: overSocket }),
});
const ask = { model: "ai/hello", max_tokens: 100, messages: [{ role: "user", content: "Hi" }] };

function check(what, condition) {
  if (!condition) {
    console.error(`failed: ${what}`);
    process.exit(1);
  }
  console.log(`ok: ${what}`);
}

async function refused(request) {
  try {
    await client.messages.create(request);
  } catch (error) {
    return error;
  }
  return undefined;
}

const answer = await client.messages.create(ask);
check("message", answer.content.length === 1 && answer.content[0].text === ANSWER);
check("end_turn", answer.stop_reason === "end_turn" && answer.stop_sequence === null);
check("request id", Boolean(answer._request_id));

const stream = client.messages.stream(ask);
let text = "";
stream.on("text", (piece) => (text += piece));
const final = await stream.finalMessage();
check("stream", text === ANSWER && final.content[0].text === ANSWER);
check("the same usage", final.usage.output_tokens === answer.usage.output_tokens);

const left = await client.messages.create({ ...ask, stream: true });
left.controller.abort();
check("a stream can be left", true);

const stopped = await client.messages.create({ ...ask, stop_sequences: ["STOP"] });
check("stop_sequence", stopped.stop_reason === "stop_sequence" && stopped.stop_sequence === "STOP");
const cut = await client.messages.stream({ ...ask, max_tokens: 1 }).finalMessage();
check("max_tokens", cut.stop_reason === "max_tokens");

const { max_tokens, ...fields } = ask;
const count = await client.messages.countTokens(fields);
const { input_tokens, cache_read_input_tokens } = answer.usage;
check("countTokens", count.input_tokens === input_tokens + cache_read_input_tokens);

let error = await refused({ ...ask, model: "ai/none" });
check("NotFoundError", error instanceof Anthropic.NotFoundError);
check("its type", error.error.error.type === "not_found_error");
error = await refused({ ...ask, messages: [] });
check("BadRequestError", error instanceof Anthropic.BadRequestError);
error = await refused({ ...ask, top_p: 2, stream: true });
check("it names the field", error instanceof Anthropic.BadRequestError && error.message.includes("top_p"));

const ids = [];
for await (const model of client.models.list({ limit: 1 })) ids.push(model.id);
check("models.list", ids.length === 2 && ids.some((id) => id.includes("ai/hello")));
check("models.retrieve", (await client.models.retrieve(ids[0])).type === "model");

console.log("all checks passed");
