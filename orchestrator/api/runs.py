"""A run that is there: what it has made, what came out, and its mixture at work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.artifacts import Artifact, Store
from orchestrator.config.loading import Lines, validate
from orchestrator.config.recipe import Recipe
from orchestrator.errors import ArtifactError
from orchestrator.housekeeping.finding import is_run, no_run
from orchestrator.mixtures.versions import recipe_of
from orchestrator.pipeline.following import Follower

if TYPE_CHECKING:
    from orchestrator.api.exporting import Exported
    from orchestrator.api.routing import RunRouter
    from orchestrator.reporting.record import Results
    from orchestrator.routers import Choice
    from serve.mixture import Generation

_NO_REPORT = "type its mome run command again: it goes on"
_TOKENS = 64  # of a generation, where the context has room and the caller doesn't say


@dataclass(frozen=True)
class Run:
    """A run: its folder, and what is read from it when it is asked for.

    Example:
        >>> from orchestrator import load_run
        >>> made = load_run("quickstart")
        >>> {language: row[language].perplexity for language, row in made.results.experts.items()}
        >>> [row["validation_loss"] for row in made.metrics("expert-en") if "validation_loss" in row]
        >>> made.route("print(sum(range(3)))").expert
        'py'

    Attributes:
        folder: of the run.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.folder.name

    @property
    def recipe(self) -> Recipe:
        """The recipe that the run was last made by.

        Raises:
            ArtifactError: it can't be read. RecipeError: it is of a version with other fields.
        """
        return validate(Recipe, recipe_of(Store(self.folder)), self.folder / "recipe.json", Lines())

    @property
    def artifacts(self) -> dict[str, Artifact]:
        """Step name -> what it has made, of the latest recipe that was run here.

        Raises:
            ArtifactError: an artifact is damaged.
        """
        return Store(self.folder).current()

    @property
    def report(self) -> Path:
        """The report's page.

        Raises:
            ArtifactError: the run has no report yet.
        """
        page = self.folder / "report" / "index.html"
        if not page.exists():
            raise ArtifactError("this run has no report yet", str(self.folder), _NO_REPORT)
        return page

    @property
    def results(self) -> Results:
        """What the run has measured: perplexities with their intervals, the router, the settings.

        Raises:
            ArtifactError: the run has no report yet, or it is of a study.
        """
        from orchestrator.reporting.record import Results

        return Results.read(self.report.parent / "results.json")

    def metrics(self, step: str) -> list[dict[str, Any]]:
        """Rows of a training's metrics in their order: "step", "steps", and figures by name ("loss", …).

        Args:
            step: its name ("teacher", "expert-en").

        Raises:
            ArtifactError: there is no such step, or it keeps no metrics.
        """
        artifacts = self.artifacts
        kept = {name: each.folder / "metrics.jsonl" for name, each in artifacts.items()}
        if step in artifacts and kept[step].exists():
            return Follower(kept[step]).read()
        there = ", ".join(name for name, file in kept.items() if file.exists()) or "none"
        raise ArtifactError(f"this run has no metrics of {step!r}", str(self.folder), f"steps with metrics: {there}")

    def router(self, experts: Sequence[str] | None = None) -> RunRouter:
        """The router of the run's current mixture.

        Args:
            experts: those that may serve; None: all.

        Raises:
            ArtifactError: the run has no router yet, or it is damaged. UnknownModelError: there is no such expert.
        """
        from orchestrator.api.routing import RunRouter

        return RunRouter(self.folder, experts)

    def route(self, text: str) -> Choice:
        """Which expert a text goes to, with the probability of each language.

        Example:
            >>> made.route("Que fait ce code ?").probabilities["fr"]

        Raises:
            ArtifactError: the run has no router yet, or it is damaged.
        """
        return self._router.route([text])[0]

    def generate(
        self,
        text: str,
        model: str = "auto",
        *,
        max_tokens: int | None = None,
        temperature: float = 0.8,
        seed: int | None = None,
        experts: Sequence[str] | None = None,
        common: bool = True,
        precision: str = "fp32",
    ) -> Generation:
        """Continue a text by the expert that it is routed to, in this process.

        Example:
            >>> made.generate("The history of the", temperature=0).text

        Args:
            text: to go on from.
            model: an expert's language, or "auto": the router chooses.
            max_tokens: to generate, at most; None: 64, or what the context has room for.
            temperature: 0 takes the most probable token.
            seed: of the sampling.
            experts: those that may serve; None: all.
            common: compute beside the common expert, where there is one.
            precision: of the expert's products: "fp32", "bf16" or "int8".

        Returns:
            The continuation, which expert wrote it, and the router's probabilities.

        Raises:
            MomeError: no such expert, an empty or too long text, a value out of range.
        """
        from serve.errors import ContextLengthError
        from serve.messages import Sampling
        from serve.mixture import Mixture

        def sampling(tokens: int | None) -> Sampling:
            return Sampling(max_tokens=tokens, temperature=temperature, seed=seed)

        opened = Mixture.open(self.folder, experts=experts, common=common, precision=precision)
        try:
            return opened.generate(text, model, sampling(_TOKENS if max_tokens is None else max_tokens))
        except ContextLengthError:
            if max_tokens is not None:
                raise
            return opened.generate(text, model, sampling(None))

    def export(
        self,
        to: str,
        out: Path | str,
        expert: str | None = None,
        *,
        every: bool = False,
        common: bool = True,
        check: int = 0,
        push: str | None = None,
        public: bool = False,
        **options: Any,
    ) -> Exported:
        """Write experts for another tool: everything, or nothing where one of them can't be.

        Example:
            >>> made.export("gguf", "en-gguf", "en", check=1000, type="q8_0").checked["en"]["texts"]

        Args:
            to: the format: a plug-in of `orchestrator.exports`, or an import path.
            out: folder to write; an earlier export in it is replaced.
            expert: which; None: the whole run, where the format holds one, or its only expert.
            every: all experts, in a folder each where the format holds one.
            common: compute beside the common expert, where there is one.
            check: texts to compare with the tool, and a twentieth as many prompts; 0: none.
            push: a repository of the Hugging Face Hub to upload to as well, USER/NAME; with all experts, USER/NAME-LANG
                for each.
            public: a new repository can be seen by everybody; else by those alone who may write to it.
            options: of the format.

        Raises:
            MomeError: no such format or expert, a missing package, a model that the tool can't hold, or a hub that does
                not take the token.
        """
        from orchestrator.api.exporting import Wish, export_run

        return export_run(self.folder, Wish(to, expert, every, common, check, options, push, public), Path(out))

    @cached_property
    def _router(self) -> RunRouter:
        return self.router()


def open_run(name: str, runs: Path) -> Store:
    """The store of a run, by its name or its folder.

    Raises:
        ArtifactError: there is no such run (with the names there are), or it is not finished.
    """
    for root in (runs / name, Path(name)):
        if (root / "artifacts.json").is_file():
            return Store(root.absolute())
        if root.is_dir() and is_run(root):
            fix = "type its mome run command again: it goes on; mome ps says how far the run is"
            raise ArtifactError(f"the run {root.name!r} is not finished", str(root), fix)
    known = sorted(p.parent.name for p in runs.glob("*/artifacts.json"))
    raise no_run(name, runs, known)
