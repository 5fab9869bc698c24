"""Stage: perplexity of the teacher and of a mixture's experts on every language, by true language and routed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from orchestrator.allocator import kept_memory
from orchestrator.artifacts import write_json
from orchestrator.config.recipe import EvaluationConfig
from orchestrator.environment import Environment, serial_map
from orchestrator.errors import ArtifactError
from orchestrator.evaluation.evaluated import block_bytes, block_counts, works_of
from orchestrator.evaluation.frequencies import FREQUENCIES, frequency_losses
from orchestrator.evaluation.samples import beginnings
from orchestrator.evaluation.summary import TEACHER, LanguageLosses, summarise
from orchestrator.records import Evaluation, Sample
from orchestrator.routers import Router, load_router
from orchestrator.stages._kept import expected_rows
from orchestrator.stages._memory import streaming_cost, teacher_stays_on_disk
from orchestrator.stages._mixing import ROUTER
from orchestrator.stages.base import Cost, Expected, Stage
from orchestrator.stages.held_out import held_out_tokens
from orchestrator.tokens.aligned import AlignedBlocks
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.tokenizer import byte_lengths, load_tokenizer

PARALLEL_TOKENS = 2**21
"""With fewer tokens (of all models together), starting processes that import torch takes longer than computing here."""


class EvaluationStage(Stage):
    """Measures every model on every language's held-out blocks.

    Writes `evaluation.json`, an :class:`orchestrator.records.Evaluation`; and `block_losses.safetensors`, so that any
    other use of the mixture can be evaluated without computing again: "loss/<model>/<lang>" (float64 [n], nats summed
    over a block; the model is "teacher", "frequencies" or a name of
    :func:`orchestrator.evaluation.mixtures.mixture_losses`),
    "probabilities/<lang>" (float64 [n, E], the router's), "route/<lang>" (int64 [n], index into the languages),
    "bytes/<lang>" (int64 [n]), "works/<lang>" (int64 [n], the document, or larger work, that a block is of: blocks of
    one are no independent samples); and `samples.json`, by language a list of :class:`orchestrator.records.Sample`.

    Routing is by block, on the block's own tokens, as the paper routes a sequence.
    """

    accelerated: ClassVar[bool] = True
    version: ClassVar[int] = 2

    evaluation: EvaluationConfig
    languages: tuple[str, ...]
    seed: int

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`orchestrator.stages.base.Stage`.

        Raises:
            CorpusError: a language has no held-out block.
            ModelError: a model does not fit the blocks, or its loss is not finite.
            ArtifactError: a model or the router can't be loaded, or is of other languages.
        """
        blocks = TokenBlocks.open(inputs["blocks"], self.evaluation.split)
        counts = block_counts(blocks, self.languages, self.evaluation.max_blocks)
        router = load_router(inputs["mixture"] / ROUTER)
        probabilities = {name: self._probabilities(router, blocks, name, count) for name, count in counts.items()}
        streamed = self._stays_on_disk(inputs[TEACHER], env)
        jobs = self._jobs(inputs, blocks, probabilities, env.device, streamed)
        losses, samples = self._measured(jobs, blocks.context, env)
        train = TokenBlocks.open(inputs["blocks"], "train")
        for language, count in counts.items():
            losses[language][FREQUENCIES] = frequency_losses(train, blocks, language, count)
        lengths = byte_lengths(load_tokenizer(inputs["tokenizer"]))
        measured = {
            language: LanguageLosses(
                context=blocks.context,
                losses=losses[language],
                routes=probabilities[language].argmax(axis=1),
                bytes=block_bytes(blocks, language, count, lengths),
                works=works_of(blocks, language, count),
            )
            for language, count in counts.items()
        }
        save_file(_tensors(measured, probabilities), out / "block_losses.safetensors")
        options = self.evaluation
        result: Evaluation = {
            "split": options.split,
            "context": blocks.context,
            "confidence": options.confidence,
            "bootstrap": options.bootstrap,
            **summarise(measured, options.bootstrap, options.confidence, self.seed),
        }
        (out / "evaluation.json").write_text(json.dumps(result, indent=1, allow_nan=False), encoding="utf-8")
        write_json(out / "samples.json", samples)

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:
        """Tokens read, those of the split by the teacher and by every expert, and 2 · N FLOPs for each."""
        from orchestrator.models import parameter_count

        tokens = held_out_tokens(self.evaluation, self.languages, inputs.get("blocks"), expected)
        size = partial(parameter_count, context=expected.context)
        rows = [expected_rows(inputs, language, expected.vocab_size, expected) for language in self.languages]
        experts = sum(size(expected.expert, each) for each in rows) if expected.expert else 0
        flops = 2.0 * (size(expected.teacher, expected.teacher_rows) + experts) * tokens
        memory = streaming_cost(expected, min(len(self.languages), os.cpu_count() or 1))
        return replace(memory, tokens=tokens * (1 + len(self.languages)), flops=flops)

    def _stays_on_disk(self, teacher: Path, env: Environment) -> bool:
        """Whether the teacher's weights do: several processes would have them at a time, on a CPU."""
        processes = min(len(self.languages), os.cpu_count() or 1) if env.device == "cpu" else 1
        return teacher_stays_on_disk(teacher, env, processes)

    def _measured(
        self, jobs: Sequence[_Job], context: int, env: Environment
    ) -> tuple[dict[str, dict[str, NDArray[np.float64]]], dict[str, list[Sample]]]:
        """Losses of blocks by language and model, and samples; in several processes on CPUs where much is to do."""
        blocks = sum(len(job.probabilities) for job in jobs if job.role == TEACHER)
        tokens = blocks * context * (1 + len(self.languages))
        # A GPU belongs to this process.
        run = env.map if env.device == "cpu" and tokens >= PARALLEL_TOKENS else serial_map
        found: dict[str, dict[str, NDArray[np.float64]]] = {job.language: {} for job in jobs}
        written: dict[str, list[list[str]]] = {job.language: [list(job.prompts)] for job in jobs}
        for done, (job, (losses, texts)) in enumerate(zip(jobs, run(_evaluate, jobs), strict=True), start=1):
            found[job.language] |= losses
            written[job.language].append(texts)
            for model in (name for name in (TEACHER, *self.languages) if name in losses):
                perplexity = np.exp(losses[model].mean() / context)
                name = model if model == TEACHER else f"expert {model}"
                message = f"{name} on {job.language}: perplexity {perplexity:.2f}"
                env.log({"step": done, "steps": len(jobs), "message": message})
        return found, {
            language: [
                Sample(prompt=begun, teacher=taught, expert=own) for begun, taught, own in zip(*each, strict=True)
            ]
            for language, each in written.items()
        }

    def _jobs(
        self,
        inputs: Mapping[str, Path],
        blocks: TokenBlocks,
        probabilities: Mapping[str, NDArray[np.float64]],
        device: str,
        streamed: bool,
    ) -> list[_Job]:
        """The teacher on every language, then the mixture on every language."""
        options, tokenizer = self.evaluation, inputs["tokenizer"]
        shown = {
            language: tuple(beginnings(blocks, language, len(rows), options.samples, tokenizer))
            for language, rows in probabilities.items()
        }
        return [
            _Job(
                role=role,
                folder=inputs[role],
                blocks=inputs["blocks"],
                alignment=inputs.get(f"alignment-{language}"),
                tokenizer=tokenizer,
                split=options.split,
                language=language,
                probabilities=rows,
                batch=options.batch,
                device=device,
                streamed=streamed,
                prompts=shown[language],
                seed=self.seed,
            )
            for role in (TEACHER, "mixture")
            for language, rows in probabilities.items()
        ]

    def _probabilities(self, router: Router, blocks: TokenBlocks, language: str, count: int) -> NDArray[np.float64]:
        """The router's probabilities of this stage's languages for each block, float64 [n, E]."""
        if set(router.languages) != set(self.languages):
            raise ArtifactError(
                f"the router knows {', '.join(router.languages)}, the experts are of {', '.join(self.languages)}",
                where="router",
                fix="train the router again: --force router",
            )
        columns = [router.languages.index(name) for name in self.languages]
        inputs = [np.asarray(blocks.block(language, index))[:-1] for index in range(count)]
        return np.asarray(router.probabilities(inputs), np.float64)[:, columns]


@dataclass(frozen=True)
class _Job:
    """The teacher or the mixture on one language: small enough to send anywhere."""

    role: str
    folder: Path
    blocks: Path
    alignment: Path | None  # of the teacher's tokens, where they are others
    tokenizer: Path
    split: str
    language: str
    probabilities: NDArray[np.float64]
    batch: int
    device: str
    streamed: bool
    prompts: tuple[str, ...]
    seed: int


@kept_memory()
def _evaluate(job: _Job) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """Losses by model, and what the teacher or the language's own expert writes after the prompts."""
    from orchestrator.evaluation.aligned import aligned_losses
    from orchestrator.evaluation.continuing import Writer
    from orchestrator.evaluation.mixtures import mixture_losses
    from orchestrator.evaluation.perplexity import block_losses
    from orchestrator.evaluation.respelled import own_vocabularies, respelled_losses
    from orchestrator.models import load_model, load_streamed
    from orchestrator.models.mixture_files import load_mixture
    from orchestrator.models.quick import quicken

    blocks = TokenBlocks.open(job.blocks, job.split)
    count = len(job.probabilities)
    if job.role == TEACHER:
        model = (load_streamed if job.streamed else load_model)(job.folder / "model", job.device)
        quicken(model, blocks.context, bf16=False)
        tokenizer = job.tokenizer
        if job.alignment is None:
            losses = {TEACHER: block_losses(model, blocks, job.language, count, job.batch)}
        else:  # in its own tokens
            tokenizer = job.folder / "model"
            aligned = AlignedBlocks(job.blocks, job.split, {job.language: job.alignment})
            losses = {TEACHER: aligned_losses(model, aligned, job.language, count, job.batch)}
        writer = Writer(model, tokenizer, blocks.context)
    else:
        mixture = load_mixture(job.folder, job.device)
        quicken(mixture, blocks.context, bf16=False)
        if vocabularies := own_vocabularies(job.folder, mixture.languages):
            losses = respelled_losses(mixture, vocabularies, blocks, job.language, count, job.batch)
        else:
            losses = mixture_losses(mixture, blocks, job.language, job.probabilities, job.batch)
        writer = Writer(mixture.branch(job.language), job.folder / "experts" / job.language, blocks.context)
    return losses, writer.continue_text(job.prompts, [job.seed, blocks.languages.index(job.language)])


def _tensors(
    measured: Mapping[str, LanguageLosses], probabilities: Mapping[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.generic]]:
    tensors: dict[str, NDArray[np.generic]] = {}
    for language, found in measured.items():
        tensors |= {f"loss/{model}/{language}": losses for model, losses in found.losses.items()}
        tensors |= {
            f"route/{language}": found.routes,
            f"bytes/{language}": found.bytes,
            f"works/{language}": found.works,
        }
        tensors[f"probabilities/{language}"] = np.ascontiguousarray(probabilities[language])
    return tensors
