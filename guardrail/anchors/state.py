"""How far the anchors of one ledger are: a small file beside it, for every process of that log and for people.

It is a memory, and no evidence: whoever can change the ledger can change it. What in it proves something is the notes, for
their signatures.
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

__all__ = ["LAGS", "AnchorState", "State", "lock_path", "read_state", "state_path", "write_state"]

_VERSION = 1
_MAX_BYTES = 4 << 20
_MAX_TEXT = 1 << 20
_MAX_COUNT = 1 << 53
_CLOCK_SLACK_S = 5.0
"""How far ahead of this process's clock what another one wrote may be."""


@dataclass(frozen=True, slots=True)
class AnchorState:
    """What is known of one anchor."""

    size: int = 0
    """Records of the newest head that it took."""
    time: float = 0.0
    """When it took it, in seconds since 1970."""
    note: str = ""
    """That head, with the anchor's signature where it signs."""
    behind: float | None = None
    """Since when there has been a record that no head there covers; None where there is none."""
    failures: int = 0
    """In a row, up to now."""
    code: str = ""
    """Of the last failure; empty where the last try went well."""
    message: str = ""
    hint: str = ""
    tried: float = 0.0
    """When it was last tried."""

    @property
    def known(self) -> Checkpoint | None:
        """The newest head that it took, or None."""
        try:
            return Checkpoint.parse(SignedNote.parse(self.note).text) if self.note else None
        except NoteError:
            return None


LAGS = AnchorState(behind=0.0)
"""What nonsense is taken for."""


@dataclass(frozen=True, slots=True)
class State:
    """What is known of all anchors of a log."""

    log: str
    anchors: Mapping[str, AnchorState] = field(default_factory=dict)
    """By name."""
    heartbeat: float | None = None
    """When the newest heartbeat was recorded, in seconds since 1970."""

    unreadable: bool = False
    """There is a file, and nobody can tell what it says."""

    def of(self, name: str) -> AnchorState:
        """Return what is known of one anchor."""
        return self.anchors.get(name, LAGS if self.unreadable else AnchorState())

    def with_anchor(self, name: str, state: AnchorState) -> State:
        """Return the state with that of one anchor replaced."""
        return replace(self, anchors={**self.anchors, name: state})


_SUFFIX = "-anchors.json"


def state_path(ledger: Path) -> Path:
    """Return where the state of a ledger's anchors is."""
    return ledger.with_name(ledger.name + _SUFFIX)


def lock_path(ledger: Path) -> Path:
    """Return the file whose lock the one process has that anchors this ledger."""
    return ledger.with_name(ledger.name + "-anchor-lock")


def read_state(path: Path, log: str, *, now: float | None = None) -> State:
    """Return the state in *path*; an empty one where there is none. Never raises, and never waits.

    Anyone may have written it. What no guard writes (another type, a time to come, a count below nothing) is taken for an
    anchor that has lagged since 1970: where a limit is set, calls are denied until the anchor itself was asked.
    """
    now = time.time() if now is None else now
    try:
        raw = _read(path)
        document = json.loads(raw, parse_constant=_no_constant)
        if document["v"] != _VERSION or document["log"] != log:
            raise ValueError
        anchors = {str(name): _anchor(each, now) for name, each in document["anchors"].items()}
        heartbeat = document["heartbeat"]
        return State(log, anchors, heartbeat if _is_time(heartbeat, now) else None)
    except FileNotFoundError:
        return State(log)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # What is not known is found out again: each anchor that can be asked is.
        return State(log, unreadable=True)


def _read(path: Path) -> bytes:
    # A pipe that someone put there must not hold the guard up.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError
        return source.read(_MAX_BYTES)


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _is_time(value: object, now: float) -> bool:
    """Whether *value* is a time of this machine's clock that has come, but for what a clock may be set back by."""
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


def write_state(path: Path, state: State) -> None:
    """Replace the state; whoever reads gets the old one or the new one. Raises ``OSError``."""
    document = {
        "v": _VERSION,
        "log": state.log,
        "heartbeat": state.heartbeat,
        "anchors": {name: asdict(each) for name, each in state.anchors.items()},
    }
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    like = path.with_name(path.name.removesuffix(_SUFFIX))
    try:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()  # left by a process of the same number that died
        descriptor = new_file(beside, like)
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            json.dump(document, out, sort_keys=True)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
