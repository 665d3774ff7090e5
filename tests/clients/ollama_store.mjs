// Ollama's JavaScript library managing the models of modeld at OLLAMA_HOST and pulling
// REMOTE; ends with "all checks passed".

import { Ollama } from "ollama";

const ANSWER = "Hello world! STOP here.";
const { OLLAMA_HOST: host, REMOTE: remote } = process.env;

const client = new Ollama({ host });
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
