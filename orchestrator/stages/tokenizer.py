"""Stage: train the tokenizer on balanced training text, or take a given one or the teacher's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from tokenizers import Tokenizer

from orchestrator.artifacts import write_json
from orchestrator.config.base import build, plugin_of
from orchestrator.config.recipe import TokenizerConfig
from orchestrator.disk import disk_errors, file_digest
from orchestrator.environment import Environment
from orchestrator.errors import TokenizerError
from orchestrator.stages.base import Stage
from orchestrator.stages.training import pretrained_files
from orchestrator.tokens.closing import has_gaps, held_ids, take_closed
from orchestrator.tokens.losing import lost_text
from orchestrator.tokens.sampling import balanced_text
from orchestrator.tokens.special import has_our_tokens, special_tokens
from orchestrator.tokens.tokenizer import (
    load_tokenizer,
    loses_text,
    save_tokenizer,
    tokenizer_file,
    train_tokenizer,
    vocabulary_size,
)

_ROLES = ("begin", "end", "eos")


class TokenizerStage(Stage):
    """Writes a Hugging Face tokenizer folder; of one that was not trained here with `about.json`: its special tokens by
    role, and which kinds of text it changes.
    """

    tokenizer: TokenizerConfig
    """Its size, or where to load it from."""
    teacher: plugin_of("models.zoo") | None = None  # type: ignore[valid-type]
    """The pretrained model whose tokenizer is taken; None: none is."""
    languages: tuple[str, ...]
    """Languages with an equal share of the training text."""
    seed: int
    """Seed of the documents drawn."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`~orchestrator.stages.base.Stage`.

        Raises:
            TokenizerError: the vocabulary is larger than the text supports, or the given tokenizer is unfit.
            CorpusError: a language has no training text.
        """
        if self.teacher is not None:
            from orchestrator.models.zoo._own_tokenizer import write_tokenizer

            with disk_errors(out):
                write_tokenizer(build("models.zoo", self.teacher), out)
            _describe(out, env)
            return
        tokenizer = self._load(Path(self.tokenizer.path)) if self.tokenizer.path else self._train(inputs["corpus"])
        if loses_text(tokenizer):
            env.log({"message": "this tokenizer has no single bytes: characters it does not know become <unk>"})
        with disk_errors(out):
            given = self.tokenizer.path and Path(self.tokenizer.path)
            if given and (has_gaps(given) or not has_our_tokens(tokenizer)):
                take_closed(given, out)
                _describe(out, env)
            else:
                save_tokenizer(tokenizer, out)

    def external(self) -> Mapping[str, str]:
        """The given tokenizer's content, or that of the model whose own it is.

        Raises:
            TokenizerError: there is none.
        """
        if self.teacher is not None:
            from orchestrator.models.vocabulary import own_vocabulary

            return pretrained_files(self.teacher) | _closed(own_vocabulary(self.teacher)[0])
        if self.tokenizer.path is None:
            return {}
        folder = Path(self.tokenizer.path)
        return {"tokenizer": file_digest(tokenizer_file(folder))} | _closed(folder)

    def _train(self, corpus: Path) -> Tokenizer:
        files = {language: corpus / "train" / f"{language}.parquet" for language in self.languages}
        texts = balanced_text(files, self.tokenizer.max_characters_per_language, self.seed)
        return train_tokenizer(texts, self.tokenizer.vocab_size)

    def _load(self, folder: Path) -> Tokenizer:
        tokenizer = load_tokenizer(folder)
        size = len(held_ids(folder))
        if size != self.tokenizer.vocab_size:
            raise TokenizerError(
                f"this tokenizer has {size:,} tokens, the recipe says {self.tokenizer.vocab_size:,}",
                where=str(folder),
                fix=f"set tokenizer.vocab_size={size}",
            )
        return tokenizer


def _closed(folder: Path) -> dict[str, str]:
    """What tells a tokenizer whose ids have gaps from what earlier versions wrote of it: with the gaps."""
    try:
        return {"gaps": "closed"} if has_gaps(folder) else {}
    except TokenizerError:  # whoever takes it says what is wrong with it
        return {}


def _describe(folder: Path, env: Environment) -> None:
    """Say, in the log and in `about.json`, what a tokenizer that comes from elsewhere is like.

    Raises:
        TokenizerError: it can't be used: nobody can tell which text its tokens stand for.
    """
    tokenizer = load_tokenizer(folder)
    special, lost, unknown = special_tokens(folder, tokenizer), lost_text(tokenizer), loses_text(tokenizer)
    about = {**asdict(special), "vocab_size": vocabulary_size(tokenizer), "has_all_bytes": not unknown, "changes": lost}
    with disk_errors(folder):
        write_json(folder / "about.json", about)
    named = {role: " ".join(str(tokenizer.id_to_token(token)) for token in getattr(special, role)) for role in _ROLES}
    around = ", ".join(f"{role} {text}" for role, text in named.items() if text) or "nothing between documents"
    env.log({"message": f"the tokenizer has {about['vocab_size']:,} tokens; special ones: {around}"})
    if lost:
        env.log({"message": f"the tokenizer changes text, decode(encode(x)) is another: {', '.join(lost)}"})
