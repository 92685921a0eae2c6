"""Options shared by the commands, and the ledger that the options select."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from guardrail.cli.missing import refuse_folder
from guardrail.cli.output import LEDGER
from guardrail.cli.selected_tenant import TENANT, selected_tenant

if TYPE_CHECKING:
    from guardrail.config import Settings
    from guardrail.ledger.reader import LedgerReader

__all__ = [
    "SUBJECT",
    "config_option",
    "json_option",
    "ledger_options",
    "ledger_path",
    "open_ledger",
    "open_ledger_or_copy",
    "settings_about",
    "settings_file_option",
    "settings_for",
    "settings_of",
]

T = TypeVar("T")
_F = TypeVar("_F", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path, readable=False)


class _SubjectType(click.types.StringParamType):
    """A text that names a principal, an agent or a tool. The access log contains it in the form in
    which records contain ids.
    """


SUBJECT = _SubjectType()


def _store_option(ctx: click.Context, parameter: click.Parameter, value: T) -> T:
    """Store the option's value, also for the code that explains errors after the command has
    ended. Raises ``UsageError`` if two options select a ledger.
    """
    given = ctx.meta.setdefault(LEDGER, {})
    given[parameter.name] = value
    if given.get("ledger") and given.get(TENANT):
        raise click.UsageError("use only one of --ledger and --tenant", ctx)
    return value


def _store_ledger(
    ctx: click.Context, parameter: click.Parameter, value: Path | None
) -> Path | None:
    """Store the option's value as ``_store_option`` does. Raises ``UsageError`` if the value is a
    folder that contains a ledger.
    """
    if value is not None and value.is_dir():
        refuse_folder(value)
    return _store_option(ctx, parameter, value)


settings_file_option = click.option(
    "--config",
    "config",
    callback=_store_option,
    type=_PATH,
    metavar="FILE",
    help=(
        "Settings file. Default: GUARDRAIL_CONFIG, or guardrail.toml here or in a parent folder."
    ),
)
_tenant_option = click.option(
    "--tenant",
    TENANT,
    callback=_store_option,
    expose_value=False,
    metavar="NAME",
    help="Tenant with its own ledger: [tenants.NAME] in the settings. Default: GUARDRAIL_TENANT.",
)
_ledger_option = click.option(
    "--ledger",
    "ledger",
    callback=_store_ledger,
    type=_PATH,
    metavar="FILE",
    help="Ledger file. Default: the settings' ledger, or GUARDRAIL_LEDGER.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document (docs/cli.md)."
)


def config_option(command: _F) -> _F:
    """Add ``--config`` and ``--tenant``."""
    return settings_file_option(_tenant_option(command))


def ledger_options(command: _F) -> _F:
    """Add ``--ledger``, ``--config`` and ``--tenant``."""
    return _ledger_option(config_option(command))


def settings_of(config: Path | None, ledger: Path | None = None) -> Settings:
    """Return the settings for a command: those of the selected tenant. *ledger* overrides the
    environment, which overrides the file.

    If *ledger* is the access log of these settings, its keys are used. If it belongs to a tenant,
    the tenant's settings are used.
    """
    from guardrail.config import Settings

    settings = Settings.chosen(config, tenant=selected_tenant(ledger))
    if ledger is None:
        return settings
    own = {"path": ledger.absolute()}
    settings = _owner_of(ledger, settings) or settings
    if not _is_same_file(ledger, settings.access_path):
        return settings.override(ledger=own)
    keys = settings.access_key_path
    return settings.override(
        ledger=own,
        keys={"path": keys, "signer": ()},
        access={"path": ledger.absolute(), "keys": keys},
    )


def settings_for(config: Path | None, ledger: Path | None) -> Settings:
    """Return the settings of the selected ledger. With ``--ledger`` alone, settings found in this
    folder or above apply only if they are for the same ledger.

    Raises ``ConfigError``.
    """
    if ledger is not None and config is None:
        return _with_folder_access_rule(settings_about(ledger))
    return _with_folder_access_rule(settings_of(config, ledger))


def _with_folder_access_rule(settings: Settings) -> Settings:
    """Return *settings* with ``[access]`` from the settings next to the ledger itself, if those are
    stricter.

    This ensures that a read from a different folder or through a link is recorded as the ledger's
    owner requires.
    """
    from guardrail.config import access_rule

    rule = access_rule(Path(os.path.realpath(settings.ledger.path)))
    if rule is None:
        return settings
    changed: dict[str, object] = {"required": settings.access.required or rule.required}
    if settings.access.path is None and rule.path is not None:
        changed["path"] = rule.path
        if settings.access.keys is None and rule.keys is not None:
            changed["keys"] = rule.keys
    return settings.override(access=changed)


def settings_about(ledger: Path) -> Settings:
    """Return the settings found in this folder or above if they are for *ledger* or its access log.
    Otherwise, return the defaults for *ledger*.

    Settings that can't be read, or that are for a different ledger, do not prevent anyone from
    reading *ledger*.
    """
    from guardrail.config import Settings
    from guardrail.errors import ConfigError

    with suppress(ConfigError):
        if _owner_of(ledger, Settings.chosen(None)) is not None:
            return settings_of(None, ledger)
    own = {"path": ledger.absolute()}
    with suppress(ConfigError):
        return Settings.load(None).override(ledger=own)  # as Guard.open(ledger=...) does
    return Settings().override(ledger=own)


def _owner_of(ledger: Path, settings: Settings) -> Settings | None:
    """Return *settings*, or those of a tenant in them, if *ledger* is their ledger or access log.
    Otherwise, return None.
    """
    for each in (settings, *settings.tenants.values()):
        if _is_same_file(ledger, each.ledger.path) or _is_same_file(ledger, each.access_path):
            return each
    return None


def _is_same_file(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def ledger_path(config: Path | None, ledger: Path | None) -> Path:
    """Return the ledger that a command reads. Raises ``ConfigError`` if the settings are rejected.

    With ``--ledger`` alone, settings are not read, so a ledger can be examined no matter what the
    folder contains.
    """
    if ledger is not None and config is None:
        return ledger
    return settings_of(config, ledger).ledger.path


def open_ledger(config: Path | None, ledger: Path | None) -> LedgerReader:
    """Open the ledger read-only. Raises ``LedgerOpenError`` if it is missing, unreadable or not a
    ledger.
    """
    return open_ledger_or_copy(ledger_path(config, ledger))


def open_ledger_or_copy(path: Path) -> LedgerReader:
    """Open the ledger, or the copy of a ledger, at *path*, as ``open_ledger`` does."""
    from guardrail.errors import LedgerOpenError
    from guardrail.ledger.reader import LedgerReader

    try:
        return LedgerReader.open(path)
    except LedgerOpenError as error:
        raise LedgerOpenError(
            f"{path}: {error.message}",
            code=error.code,
            hint=error.hint or "specify the ledger with --ledger FILE, or run guardrail doctor",
        ) from None
