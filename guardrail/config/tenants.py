"""The tables ``[tenants.NAME]``: each holds the settings in which a tenant differs from the rest of
the file.

A tenant has its own ledger, keys and access log, which are never those of another tenant. All other
sections start from the settings outside the tenants' tables.
"""

from __future__ import annotations

import contextlib
import operator
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from guardrail.config.parsing import apply
from guardrail.config.sections import DEFAULT_LEDGER, AccessSettings, KeySettings, LedgerSection
from guardrail.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["MAX_TENANTS", "TENANT_NAME", "check_tenant_name", "refuse_shared_files", "tenants_in"]

# The settings as a whole, whose module imports this one.
S = TypeVar("S", bound="DataclassInstance")

MAX_TENANTS = 10_000
TENANT_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?\Z")
"""The names of tenants are also names of folders, so they have one spelling on every disk."""

_FOLDER = Path("tenants")
_SHARED = frozenset({"proxy", "review", "tools"})
"""Sections that apply to a whole process or to a reader, not to a tenant."""
_DISABLED = "disabled"


def check_tenant_name(name: str, where: str = "") -> None:
    """Raise ``ConfigError`` if *name* can't be a table's name. *where* names the file, if any."""
    if not TENANT_NAME.match(name) or ".." in name:
        raise ConfigError(
            f"{where}{': ' if where else ''}{name!r} can't be the name of a tenant",
            code="config.tenant",
            hint="use 1 to 64 lower-case ASCII letters, digits, '.', '_' and '-', and begin and "
            "end with a letter or digit",
        )


def tenants_in(settings: S, tables: object, folder: Path, where: str) -> dict[str, S]:
    """Return the settings of each tenant in *tables*, the content of ``[tenants]``.

    *settings* are those outside the tables. Relative paths are relative to *folder*, and *where*
    names the file in errors. Raises ``ConfigError`` if a table is malformed, or if two tenants
    share a file.
    """
    if not isinstance(tables, Mapping):
        raise ConfigError(
            f"{where}: [tenants] is not a table",
            code="config.type",
            hint="write the settings of each tenant below a line [tenants.NAME.SECTION]",
        )
    if len(tables) > MAX_TENANTS:
        raise ConfigError(
            f"{where}: [tenants] has {len(tables)} tenants, more than {MAX_TENANTS}",
            code="config.tenant",
            hint="serve the others from another guardrail.toml",
        )
    found = {
        str(name): _tenant(settings, str(name), table, folder, where)
        for name, table in tables.items()
    }
    refuse_shared_files([settings, *found.values()], where)
    return found


def _tenant(settings: Any, name: str, table: object, folder: Path, where: str) -> Any:
    """Return the settings of one tenant."""
    check_tenant_name(name, where)
    if name == settings.identity.tenant:
        raise ConfigError(
            f"{where}: [tenants.{name}] is the tenant in [identity] tenant, whose settings are "
            "those outside [tenants]",
            code="config.tenant",
            hint=f"move the settings below [tenants.{name}] to the sections outside [tenants], or "
            "rename one of the two tenants",
        )
    if not isinstance(table, Mapping):
        raise ConfigError(
            f"{where}: tenants.{name} is not a table",
            code="config.type",
            hint=f"write the settings of this tenant below lines [tenants.{name}.SECTION]",
        )
    disabled = table.get(_DISABLED, False)
    if type(disabled) is not bool:
        raise ConfigError(
            f"{where}: tenants.{name}.{_DISABLED}: expected true or false",
            code="config.type",
            hint=f"write {_DISABLED} = true below [tenants.{name}], or remove the line",
        )
    sections = {key: value for key, value in table.items() if key != _DISABLED}
    _check_sections(name, sections, where)
    own = replace(
        settings,
        ledger=replace(
            settings.ledger, path=folder / _FOLDER / name / DEFAULT_LEDGER, log=LedgerSection().log
        ),
        keys=KeySettings(lookup_days=settings.keys.lookup_days),
        access=AccessSettings(required=settings.access.required),
        anchors=replace(settings.anchors, tsa_tokens=None),
        retention=replace(
            settings.retention,
            segments=None,
            archive=None
            if settings.retention.archive is None
            else settings.retention.archive / name,
        ),
        identity=replace(settings.identity, tenant=name),
        tenant_table=name,
        disabled=disabled,
    )
    return apply(own, sections, folder, where, f"tenants.{name}.")


