"""Every default of a recipe's sections and of the plug-ins: what a recipe means that leaves them out."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import orchestrator.config
import orchestrator.study._paper
import orchestrator.study.students
from orchestrator import plugins
from orchestrator.config.base import Section
from orchestrator.config.identity import identity
from orchestrator.stages.base import Stage

ROOMS = (
    *(
        "corpus.sources",
        "corpus.formats",
        "corpus.filters",
        "losses",
        "losses.hidden",
        "schedules",
        "teacher",
        "models.zoo",
    ),
    *("models.setups", "models.combiners", "routers", "training.optimizers", "training.strategies", "study"),
)
CONFIGURATIONS = (orchestrator.config, orchestrator.study.students, orchestrator.study._paper)
"""Packages with sections of a recipe, and of the options of a study."""
WITHOUT_RESULT = ("ResourcesConfig", "TrackingConfig", "StudyEntry")


def defaults() -> dict[str, Any]:
    """ "Section.field" or "room.plug-in.option" -> default, of those that have one."""
    return dict(sorted([*_of_sections(), *_of_plugins()]))


def _of_sections() -> Iterator[tuple[str, Any]]:
    for package in CONFIGURATIONS:
        yield from _of_package(package)


def _of_package(package: ModuleType) -> Iterator[tuple[str, Any]]:
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for name, cls in inspect.getmembers(importlib.import_module(found.name), inspect.isclass):
            chosen = issubclass(cls, Section) and not issubclass(cls, Stage)
            if chosen and cls.__module__ == found.name and name not in WITHOUT_RESULT:
                for key, field in cls.model_fields.items():
                    if not field.is_required():
                        yield f"{name}.{key}", _plain(field.get_default(call_default_factory=True))


def _of_plugins() -> Iterator[tuple[str, Any]]:
    for room in ROOMS:
        for name in plugins.available(room):
            cls = plugins.find(room, name)
            yield f"{room}.{name}", getattr(cls, "version", 1)
            for field in dataclasses.fields(cls):
                if field.default is not dataclasses.MISSING:
                    yield f"{room}.{name}.{field.name}", _plain(field.default)
                elif field.default_factory is not dataclasses.MISSING:
                    yield f"{room}.{name}.{field.name}", _plain(field.default_factory())


def _plain(value: Any) -> Any:
    found = identity(value)
    return found if isinstance(found, dict | list | str | int | float | bool | None) else repr(found)
