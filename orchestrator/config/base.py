"""What every section of a recipe is: frozen, closed to unknown keys, documented by attribute docstrings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from orchestrator import plugins
from orchestrator.config.problems import in_words
from orchestrator.errors import PluginError
from orchestrator.plugin_options import of_an_option, options_of, summary


class Section(BaseModel):
    """A frozen part of a recipe. Unknown keys are refused; the docstring under a field is its documentation.

    Class attributes:
        located: fields that say only where something lies, whose content is told by a stage's `external` identity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)
    located: ClassVar[tuple[str, ...]] = ()


class PluginSpec(BaseModel):
    """A plug-in by name with its options: ``reverse_kl`` or ``{type: reverse_kl, temperature: 2.0}``."""

    model_config = ConfigDict(frozen=True, extra="allow")
    type: str
    _room: str = PrivateAttr("")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """The options as given, without the name."""
        return dict(self.model_extra or {})

    @property
    def room(self) -> str:
        """The room of the recipe field that holds this specification ("" outside of a recipe)."""
        return self._room


class InRoom:
    """Pydantic annotation: the specification must name a plug-in of this room and fit its options."""

    def __init__(self, room: str, default: str | None = None) -> None:
        self.room, self.default = room, default

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        names = [name.replace("_", "-") if self.room == "models.zoo" else name for name in plugins.available(self.room)]
        by_path = {"type": "string", "pattern": f"^{plugins.IMPORT_PATH}$", "description": _BY_PATH}
        mine = {"type": "object", "properties": {"type": by_path}, "required": ["type"]}
        about: dict[str, Any] = {"title": f"a plug-in of {self.room}", "anyOf": [{"enum": names}, by_path, mine]}
        if of_an_option.get():  # whose own options may be plug-ins of the same room
            any_options = {"type": "object", "properties": {"type": {"enum": names}}, "required": ["type"]}
            return {**about, "anyOf": [*about["anyOf"], any_options]}
        return {**about, "anyOf": [*about["anyOf"], *map(self._whole, names)]}

    def _whole(self, name: str) -> dict[str, Any]:
        """Schema of a plug-in with its options."""
        cls = plugins.find(self.room, name)
        options = options_of(cls)
        needed = [] if name == self.default else ["type"]
        return {
            "type": "object",
            "description": summary(cls),
            "properties": {"type": {"const": name}, **{option.name: option.described for option in options}},
            "required": [*needed, *(option.name for option in options if option.required)],
            "additionalProperties": False,
        }


_BY_PATH = "A plug-in of one's own, as package.module:Class."


def plugin_of(room: str, default: str | None = None) -> Any:
    """Type of a recipe field that holds a plug-in of `room`; options are validated when the recipe is read.

    Options without a name (``{temperature: 2.0}``) are those of the plug-in `default`; where there is none, they are
    refused.
    """

    def name(value: Any) -> Any:
        if not isinstance(value, dict) or "type" in value:
            return value
        if default is None:
            message = f"the type is missing: add type: {' or '.join(_with_options(room, value))}"
            raise PydanticCustomError("plugin", "{message}", {"message": message})
        return {"type": default, **value}

    return Annotated[PluginSpec, BeforeValidator(name), AfterValidator(_checker(room)), InRoom(room, default)]


def _with_options(room: str, options: Iterable[str]) -> list[str]:
    """Names of the plug-ins that have these options; of all where none has."""
    names = plugins.available(room)
    fields = {name: {field.name for field in dataclasses.fields(plugins.find(room, name))} for name in names}
    return [name for name in names if fields[name].issuperset(options)] or list(names)


def build(room: str, spec: PluginSpec) -> Any:
    """The plug-in that `spec` describes.

    Raises:
        PluginError: see :func:`orchestrator.plugins.create`.
    """
    return plugins.create(room, spec.type, spec.options)


def _refused(error: PluginError) -> tuple[tuple[int | str, ...], str]:
    """Keys of what a plug-in refuses, below the plug-in's own, and why."""
    cause = error.__context__
    if not isinstance(cause, ValidationError):
        return (), error.what
    first = cause.errors()[0]
    known = "unknown key" if first["type"] == "extra_forbidden" else in_words(first)
    return first["loc"], known


def _checker(room: str) -> Callable[[PluginSpec], PluginSpec]:
    def check(spec: PluginSpec) -> PluginSpec:
        try:
            build(room, spec)
        except PluginError as error:
            place, what = _refused(error)
            message = what + (f" ({error.fix})" if error.fix else "")
            told = PydanticCustomError("plugin", "{message}", {"message": message})
            details = InitErrorDetails(type=told, loc=place, input=spec)
            raise ValidationError.from_exception_data("plugin", [details]) from None
        placed = spec.model_copy()
        placed._room = room
        return placed

    return check
