"""Hooks for schemathesis: lets most cases name a model that there is, and counts the answers.

What cannot be tried, an answer without an end or the removal of that model, is left out.
"""

import atexit
import json
import os
import zlib
from collections import Counter

import schemathesis

MODEL = os.environ["MODEL"]
USER = [{"role": "user", "content": "Hi"}]
# What a request needs before anything else of it is looked at, by the end of its path.
NEEDED = {
    "/chat/completions": {"messages": USER},
    "/completions": {"prompt": "Hi"},
    "/embeddings": {"input": ["Hi"]},
    "/rerank": {"query": "Hi", "documents": ["a", "b"]},
    "/score": {"text_1": "Hi", "text_2": ["a", "b"]},
    "/tokenize": {"content": "Hi"},
    "/detokenize": {"tokens": [5, 6]},
    "/responses": {"input": "Hi"},
    "/responses/input_tokens": {"input": "Hi"},
    "/messages": {"messages": USER, "max_tokens": 8},
    "/messages/count_tokens": {"messages": USER},
}
answers = Counter()


@schemathesis.hook
def before_call(ctx, case, **kwargs):
    # The same for the same case, so that a failure can be made again.
    dice = zlib.crc32(repr((case.path, case.body, case.query, case.path_parameters)).encode())
    body = case.body
    if isinstance(case.query, dict):
        # An answer that goes on until somebody hangs up.
        case.query.pop("follow", None)
    if case.method.upper() == "DELETE":
        # The model is for all the others.
        return
    if isinstance(body, dict) and "model" in body:
        if dice % 4:
            body["model"] = MODEL
        if dice % 4 == 1:
            # Reaches the model, unless one of a few of the other fields is at fault.
            for field in sorted(body)[dice // 4 % 4 :]:
                if field not in ("model", "stream"):
                    del body[field]
            ends = [end for end in NEEDED if case.path.endswith(end)]
            body.update(NEEDED[max(ends, key=len)] if ends else {})
    if case.path_parameters and "model" in case.path_parameters and dice % 4 == 1:
        case.path_parameters["model"] = MODEL


@schemathesis.hook
def after_call(ctx, case, response):
    answers[f"{case.method} {case.path} {response.status_code}"] += 1


@atexit.register
def report():
    with open(os.environ["ANSWERS"], "w") as file:
        json.dump(answers, file)


@schemathesis.serializer("application/x-tar")
def tar(ctx, value):
    return value if isinstance(value, bytes) else json.dumps(value).encode()
