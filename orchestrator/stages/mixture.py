"""Stage: experts and router as one folder, which is what is served, grown and handed on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from orchestrator.config.base import PluginSpec
from orchestrator.disk import disk_errors, link_or_copy
from orchestrator.environment import Environment
from orchestrator.errors import ArtifactError, ModelError
from orchestrator.stages._mixing import ROUTER
from orchestrator.stages.base import Stage


class MixtureStage(Stage):
    """Puts a mixture together by links: weights are on the disk once.

    Reads `router`, and either `expert-<language>` of each language or `joint`. Writes a mixture's folder (see
    :mod:`orchestrator.models.mixture_files`) with the router in `router/`.
    """

    setup: PluginSpec
    """How the parts make a mixture."""
    languages: tuple[str, ...]
    """Languages of the mixture."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:  # noqa: ARG002
        """See :class:`orchestrator.stages.base.Stage`.

        Raises:
            ModelError: an expert has another vocabulary or tokenizer than the others.
            ArtifactError: a file is missing.
        """
        from orchestrator.models.mixture_files import COMBINERS, read_about, write_about

        with disk_errors(out):
            if "joint" in inputs:
                _check_languages(inputs["joint"], self.languages)
                for path in inputs["joint"].iterdir():
                    if path.is_dir():
                        _link(path, out / path.name)
                    elif path.name == COMBINERS:
                        link_or_copy(path, out / path.name)
            else:
                for language in self.languages:
                    _link(inputs[f"expert-{language}"] / "model", out / "experts" / language)
            _link(inputs[ROUTER], out / ROUTER)
        write_about(out, self.setup, self.languages)
        check_experts({language: out / "experts" / language for language in read_about(out)[1]})


def check_experts(folders: Mapping[str, Path]) -> None:
    """Make sure that experts can be in one mixture.

    Args:
        folders: language -> Hugging Face folder.

    Raises:
        ModelError: vocabularies or tokenizers differ, or those that they were cut from.
        ArtifactError: a file is missing or damaged.
    """
    from orchestrator.models.mixture_files import tokenizer_digest, whole_vocabulary

    facts = {name: (whole_vocabulary(folder), tokenizer_digest(folder)) for name, folder in folders.items()}
    (first, (vocabulary, tokenizer)), *others = facts.items()
    for name, (theirs, their_tokenizer) in others:
        if theirs != vocabulary:
            raise ModelError(
                f"the expert {name} knows {theirs} tokens and the expert {first} {vocabulary}: they can't be mixed",
                str(folders[name]),
                "train both with one tokenizer",
            )
        if their_tokenizer != tokenizer:
            raise ModelError(
                f"the experts {name} and {first} have different tokenizers",
                str(folders[name] / "tokenizer.json"),
                "train both with one tokenizer",
            )


def _check_languages(joint: Path, languages: tuple[str, ...]) -> None:
    from orchestrator.models.mixture_files import ABOUT, read_about

    _, there = read_about(joint)
    if there != languages:
        raise ArtifactError(
            f"the experts are of {', '.join(there)}, the mixture is to be of {', '.join(languages)}",
            str(joint / ABOUT),
            "train them again: --force joint",
        )


def _link(source: Path, target: Path) -> None:
    shutil.copytree(
        source, target, copy_function=link_or_copy, ignore=shutil.ignore_patterns("manifest.json"), dirs_exist_ok=True
    )
