// The helpers of OpenAI's JavaScript library (schemas, tools, streams, Responses) against modeld at
// BASE_URL; ends with "all checks passed".

import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const model = process.env.MODEL;
const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "unused", maxRetries: 0 });
const ask = { model, temperature: 0, max_completion_tokens: 100 };
const messages = [{ role: "user", content: "Which city has the Louvre?" }];

function check(what, condition, detail) {
  if (!condition) {
    console.log(`failed: ${what}`, detail ?? "");
    process.exit(1);
  }
  console.log(`ok: ${what}`);
}

const Answer = z.object({ city: z.enum(["Paris", "Rome"]), sure: z.boolean() });
const parsed = await client.chat.completions.parse({
  ...ask, messages, response_format: zodResponseFormat(Answer, "answer"),
});
check("parse", Answer.safeParse(parsed.choices[0].message.parsed).success, parsed.choices[0]);

const runner = client.chat.completions.runTools({
  ...ask, messages, tool_choice: "required", parallel_tool_calls: false,
  tools: [{
    type: "function",
    function: {
      name: "lookUp",
      description: "Looks a city up.",
      parameters: { type: "object", properties: { city: { enum: ["Paris", "Rome"] } }, required: ["city"] },
      parse: JSON.parse,
      function: ({ city }) => `${city} is a city.`,
    },
  }],
}, { maxChatCompletions: 1 });
const calls = [];
runner.on("functionToolCall", (call) => calls.push(call));
await runner.done().catch(() => {}); // it stops after one round, as asked
check("runTools makes the call", calls.length > 0 && calls[0].name === "lookUp", calls);

const stream = client.chat.completions.stream({ ...ask, messages, max_completion_tokens: 20 });
let text = "";
stream.on("content", (delta) => { text += delta; });
check("the stream helper", (await stream.finalContent()) === text && text.length > 0);

const response = await client.responses.parse({
  model, temperature: 0, max_output_tokens: 100, input: "Which city has the Louvre?",
  text: { format: zodTextFormat(Answer, "answer") },
});
check("Responses parse", Answer.safeParse(response.output_parsed).success, response);
const events = client.responses.stream({ model, temperature: 0, max_output_tokens: 20, input: "Say hello." });
let deltas = "";
for await (const event of events) {
  if (event.type === "response.output_text.delta") deltas += event.delta;
}
check("Responses stream helper", (await events.finalResponse()).output_text === deltas);

if (process.env.EMBEDDER) {
  const vectors = await client.embeddings.create({ model: process.env.EMBEDDER, input: ["a", "b"] });
  check("embeddings", vectors.data.length === 2 && vectors.data[0].embedding.length === 384);
}
console.log("all checks passed");
