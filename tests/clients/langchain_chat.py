"""langchain-openai against modeld. Ends with "all checks passed"."""

import os
from typing import Literal

from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel


def check(what, condition, detail=""):
    if not condition:
        raise SystemExit(f"failed: {what} {detail}")
    print(f"ok: {what}")


class Mood(BaseModel):
    """How somebody feels."""

    mood: Literal["good", "bad"]


@tool
def get_city(city: Literal["Paris", "Rome"]) -> str:
    """Look up a city."""
    return city


url = os.environ["BASE_URL"]
model = ChatOpenAI(base_url=url, api_key="unused", model=os.environ["MODEL"], max_tokens=48, temperature=0,
                   max_retries=0)
talk = [SystemMessage("You are brief."), HumanMessage("Say hello.")]
answer = model.invoke(talk)
check("invoke", bool(answer.content))
check("usage", answer.usage_metadata["output_tokens"] > 0)
check("stream", "".join(chunk.content for chunk in model.stream(talk)) == answer.content)
check("batch", len(model.batch([talk, talk])) == 2)
for method in ("json_schema", "function_calling"):
    mood = model.with_structured_output(Mood, method=method).invoke("I had a wonderful day.")
    check(f"structured output by {method}", isinstance(mood, Mood), mood)
called = model.bind_tools([get_city], tool_choice="required").invoke("Where is the Louvre?")
check("a tool call", called.tool_calls and called.tool_calls[0]["name"] == "get_city", called)
check("its arguments", called.tool_calls[0]["args"]["city"] in ("Paris", "Rome"))
probable = model.bind(logprobs=True).invoke("Hi")
check("log-probabilities", len(probable.response_metadata["logprobs"]["content"]) > 0)
responses = ChatOpenAI(base_url=url, api_key="unused", model=os.environ["MODEL"], use_responses_api=True,
                       max_tokens=24, temperature=0, max_retries=0)
check("through the Responses API", bool(responses.invoke("Say hello.").text))

embedder = os.environ.get("EMBEDDER")
if embedder:
    embeddings = OpenAIEmbeddings(base_url=url, api_key="unused", model=embedder, check_embedding_ctx_length=False)
    vectors = embeddings.embed_documents(["a happy person", "a sunny day"])
    check("documents", len(vectors) == 2 and len(vectors[0]) == 384)
    check("a query", len(embeddings.embed_query("a happy person")) == 384)
print("all checks passed")
