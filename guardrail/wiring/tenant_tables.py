"""Changes the tables ``[tenants.NAME]`` in a settings file. Comments and all other lines stay as
they are.

The new text is read as a settings file before it replaces the old one, so a change that would not
be valid changes nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from guardrail.config import Settings
from guardrail.config.tenants import check_tenant_name
from guardrail.errors import ConfigError, os_reason
from guardrail.system.durable import replace_file

__all__ = ["add_table", "set_disabled"]

_DISABLED = re.compile(r"[ \t]*disabled[ \t]*=[ \t]*(true|false)[ \t]*(#.*)?\n?")


def add_table(settings: Settings, name: str, policies: Path | None) -> Settings:
    """Add an empty table for the tenant *name*, with the path of its policies if it is not None.
    Return the tenant's settings. Raises ``ConfigError``.
    """
    check_tenant_name(name)
    with _locked(settings) as (path, text, now):
        if name in now.tenants or name == now.identity.tenant:
            raise ConfigError(
                f"{path}: there is already a tenant {name!r}",
                code="config.tenant",
                hint="guardrail tenants list",
            )
        lines = [f"[tenants.{_key(name)}]"]
        if policies is not None:
            where = os.path.abspath(policies)
            if Path(where).is_relative_to(path.parent):
                where = os.path.relpath(where, path.parent)
            # JSON's escapes are also those of TOML.
            quoted = json.dumps(where, ensure_ascii=False)
            lines += [f"[tenants.{_key(name)}.policy]", f"path = {quoted}"]
        added = text.rstrip("\n") + "\n\n" + "\n".join(lines) + "\n"
        expected = set(now.tenants) | {name}
        made = _replaced(path, added, now)
        if set(made.tenants) != expected:
            raise _by_hand(path, f"[tenants.{_key(name)}]")
        return made.tenants[name]


def set_disabled(settings: Settings, name: str, disabled: bool) -> Settings:
    """Disable or enable the tenant *name*. Return the tenant's settings. Raises ``ConfigError``."""
    with _locked(settings) as (path, text, now):
        before = now.of_tenant(name)
        if not before.tenant_table:
            raise ConfigError(
                f"tenant {name!r} has no table, so it can't be disabled",
                code="config.tenant",
                hint="stop its programs, or change [identity] tenant",
            )
        if before.disabled == disabled:
            return before
        line = f"disabled = {str(disabled).lower()}\n"
        header = re.compile(
            rf"^[ \t]*\[[ \t]*tenants[ \t]*\.[ \t]*(?:{re.escape(name)}|\"{re.escape(name)}\")"
            rf"[ \t]*\][ \t]*(?:#.*)?\n?",
            re.MULTILINE,
        )
        found = header.search(text)
        if found is None:
            changed = text.rstrip("\n") + f"\n\n[tenants.{_key(name)}]\n{line}"
        else:
            end = re.compile(r"^[ \t]*\[", re.MULTILINE).search(text, found.end())
            table = text[found.end() : len(text) if end is None else end.start()]
            rest = text[found.end() + len(table) :]
            head = text[: found.end()].rstrip("\n") + "\n"
            changed = head + line + _without_disabled(table) + rest
        made = _replaced(path, changed, now)
        return made.tenants[name]


def _without_disabled(table: str) -> str:
    return "".join(each for each in table.splitlines(True) if not _DISABLED.fullmatch(each))


def _key(name: str) -> str:
    """Return *name* as a TOML key: quoted if it has a dot, which would begin another table."""
    return f'"{name}"' if "." in name else name


@contextlib.contextmanager
def _locked(settings: Settings) -> Iterator[tuple[Path, str, Settings]]:
    """Yield the settings file, its text and its settings, while no other command changes it.

    Raises ``ConfigError`` if there is no file, or if it can't be read or changed.
    """
    path = settings.source
    if path is None:
        raise ConfigError(
            "there is no settings file in which tenants can be configured",
            code="config.missing",
            hint="guardrail init; or --config FILE",
        )
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            named = not settings.only_found
            now = Settings.load(path, environment={}, named=named)
            yield path, path.read_text("utf-8"), now
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigError(
            f"{path}: the tenants in it can't be changed ({os_reason(error)})",
            code="config.unwritable",
            hint="run the command as the owner of that file, with enough free disk space",
        ) from None


def _replaced(path: Path, text: str, before: Settings) -> Settings:
    """Replace the settings file with *text* if nothing but tenants changes; return the new
    settings. Raises ``ConfigError`` or ``OSError``.
    """
    trial = path.with_name(f".{path.name}.tenants-{os.getpid()}")
    try:
        replace_file(trial, text.encode("utf-8"), private=True, like=path)
        try:
            made = Settings.load(trial, environment={}, named=True)
        except ConfigError as error:
            raise _by_hand(path, "[tenants]", str(error.message)) from None
        if replace(made, source=before.source, distrust=before.distrust) != before:
            raise _by_hand(path, "[tenants]")
        os.chmod(trial, os.stat(path).st_mode & 0o777)
        os.replace(trial, path)
    finally:
        trial.unlink(missing_ok=True)
    return Settings.load(path, environment={}, named=True)


def _by_hand(path: Path, table: str, why: str = "") -> ConfigError:
    return ConfigError(
        f"{path}: this command can't change {table} in this file{f' ({why})' if why else ''}; "
        "nothing was changed",
        code="config.tenant",
        hint="write a table [tenants.NAME] for the tenant by hand (docs/tenants.md)",
    )
