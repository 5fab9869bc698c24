"""Conversations as prompts: by the tokenizer's own template, or plainly for base models. Imports no torch."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from orchestrator.errors import TokenizerError
from serve.errors import RequestError

Turns = Sequence[Mapping[str, str]]
"""Messages, each with `role` and `content`."""
PLAIN_STOP = "\n\nuser:"
"""Where an answer in the plain form ends: a base model would go on with the next question."""


@dataclass(frozen=True)
class ChatTemplate:
    """How a conversation is written for a model.

    Attributes:
        source: the tokenizer's template (Jinja); None: each message as `role: content`, apart by empty lines, and
            `assistant:` at the end, as `corpus` writes chats with `chat: plain`.
        names: texts that a template may name: `bos_token`, `eos_token` and so on.
        special: id -> text of the tokenizer's special tokens.
    """

    source: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    special: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, tokenizer: Path) -> ChatTemplate:
        """That of a tokenizer's folder: `chat_template.jinja`, else `chat_template` in `tokenizer_config.json`.

        Raises:
            TokenizerError: it can't be read.
        """
        file = tokenizer / "chat_template.jinja"
        try:
            told = _read(tokenizer / "special_tokens_map.json") | _read(tokenizer / "tokenizer_config.json")
            source = file.read_text("utf-8") if file.is_file() else _default(told.get("chat_template"))
            added = _read(tokenizer / "tokenizer.json").get("added_tokens", [])
            special = {int(entry["id"]): str(entry["content"]) for entry in added if entry["special"]}
            names = {name: _text(value) for name, value in told.items() if name.endswith("_token")}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise TokenizerError(f"its chat template can't be read: {error}", str(tokenizer), "copy it again") from None
        return cls(source, names, special)

    def render(self, messages: Turns) -> list[tuple[str, bool]]:
        """The prompt for the next answer, in parts: whether special tokens are read in each, or are text.

        What people write is text, whatever it spells.

        Raises:
            RequestError: the template refuses these messages.
        """
        if self.source is None:
            return [("\n\n".join(f"{turn['role']}: {turn['content']}" for turn in messages) + "\n\nassistant:", False)]
        texts = tuple(self.special.values())
        mark = secrets.token_hex(8)  # of this call alone, so that nobody can write it
        hidden = [{**turn, "content": self._hide(turn["content"], mark)} for turn in messages]
        try:
            whole = _compiled(self.source).render(messages=hidden, add_generation_prompt=True, **self.names)
        except Exception as error:  # what a template raises is of its own making
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise RequestError(f"the model's chat template refuses these messages: {reason}") from None
        parts = [
            (texts[int(part)], False) if place % 2 else (part, True)
            for place, part in enumerate(re.split(f"{mark}-([0-9]+);", whole))
        ]
        return [part for part in parts if part[0]]

    def _hide(self, content: str, mark: str) -> str:
        """The content with each special token's text as a mark that no tokenizer reads as special."""
        for place, text in enumerate(self.special.values()):
            content = content.replace(text, f"{mark}-{place};")
        return content


class _Generation(Extension):
    """`{% generation %}`, which tells trainers what the assistant wrote: here it means nothing."""

    tags = {"generation"}  # noqa: RUF012 - the name that jinja2 reads

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """What is between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@cache
def _compiled(source: str) -> Any:
    """The template as transformers compiles it: sandboxed, with the same functions."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(source)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _read(file: Path) -> dict[str, Any]:
    found = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    if not isinstance(found, dict):
        raise ValueError(f"{file.name} is no object")
    return found


def _default(found: Any) -> str | None:
    """A configuration's template; of several, the one that is called so."""
    if isinstance(found, list):
        return next((entry["template"] for entry in found if entry["name"] == "default"), None)
    return found if isinstance(found, str) else None


def _text(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) else str(token or "")
