"""Tools and the other fields of chat and completions, through OpenAI's Python library, with a small
model that would not call a tool by itself. Ends with "all checks passed"."""

import base64
import json
import os
import struct
from typing import Literal

import openai
from pydantic import BaseModel

client = openai.OpenAI(base_url=os.environ["BASE_URL"], api_key="unused", max_retries=0)
MODEL = os.environ["MODEL"]


class GetWeather(BaseModel):
    """The weather at a place."""

    city: Literal["Paris", "Rome", "Oslo"]
    unit: Literal["c", "f"]


class GetTime(BaseModel):
    """The time of day."""

    zone: Literal["UTC", "CET"]


TOOLS = [openai.pydantic_function_tool(GetWeather), openai.pydantic_function_tool(GetTime)]
ASK = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
    "max_completion_tokens": 200,
    "seed": 1,
}


def check(what, condition, detail=""):
    if not condition:
        raise SystemExit(f"failed: {what} {detail}")
    print(f"ok: {what}")


def refused(param, **request):
    try:
        client.chat.completions.create(**{**ASK, **request})
    except openai.BadRequestError as error:
        return error.param is not None and error.param.startswith(param)
    return False


for choice in ["required", {"type": "function", "function": {"name": "GetWeather"}}]:
    answer = client.chat.completions.parse(tools=TOOLS, tool_choice=choice, **ASK)
    message = answer.choices[0].message
    check(f"finish reason with {choice}", answer.choices[0].finish_reason == "tool_calls", answer)
    call = message.tool_calls[0]
    check("a call has an id and a name", call.id and call.function.name in ("GetWeather", "GetTime"))
    check("its arguments are parsed", isinstance(call.function.parsed_arguments, (GetWeather, GetTime)))
    check("no content beside calls", not message.content, message)
check("the named tool was called", call.function.name == "GetWeather")

one = client.chat.completions.create(tools=TOOLS, tool_choice="required", parallel_tool_calls=False, **ASK)
check("one call when not parallel", len(one.choices[0].message.tool_calls) == 1)

none = client.chat.completions.create(tools=TOOLS, tool_choice="none", **ASK)
check("no call with none", none.choices[0].message.tool_calls is None and none.choices[0].message.content)

auto = client.chat.completions.create(tools=TOOLS, **ASK)
check("auto answers one way or the other", auto.choices[0].finish_reason in ("stop", "length", "tool_calls"))

with client.chat.completions.stream(tools=TOOLS, tool_choice="required", **ASK) as stream:
    kinds = [event.type for event in stream]
    final = stream.get_final_completion()
check("the helper saw argument fragments", "tool_calls.function.arguments.delta" in kinds, kinds)
check("the helper parsed the call", final.choices[0].message.tool_calls[0].function.parsed_arguments is not None)
check("a stream makes the same calls", [c.function.arguments for c in final.choices[0].message.tool_calls]
      == [c.function.arguments for c in client.chat.completions.create(
          tools=TOOLS, tool_choice="required", **ASK).choices[0].message.tool_calls])

call = final.choices[0].message.tool_calls[0]
turns = ASK["messages"] + [
    {"role": "assistant", "tool_calls": [call.model_dump(exclude={"function": {"parsed_arguments"}})]},
    {"role": "tool", "tool_call_id": call.id, "content": "It is sunny."},
]
after = client.chat.completions.create(**{**ASK, "messages": turns}, tools=TOOLS, tool_choice="none")
check("a conversation goes on after a result", bool(after.choices[0].message.content))

legacy = client.chat.completions.create(
    functions=[{"name": "get_time", "parameters": {"type": "object", "properties": {
        "zone": {"enum": ["UTC"]}}, "required": ["zone"]}}],
    function_call={"name": "get_time"}, **ASK)
check("legacy functions", legacy.choices[0].message.function_call.name == "get_time")
check("legacy finish reason", legacy.choices[0].finish_reason == "function_call")
check("legacy arguments", json.loads(legacy.choices[0].message.function_call.arguments) == {"zone": "UTC"})

allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
    {"type": "function", "function": {"name": "GetTime"}}]}}
answer = client.chat.completions.create(tools=TOOLS, tool_choice=allowed, **ASK)
check("allowed tools", {c.function.name for c in answer.choices[0].message.tool_calls} == {"GetTime"})
check("an unknown tool is refused", refused("tool_choice", tools=TOOLS, tool_choice={
    "type": "function", "function": {"name": "nobody"}}))

several = client.chat.completions.create(**{**ASK, "max_completion_tokens": 8}, n=3, temperature=1)
check("three choices", [choice.index for choice in several.choices] == [0, 1, 2])
chunks = list(client.chat.completions.create(**{**ASK, "max_completion_tokens": 8}, n=2, stream=True))
check("two choices in a stream", {c.index for chunk in chunks for c in chunk.choices} == {0, 1})
check("one end each", sorted(c.index for chunk in chunks for c in chunk.choices if c.finish_reason) == [0, 1])

