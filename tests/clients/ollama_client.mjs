// Ollama's JavaScript library against modeld at OLLAMA_HOST with the model MODEL; ends with "all
// checks passed".
import { Ollama } from "ollama";

const client = new Ollama({ host: process.env.OLLAMA_HOST });
const model = process.env.MODEL;
const options = { temperature: 0, seed: 1, num_predict: 24 };
const messages = [{ role: "user", content: "Say hello." }];

function check(what, condition) {
  if (!condition) {
    console.log(`failed: ${what}`);
    process.exit(1);
  }
  console.log(`ok: ${what}`);
}

const listed = await client.list();
check("list", listed.models[0].name === "smollm2:latest");
const shown = await client.show({ model });
check("show", shown.capabilities.includes("completion") && shown.model_info["general.architecture"]);

const whole = await client.chat({ model, messages, options });
check("chat", whole.message.content.length > 0 && whole.done && whole.eval_count > 0);
let text = "";
let last;
for await (const part of await client.chat({ model, messages, options, stream: true })) {
  text += part.message.content;
  last = part;
}
check("stream", text === whole.message.content && last.done);

const generated = await client.generate({ model, prompt: "Say hello.", options });
text = "";
for await (const part of await client.generate({ model, prompt: "Say hello.", options, stream: true })) {
  text += part.response;
}
check("generate", text === generated.response && text.length > 0);

const endless = { temperature: 1, num_predict: -1 };
const stopped = await client.chat({ model, messages, options: endless, stream: true });
let aborted = false;
try {
  for await (const _ of stopped) {
    stopped.abort();
  }
} catch (error) {
  aborted = error.name === "AbortError";
}
check("abort", aborted);

let refused;
try {
  await client.chat({ model: "none", messages });
} catch (error) {
  refused = error;
}
check("absent", refused.status_code === 404 && refused.message === "model 'none' not found");
check("ps", (await client.ps()).models[0].name === "smollm2:latest");
console.log("all checks passed");
