"""Checks values from guardrail.toml, the environment and the program against the sections.

An unknown key is rejected, and the error suggests the most similar known key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from guardrail.config.issuers import issuers_in
from guardrail.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["ENVIRONMENT", "NO_SECTIONS", "apply"]

S = TypeVar("S", bound="DataclassInstance")

NO_SECTIONS = frozenset({"source", "distrust", "tenants", "tenant_table", "disabled", "overridden"})
"""Fields of ``Settings`` that describe the source of the settings; all others are sections."""
ENVIRONMENT = {
    "GUARDRAIL_LEDGER": ("ledger", "path"),
    "GUARDRAIL_POLICIES": ("policy", "path"),
    "GUARDRAIL_KEYS": ("keys", "path"),
}
"""Environment variables that override a setting. ``GUARDRAIL_CONFIG`` specifies the settings file.
"""


def apply(settings: S, raw: Mapping[str, Any], base: Path, where: str, table: str = "") -> S:
    """Return a copy of *settings* with the values in *raw*, by section and key.

    Relative paths are relative to *base*. *where* describes the source of the values in errors, and
    *table* precedes the sections' names there: ``tenants.acme.`` in a tenant's table.
    Raises ``ConfigError`` for an unknown section or key, a wrong type, or a value out of range.
    """
    known = {item.name for item in fields(settings) if item.name not in NO_SECTIONS}
    changed: dict[str, Any] = {}
    for name, values in raw.items():
        if name not in known:
            if not isinstance(values, Mapping):
                raise _bare(name, settings, known, where, table)
            raise _unknown(name, known, f"{where}: unknown section [{table}{name}]")
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"{where}: [{table}{name}] is not a table",
                code="config.type",
                hint=f"write its keys below the line [{table}{name}]",
            )
        section = getattr(settings, name)
        by_name = {item.name: item for item in fields(section)}
        parsed: dict[str, Any] = {}
        for key, value in values.items():
            if key not in by_name:
                raise _unknown(key, set(by_name), f"{where}: [{table}{name}] has no key {key!r}")
            try:
                parsed[key] = _value(by_name[key], value, base, f"{where}: {table}{name}.{key}")
            except ConfigError as error:
                error.hint = f"correct {key} under [{table}{name}]: {_described(by_name[key])}"
                if where in ENVIRONMENT:
                    error.hint = f"correct {where}, or unset it"
                raise
        changed[name] = replace(section, **parsed)
    return replace(settings, **changed)


def _described(item: Any) -> str:
    """Return the description of a setting, with the values that it accepts."""
    meta = item.metadata
    about = str(meta["about"]).split(";")[0]
    if "low" in meta:
        return f"{about} ({meta['low']} to {meta['high']}, default {item.default})"
    if "choices" in meta:
        return f"{about} ({', '.join(meta['choices'])})"
    return about


def _unknown(name: str, known: set[str], message: str) -> ConfigError:
    import difflib

    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    suggestion = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(sorted(known))
    hint = f"write {near[0]!r}" if near else "guardrail init FOLDER writes a file with every key"
    return ConfigError(f"{message}; {suggestion}", code="config.unknown_key", hint=hint)


def _bare(
    name: str, settings: DataclassInstance, known: set[str], where: str, table: str
) -> ConfigError:
    """Return the error for a key outside all sections."""
    sections = [
        section
        for section in sorted(known)
        if any(item.name == name for item in fields(getattr(settings, section)))
    ]
    hint = " or ".join(f"[{table}{section}]" for section in sections)
    return ConfigError(
        f"{where}: {name!r} is not in a section",
        code="config.unknown_key",
        hint=f"move it below {hint}"
        if hint
        else "guardrail init FOLDER writes a file with every key",
    )


def _value(spec: Any, value: Any, base: Path, where: str) -> Any:
    meta = spec.metadata
    if "choices" in meta or "low" in meta:
        return _choice_or_number(meta, value, where)
    if "switch_or_file" in meta:
        if not isinstance(value, bool) and not (isinstance(value, str | Path) and str(value)):
            raise ConfigError(f"{where}: expected true, false or a path", code="config.type")
        return value if isinstance(value, bool) else base / value
    if "switch" in meta or "texts" in meta:
        found = _switch_or_texts(meta, value, where)
        return _command(found, base) if "command" in meta else found
    if "classes" in meta:
        return _texts_by_class(value, where)
    if "issuers" in meta:
        return issuers_in(value, base, where)
    default = spec.default if spec.default is not MISSING else None
    if value == "" and default in ("", None):
        return default
    if isinstance(default, tuple):
        items = value if isinstance(value, list) else [value]
        if not items or not all(isinstance(item, str | Path) and str(item) for item in items):
            raise ConfigError(f"{where}: expected a path or a list of paths", code="config.type")
        return tuple(base / item for item in items)
    if not isinstance(value, str | Path) or not str(value):
        raise ConfigError(f"{where}: expected a string", code="config.type")
    if isinstance(default, Path) or spec.name == "path" or "file" in meta:
        return base / value
    return str(value)


def _choice_or_number(meta: Mapping[str, Any], value: Any, where: str) -> str | int:
    if "choices" in meta:
        if value not in meta["choices"]:
            raise ConfigError(
                f"{where}: expected one of {', '.join(meta['choices'])}", code="config.value"
            )
        return str(value)
    if type(value) is not int:
        raise ConfigError(f"{where}: expected a whole number", code="config.type")
    if not meta["low"] <= value <= meta["high"]:
        raise ConfigError(
            f"{where}: expected a number from {meta['low']} to {meta['high']}", code="config.value"
        )
    return value


def _switch_or_texts(meta: Mapping[str, Any], value: Any, where: str) -> bool | tuple[str, ...]:
    if "switch" in meta:
        if type(value) is not bool:
            raise ConfigError(f"{where}: expected true or false", code="config.type")
        return value
    entries = list(value) if isinstance(value, list | tuple) else [value]
    if not all(isinstance(entry, str) and entry for entry in entries):
        raise ConfigError(f"{where}: expected a string or a list of strings", code="config.type")
    return tuple(entries)


def _command(words: Any, base: Path) -> tuple[str, ...]:
    """Return a command whose program, if it is a path, is relative to *base*. Otherwise, it would
    be a different program in each working directory.
    """
    program, *arguments = words or ("",)
    return (str(base / program), *arguments) if os.sep in program else words


def _texts_by_class(value: Any, where: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    entries = dict(value) if isinstance(value, Mapping | tuple) else None
    if entries is None:
        raise ConfigError(
            f"{where}: expected a table that maps classes to lists of strings", code="config.type"
        )
    found = {
        cls: tuple(texts) if isinstance(texts, list | tuple) else (texts,)
        for cls, texts in entries.items()
    }
    if not all(isinstance(text, str) and text for texts in found.values() for text in texts):
        raise ConfigError(
            f"{where}: expected a string, or a list of strings, for each class; none may be empty",
            code="config.type",
        )
    return tuple(sorted(found.items()))
