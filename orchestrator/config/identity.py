"""What of a configuration identifies the result: whatever differs from the defaults, less where things lie.

A default that is written out is the same configuration as one that is left out, and an option that a new version adds
changes no identity. So a changed default must raise the `version` of what reads it (`tests/golden` notices).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrator import plugins
from orchestrator.config.base import PluginSpec, Section, build


def identity(value: Any) -> Any:
    """The identifying part of a section, a plug-in specification, or a container of these, as JSON-able data."""
    if isinstance(value, PluginSpec):
        return _plugin(value)
    if isinstance(value, Section):
        defaults = {name: _default(field) for name, field in type(value).model_fields.items()}
        own = {name: identity(item) for name, item in value if name not in value.located}
        return {name: item for name, item in own.items() if item != identity(defaults[name])}
    if isinstance(value, Mapping):
        return {str(key): identity(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [identity(item) for item in value]
    return value


def plugins_in(value: Any) -> list[PluginSpec]:
    """Every plug-in specification in a section, a plug-in's options, a mapping or a sequence, at any depth."""
    if isinstance(value, PluginSpec):
        plugin = build(value.room, value) if value.room else None
        options = dataclasses.fields(plugin) if plugin else ()
        return [value, *plugins_in([getattr(plugin, option.name) for option in options])]
    if isinstance(value, BaseModel):
        return [spec for _, item in value for spec in plugins_in(item)]
    if isinstance(value, Mapping):
        return [spec for item in value.values() for spec in plugins_in(item)]
    if isinstance(value, tuple | list):
        return [spec for item in value for spec in plugins_in(item)]
    return []


class _Required:
    """Stands for the default of a field that has none: it equals nothing."""


def _default(field: FieldInfo) -> Any:
    return _Required() if field.is_required() else field.get_default(call_default_factory=True, validated_data={})


def _plugin(spec: PluginSpec) -> dict[str, Any]:
    """Name and options of a plug-in, and its `version` where that is not 1.

    Options that its attribute `located` names say only where something lies; its content is part of the stage's
    `external` identity.
    """
    name = spec.type.replace("-", "_")
    if not spec.room:  # outside of a recipe nobody knows its class
        return {"type": name, **spec.options}
    plugin, cls = build(spec.room, spec), plugins.find(spec.room, spec.type)
    options = {
        field.name: identity(getattr(plugin, field.name))
        for field in dataclasses.fields(plugin)
        if field.init and field.name not in getattr(plugin, "located", ())
    }
    defaults = {field.name: identity(_plugin_default(field)) for field in dataclasses.fields(plugin)}
    version = getattr(cls, "version", 1)
    return {
        "type": name,
        **{key: value for key, value in options.items() if value != defaults[key]},
        **({"version": version} if version != 1 else {}),
    }


def _plugin_default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return _Required() if field.default_factory is dataclasses.MISSING else field.default_factory()
