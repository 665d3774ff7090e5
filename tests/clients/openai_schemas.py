"""Twenty schemas from the helpers of OpenAI's Python library, five answers each, by a small model.

Every answer that ends by "stop" has to validate, and at most one in twenty may end by "length".
Ends with "all checks passed".
"""

import concurrent.futures
import enum
import os
from typing import Annotated, Literal, Optional, Union

import openai
from pydantic import BaseModel, ConfigDict, Field

client = openai.OpenAI(base_url=os.environ["BASE_URL"], api_key="unused", max_retries=0)
MODEL = os.environ["MODEL"]
ANSWERS = 5

Short = Annotated[str, Field(max_length=12)]


class Colour(str, enum.Enum):
    red = "red"
    green = "green"
    blue = "blue"


class Flag(BaseModel):
    ok: bool


class Pick(BaseModel):
    colour: Colour


class Constant(BaseModel):
    kind: Literal["fixed"]
    ok: bool


class Word(BaseModel):
    word: Short


class Grade(BaseModel):
    grade: Literal[1, 2, 3, 4, 5]


class Bounded(BaseModel):
    age: Annotated[int, Field(ge=0, le=120)]


class Maybe(BaseModel):
    name: Optional[Short]


class Either(BaseModel):
    value: Union[Literal["a", "b"], bool]


class Pair(BaseModel):
    first: Colour
    second: Colour


class Nested(BaseModel):
    pair: Pair
    flag: Flag


class Several(BaseModel):
    colours: Annotated[list[Colour], Field(min_length=1, max_length=3)]


class Objects(BaseModel):
    flags: Annotated[list[Flag], Field(max_length=2)]


class Step(BaseModel):
    explanation: Annotated[str, Field(max_length=20)]
    output: Short


class Reasoned(BaseModel):
    steps: Annotated[list[Step], Field(min_length=1, max_length=2)]
    final: Short


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: Literal[7, 9]


class Dog(BaseModel):
    kind: Literal["dog"]
    good: bool


class Animal(BaseModel):
    pet: Union[Cat, Dog]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    level: Literal["low", "high"]


class Described(BaseModel):
    """A sentiment, with a description for every field."""

    sentiment: Literal["positive", "negative", "neutral"] = Field(description="How it sounds")
    sure: bool = Field(description="Whether that is certain", examples=[True])


class Pattern(BaseModel):
    code: Annotated[str, Field(pattern=r"^[A-Z]{2}-[0-9]{3}$")]


class Day(BaseModel):
    day: Annotated[str, Field(json_schema_extra={"format": "date"})]


class Wide(BaseModel):
    a: bool
    b: bool
    c: bool
    d: bool
    e: Colour
    f: Literal[0, 1]
    g: Optional[bool]
    h: Literal["x"]


class Leaf(BaseModel):
    leaf: bool


class Branch(BaseModel):
    left: Leaf
    right: Leaf


class Tree(BaseModel):
    root: Branch
    depth: Literal[2]


SCHEMAS = [
    Flag, Pick, Constant, Word, Grade, Bounded, Maybe, Either, Nested, Several, Objects, Reasoned,
    Animal, Closed, Described, Pattern, Day, Wide, Tree, Pair,
]  # fmt: skip
assert len(SCHEMAS) == 20


def ask(schema, seed):
    """"valid", "length", or what was wrong."""
    question = f"Give me an example of {schema.__name__.lower()} as JSON."
    try:
        answer = client.chat.completions.parse(
            model=MODEL,
            messages=[{"role": "user", "content": question}],
            response_format=schema,
            max_completion_tokens=200,
            seed=seed,
        )
    except openai.LengthFinishReasonError:
        return "length"
    except openai.APIStatusError as error:
        return f"{schema.__name__}: {error}"
    except ValueError as error:  # pydantic's own
        return f"{schema.__name__}: not valid: {error}"
    choice = answer.choices[0]
    if choice.finish_reason != "stop" or not isinstance(choice.message.parsed, schema):
        return f"{schema.__name__}: {choice}"
    return "valid"


with concurrent.futures.ThreadPoolExecutor(8) as pool:
    asked = [(schema, seed) for schema in SCHEMAS for seed in range(ANSWERS)]
    results = list(pool.map(lambda one: ask(*one), asked))

wrong = [result for result in results if result not in ("valid", "length")]
cut = results.count("length")
print(f"{results.count('valid')} valid, {cut} cut by max_completion_tokens, {len(wrong)} wrong")
if wrong:
    raise SystemExit("failed:\n" + "\n".join(wrong[:5]))
if cut > len(results) // 20:
    raise SystemExit(f"failed: {cut} of {len(results)} answers ended by length")
print("all checks passed")
