// OpenAI's JavaScript library against modeld at BASE_URL, over the Unix socket SOCKET
// where that is set; ends with "all checks passed".

import { request } from "node:http";
import { Readable } from "node:stream";

import OpenAI from "openai";

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

const client = new OpenAI({
  baseURL: process.env.BASE_URL,
  apiKey: "unused",
  maxRetries: 0,
  ...(socketPath && { fetch: overSocket }),
});
const ask = { model: "ai/hello", messages: [{ role: "user", content: "Hi" }] };

function check(what, condition) {
  if (!condition) {
    console.error(`failed: ${what}`);
    process.exit(1);
  }
  console.log(`ok: ${what}`);
}

async function refused(request) {
  try {
    await client.chat.completions.create(request);
  } catch (error) {
    return error;
  }
  return undefined;
}

const answer = await client.chat.completions.create(ask);
check("chat", answer.choices[0].message.content === ANSWER);
check("finish reason", answer.choices[0].finish_reason === "stop");

async function collect(request) {
  const chunks = [];
  for await (const chunk of await client.chat.completions.create(request)) chunks.push(chunk);
  return chunks;
}

let chunks = await collect({ ...ask, stream: true });
const text = chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join("");
check("stream", text === ANSWER);
check("role comes first", chunks[0].choices[0].delta.role === "assistant");
check("no usage unless asked for", chunks.every((chunk) => !chunk.usage));

chunks = await collect({ ...ask, stream: true, stream_options: { include_usage: true } });
const last = chunks.at(-1);
check("usage in the last chunk", last.choices.length === 0 && last.usage.total_tokens > 0);

const left = await client.chat.completions.create({ ...ask, stream: true });
left.controller.abort();
check("a stream can be left", true);

let error = await refused({ ...ask, model: "ai/none" });
check("NotFoundError", error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
error = await refused({ ...ask, messages: [] });
check("BadRequestError", error instanceof OpenAI.BadRequestError);
error = await refused({ ...ask, top_p: 2 });
check("BadRequestError names the field", error instanceof OpenAI.BadRequestError && error.param === "top_p");

const ids = [];
for await (const model of client.models.list()) ids.push(model.id);
check("models.list", ids.some((id) => id.includes("ai/hello")));

console.log("all checks passed");
