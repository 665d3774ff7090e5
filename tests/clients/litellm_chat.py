"""litellm against modeld, in OpenAI's and in Anthropic's form. Ends with "all checks passed"."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch a price list otherwise
import litellm

litellm.telemetry = False
url = os.environ["BASE_URL"]
root = url.removesuffix("/v1")
openai = {"model": f"openai/{os.environ['MODEL']}", "api_base": url, "api_key": "unused", "max_tokens": 24,
          "temperature": 0, "num_retries": 0}
talk = [{"role": "user", "content": "Say hello."}]
city = {"type": "function", "function": {"name": "get_city", "parameters": {
    "type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}}}


def check(what, condition, detail=""):
    if not condition:
        raise SystemExit(f"failed: {what} {detail}")
    print(f"ok: {what}")


answer = litellm.completion(messages=talk, **openai)
check("completion", bool(answer.choices[0].message.content))
text = "".join(chunk.choices[0].delta.content or "" for chunk in litellm.completion(
    messages=talk, stream=True, **openai))
check("stream", text == answer.choices[0].message.content)
called = litellm.completion(messages=talk, tools=[city], tool_choice="required", **{**openai, "max_tokens": 100})
check("a tool call", called.choices[0].message.tool_calls[0].function.name == "get_city")
claude = {"model": f"anthropic/{os.environ['MODEL']}", "api_base": root, "api_key": "unused", "max_tokens": 24,
          "temperature": 0, "num_retries": 0}
said = litellm.completion(messages=talk, **claude)
check("through Anthropic's API the same text", said.choices[0].message.content == answer.choices[0].message.content)
try:
    litellm.completion(messages=[{"role": "user", "content": "word " * 20000}], **openai)
    check("a prompt that is too long", False)
except litellm.ContextWindowExceededError:
    check("a prompt that is too long", True)
try:
    litellm.completion(messages=talk, **{**openai, "model": "openai/ai/none"})
    check("an unknown model", False)
except litellm.NotFoundError:
    check("an unknown model", True)
embedder = os.environ.get("EMBEDDER")
if embedder:
    vectors = litellm.embedding(model=f"openai/{embedder}", input=["a", "b"], api_base=url, api_key="unused")
    check("embeddings", len(vectors.data) == 2 and len(vectors.data[0]["embedding"]) == 384)
print("all checks passed")
