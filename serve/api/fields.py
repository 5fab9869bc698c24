"""Parameters that every request for an answer may have: how tokens are chosen, and in what form."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve.api import limits
from serve.errors import RequestError
from serve.messages import AUTO, Constraint, Sampling

STRICT = ConfigDict(
    strict=True, extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, validate_by_name=True
)
"""Types are strict and unknown parameters are refused, as OpenAI does."""

Stop = Annotated[str, Field(min_length=1, max_length=limits.MAX_STOP_CHARACTERS)]
StopToken = Annotated[int, Field(ge=0, lt=2**31)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Bias = Annotated[float, Field(ge=-100, le=100)]
UNUSED = object()
"""In a table of unsupported parameters: any value is accepted and changes nothing."""


class StreamOptions(BaseModel):
    """Of a stream."""

    model_config = STRICT

    include_usage: bool = False
    """End with a chunk that has no choices and says how many tokens were read and written."""
    include_obfuscation: bool | None = None
    """Accepted, unused: nothing is added to hide how long a token is."""


class JsonSchema(BaseModel):
    """A JSON schema with its name."""

    model_config = STRICT

    name: Name = "answer"
    description: str | None = None
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")
    """The schema; without it, any JSON object."""
    strict: bool | None = None
    """Accepted, unused: answers always match."""


class ResponseFormat(BaseModel):
    """What the whole answer must be."""

    model_config = STRICT

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def constraint(self) -> Constraint | None:
        """What it asks of the answer; None: nothing."""
        if self.type == "text":
            return None
        if self.type == "json_schema" and self.json_schema is None:
            raise RequestError("response_format of type json_schema needs json_schema", "response_format")
        return schema_constraint((self.json_schema and self.json_schema.schema_) or {}, "response_format")


class StructuredOutputs(BaseModel):
    """What the whole answer must match, as vLLM names it: one of the fields."""

    model_config = STRICT

    regex: Annotated[str, Field(min_length=1, max_length=limits.MAX_REGEX_CHARACTERS)] | None = None
    choice: Annotated[list[Name], Field(min_length=1, max_length=256)] | None = None
    json_: dict[str, Any] | str | None = Field(None, alias="json")
    json_object: bool | None = None

    def constraint(self) -> Constraint:
        """What it asks of the answer."""
        where = "structured_outputs"
        given = [self.regex, self.choice, self.json_, self.json_object or None]
        if sum(value is not None for value in given) != 1:
            raise RequestError("structured_outputs takes one of regex, choice, json and json_object", where)
        if self.regex is not None:
            return Constraint("regex", self.regex)
        if self.choice is not None:
            return Constraint("regex", "|".join(map(_literal, self.choice)))
        return schema_constraint(_parsed(self.json_) if isinstance(self.json_, str) else self.json_ or {}, where)


class GenerationFields(BaseModel):
    """Parameters of every request for an answer."""

    model_config = STRICT

    model: Name = AUTO
    """"auto" for the router's choice, "auto:no-common" for it without the common expert, "soft" for all experts by
    their probabilities, or an expert's name."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """0 is greedy; 1 where it is not given."""
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Nucleus; 1, all tokens, where it is not given."""
    top_k: Annotated[int, Field(ge=-1, le=2**31)] | None = None
    """From so many of the most probable tokens; 0 and -1: from all."""
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Without tokens less probable than this share of the most probable one's."""
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    """Taken from a token's logit for each time that the answer has it."""
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    """Taken from a token's logit once the answer has it."""
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    """Of tokens that prompt or answer have; 1 is none."""
    logit_bias: Annotated[dict[str, Bias], Field(max_length=limits.MAX_BIASES)] | None = None
    """Added to logits, by token id."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    """For the same answer again."""

    def chosen(self, constraint: Constraint | None = None, **own: Any) -> Sampling:
        """How tokens are chosen.

        Args:
            constraint: what the answer must match.
            **own: fields of :class:`serve.messages.Sampling` that the kinds of request name differently.
        """
        given = ("temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty")
        plain = {name: value for name in given if (value := getattr(self, name)) is not None}
        top_k = self.top_k if (self.top_k or 0) > 0 else None
        bias = {_token(name): value for name, value in (self.logit_bias or {}).items()}
        return Sampling(top_k=top_k, logit_bias=bias, seed=self.seed, constraint=constraint, **plain, **own)


class ChoiceFields(GenerationFields):
    """Parameters of completions and chats, which have choices."""

    n: Annotated[int, Field(ge=1, le=limits.MAX_N)] | None = None
    """Choices; 1 where it is not given."""
    stop: Stop | Annotated[list[Stop], Field(max_length=limits.MAX_STOPS)] | None = None
    """Texts to stop at."""
    stop_token_ids: Annotated[list[StopToken], Field(max_length=limits.MAX_STOP_TOKENS)] | None = None
    """Tokens to stop at, beside </s>."""
    min_tokens: Annotated[int, Field(ge=0, le=limits.MAX_TOKENS)] | None = None
    """New tokens before </s> or anything of `stop` and `stop_token_ids` ends an answer."""
    ignore_eos: bool | None = None
    """Go on after </s>."""
    stream: bool | None = None
    """Send the answer as it grows, as server-sent events."""
    stream_options: StreamOptions | None = None
    """Of a stream."""
    response_format: ResponseFormat | None = None
    """What the whole answer must be: JSON, or JSON of a schema."""
    structured_outputs: StructuredOutputs | None = None
    """What the whole answer must match, as vLLM names it."""

    @property
    def ending(self) -> dict[str, Any]:
        """Where answers end: fields of :class:`serve.messages.Sampling`."""
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return {
            "stop": stops,
            "stop_tokens": tuple(self.stop_token_ids or ()),
            "min_tokens": self.min_tokens or 0,
            "ignore_end": bool(self.ignore_eos),
        }

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def constraint(self) -> Constraint | None:
        """What the answer must match.

        Raises:
            RequestError: two of them, or one that is too large.
        """
        if self.structured_outputs is None:
            return None if self.response_format is None else self.response_format.constraint()
        if self.response_format is not None:
            raise RequestError("give response_format or structured_outputs, not both", "structured_outputs")
        return self.structured_outputs.constraint()


def schema_constraint(schema: dict[str, Any], where: str) -> Constraint:
    """A JSON schema as a constraint; an empty one is any object.

    Raises:
        RequestError: it is too large.
    """
    _check_depth(schema, where)
    text = json.dumps(schema or {"type": "object"})
    if len(text) > limits.MAX_SCHEMA_CHARACTERS:
        raise RequestError(f"a schema may have {limits.MAX_SCHEMA_CHARACTERS} characters at most", where)
    return Constraint("json_schema", text)


def without_unsupported(data: Any, unsupported: dict[str, tuple[Any, ...]]) -> Any:
    """A body without the parameters that this server does not serve, where they ask for nothing.

    Args:
        data: as parsed.
        unsupported: name -> values that ask for nothing; (UNUSED,): any.

    Raises:
        RequestError: one asks for something.
    """
    if not isinstance(data, dict):
        return data
    for name, neutral in unsupported.items():
        if name in data and neutral != (UNUSED,) and not any(_same(data[name], value) for value in neutral):
            raise RequestError(f"{name} is not supported by this server", name, "leave it out")
    return {name: value for name, value in data.items() if name not in unsupported}


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and bool(value == other)


def _check_depth(schema: Any, where: str) -> None:
    """By hand: what is nested too deep for json is what this is to find."""
    level = [schema]
    for _ in range(limits.MAX_SCHEMA_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise RequestError(f"a schema may be {limits.MAX_SCHEMA_DEPTH} levels deep at most", where)


def _parsed(text: str) -> dict[str, Any]:
    if len(text) <= limits.MAX_SCHEMA_CHARACTERS:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found
    raise RequestError("structured_outputs.json is not the text of a JSON schema", "structured_outputs")


def _literal(text: str) -> str:
    """A regular expression of a text alone."""
    return re.sub(r"[\\.+*?()|\[\]{}^$#&\-~]", lambda found: "\\" + found[0], text)


def _token(name: str) -> int:
    if not (name.isascii() and name.isdigit() and len(name) < 10):
        raise RequestError(f"logit_bias has token ids as its names, not {name[:20]!r}", "logit_bias")
    return int(name)
