"""Chat messages as text: by a tokenizer's chat template, or plainly."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.contents import content_digests
from orchestrator.errors import CorpusError, ResourceError

PLAIN = "plain"
_KEYS = (("role", "content"), ("from", "value"))
_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}
_TEMPLATES = ("chat_template.jinja", "tokenizer_config.json", "tokenizer.json")


def rendered(messages: Any, template: str, where: str) -> str:
    """The text of a conversation.

    Args:
        messages: a list of ``{role, content}``, or of ``{from, value}`` as ShareGPT has them. Of a content in parts the
            text is taken.
        template: PLAIN, each message as ``role: content``, apart by empty lines; or the folder or hub name of a
            tokenizer with a chat template.
        where: place of the row.

    Raises:
        CorpusError: not messages, or the template refuses them.
        ResourceError: there is no such tokenizer.
    """
    turns = [_turn(message, where) for message in _listed(messages, where)]
    if template == PLAIN:
        return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
    tokenizer = _tokenizer(template)
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False))
    except Exception as error:  # what a template raises is of its own making
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CorpusError(f"the chat template refuses these messages: {reason}", where, "leave the row out") from None


def template_identity(template: str) -> list[str]:
    """Digests of the files of a tokenizer on this machine that a template may be in; [] of others."""
    files = [Path(template).expanduser() / name for name in _TEMPLATES]
    return [] if template == PLAIN else content_digests([file for file in files if file.is_file()])


@cache
def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    folder = Path(name).expanduser()
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder) if folder.is_dir() else name, trust_remote_code=False)
    except Exception as error:  # no folder, no hub, a damaged file: the library has no common class for them
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        fix = f"name a folder with a tokenizer, or write chat: {PLAIN}"
        raise ResourceError(f"the tokenizer of the chat template can't be loaded: {reason}", name, fix) from None
    if not tokenizer.chat_template:
        raise ResourceError("this tokenizer has no chat template", name, f"name another one, or write chat: {PLAIN}")
    return tokenizer


def _listed(messages: Any, where: str) -> list[Any]:
    if isinstance(messages, dict) and messages and all(isinstance(value, list) for value in messages.values()):
        messages = [dict(zip(messages, turn, strict=False)) for turn in zip(*messages.values(), strict=False)]
    if not isinstance(messages, list) or not messages:
        what = "is null" if messages is None else f"is no list of messages but {type(messages).__name__}"
        raise CorpusError(f"the conversation {what}", where, "name the field of the messages as text_field")
    return messages


def _turn(message: Any, where: str) -> dict[str, str]:
    for role, content in _KEYS:
        if isinstance(message, dict) and isinstance(message.get(role), str) and content in message:
            name = str(message[role])
            return {"role": _ROLES.get(name, name), "content": _content(message[content], where)}
    known = ", ".join(map(str, message)) if isinstance(message, dict) else type(message).__name__
    raise CorpusError("a message has no role and content", where, f"messages are {{role, content}}; here: {known}")


def _content(content: Any, where: str) -> str:
    if content is None:  # of a message that only calls a tool
        return ""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise CorpusError("the content of a message is no text", where, "leave the row out")
    return "\n".join(map(str, texts))
