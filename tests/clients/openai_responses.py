"""The Responses API through OpenAI's Python library. Ends with "all checks passed"."""

import os
from typing import Literal

import openai
from pydantic import BaseModel

client = openai.OpenAI(base_url=os.environ["BASE_URL"], api_key="unused", max_retries=0)
ASK = {"model": os.environ["MODEL"], "max_output_tokens": 24, "temperature": 0}


class Mood(BaseModel):
    mood: Literal["good", "bad"]


def check(what, condition, detail=""):
    if not condition:
        raise SystemExit(f"failed: {what} {detail}")
    print(f"ok: {what}")


first = client.responses.create(input="Hi. Who are you?", **ASK)
check("an answer", first.status in ("completed", "incomplete") and first.output_text, first)
chat = client.chat.completions.create(
    model=ASK["model"], max_completion_tokens=24, temperature=0,
    messages=[{"role": "user", "content": "Hi. Who are you?"}])
check("the same text as chat completions", chat.choices[0].message.content == first.output_text)
check("usage adds up", first.usage.total_tokens == first.usage.input_tokens + first.usage.output_tokens)

events = list(client.responses.create(input="Hi. Who are you?", stream=True, **ASK))
check("dense sequence numbers", [event.sequence_number for event in events] == list(range(len(events))))
check("created first", events[0].type == "response.created")
check("the last event is an end", events[-1].type in ("response.completed", "response.incomplete"))
check("a stream says the same", events[-1].response.output_text == first.output_text)
with client.responses.stream(input="How do you feel?", text_format=Mood, **{**ASK, "max_output_tokens": 64}) as stream:
    deltas = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    final = stream.get_final_response()
check("the helper agrees", final.output_text == deltas and isinstance(final.output_parsed, Mood))

cut = client.responses.create(input="Count to one hundred.", **{**ASK, "max_output_tokens": 16})
if cut.status == "incomplete":
    check("the reason is named", cut.incomplete_details.reason == "max_output_tokens")

second = client.responses.create(input="And now?", previous_response_id=first.id, **ASK)
check("history counts", second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens - 2)
check("retrieve", client.responses.retrieve(first.id).output_text == first.output_text)
items = client.responses.input_items.list(first.id)
check("input items", items.data[0].content[0].text == "Hi. Who are you?")
client.responses.delete(first.id)
try:
    client.responses.retrieve(first.id)
    check("deleted", False)
except openai.NotFoundError:
    check("deleted", True)
try:
    client.responses.create(input="x", previous_response_id="resp_nobody", **ASK)
    check("an unknown predecessor is refused", False)
except (openai.BadRequestError, openai.NotFoundError):
    check("an unknown predecessor is refused", True)

parsed = client.responses.parse(input="How do you feel?", text_format=Mood, **{**ASK, "max_output_tokens": 64})
check("parse", isinstance(parsed.output_parsed, Mood), parsed)
tool = {"type": "function", "name": "get_city", "strict": True, "parameters": {
    "type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"],
    "additionalProperties": False}}
called = client.responses.create(input="Where?", tools=[tool], tool_choice="required",
                                 parallel_tool_calls=False, **{**ASK, "max_output_tokens": 100})
call = next(item for item in called.output if item.type == "function_call")
check("a function call", call.name == "get_city" and "city" in call.arguments, called)
after = client.responses.create(previous_response_id=called.id, tools=[tool], tool_choice="none", input=[
    {"type": "function_call_output", "call_id": call.call_id, "output": "done"}], **ASK)
check("its output is taken", after.status in ("completed", "incomplete"))
stream = list(client.responses.create(input="Where?", tools=[tool], tool_choice="required", stream=True,
                                      parallel_tool_calls=False, **{**ASK, "max_output_tokens": 100}))
fragments = "".join(e.delta for e in stream if e.type == "response.function_call_arguments.delta")
check("fragments join to the arguments", fragments == next(
    e.arguments for e in stream if e.type == "response.function_call_arguments.done"))
background = client.responses.create(input="Hi", background=True, **ASK)
check("background", background.status in ("queued", "in_progress", "completed", "incomplete"))
client.responses.cancel(background.id)
print("all checks passed")
