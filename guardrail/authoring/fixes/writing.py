"""Replaces files of policies, each in one step, and only inside the policy folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from guardrail.errors import ConfigError
from guardrail.system.disk import why_not_written
from guardrail.system.input_files import version_of

__all__ = ["replace_policy", "require_unsigned"]

_BOM = b"\xef\xbb\xbf"
_SIGNATURES = ".signatures.json"
_MAX_BYTES = 1 << 20
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_CHANGED = "it was changed meanwhile"


def require_unsigned(path: Path) -> None:
    """Raise ``ConfigError`` if *path* is part of a signed bundle, whose signature a change would
    invalidate.
    """
    real = path.resolve()
    for folder in (real, *real.parents):
        if os.path.lexists(folder / _SIGNATURES):
            raise ConfigError(
                f"{path}: the policies are part of a signed bundle ({folder / _SIGNATURES}), and a "
                "change would invalidate its signature; nothing was written",
                code="config.signed",
                hint="fix the policies from which the bundle was built, and build it again",
            )


def replace_policy(path: Path, root: Path, before: str, after: str) -> str:
    """Replace the text *before* in the file *path* by *after*, and return an empty string. If the
    file stays as it was, return the reason.

    The file must be inside the folder *root* even if links are followed. It keeps its permissions,
    its owner and its byte order mark. Other programs see the old file or the whole new one, which
    is durable when this returns.
    """
    real, inside = Path(os.path.realpath(path)), os.path.realpath(root)
    if not real.is_relative_to(inside):
        return "a symbolic link leads to it from the policy folder, and it is not in that folder"
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        folder = os.open(real.parent, flags)
    except OSError as error:
        return why_not_written(error, real)
    try:
        # A folder above may have been replaced by a link.
        if os.path.realpath(f"/proc/self/fd/{folder}") != str(real.parent):
            return _CHANGED
        return _replace(folder, real, before, after)
    except OSError as error:
        if isinstance(error.filename, str):  # a name in the folder
            error.filename = str(real.parent / error.filename)
        return why_not_written(error, real)
    finally:
        os.close(folder)


def _replace(folder: int, path: Path, before: str, after: str) -> str:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with os.fdopen(os.open(path.name, flags, dir_fd=folder), "rb") as stream:
        found = os.fstat(stream.fileno())
        raw = stream.read(_MAX_BYTES) if stat.S_ISREG(found.st_mode) else b""
        if raw.removeprefix(_BOM) != before.encode():
            return _CHANGED
        if found.st_nlink > 1:
            return "it has several names (hard links), and only this one would change"
        if not found.st_mode & _WRITABLE:
            return "it is read-only"
        content = _BOM * raw.startswith(_BOM) + after.encode()
        # A guard ignores such a name, so the rest of a killed run does no harm.
        temporary = f".guardrail-fix-{secrets.token_hex(8)}"
        try:
            _write(folder, temporary, content, found, stream.fileno())
            if version_of(os.stat(path.name, dir_fd=folder, follow_symlinks=False)) != version_of(
                found
            ):
                return _CHANGED
            os.rename(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
        os.fsync(folder)
    return ""


def _write(folder: int, name: str, content: bytes, like: os.stat_result, original: int) -> None:
    """Create a file with the owner, the mode and the extended attributes of the file *original*,
    which *like* describes.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as stream:
        descriptor = stream.fileno()
        stream.write(content)
        stream.flush()
        made = os.fstat(descriptor)
        if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
            os.fchown(descriptor, like.st_uid, like.st_gid)
        for attribute in os.listxattr(original):
            os.setxattr(descriptor, attribute, os.getxattr(original, attribute))
        os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
        os.fsync(descriptor)
