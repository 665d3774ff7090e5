"""Ollama's Python library managing the models of modeld at OLLAMA_HOST,
pulling REMOTE and uploading FILE; ends with "all checks passed"."""

import os

import ollama

ANSWER = "Hello world! STOP here."
REMOTE = os.environ["REMOTE"]
FILE = os.environ["FILE"]
client = ollama.Client(host=os.environ["OLLAMA_HOST"])
ask = [{"role": "user", "content": "Hi"}]


def check(what, condition):
    if not condition:
        raise SystemExit(f"failed: {what}")
    print(f"ok: {what}")


def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ollama.ResponseError as error:
        return error
    return None


names = lambda: {model.model for model in client.list().models}
before = names()

steps = [step.status for step in client.pull(REMOTE, stream=True)]
check("pull, streamed", steps[0] == "pulling manifest" and steps[-1] == "success")
check("pull, whole", client.pull(REMOTE).status == "success")
check("the pulled model answers", client.chat(REMOTE, ask).message.content == ANSWER)
error = refused(client.pull, REMOTE + "-none")
check("no such model", error and error.status_code == 404 and "does not exist" in error.error)
error = refused(lambda: list(client.pull(REMOTE + "-none", stream=True)))
check("no such model, streamed", error and error.status_code == 404)

made = client.create("mine", from_="hello", system="Be brief.", parameters={"num_predict": 2})
check("create", made.status == "success")
answer = client.chat("mine", ask)
check("stored parameters", answer.eval_count == 2 and answer.done_reason == "length")
plain = client.chat("hello", ask)
check("stored system prompt", answer.prompt_eval_count > plain.prompt_eval_count)
shown = client.show("mine")
check("show", "num_predict" in shown.parameters)
steps = [step.status for step in client.create("mine", from_="hello", system="Else.", stream=True)]
check("create, streamed", steps[-2:] == ["writing manifest", "success"])
error = refused(client.create, "bad", from_="hello", template="{{ .Prompt }}")
check("a Go template", error and error.status_code == 400 and "Jinja" in error.error)

digest = client.create_blob(FILE)
check("upload", client.create("own", files={"own.gguf": digest}).status == "success")
check("the uploaded model answers", client.chat("own", ask, options={"num_predict": 4}).eval_count == 4)

check("copy", client.copy("own", "other").status == "success")
error = refused(client.copy, "nothing", "other2")
check("copy of nothing", error and error.status_code == 404)
for name in ["own", "other", "mine", REMOTE]:
    check(f"delete {name}", client.delete(name).status == "success")
check("all is as before", names() == before)
error = refused(client.delete, "own")
check("delete of nothing", error and error.status_code == 404 and "model 'own' not found" in error.error)
print("all checks passed")
