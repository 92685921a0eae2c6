"""Options that commands share, and the ledger that they lead to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from guardrail.config import Settings
    from guardrail.ledger.reader import LedgerReader

__all__ = [
    "config_option",
    "json_option",
    "ledger_options",
    "ledger_path",
    "open_ledger",
    "settings_of",
]

_F = TypeVar("_F", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)

config_option = click.option(
    "--config",
    "config",
    type=_PATH,
    metavar="FILE",
    help="Settings file. Default: GUARDRAIL_CONFIG, else guardrail.toml here or in a folder above.",
)
_ledger_option = click.option(
    "--ledger",
    "ledger",
    type=_PATH,
    metavar="FILE",
    help="Ledger file. Default: what the settings say, or GUARDRAIL_LEDGER.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Answer with one JSON document (docs/cli.md)."
)


def ledger_options(command: _F) -> _F:
    """Add ``--ledger`` and ``--config``."""
    return _ledger_option(config_option(command))


def settings_of(config: Path | None, ledger: Path | None = None) -> Settings:
    """Return the settings that a command works with. *ledger* wins over the environment, which wins over the file."""
    from guardrail.config import Settings, find

    settings = Settings.load(config if config is not None else find())
    return settings if ledger is None else settings.override(ledger={"path": ledger.absolute()})


def ledger_path(config: Path | None, ledger: Path | None) -> Path:
    """Return the ledger that a command reads. Raises ``ConfigError`` for settings that are refused.

    ``--ledger`` alone reads no settings, so that a ledger can be examined whatever is in the folder.
    """
    if ledger is not None and config is None:
        return ledger
    return settings_of(config, ledger).ledger.path


def open_ledger(config: Path | None, ledger: Path | None) -> LedgerReader:
    """Open the ledger read-only. Raises ``LedgerOpenError`` where it is missing, unreadable or no ledger."""
    from guardrail.errors import LedgerOpenError
    from guardrail.ledger.reader import LedgerReader

    path = ledger_path(config, ledger)
    try:
        return LedgerReader.open(path)
    except LedgerOpenError as error:
        raise LedgerOpenError(
            f"{path}: {error.message}",
            code=error.code,
            hint=error.hint or "name the ledger with --ledger FILE, or run guardrail doctor",
        ) from None
