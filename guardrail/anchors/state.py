"""Stores the state of a ledger's anchors in a small file next to the ledger, for people and for
every process that uses the log.

It is a cache, not evidence: anyone who can change the ledger can change the file. Only the signed
notes in it prove anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.errors import NoteError
from guardrail.system.ownership import new_file

__all__ = [
    "LAGS",
    "AnchorState",
    "AnchorStates",
    "lock_path",
    "read_state",
    "state_path",
    "write_state",
]

_VERSION = 1
_MAX_BYTES = 4 << 20
_MAX_TEXT = 1 << 20
_MAX_COUNT = 1 << 53
_CLOCK_SLACK_S = 5.0
"""Seconds by which another process's clock may be ahead of this process's clock."""


@dataclass(frozen=True, slots=True)
class AnchorState:
    """The state of one anchor."""

    size: int = 0
    """Number of records covered by the newest head that the anchor accepted."""
    time: float = 0.0
    """Time at which the anchor accepted that head, in seconds since 1970."""
    note: str = ""
    """That head, with the anchor's signature if the anchor signs."""
    behind: float | None = None
    """Time at which the anchor fell behind: when the first record that none of its heads covers was
    written. None if every record is covered.
    """
    failures: int = 0
    """Number of failures since the last success."""
    code: str = ""
    """Code of the last failure, or an empty string if the last attempt succeeded."""
    message: str = ""
    hint: str = ""
    tried: float = 0.0
    """Time of the last attempt."""

    @property
    def known(self) -> Checkpoint | None:
        """The newest head that the anchor accepted, or None."""
        try:
            return Checkpoint.parse(SignedNote.parse(self.note).text) if self.note else None
        except NoteError:
            return None


LAGS = AnchorState(behind=0.0)
"""The state that replaces a stored state with invalid values."""


@dataclass(frozen=True, slots=True)
class AnchorStates:
    """The states of all anchors of a log."""

    log: str
    anchors: Mapping[str, AnchorState] = field(default_factory=dict)
    """States of the anchors by name."""
    heartbeat: float | None = None
    """Time of the newest heartbeat record, in seconds since 1970."""

    unreadable: bool = False
    """True if the file exists but can't be parsed."""

    def of(self, name: str) -> AnchorState:
        """Return the state of one anchor."""
        return self.anchors.get(name, LAGS if self.unreadable else AnchorState())

    def with_anchor(self, name: str, state: AnchorState) -> AnchorStates:
        """Return a copy with the state of one anchor replaced."""
        return replace(self, anchors={**self.anchors, name: state})


_SUFFIX = "-anchors.json"


def state_path(ledger: Path) -> Path:
    """Return the path of the state file of a ledger's anchors."""
    return ledger.with_name(ledger.name + _SUFFIX)


def lock_path(ledger: Path) -> Path:
    """Return the path of the lock file. The process that holds its lock anchors this ledger."""
    return ledger.with_name(ledger.name + "-anchor-lock")


def read_state(path: Path, log: str, *, now: float | None = None) -> AnchorStates:
    """Return the state stored in *path*, or an empty state if the file does not exist. Never
    raises, and never waits.

    Anyone could have written the file. If it contains a value that no guard writes (a wrong type, a
    time in the future, a negative count), the anchor counts as lagging since 1970: if a limit is
    configured, calls are denied until guardrail has contacted the anchor itself.
    """
    now = time.time() if now is None else now
    try:
        raw = _read_file(path)
        document = json.loads(raw, parse_constant=_refuse_constant)
        if document["v"] != _VERSION or document["log"] != log:
            raise ValueError
        anchors = {str(name): _anchor(each, now) for name, each in document["anchors"].items()}
        heartbeat = document["heartbeat"]
        return AnchorStates(log, anchors, heartbeat if _is_time(heartbeat, now) else None)
    except FileNotFoundError:
        return AnchorStates(log)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # Missing state is restored from each anchor that can return its heads.
        return AnchorStates(log, unreadable=True)


def _read_file(path: Path) -> bytes:
    # A pipe that someone planted must not block the guard.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError
        return source.read(_MAX_BYTES)


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _is_time(value: object, now: float) -> bool:
    """Return True if *value* is a past time. Allows for clocks that were set back."""
    return type(value) in (int, float) and 0 <= value <= now + _CLOCK_SLACK_S  # type: ignore[operator]


_TYPES: Mapping[str, tuple[type, ...]] = {
    "size": (int,),
    "failures": (int,),
    "time": (int, float),
    "tried": (int, float),
    "behind": (int, float, type(None)),
    "note": (str,),
    "code": (str,),
    "message": (str,),
    "hint": (str,),
}


def _anchor(document: object, now: float) -> AnchorState:
    if not isinstance(document, dict):
        return LAGS
    known = {item.name for item in fields(AnchorState)}
    values = {name: value for name, value in document.items() if name in known}
    good = all(
        type(value) in _TYPES[name] and _is_plausible(name, value, now)
        for name, value in values.items()
    )
    return AnchorState(**values) if good else LAGS


def _is_plausible(name: str, value: object, now: float) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_TEXT
    if name in ("size", "failures"):
        return isinstance(value, int) and 0 <= value <= _MAX_COUNT
    return value is None or _is_time(value, now)


def write_state(path: Path, state: AnchorStates) -> None:
    """Replace the state atomically: readers see either the old state or the new one. Raises
    ``OSError``.
    """
    document = {
        "v": _VERSION,
        "log": state.log,
        "heartbeat": state.heartbeat,
        "anchors": {name: asdict(each) for name, each in state.anchors.items()},
    }
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    like = path.with_name(path.name.removesuffix(_SUFFIX))
    try:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()  # left by a dead process with the same PID
        descriptor = new_file(temporary, like)
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            json.dump(document, out, sort_keys=True)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
