"""Ollama's Python library against modeld at OLLAMA_HOST with the model MODEL;
ends with "all checks passed"."""

import json
import os

import ollama

client = ollama.Client(host=os.environ["OLLAMA_HOST"])
model = os.environ["MODEL"]
greedy = {"temperature": 0, "seed": 1, "num_predict": 24}
ask = [{"role": "user", "content": "Say hello."}]


def check(what, condition):
    if not condition:
        raise SystemExit(f"failed: {what}")
    print(f"ok: {what}")


def refused(call, **request):
    try:
        call(**request)
    except ollama.ResponseError as error:
        return error
    return None


listed = client.list()
check("list", [entry.model for entry in listed.models] == ["smollm2:latest"])
check("size", listed.models[0].size > 1_000_000 and listed.models[0].modified_at is not None)
shown = client.show("smollm2")
check("show", shown.modelinfo["general.architecture"] == "llama" and "completion" in shown.capabilities)
check("template", "messages" in shown.template)

whole = client.chat(model=model, messages=ask, options=greedy)
check("chat", whole.message.role == "assistant" and whole.message.content)
check("done", whole.done and whole.done_reason in ("stop", "length"))
check("counts", whole.prompt_eval_count > 0 and 0 < whole.eval_count <= 24)
times = (whole.total_duration, whole.load_duration, whole.prompt_eval_duration, whole.eval_duration)
check("times", all(time > 0 for time in times))
chunks = list(client.chat(model=model, messages=ask, options=greedy, stream=True))
check("stream", "".join(chunk.message.content for chunk in chunks) == whole.message.content)
check("one end", [chunk.done for chunk in chunks].index(True) == len(chunks) - 1)

schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
painted = client.chat(model=model, messages=ask, format=schema, options={**greedy, "num_predict": 64})
check("format", json.loads(painted.message.content)["colour"] in ("red", "blue"))


def add(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
      a: one
      b: the other
    """
    return a + b


tooled = client.chat(model=model, messages=ask, tools=[add], options=greedy)
for call in tooled.message.tool_calls or []:
    check("arguments are an object", isinstance(call.function.arguments, dict))
result = [
    *ask,
    {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1, "b": 2}}}]},
    {"role": "tool", "tool_name": "add", "content": "3"},
]
check("results", client.chat(model=model, messages=result, tools=[add], options=greedy).done)

first = client.generate(model=model, prompt="My name is Ada.", options=greedy)
check("generate", first.response and len(first.context) > 10)
second = client.generate(model=model, prompt="What is my name?", context=first.context, options=greedy)
check("context", second.prompt_eval_count > first.prompt_eval_count)
raw = client.generate(model=model, prompt="1 2 3", raw=True, options={**greedy, "num_predict": 3})
check("raw", raw.done_reason == "length" and raw.eval_count == 3 and raw.context is None)
likely = client.generate(model=model, prompt="1 2 3", raw=True, logprobs=True, top_logprobs=2, options=greedy)
check("logprobs", likely.logprobs[0].token and len(likely.logprobs[0].top_logprobs) == 2)

loaded = client.generate(model=model, keep_alive="10m")
check("load", loaded.done_reason == "load")
running = client.ps().models
check("ps", running[0].model == "smollm2:latest" and running[0].size > 0 and running[0].expires_at)
check("unload", client.generate(model=model, keep_alive=0).done_reason == "unload")
check("nothing runs", client.ps().models == [])

absent = refused(client.chat, model="none", messages=ask)
check("absent", absent.status_code == 404 and absent.error == "model 'none' not found")
check("embed", refused(client.embed, model=model, input="x").status_code == 400)
picture = [{"role": "user", "content": "What?", "images": [b"no image"]}]
check("images", refused(client.chat, model=model, messages=picture).status_code == 400)
check("version", client._request_raw("GET", "/api/version").json()["version"].count(".") == 2)
print("all checks passed")