probable = client.chat.completions.create(**{**ASK, "max_completion_tokens": 6}, logprobs=True, top_logprobs=3)
tokens = probable.choices[0].logprobs.content
check("tokens join to the text", "".join(t.token for t in tokens) == probable.choices[0].message.content)
check("log-probabilities are at most 0", all(t.logprob <= 0 for t in tokens))
check("three alternatives each, the best first", all(
    len(t.top_logprobs) == 3 and t.top_logprobs[0].logprob >= t.logprob - 1e-6 for t in tokens))
check("top_logprobs without logprobs is refused", refused("top_logprobs", top_logprobs=3))
chunks = list(client.chat.completions.create(**{**ASK, "max_completion_tokens": 6}, logprobs=True, stream=True))
streamed = [t.token for chunk in chunks for c in chunk.choices if c.logprobs for t in c.logprobs.content]
check("the stream has the same tokens", streamed == [t.token for t in tokens])

biased = client.chat.completions.create(**{**ASK, "max_completion_tokens": 3, "temperature": 0}, logprobs=True)
plain = client.completions.create(model=MODEL, prompt="One two three", max_tokens=4, temperature=0, logprobs=2)
check("legacy log-probabilities are arrays", len(plain.choices[0].logprobs.tokens) == 4)
check("legacy text offsets", plain.choices[0].logprobs.text_offset[0] == len("One two three"))
echo = client.completions.create(model=MODEL, prompt="One two three", max_tokens=0, echo=True, logprobs=1)
check("echo gives the prompt back", echo.choices[0].text == "One two three", echo.choices[0])
check("the first echoed token has no probability", echo.choices[0].logprobs.token_logprobs[0] is None)
lists = client.completions.create(model=MODEL, prompt=["One two", "A B C"], max_tokens=3, n=2, seed=1)
check("prompts times n", [choice.index for choice in lists.choices] == [0, 1, 2, 3])
best = client.completions.create(model=MODEL, prompt="One two", max_tokens=3, best_of=3, seed=1)
check("best_of gives one", len(best.choices) == 1)

forced = client.chat.completions.create(**ASK, extra_body={"guided_choice": ["yes", "no"]})
check("a choice", forced.choices[0].message.content in ("yes", "no"), forced.choices[0].message.content)
forced = client.chat.completions.create(**ASK, extra_body={"guided_regex": "[0-9]{3}-[a-f]{2}"})
check("a regular expression", len(forced.choices[0].message.content) == 6, forced.choices[0].message.content)
forced = client.chat.completions.create(**ASK, extra_body={"grammar": 'root ::= "left" | "right"'})
check("a grammar", forced.choices[0].message.content in ("left", "right"))
answer = client.chat.completions.create(**ASK, response_format={"type": "json_schema", "json_schema": {
    "name": "flat", "strict": True, "schema": {"type": "object", "properties": {"a": {"type": "boolean"}},
                                               "required": ["a"], "additionalProperties": False}}})
check("a schema", list(json.loads(answer.choices[0].message.content)) == ["a"])
check("a schema that cannot be is refused with its place", refused("response_format", response_format={
    "type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {
        "a": {"$ref": "https://example.com/other.json"}}}}}))
check("an image for a model without eyes is refused", refused("messages", messages=[{"role": "user", "content": [
    {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(
        b"\x89PNG\r\n\x1a\n").decode()}}]}]))

embedder = os.environ.get("EMBEDDER")
if embedder:
    texts = ["That is a happy person", "That is a very happy person", "Today is a sunny day"]
    encoded = client.embeddings.create(model=embedder, input=texts)
    floats = client.embeddings.create(model=embedder, input=texts, encoding_format="float")
    check("base64 is float", all(
        abs(a - b) < 1e-6 for x, y in zip(encoded.data, floats.data) for a, b in zip(x.embedding, y.embedding)))
    length = sum(value * value for value in floats.data[0].embedding)
    check("vectors have length 1", abs(length - 1) < 1e-4)
    near = sum(a * b for a, b in zip(floats.data[0].embedding, floats.data[1].embedding))
    far = sum(a * b for a, b in zip(floats.data[0].embedding, floats.data[2].embedding))
    check("what is alike is near", near > 0.9 and far < 0.4, (near, far))
    cut = client.embeddings.create(model=embedder, input=texts[0], dimensions=64)
    check("dimensions", len(cut.data[0].embedding) == 64)
    raw = client.embeddings.with_raw_response.create(model=embedder, input=texts[0], encoding_format="base64")
    vector = json.loads(raw.text)["data"][0]["embedding"]
    check("base64 on the wire", len(struct.unpack("<384f", base64.b64decode(vector))) == 384)
print("all checks passed")
