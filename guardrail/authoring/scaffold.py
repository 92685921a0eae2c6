"""Creates a new project on disk: settings with comments, a policy, and a test for it. Never
overwrites a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from guardrail.config import DEFAULT_LEDGER, FILE_NAME, NO_SECTIONS, Settings
from guardrail.config.issuers import EXAMPLE
from guardrail.errors import ConfigError
from guardrail.system.disk import is_full, make_room, why_not_written

__all__ = ["Scaffold", "scaffold", "settings_text"]

_IGNORED = (f"/{DEFAULT_LEDGER.parent}/", "*.db", "*.db-*", "*.keys/")
"""Lines for .gitignore. A ledger contains people's actions, and its keys can resolve its tokens, so
ledgers, keys and copies of them do not belong in a repository.
"""

_ACTIVE = {("ledger", "path"), ("policy", "path"), ("retention", "auto")}
"""Keys that are written as active settings, not as comments."""

_TABLES = {"classes", "issuers"}
"""Kinds of settings that are tables."""

_HEADER = (
    '# Settings of guardrail. A line that starts with "#" and contains a key shows its '
    "default.\n# Paths are relative to this file. `guardrail doctor` checks what is written "
    "here.\n# A table [tenants.NAME] gives a tenant its own ledger, keys and settings: `guardrail "
    "tenants add NAME`.\n"
)


@dataclass(frozen=True, slots=True)
class Scaffold:
    """The files that were created."""

    folder: Path
    written: tuple[Path, ...]
    ignored: tuple[str, ...]
    """Lines that were added to .gitignore."""


def settings_text() -> str:
    """Return the text of a guardrail.toml that documents every key and leaves every default
    unchanged.
    """
    sections = [_HEADER]
    default = Settings()
    for section in fields(Settings):
        if section.name in NO_SECTIONS:
            continue
        lines = [f"[{section.name}]"]
        values = getattr(default, section.name)
        for item in fields(values):
            lines += _setting(section.name, item, getattr(values, item.name))
            if "issuers" in item.metadata:
                lines += EXAMPLE.splitlines()
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


def _setting(section: str, item: Any, value: object) -> Iterator[str]:
    meta = item.metadata
    about = str(meta.get("about", ""))
    if "choices" in meta:
        about += f" ({', '.join(meta['choices'])})"
    elif "low" in meta:
        about += f" ({meta['low']} to {meta['high']})"
    yield f"# {about}"
    mark = "" if (section, item.name) in _ACTIVE else "# "
    yield f"{mark}{item.name} = {_toml(value) if not meta.keys() & _TABLES else '{}'}"
    if "example" in meta:
        yield f"## {meta['example']}"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return (
            _toml(value[0])
            if len(value) == 1
            else "[" + ", ".join(_toml(item) for item in value) + "]"
        )
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    # A JSON string is a TOML basic string unless it contains surrogates, which no default does.
    return json.dumps("" if value is None else str(value), ensure_ascii=False)


def scaffold(folder: Path, starter: Path, optional: Mapping[str, bytes] | None = None) -> Scaffold:
    """Create a project in *folder*, with the policies from *starter*. The *optional* files, keyed
    by path, are written if no file or link is in their way.

    Raises ``ConfigError`` before anything is written: ``config.exists`` if files with these names
    exist (the error lists all of them), and ``config.linked`` if the policy folder or .gitignore is
    a link.
    """
    for each in (folder / "policies", folder / ".gitignore"):
        if each.is_symlink():
            raise ConfigError(
                f"{each} is a symbolic link, so files would be written to its target; nothing was "
                "written",
                code="config.linked",
                hint="guardrail init OTHER_FOLDER, or remove the link",
            )
    planned = {folder / FILE_NAME: settings_text().encode("utf-8")}
    sources = sorted(
        path for path in starter.rglob("*") if path.is_file() and path.suffix in {".rego", ".json"}
    )
    if not sources:
        raise ConfigError(
            f"{starter}: the starter policies are missing, because the installation is incomplete",
            code="config.starter",
        )
    for source in sources:
        planned[folder / "policies" / source.relative_to(starter)] = source.read_bytes()
    in_the_way = [path for path in planned if os.path.lexists(path)]
    if in_the_way:
        names = ", ".join(str(path.relative_to(folder)) for path in in_the_way)
        raise ConfigError(
            f"{folder} already contains {names}; nothing was written",
            code="config.exists",
            hint="guardrail init OTHER_FOLDER, or move these files to another folder",
        )
    planned |= {
        folder / name: content
        for name, content in (optional or {}).items()
        if not os.path.lexists(folder / name) and not (folder / name).parent.is_symlink()
    }
    try:
        for path, content in planned.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as out:
                out.write(content)
        ignored = _ignore(folder / ".gitignore")
    except OSError as error:
        raise ConfigError(
            f"{folder}: the files can't be written ({why_not_written(error, folder / FILE_NAME)})",
            code="config.write",
            hint=make_room(folder / FILE_NAME) if is_full(error, folder) else "",
        ) from None
    return Scaffold(folder=folder, written=tuple(planned), ignored=ignored)


def _ignore(path: Path) -> tuple[str, ...]:
    existing = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
    missing = tuple(line for line in _IGNORED if not _is_ignored(line, existing.splitlines()))
    if missing:
        gap = "" if not existing or existing.endswith("\n") else "\n"
        with path.open("a", encoding="utf-8") as out:
            comment = "# records of people's actions, and their keys"
            out.write("\n".join([f"{gap}{comment}", *missing, ""]))
    return missing


def _is_ignored(line: str, existing: Sequence[str]) -> bool:
    """Return True if *existing* contains *line* and no later line overrides it."""
    later = reversed(existing)
    return next((each == line for each in later if each == line or each.startswith("!")), False)
