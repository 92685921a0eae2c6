"""Walks a folder of policies. Every file that OPA would load is either read or rejected; none is
silently skipped.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from guardrail.system.ownership import explain_error

__all__ = ["PolicyFolder", "looks_like_policy"]

MAX_ENTRIES = 100_000
"""Maximum number of names examined. A folder with more names is not a policy folder, or contains
links that repeat its content.
"""
MAX_DEPTH = 64
_DATA = frozenset({"data.json", "data.yaml", "data.yml"})
_PROJECTION = "..data"
"""The link that Kubernetes creates in a mounted ConfigMap or Secret. Its target is a folder
``..2026_...`` that contains the files.
"""
_READABLE = "give this user read permission, or move it out of the policy folder"


class _TooManyError(Exception):
    """The folder contains too many names."""


def looks_like_policy(name: str) -> bool:
    """Return True if OPA reads a file called *name* from a bundle, even if its extension differs in
    case.
    """
    return name.lower().endswith(".rego") or name.lower() in _DATA


class PolicyFolder:
    """Walks one folder.

    Linked folders are followed. Unreadable folders, loops and hidden policies are rejected.
    """

    def __init__(self, root: Path, refuse: Callable[..., None], skip: Collection[str] = ()) -> None:
        self._root = root
        self._refuse = refuse
        self._skip = skip
        self._entries = 0
        self._given: set[str] = set()
        self._projected: list[tuple[Path, str]] = []

    def files(self) -> Iterator[Path]:
        """Yield every file that is not hidden, folder by folder, sorted by name.

        Problems are passed to *refuse*, some of them only after the last file has been yielded, so
        exhaust this iterator before you act on any file. Folders whose real paths are in *skip* are
        skipped.
        """
        try:
            yield from self._folder(self._root, (os.path.realpath(self._root),))
            self._check_projections()
        except _TooManyError:
            self._refuse(
                str(self._root),
                "too-many",
                f"it contains more than {MAX_ENTRIES} files and folders",
                "move the policies to a separate folder",
            )

    def _folder(self, here: Path, above: tuple[str, ...]) -> Iterator[Path]:
        if above[-1] in self._skip:
            return
        names = self._names(here)
        projection = _projection(here) if _PROJECTION in names else None
        if projection is not None:
            self._projected.append((here, projection))
        folders: list[Path] = []
        for name in names:
            path = here / name
            if name.startswith("."):
                if not (projection and name.startswith("..") and os.path.isdir(path)):
                    self._check_hidden(path, above)
                continue
            try:
                mode = os.stat(path).st_mode
            except OSError as error:
                # This includes a broken link, because its target could be a folder that contains
                # deny rules.
                self._refuse_unreadable(path, "read", error)
                continue
            if stat.S_ISDIR(mode):
                folders.append(path)
            else:
                self._given.add(os.path.realpath(path))
                yield path
        for path in folders:
            below = self._path_below(path, above)
            if below is not None:
                yield from self._folder(path, below)

    def _names(self, here: Path) -> list[str]:
        try:
            names = sorted(os.listdir(here))
        except OSError as error:
            self._refuse_unreadable(here, "listed", error)
            return []
        self._entries += len(names)
        if self._entries > MAX_ENTRIES:
            raise _TooManyError
        return names

    def _refuse_unreadable(self, path: Path, done: str, error: OSError) -> None:
        why, way = explain_error(error, path)
        self._refuse(str(path), "unreadable", f"it can't be {done} ({why})", way or _READABLE)

    def _path_below(self, path: Path, above: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return the real paths of the folders from the root to *path*, or None if *path* is a link
        back to one of these folders.
        """
        real = os.path.realpath(path)
        if any(f"{one}/".startswith(f"{real.rstrip('/')}/") for one in above):
            self._refuse(
                str(path),
                "loop",
                "it is a link to a folder that contains it",
                "remove the link, or point it to another folder",
            )
            return None
        if len(above) >= MAX_DEPTH:
            self._refuse(str(path), "too-deep", f"it is more than {MAX_DEPTH} folders deep")
            return None
        return (*above, real)

    def _check_hidden(self, path: Path, above: tuple[str, ...]) -> None:
        found = self._hidden_policy(path, above)
        if found is not None:
            self._refuse(
                str(found),
                "hidden",
                "OPA reads this file, but guardrail skips names that begin with a dot",
                "rename it, or move it out of the policy folder",
            )

    def _hidden_policy(self, path: Path, above: tuple[str, ...]) -> Path | None:
        """Return the first file, at or below the hidden *path*, that OPA would read from a bundle
        and that this walk did not yield.
        """
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            # The target does not exist, so there is nothing to load. Editors mark open files with
            # such links.
            return None
        except OSError as error:
            self._refuse_unreadable(path, "read", error)
            return None
        if not stat.S_ISDIR(mode):
            given = os.path.realpath(path) in self._given
            return path if looks_like_policy(path.name) and not given else None
        below = self._path_below(path, above)
        if below is None or below[-1] in self._skip:
            return None
        for name in self._names(path):
            found = self._hidden_policy(path / name, below)
            if found is not None:
                return found
        return None

    def _check_projections(self) -> None:
        for here, projection in self._projected:
            if _projection(here) != projection:
                self._refuse(
                    str(here),
                    "changed",
                    f"{_PROJECTION} was replaced while the policies were read",
                    "load the policies again",
                )
            else:
                self._check_hidden(Path(projection), (os.path.realpath(here),))


def _projection(here: Path) -> str | None:
    """Return the folder with the real files if *here* is a Kubernetes volume that exposes them
    through a link, otherwise None.
    """
    try:
        target = os.readlink(here / _PROJECTION)
    except OSError:
        return None
    folder = here / target
    if "/" in target or not target.startswith("..") or not os.path.isdir(folder):
        return None
    return None if target in {"..", _PROJECTION} else str(folder)
