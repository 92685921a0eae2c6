"""Creates the folder of a ledger: private, only inside the project, and not next to an older
log.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from pathlib import Path

from guardrail.anchoring import check_missing
from guardrail.config import Settings, is_default_place
from guardrail.errors import ConfigError, LedgerOpenError
from guardrail.ledger.files import refuse_links
from guardrail.ledger.sqlite.signs import earlier_log
from guardrail.system.disk import nearest_folder, why_not_written
from guardrail.system.durable import make_private_folder
from guardrail.system.os_user import user_named
from guardrail.system.ownership import MissingPermission, denial_of, find_denial

__all__ = [
    "check_new",
    "disk_of",
    "is_created_by_guard",
    "make_folder",
    "refuse_linked",
    "refuse_second_log",
]


def is_created_by_guard(settings: Settings, folder: Path) -> bool:
    """Return True if a guard creates *folder* if it is missing.

    A guard creates folders only inside the project, that is, below the settings file. A path
    outside it was probably mistyped, or its disk is not mounted, and a new log there would look
    like the right one. If there is no settings file, only the last folder of the path may be
    missing, or the path is below the working folder.
    """
    home = Path.cwd() if settings.source is None else settings.source.parent
    inside = Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(home))
    return inside or (settings.source is None and folder.parent.is_dir())


def disk_of(settings: Settings) -> Path | None:
    """Return the ledger's folder, or the existing folder above it if a guard creates it; None if
    it is missing and no guard does.
    """
    folder = settings.ledger.path.absolute().parent
    if folder.is_dir():
        return folder
    return nearest_folder(folder) if is_created_by_guard(settings, folder) else None


def make_folder(settings: Settings, folder: Path, named: str) -> None:
    """Create *folder* (mode 0700) if it is missing and ``is_created_by_guard``
    allows it; durable when this returns.

    *named* are the settings that may have named it. Raises ``LedgerOpenError``.
    """
    try:
        if folder.is_dir():
            return
        if os.path.lexists(folder):
            raise _in_the_way(folder)
        check_missing(settings)  # a log that this machine remembers has disappeared with its folder
        if is_created_by_guard(settings, folder):
            make_private_folder(folder)
            return
        home = Path.cwd() if settings.source is None else settings.source.parent
        what = f"does not exist, and is not created because it is outside {home}"
    except OSError as error:
        missing = denial_of(error, folder, settings.ledger.path)
        if missing is not None:
            raise _permission_error(missing) from None
        what = f"can't be created ({why_not_written(error, folder)})"
    raise LedgerOpenError(
        f"{folder}: this folder {what}; {named} names it",
        code="ledger.folder",
        hint=f"correct that path, or create the folder: mkdir -p {shlex.quote(str(folder))}",
    )


def _permission_error(missing: MissingPermission) -> LedgerOpenError:
    return LedgerOpenError(
        f"permission denied: {missing.what}", code="ledger.permission", hint=missing.hint
    )


def _in_the_way(folder: Path) -> LedgerOpenError:
    if folder.is_symlink():
        return LedgerOpenError(
            f"{folder} is a broken symbolic link: the ledger's folder belongs there",
            code="ledger.linked",
            hint=f"remove the link: rm {shlex.quote(str(folder))}",
        )
    return LedgerOpenError(
        f"{folder} is not a folder, and the ledger's folder belongs there",
        code="ledger.folder",
        hint="move that file away, or name another place in [ledger] path",
    )


def check_private(path: Path) -> None:
    """Raise ``LedgerOpenError`` (``ledger.folder``) if another user could replace the ledger
    *path*: it is in its default folder, and that belongs to somebody else or everyone can write
    to it.

    Root and the owner of the ledger count as its user. The folder of another place is the
    operator's affair.
    """
    folder = path.parent
    if not is_default_place(path) or not folder.is_dir():
        return
    found = os.stat(folder)
    owners = {os.geteuid(), 0}
    with contextlib.suppress(OSError):
        owners.add(os.stat(path).st_uid)
    if found.st_uid not in owners:
        what, fix = (
            f"belongs to {user_named(found.st_uid)}",
            f"sudo chown {user_named(os.geteuid())}",
        )
    elif found.st_mode & stat.S_IWOTH:
        what, fix = (
            f"has mode {stat.S_IMODE(found.st_mode):o}: everyone can write to it",
            "chmod 700",
        )
    else:
        return
    raise LedgerOpenError(
        f"{folder} {what}; another user could replace the ledger and the keys in it",
        code="ledger.folder",
        hint=f"{fix} {shlex.quote(str(folder))}, and then: guardrail verify",
    )


def check_new(folder: Path) -> None:
    """Raise ``ConfigError`` or ``LedgerOpenError`` unless *folder* can become the folder of a new
    log: it is missing, or an empty folder of this user.
    """
    other = "guardrail init OTHER_FOLDER"
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise _in_the_way(folder)
    missing = find_denial([folder])
    if missing is not None:
        raise _permission_error(missing)
    if os.stat(folder).st_uid != os.geteuid():
        owner = user_named(os.stat(folder).st_uid)
        raise ConfigError(
            f"{folder} belongs to {owner}, who could replace the ledger and the keys in it; "
            "nothing was written",
            code="config.exists",
            hint=f"remove that folder: rmdir {shlex.quote(str(folder))}; or {other}",
        )
    found = sorted(os.listdir(folder))
    if found:
        raise ConfigError(
            f"{folder} already holds {', '.join(found[:3])}{' and more' if found[3:] else ''}; "
            "nothing was written",
            code="config.exists",
            hint=f"{other}, or move that folder away: only the ledger may be in it",
        )


def refuse_linked(settings: Settings) -> None:
    """Raise ``LedgerOpenError`` (``ledger.linked``) if a name that a new log would use is a
    symbolic link, or the default folder is one.
    """
    path = settings.ledger.path
    folder = [path.parent] if is_default_place(path) else []
    refuse_links(path, *folder, settings.key_path)


def refuse_second_log(settings: Settings) -> None:
    """Raise ``LedgerOpenError`` (``ledger.earlier``) if a new log at the ledger's path would be the
    second one of this project: an earlier version created one in the root, and no setting names it.
    """
    path = settings.ledger.path
    earlier = earlier_log(path)
    if earlier is not None:
        raise LedgerOpenError(
            f"{earlier} is a log that an earlier version created for this project, and no "
            f"setting names it: a second log in {path.parent} would hide it",
            code="ledger.earlier",
            hint=_way_to_continue(settings, earlier),
        )


def _way_to_continue(settings: Settings, earlier: Path) -> str:
    named = f"GUARDRAIL_LEDGER={shlex.quote(str(earlier))}"
    line = f'path = "{earlier.name}" under [ledger]'
    set_it = (
        f"create guardrail.toml with {line}, or set {named}"
        if settings.source is None
        else f"write {line} in {settings.source}, or set {named}"
    )
    return f"to continue it, {set_it}; docs/moving.md says how to move it"
