"""OpenAI's Python library against modeld at BASE_URL, over the Unix
socket SOCKET where that is set; ends with "all checks passed"."""

import os

import httpx2
import openai

ANSWER = "Hello world! STOP here."
socket = os.environ.get("SOCKET")
http = httpx2.Client(transport=httpx2.HTTPTransport(uds=socket)) if socket else None
client = openai.OpenAI(base_url=os.environ["BASE_URL"], api_key="unused", max_retries=0, http_client=http)
ask = {"model": "ai/hello", "messages": [{"role": "user", "content": "Hi"}]}


def check(what, condition):
    if not condition:
        raise SystemExit(f"failed: {what}")
    print(f"ok: {what}")


def refused(kind, **request):
    try:
        client.chat.completions.create(**request)
    except kind as error:
        return error
    return None


answer = client.chat.completions.create(**ask)
check("chat", answer.choices[0].message.content == ANSWER)
check("finish reason", answer.choices[0].finish_reason == "stop")
check("usage adds up", answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens)
check("request id", bool(answer._request_id))

chunks = list(client.chat.completions.create(stream=True, **ask))
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
check("stream", text == ANSWER)
check("role comes first", chunks[0].choices[0].delta.role == "assistant")
check("one finish reason", [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"])
check("no usage unless asked for", all(chunk.usage is None for chunk in chunks))

chunks = list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **ask))
check("usage in the last chunk", chunks[-1].usage is not None and chunks[-1].choices == [])
check("the same usage as without a stream", chunks[-1].usage.completion_tokens == answer.usage.completion_tokens)

with client.chat.completions.create(stream=True, **ask) as stream:
    next(iter(stream))
check("a stream can be left", True)

stopped = client.chat.completions.create(stop=["STOP"], **ask)
check("stop string", stopped.choices[0].message.content == "Hello world! ")
cut = client.chat.completions.create(max_completion_tokens=1, **ask)
check("length", cut.choices[0].finish_reason == "length")

error = refused(openai.NotFoundError, **{**ask, "model": "ai/none"})
check("NotFoundError", error is not None and error.code == "model_not_found")
error = refused(openai.BadRequestError, **{**ask, "messages": []})
check("BadRequestError", error is not None and error.param is not None)
error = refused(openai.BadRequestError, **{**ask, "temperature": 9})
check("BadRequestError names the field", error is not None and error.param == "temperature")
long = {"model": "ai/tiny", "messages": [{"role": "user", "content": "x" * 5000}]}
error = refused(openai.BadRequestError, **long)
check("context_length_exceeded", error is not None and error.code == "context_length_exceeded")
error = refused(openai.BadRequestError, stream=True, **long)
check("the true status for a stream, too", error is not None)

models = list(client.models.list())
check("models.list", any("ai/hello" in model.id for model in models))
model = client.models.retrieve(models[0].id)
check("models.retrieve", model.id == models[0].id)
try:
    client.models.retrieve("ai/none")
    check("models.retrieve of none", False)
except openai.NotFoundError:
    check("models.retrieve of none", True)

print("all checks passed")
