"""Anthropic's Python library against modeld at BASE_URL, over the Unix
socket SOCKET where that is set; ends with "all checks passed"."""

import os
from concurrent.futures import ThreadPoolExecutor

import anthropic
import httpx2

ANSWER = "Hello world! STOP here."
socket = os.environ.get("SOCKET")
http = httpx2.Client(transport=httpx2.HTTPTransport(uds=socket)) if socket else None
client = anthropic.Anthropic(base_url=os.environ["BASE_URL"], api_key="unused", max_retries=0, http_client=http)
ask = {"model": "ai/hello", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
talk = {
    **ask,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello."}]},
        {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
    ],
}


def check(what, condition):
    if not condition:
        raise SystemExit(f"failed: {what}")
    print(f"ok: {what}")


def refused(kind, **request):
    try:
        client.messages.create(**request)
    except kind as error:
        return error
    return None


answer = client.messages.create(**ask)
check("message", [block.text for block in answer.content] == [ANSWER])
check("its head", (answer.type, answer.role, answer.model) == ("message", "assistant", "ai/hello"))
check("its id", answer.id.startswith("msg_") and bool(answer._request_id))
check("end_turn", (answer.stop_reason, answer.stop_sequence) == ("end_turn", None))

with client.messages.stream(**ask) as stream:
    text = "".join(stream.text_stream)
    final = stream.get_final_message()
check("stream", text == ANSWER and final.content[0].text == ANSWER)
check("the same usage as without a stream", final.usage.output_tokens == answer.usage.output_tokens)
check("the same end as without a stream", final.stop_reason == answer.stop_reason)
kinds = [event.type for event in client.messages.create(stream=True, **ask)]
check("the order of events", kinds[:2] == ["message_start", "content_block_start"])
check("the last events", kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"])
with client.messages.stream(**ask) as stream:
    next(iter(stream))
check("a stream can be left", True)

stopped = client.messages.create(stop_sequences=["STOP"], **ask)
check("stop_sequence", (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "STOP"))
check("stops before it", stopped.content[0].text == "Hello world! ")
cut = client.messages.create(**{**ask, "max_tokens": 1})
check("max_tokens", cut.stop_reason == "max_tokens" and cut.usage.output_tokens == 1)

for what, request in [("a question", ask), ("a conversation", talk)]:
    fields = {key: value for key, value in request.items() if key != "max_tokens"}
    count = client.messages.count_tokens(**fields).input_tokens
    usage = client.messages.create(**request).usage
    check(f"count_tokens of {what}", count == usage.input_tokens + usage.cache_read_input_tokens)
check("more to read is more tokens", usage.cache_read_input_tokens + usage.input_tokens > 20)

with ThreadPoolExecutor() as pool:
    both = list(pool.map(lambda _: client.messages.create(**talk), range(2)))
check("two at once", [message.content[0].text for message in both] == [ANSWER] * 2)
beta = client.beta.messages.create(betas=["no-such-2031-01-01"], **ask)
check("an unknown beta", beta.content[0].text == ANSWER)

error = refused(anthropic.NotFoundError, **{**ask, "model": "ai/none"})
check("NotFoundError", error is not None and error.body["error"]["type"] == "not_found_error")
check("its request id", error.request_id == error.body["request_id"])
error = refused(anthropic.BadRequestError, **{**ask, "messages": []})
check("BadRequestError", error is not None and error.body["type"] == "error")
error = refused(anthropic.BadRequestError, **{**ask, "max_tokens": 0})
check("BadRequestError names the field", error is not None and "max_tokens" in error.message)
error = refused(anthropic.BadRequestError, extra_body={"temperature": 9}, **ask)
check("a range is kept", error is not None and "temperature" in error.message)
long = {**ask, "model": "ai/tiny", "messages": [{"role": "user", "content": "x" * 5000}]}
error = refused(anthropic.BadRequestError, **long)
check("too long", error is not None and "prompt is too long" in error.message)
error = refused(anthropic.BadRequestError, stream=True, **long)
check("the true status for a stream, too", error is not None)

models = list(client.models.list(limit=1))
check("models.list, page by page", len(models) == 2 and {m.type for m in models} == {"model"})
model = client.models.retrieve(models[0].id)
check("models.retrieve", model.id == models[0].id and model.created_at.year > 1970)
try:
    client.models.retrieve("ai/none")
    check("models.retrieve of none", False)
except anthropic.NotFoundError:
    check("models.retrieve of none", True)

print("all checks passed")
