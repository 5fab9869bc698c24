"""What is served now, as plain values: the applications that a mixture's experts are, and its share of requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.config.routing import COMMON
from orchestrator.errors import ServingError
from serve.files import MixtureFiles


@dataclass(frozen=True)
class Served:
    """An expert, or a router, as it is deployed.

    Attributes:
        folder: what it was loaded from. application: Serve's name for it, which tells contents and settings apart.
        within: its name in an application that has several experts; "": it has this one.
    """

    folder: Path
    application: str
    within: str = ""


@dataclass(frozen=True)
class Table:
    """A mixture as it is served.

    Attributes:
        version: of the mixture, with a "+" where experts were added or removed since.
        tokenizer, router: folders.
        experts: by name.
        routing: the router's application; None: the ingress routes itself.
        mixed: that of all experts together; None: they are not mixed here.
    """

    version: str
    tokenizer: Path
    router: Path
    experts: Mapping[str, Served]
    routing: str | None = None
    mixed: Served | None = None

    def with_expert(self, name: str, expert: Served) -> Table:
        """The same with one expert more, or another one of that name."""
        order = sorted({**self.experts, name: expert}.items(), key=lambda item: (item[0] == COMMON, item[0]))
        return replace(self, version=_edited(self.version), experts=dict(order))

    def without(self, name: str) -> Table:
        """The same without an expert.

        Raises:
            ServingError: there is none of that name, or it is the last one.
        """
        if name not in self.experts:
            raise ServingError(f"no expert {name!r} is served", fix=f"served are: {', '.join(self.experts)}")
        rest = {other: expert for other, expert in self.experts.items() if other != name}
        if not set(rest) - {COMMON}:
            raise ServingError(f"{name!r} is the only expert", fix="end the endpoint instead")
        return replace(self, version=_edited(self.version), experts=rest)

    @property
    def files(self) -> MixtureFiles:
        """Where its parts are."""
        folders = {name: expert.folder for name, expert in self.experts.items()}
        return MixtureFiles(self.tokenizer, self.router, folders, self.version)

    @property
    def applications(self) -> set[str]:
        """All of its own."""
        experts = {expert.application for expert in (*self.experts.values(), *([self.mixed] if self.mixed else ()))}
        return experts | ({self.routing} if self.routing else set())


@dataclass(frozen=True)
class Registry:
    """What every ingress serves by.

    Attributes:
        deployed: tells this deployment of the endpoint from earlier ones. number: grows with each change.
        table: of the mixture. canary: of one that is tried out on `percent` of the requests.
    """

    deployed: str
    number: int
    table: Table
    canary: Table | None = None
    percent: float = 0.0

    def using(self, table: Table, percent: float = 100.0) -> Registry:
        """The next one: with another table for all requests, or for some."""
        if percent >= 100:
            return Registry(self.deployed, self.number + 1, table)
        return Registry(self.deployed, self.number + 1, self.table, table, percent)

    def choose(self, draw: float) -> Table:
        """The table of a request, by a number in [0, 1)."""
        return self.canary if self.canary is not None and draw * 100 < self.percent else self.table

    @property
    def tables(self) -> Iterator[Table]:
        """All that are served."""
        return (table for table in (self.table, self.canary) if table is not None)

    @property
    def applications(self) -> set[str]:
        """All that are served."""
        return set().union(*(table.applications for table in self.tables))

    def to_json(self) -> dict[str, Any]:
        """Plain data, paths as text."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Registry:
        """The inverse."""
        canary = data["canary"]
        tables = _table(data["table"]), canary and _table(canary)
        return cls(data["deployed"], data["number"], *tables, data["percent"])


def _edited(version: str) -> str:
    return version if version.endswith("+") else f"{version}+"


def _table(data: Mapping[str, Any]) -> Table:
    experts = {name: _served(each) for name, each in data["experts"].items()}
    folders = Path(data["tokenizer"]), Path(data["router"])
    return Table(data["version"], *folders, experts, data["routing"], data["mixed"] and _served(data["mixed"]))


def _served(data: Mapping[str, str]) -> Served:
    return Served(Path(data["folder"]), data["application"], data["within"])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return str(value) if isinstance(value, Path) else value
