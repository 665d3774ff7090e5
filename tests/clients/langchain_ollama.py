"""LangChain's Ollama against modeld at OLLAMA_HOST with the model MODEL; ends with "all checks
passed"."""

import os
import sys

# This file has the name of the package that it is about.
sys.path.pop(0)

from langchain_ollama import ChatOllama, OllamaLLM  # noqa: E402
from pydantic import BaseModel  # noqa: E402

host = os.environ["OLLAMA_HOST"]
settings = {"model": "smollm2", "base_url": host, "temperature": 0, "seed": 1, "num_predict": 48}


def check(what, condition):
    if not condition:
        raise SystemExit(f"failed: {what}")
    print(f"ok: {what}")


chat = ChatOllama(validate_model_on_init=True, **settings)
answer = chat.invoke("Say hello.")
check("chat", answer.content)
usage = answer.usage_metadata
check("usage", usage["input_tokens"] > 0 and 0 < usage["output_tokens"] <= 48)
check("metadata", answer.response_metadata["done_reason"] in ("stop", "length"))
streamed = "".join(chunk.content for chunk in chat.stream("Say hello."))
check("stream", streamed == answer.content)


class Person(BaseModel):
    name: str
    age: int


person = chat.with_structured_output(Person).invoke("Ada is 36 years old.")
check("structured output", isinstance(person, Person))
check("text", OllamaLLM(**settings).invoke("Say hello."))
print("all checks passed")
