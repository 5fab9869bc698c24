"""Whether token ids mean to a pretrained model what they mean to a run."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from orchestrator.config.base import PluginSpec, build
from orchestrator.errors import ModelError, VocabularyError
from orchestrator.models.zoo._own_tokenizer import advice, no_tokenizer
from orchestrator.tokens.closing import held_ids
from orchestrator.tokens.special import GENERATION, OUR_NAMES, special_tokens
from orchestrator.tokens.tokenizer import FILES, load_tokenizer, token_bytes

_SHOWN = 3
_PROBES = (
    "The quick brown fox doesn't jump over 1,234.5 lazy dogs — it's 9 o'clock!",
    "  def f(x):\n\treturn x**2  # naïve café, Ærøskøbing\r\n\r\n",
    "日本語のテキスト。Привет, мир! مرحبا 🙂👩‍👩‍👧 e\u0301 \u00a0x",
)


def check_vocabulary(model: PluginSpec, tokenizer: Path | None) -> bool:
    """Make sure that a pretrained model's tokens are the run's, one by one. Other models have no tokens yet.

    Args:
        model: as a recipe names it.
        tokenizer: folder of the run's tokenizer; None: it is still to be trained, and only what each one trained here
            has is compared.

    Returns:
        Whether it could be told: a model may come without its tokenizer.

    Raises:
        VocabularyError: they differ; the first tokens that do are named. ModelError: its tokenizer can't be read.
        TokenizerError: the run's can't be.
        ResourceError: the hub can't be reached.
    """
    find = getattr(build("models.zoo", model), "tokenizer_file", None)
    if find is None:
        return True
    path: Path | None = find()
    if path is None:
        return False
    ours = None if tokenizer is None else tokenizer / "tokenizer.json"
    if ours is not None and ours.is_file() and ours.read_bytes() == path.read_bytes():
        return True
    try:
        theirs = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        fix = "download the model again"
        raise ModelError(f"the model's tokenizer can't be read: {error}", str(path), fix) from None
    name = str(model.options.get("name", model.type))
    different = _unlike_trained(theirs) if tokenizer is None else _differences(load_tokenizer(tokenizer), theirs)
    if different:
        what = f"{name} knows other tokens than the run: {different}"
        raise VocabularyError(what, str(path), advice(path.parent, None, name))
    return True


def own_vocabulary(model: PluginSpec) -> tuple[Path, int]:
    """The folder of a pretrained model's own tokenizer, and how many rows it needs.

    Raises:
        ModelError: it has none, or no such model. TokenizerError: it can't be used: nobody can tell which text its
            tokens stand for. ResourceError: the hub can't be reached.
    """
    plugin = build("models.zoo", model)
    file: Path | None = plugin.tokenizer_file()
    if file is None:
        from transformers import AutoConfig

        plugin.fetch(AutoConfig.from_pretrained)  # says why, where there is no model either
        raise no_tokenizer(plugin.name)
    about = (file.parent / name for name in (*FILES, GENERATION))
    return file.parent, _usable(file, tuple(path.stat().st_mtime_ns for path in about if path.is_file()))


@lru_cache(maxsize=4)
def _usable(file: Path, modified_ns: tuple[int, ...]) -> int:  # noqa: ARG001 (part of the key)
    tokenizer = load_tokenizer(file.parent)
    token_bytes(tokenizer)
    special_tokens(file.parent, tokenizer)
    return len(held_ids(file.parent))


def _differences(ours: Tokenizer, theirs: Tokenizer) -> str:
    """In words; "" where there are none."""
    mine, other = _by_id(ours), _by_id(theirs)
    differ = [index for index in sorted(mine.keys() | other.keys()) if mine.get(index) != other.get(index)]
    if differ:
        return _named(differ, mine, other) + f" ({len(differ):,} of {len(mine.keys() | other.keys()):,} ids differ)"
    theirs.encode_special_tokens = True
    theirs.no_truncation()
    theirs.no_padding()
    for text in _PROBES:
        found = [tokenizer.encode(text, add_special_tokens=False).tokens for tokenizer in (ours, theirs)]
        if found[0] != found[1]:
            place = next((i for i, pair in enumerate(zip(*found, strict=False)) if pair[0] != pair[1]), 0)
            here, there = (" ".join(tokens[place : place + 4]) for tokens in found)
            return f"the tokens are the same and texts are split otherwise, into {there!r} where the run has {here!r}"
    return ""


def _unlike_trained(theirs: Tokenizer) -> str:
    """How a tokenizer can't be one that is trained here: it has its three special tokens and no other added ones."""
    expected = dict(enumerate(OUR_NAMES))
    added = {index: token.content for index, token in theirs.get_added_tokens_decoder().items()}
    known = _by_id(theirs)
    differ = [index for index in expected if known.get(index) != expected[index]]
    if differ:
        return _named(differ, expected, known)
    extra = sorted(added.keys() - expected.keys())
    return f"it has {added[extra[0]]!r} as {extra[0]}, which a tokenizer trained for the run has not" if extra else ""


def _by_id(tokenizer: Tokenizer) -> dict[int, str]:
    """Tokens as a run numbers them: ids without a token are closed up."""
    known = tokenizer.get_vocab(with_added_tokens=True)
    return dict(enumerate(sorted(known, key=known.__getitem__)))


def _named(differ: list[int], ours: dict[int, str], theirs: dict[int, str]) -> str:
    def show(token: str | None) -> str:
        return "nothing" if token is None else repr(token)

    named = [f"{index} is {show(theirs.get(index))} to it, {show(ours.get(index))} here" for index in differ[:_SHOWN]]
    return "; ".join(named) + ("; …" if len(differ) > _SHOWN else "")
