"""Stage: train the tokenizer on balanced training text, or take a given one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tokenizers import Tokenizer

from orchestrator.config.recipe import TokenizerConfig
from orchestrator.disk import disk_errors, file_digest
from orchestrator.environment import Environment
from orchestrator.errors import TokenizerError
from orchestrator.stages.base import Stage
from orchestrator.tokens.sampling import balanced_text
from orchestrator.tokens.tokenizer import load_tokenizer, loses_text, save_tokenizer, tokenizer_file, train_tokenizer


class TokenizerStage(Stage):
    """Writes a Hugging Face tokenizer folder from the corpus."""

    tokenizer: TokenizerConfig
    """Its size, or where to load it from."""
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
        tokenizer = self._load(Path(self.tokenizer.path)) if self.tokenizer.path else self._train(inputs["corpus"])
        if loses_text(tokenizer):
            env.log({"message": "this tokenizer has no single bytes: characters it does not know become <unk>"})
        with disk_errors(out):
            save_tokenizer(tokenizer, out)

    def external(self) -> Mapping[str, str]:
        """The given tokenizer's content.

        Raises:
            TokenizerError: there is none.
        """
        if self.tokenizer.path is None:
            return {}
        return {"tokenizer": file_digest(tokenizer_file(Path(self.tokenizer.path)))}

    def _train(self, corpus: Path) -> Tokenizer:
        files = {language: corpus / "train" / f"{language}.parquet" for language in self.languages}
        texts = balanced_text(files, self.tokenizer.max_characters_per_language, self.seed)
        return train_tokenizer(texts, self.tokenizer.vocab_size)

    def _load(self, folder: Path) -> Tokenizer:
        tokenizer = load_tokenizer(folder)
        size = tokenizer.get_vocab_size()
        if size != self.tokenizer.vocab_size:
            raise TokenizerError(
                f"this tokenizer has {size:,} tokens, the recipe says {self.tokenizer.vocab_size:,}",
                where=str(folder),
                fix=f"set tokenizer.vocab_size={size}",
            )
        return tokenizer
