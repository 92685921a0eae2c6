"""Replaces the file ``tokens.key``, one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Generator
from pathlib import Path

from guardrail.errors import KeysError, os_reason
from guardrail.keys.key_files import check_mode, read_key
from guardrail.keys.log_key import TOKENS_FILE
from guardrail.keys.token_keys import TokenSecrets
from guardrail.system.disk import is_full, make_room
from guardrail.system.durable import replace_file

__all__ = ["TokenKeyFile"]

PATIENCE = 5.0
"""Seconds to wait for another process that replaces the file."""


class TokenKeyFile:
    """The keys of tokens in one key folder, locked against other processes that replace them."""

    def __init__(self, folder: Path) -> None:
        """Use ``locked`` instead."""
        self._path = folder / TOKENS_FILE

    @classmethod
    @contextlib.contextmanager
    def locked(cls, folder: Path) -> Generator[TokenKeyFile]:
        """Hold the lock of *folder* inside the block. Raises ``KeysError``."""
        check_mode(folder, 0o077, f"chmod 700 {folder}", folder=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _error(folder, error) from None
        try:
            _lock(descriptor, folder)
            file = cls(folder)
            file._remove_rest()
            yield file
        finally:
            os.close(descriptor)

    def read(self) -> TokenSecrets:
        """Return the current keys. Raises ``KeysError``, also if the file has a second name, under
        which a destroyed key would stay.
        """
        self._refuse_links()
        try:
            return TokenSecrets.parse(read_key(self._path))
        except (ValueError, KeyError, TypeError):
            raise KeysError(
                f"{self._path.parent}: a key file is malformed",
                code="keys.malformed",
                hint="restore the folder from a backup",
            ) from None

    def replace(self, secrets: TokenSecrets) -> None:
        """Replace the keys. Durable when this returns; if the process is killed before that, the
        file has either the old or the new content. Raises ``KeysError``.
        """
        try:
            replace_file(self._path, secrets.text(), private=True, like=self._path)
        except OSError as error:
            raise _error(self._path, error) from None

    def destroy(self, secrets: TokenSecrets) -> None:
        """Replace the keys with *secrets*, and then overwrite the previous content of the file,
        which has a key that must be gone. Raises ``KeysError``.

        The disk can nevertheless keep old content: copy-on-write file systems and SSDs write to new
        places.
        """
        try:
            previous = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise _error(self._path, error) from None
        try:
            size = os.fstat(previous).st_size
            self.replace(secrets)
            os.pwrite(previous, bytes(size), 0)
            os.fsync(previous)
        except OSError as error:
            raise _error(self._path, error) from None
        finally:
            os.close(previous)

    def _refuse_links(self) -> None:
        try:
            found = os.lstat(self._path)
        except OSError:
            return  # reading the file reports it
        link = stat.S_ISLNK(found.st_mode)
        if link or found.st_nlink > 1:
            kind = "a symbolic link" if link else "one of several names of a file"
            raise KeysError(
                f"{self._path} is {kind}, so a destroyed key would stay under the other name",
                code="keys.linked",
                hint=f"put a regular file in its place: cp {self._path} {self._path}.new && "
                f"mv {self._path}.new {self._path}; then delete the other one",
            )

    def _remove_rest(self) -> None:
        """Remove what a process left that was killed while it replaced the file: it has keys."""
        try:
            for left in self._path.parent.glob(f".{TOKENS_FILE}.*"):
                left.unlink()
        except OSError as error:
            raise _error(self._path, error) from None


def _lock(descriptor: int, folder: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise KeysError(
                    f"{folder}: another process is replacing these keys",
                    code="keys.busy",
                    hint="try again after it has finished",
                ) from None
            time.sleep(0.02)


def _error(path: Path, error: OSError) -> KeysError:
    return KeysError(
        f"{path}: the keys can't be replaced ({os_reason(error)})",
        code="keys.write",
        hint=make_room(path) if is_full(error, path) else "run the command as their owner",
    )