def _check_sections(name: str, sections: Mapping[str, Any], where: str) -> None:
    """Raise ``ConfigError`` for settings that no tenant can have for itself."""
    for section in sorted(_SHARED.intersection(sections)):
        raise ConfigError(
            f"{where}: [tenants.{name}.{section}] is not possible: [{section}] applies to all "
            "tenants",
            code="config.tenant",
            hint=f"move its keys below [{section}]",
        )
    identity = sections.get("identity")
    if isinstance(identity, Mapping) and "issuers" in identity:
        raise ConfigError(
            f"{where}: [tenants.{name}.identity.issuers] is not possible: a token is verified "
            "before its tenant is known",
            code="config.tenant",
            hint=f'move the issuer below [identity.issuers] and give it tenant = "{name}"',
        )
    if isinstance(identity, Mapping) and "tenant" in identity:
        raise ConfigError(
            f"{where}: tenants.{name}.identity.tenant: the table's name is the tenant's name",
            code="config.tenant",
            hint="remove that line",
        )


_OWN = {
    "ledger": "ledger.path",
    "key folder": "key_path",
    "access log": "access_path",
    "key folder of the access log": "access_key_path",
    "folder of segments": "segments_path",
    "archive": "retention.archive",
    "file of timestamps": "timestamps_path",
}
"""The paths to which a tenant's records and keys are written, so that no two tenants may share
one.
"""


def refuse_shared_files(all_settings: Iterable[Any], where: str) -> None:
    """Raise ``ConfigError`` if a file or folder that belongs to one tenant is set for another, also
    through a link.

    Paths that are only read, and anchors, may be the same for several tenants, but none of them may
    lead to the ledger, the keys or another file of a tenant.
    """
    every = list(all_settings)
    taken: dict[object, str] = {}
    for settings in every:
        name = settings.identity.tenant
        for what, place in _OWN.items():
            path = operator.attrgetter(place)(settings)
            if path is None:
                continue
            for identity in _identities(path, inside=what.startswith("key folder")):
                other = taken.setdefault(identity, name)
                if other != name:
                    raise _shared_error(where, other, name, f"the same {what}", path)
    for settings in every:
        name = settings.identity.tenant
        for key, path in _paths_in(settings):
            for identity in _identities(path):
                other = taken.get(identity, name)
                if other != name:
                    what = f"a common file: {key} of the second belongs to the first"
                    raise _shared_error(where, other, name, what, path)


def _identities(path: Path, *, inside: bool = False) -> Iterator[object]:
    """Yield values that are equal for two paths to the same file: its real path and, if it exists,
    its device and inode. If *inside* is True, also yield those of the files in a folder, because a
    single key can be a link to that of another tenant.
    """
    yield os.path.realpath(path)
    with contextlib.suppress(OSError):
        found = os.stat(path)
        yield found.st_dev, found.st_ino
        if inside and stat.S_ISDIR(found.st_mode):
            for entry in os.listdir(path):
                with contextlib.suppress(OSError):
                    about = os.stat(os.path.join(path, entry))
                    yield about.st_dev, about.st_ino


def _paths_in(settings: Any) -> Iterator[tuple[str, Path]]:
    """Yield each path in the sections of *settings*, with the key that sets it."""
    for section in fields(settings):
        values = getattr(settings, section.name)
        if not is_dataclass(values):
            continue
        for key in fields(values):
            value = getattr(values, key.name)
            for each in value if isinstance(value, tuple) else (value,):
                if isinstance(each, Path):
                    yield f"[{section.name}] {key.name}", each


def _shared_error(where: str, one: str, other: str, what: str, path: Path) -> ConfigError:
    return ConfigError(
        f"{where}: tenants {one!r} and {other!r} have {what}: {path}",
        code="config.tenant",
        hint=f"set another path below [tenants.{other}.SECTION], or remove the link: each tenant "
        "has its own log and keys",
    )
