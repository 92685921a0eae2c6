"""Suggests the next step if a ledger is missing (a different ledger that may have been meant, or
how to create one), or if the packages for a server are missing.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from guardrail.cli.selected_tenant import selected_tenant
from guardrail.errors import ConfigError, LedgerOpenError, UsageError
from guardrail.review.terminal import one_line

if TYPE_CHECKING:
    from guardrail.config import Settings

__all__ = ["explained", "is_other_file", "refuse_folder", "server_packages", "way_to_a_ledger"]


_INIT = "guardrail init"
_REPEAT = "repeat the command with --ledger"
_LOOK = "guardrail doctor, which shows the remaining files"
_NOT_A_LEDGER = "this file is not a guardrail ledger"
_NONE = ("ledger.missing", "ledger.not_a_ledger")


@contextlib.contextmanager
def server_packages() -> Generator[None]:
    """Wrap imports of the packages for a server. Raises ``ConfigError``, which says how to install
    them, if any is missing.
    """
    try:
        yield
    except ImportError:
        raise ConfigError(
            "the proxy needs packages that are not installed",
            code="listener.extra",
            hint="install guardrail with the 'server' extra (README.md)",
        ) from None


def explained(error: LedgerOpenError, config: Path | None, ledger: Path | None) -> LedgerOpenError:
    """Return *error* with the path and the next step, if no ledger exists or ever existed at
    *ledger* or, without it, at the path in the settings.
    """
    from guardrail.ledger.sqlite.signs import was_ledger

    known = error.code not in _NONE and (ledger is None or was_ledger(ledger))
    if known or error.code == "ledger.permission":  # it may be a ledger
        return error
    message = error.message
    if ledger is not None and ledger.name not in message:
        message = f"{ledger}: {message}"
    hint = way_to_a_ledger(config, ledger) or (_LOOK if error.hint == _INIT else error.hint)
    return LedgerOpenError(message, code=error.code, hint=hint)


def is_other_file(path: Path, detail: str) -> bool:
    """Return True if *detail* says that the file at *path* is not a ledger, and no file next to
    *path* shows that there was one.
    """
    from guardrail.ledger.sqlite.signs import was_ledger

    return detail == _NOT_A_LEDGER and not was_ledger(path)


def refuse_folder(folder: Path) -> None:
    """Raise ``UsageError`` if *folder* contains a ledger with the default name, which the user may
    have meant.
    """
    from guardrail.config import DEFAULT_LEDGER

    inside = folder / DEFAULT_LEDGER.name
    if inside.is_file():
        raise UsageError(
            f"{folder} is a folder",
            code="usage.folder",
            hint=f"{_REPEAT} {shlex.quote(str(inside))}",
        )


def way_to_a_ledger(config: Path | None, ledger: Path | None) -> str:
    """Return the next step if there is no ledger at *ledger* or, without it, at the path in the
    settings. The result is empty if the ledger at that path was lost, because it must be restored
    first.
    """
    from guardrail.config import Settings
    from guardrail.ledger.half_moved import way_to_finish
    from guardrail.ledger.sqlite.signs import has_ledger_header, ledgers_near, was_ledger

    try:
        settings = Settings.chosen(config, tenant=selected_tenant(ledger))
    except ConfigError:
        settings = None
    path = ledger if ledger is not None else None if settings is None else settings.ledger.path
    moved = "" if path is None else way_to_finish(path)
    if moved:
        return one_line(moved)
    if path is None or was_ledger(path) or _is_remembered(settings, path):
        return ""  # `guardrail doctor` also examines the files next to it
    own = None if settings is None else settings.ledger.path
    if ledger is not None and own is not None and has_ledger_header(own):
        return f"{_REPEAT} {_display_path(own)}, or without --ledger: that ledger exists"
    near = ledgers_near(path)
    if near:
        return f"{_REPEAT} {_display_path(near[0])}: that ledger exists"
    if settings is not None and settings.source is not None:
        return (
            "to create the keys and the ledger, open a guard in a program: "
            f'Guard.open("{one_line(str(settings.source))}"); guardrail doctor checks '
            "what it needs"
        )
    return "guardrail init creates a project with a ledger; --ledger FILE selects another one"


def _is_remembered(settings: Settings | None, path: Path) -> bool:
    """Return True if this machine remembers a ledger at *path*, which means that the ledger was
    removed, not that the path was mistyped.
    """
    from guardrail.anchoring import remembered_head
    from guardrail.config import Settings

    return remembered_head((settings or Settings()).override(ledger={"path": path})) is not None


def _display_path(path: Path) -> str:
    try:
        return one_line(str(path.absolute().relative_to(Path.cwd())))
    except (ValueError, OSError):
        return one_line(str(path))
