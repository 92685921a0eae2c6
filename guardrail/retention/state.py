"""Stores the state of the automatic retention runs (last run, last failure) in a small file next to
the ledger. All processes that use the ledger share the file.

The file is a cache, not evidence. Anyone who can write to the ledger's folder can make a guard
check for due work earlier or later; ``doctor`` finds overdue work from the records alone.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from guardrail.system.input_files import read_input
from guardrail.system.ownership import new_file

__all__ = ["RetentionState", "read_state", "state_path", "write_state"]

_VERSION = 1
_MAX_BYTES = 1 << 16
_MAX_TEXT = 4096
_MAX_COUNT = 1_000_000
_MAX_TIME = 1e12


@dataclass(frozen=True, slots=True)
class RetentionState:
    """State of the automatic runs of one ledger."""

    done: float | None = None
    """Time of the last run that did all work that was due, in seconds since 1970, or None if there
    was no such run.
    """
    tried: float | None = None
    """Time of the last attempt."""
    failures: int = 0
    """Number of consecutive failures so far."""
    code: str = ""
    """Code of the last failure, or an empty string if the last attempt succeeded."""
    message: str = ""
    hint: str = ""


_SUFFIX = "-retention.json"


def state_path(ledger: Path) -> Path:
    """Return the path of the state file of a ledger's automatic runs."""
    return ledger.with_name(ledger.name + _SUFFIX)


def read_state(path: Path) -> RetentionState:
    """Return the state stored in *path*, or an empty state if the file is missing or unreadable.
    Never raises.
    """
    try:
        document = json.loads(read_input(path, _MAX_BYTES))
        if document["v"] != _VERSION:
            return RetentionState()
        done, tried, failures = document["done"], document["tried"], document["failures"]
        texts = [document[name] for name in ("code", "message", "hint")]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return RetentionState()
    good = (
        (done is None or _is_time(done))
        and (tried is None or _is_time(tried))
        and type(failures) is int
        and 0 <= failures <= _MAX_COUNT
        and all(isinstance(each, str) and len(each) <= _MAX_TEXT for each in texts)
    )
    return RetentionState(done, tried, failures, *texts) if good else RetentionState()


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < _MAX_TIME


def write_state(path: Path, state: RetentionState) -> None:
    """Replace the state atomically: readers see either the old state or the new one. Raises
    ``OSError``.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()  # left by a dead process with the same PID
        like = path.with_name(path.name.removesuffix(_SUFFIX))
        with os.fdopen(new_file(temporary, like), "w", encoding="ascii") as out:
            json.dump({"v": _VERSION, **asdict(state)}, out, sort_keys=True)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
