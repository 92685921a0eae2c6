"""Creates the folder of a ledger. The folder is private, and is created only inside the project and
never next to an older log.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from pathlib import Path

from guardrail.anchoring import check_missing, remembered_head
from guardrail.config import Settings, is_default_place
from guardrail.errors import ConfigError, LedgerError, LedgerOpenError
from guardrail.ledger.files import refuse_links, traces
from guardrail.ledger.half_moved import way_to_finish
from guardrail.ledger.reader import LedgerReader
from guardrail.ledger.sqlite.signs import earlier_log, ledgers_near, moved_log, was_ledger
from guardrail.system.disk import nearest_folder, why_not_written
from guardrail.system.durable import make_private_folder
from guardrail.system.os_user import user_named
from guardrail.system.ownership import MissingPermission, denial_of, find_denial

__all__ = [
    "check_existed",
    "check_new",
    "disk_of",
    "in_the_way",
    "is_created_by_guard",
    "make_folder",
    "refuse_linked",
    "refuse_second_log",
]


def is_created_by_guard(settings: Settings, folder: Path) -> bool:
    """Return True if a guard creates *folder* if it is missing.

    A guard creates folders only inside the project, that is, below the settings file. A path
    outside the project was probably mistyped, or its disk is not mounted, and a new log there would
    look like the right one. If there is no settings file, only the last folder of the path may be
    missing, or the path is below the working directory.
    """
    home = Path.cwd() if settings.source is None else settings.source.parent
    inside = Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(home))
    return inside or (settings.source is None and folder.parent.is_dir())


def disk_of(settings: Settings) -> Path | None:
    """Return the ledger's folder, or the existing folder above it if a guard would create it.
    Return None if the folder is missing and no guard would create it.
    """
    folder = settings.ledger.path.absolute().parent
    if folder.is_dir():
        return folder
    return nearest_folder(folder) if is_created_by_guard(settings, folder) else None


def make_folder(settings: Settings, folder: Path, named: str) -> None:
    """Create *folder* (mode 0700) durably if it is missing and ``is_created_by_guard`` allows it.

    *named* lists the settings that may contain its path. Raises ``LedgerOpenError``.
    """
    try:
        if folder.is_dir():
            return
        if os.path.lexists(folder):
            raise in_the_way(folder)
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
        f"{folder} (set by {named}): this folder {what}",
        code="ledger.folder",
        hint=f"correct that path, or create the folder: mkdir -p {shlex.quote(str(folder))}",
    )


def _permission_error(missing: MissingPermission) -> LedgerOpenError:
    return LedgerOpenError(
        f"permission denied: {missing.what}", code="ledger.permission", hint=missing.hint
    )


def in_the_way(folder: Path) -> LedgerOpenError:
    """Return the error for something other than a folder at the path of the ledger's folder."""
    if folder.is_symlink():
        return LedgerOpenError(
            f"{folder} is a broken symbolic link: the ledger's folder belongs there",
            code="ledger.linked",
            hint=f"remove the link: rm {shlex.quote(str(folder))}",
        )
    return LedgerOpenError(
        f"{folder} is not a folder, and the ledger's folder belongs there",
        code="ledger.folder",
        hint="move that file away, or set [ledger] path to a different path",
    )


def check_private(path: Path) -> None:
    """Raise ``LedgerOpenError`` (``ledger.folder``) if another user could replace the ledger
    *path*: the ledger is in its default folder, and that folder belongs to someone else or is
    writable by everyone.

    Root and the owner of the ledger count as its user. Any other folder is the operator's
    responsibility.
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


def check_existed(settings: Settings) -> None:
    """Raise ``LedgerOpenError`` if there is no sign that a ledger was ever at the path in the
    settings. The path was then probably mistyped.

    A new log there would look like a recovered one, and would set aside an unrelated file.
    """
    path = settings.ledger.path
    if not path.exists():
        refuse_links(path)  # a broken link is not a mistyped name
        refuse_second_log(settings)
    if not traces(path):
        near = ledgers_near(path)
        raise LedgerOpenError(
            f"{path}: there is no ledger at this path, nor any part of one",
            code="ledger.missing",
            hint=way_to_finish(path)
            or (f"correct the path: {near[0]} is a ledger" if near else "guardrail init"),
        )
    if path.exists() and not was_ledger(path):
        denied = find_denial([path], write=False)
        if denied is not None:
            raise LedgerOpenError(
                f"permission denied: {denied.what}", code="ledger.permission", hint=denied.hint
            )
        raise LedgerOpenError(
            f"{path}: this file is not a guardrail ledger, and no file next to it shows that it "
            "was one",
            code="ledger.not_a_ledger",
            hint="specify the ledger with --ledger FILE, or run guardrail doctor",
        )


def check_new(folder: Path) -> None:
    """Raise ``ConfigError`` or ``LedgerOpenError`` unless *folder* can become the folder of a new
    log: it is missing, or an empty folder of this user.
    """
    other = "guardrail init OTHER_FOLDER"
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise in_the_way(folder)
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
            f"{folder} already contains {', '.join(found[:3])}{' and more' if found[3:] else ''}; "
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
    second one of this project: an earlier version created one in the root, or the log was moved,
    and no setting contains its path.
    """
    path = settings.ledger.path
    moved = _moved_log(settings)
    if moved is not None:
        raise LedgerOpenError(
            f"there is no ledger at {path}, but there is one at {moved}, which is in no setting: "
            "a second log would hide it",
            code="ledger.earlier",
            hint=(
                f"{_way_to_continue(settings, moved)}. Or move all of its files back to "
                f"{path.absolute().parent}. To begin a new log, give it a different name or "
                "folder in [ledger] path"
            ),
        )
    earlier = earlier_log(path)
    if earlier is not None:
        raise LedgerOpenError(
            f"{earlier} is a log that an earlier version created for this project, and it is in no "
            f"setting: a second log in {path.parent} would hide it",
            code="ledger.earlier",
            hint=_way_to_continue(settings, earlier),
        )


def _moved_log(settings: Settings) -> Path | None:
    """Return a ledger that was moved from the path in the settings to a path that is in no setting.
    Return None if a part of that ledger is still here, or if this machine remembers a different log
    here.
    """
    path = settings.ledger.path
    moved = moved_log(path)
    if moved is None or traces(path) or settings.key_path.exists():
        return None
    remembered = remembered_head(settings)
    if remembered is None:
        return moved
    with contextlib.suppress(LedgerError), LedgerReader.open(moved) as reader:
        return moved if reader.log == remembered.key.name else None
    return None


def _way_to_continue(settings: Settings, earlier: Path) -> str:
    named = f"GUARDRAIL_LEDGER={shlex.quote(str(earlier))}"
    home = Path.cwd() if settings.source is None else settings.source.parent
    inside = os.path.realpath(earlier).startswith(f"{os.path.realpath(home)}{os.sep}")
    place = os.path.relpath(os.path.realpath(earlier), os.path.realpath(home))
    line = f'path = "{place if inside else earlier}" under [ledger]'
    set_it = (
        f"create guardrail.toml with {line}, or set {named}"
        if settings.source is None
        else f"write {line} in {settings.source}, or set {named}"
    )
    return f"to continue it, {set_it}; docs/moving.md describes how to move it"
