"""How far the anchors of one ledger are: a small file beside it, for every process of that log and for people.

It is a memory, and no evidence: whoever can change the ledger can change it. What in it proves something is the notes, for
their signatures.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from guardrail.core.note import Checkpoint, SignedNote
from guardrail.errors import NoteError

__all__ = ["AnchorState", "State", "lock_path", "read_state", "state_path", "write_state"]

_VERSION = 1
_MAX_BYTES = 4 << 20


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


@dataclass(frozen=True, slots=True)
class State:
    """What is known of all anchors of a log."""

    log: str
    anchors: Mapping[str, AnchorState] = field(default_factory=dict)
    """By name."""
    heartbeat: float | None = None
    """When the newest heartbeat was recorded, in seconds since 1970."""

    def of(self, name: str) -> AnchorState:
        """Return what is known of one anchor."""
        return self.anchors.get(name, AnchorState())

    def with_anchor(self, name: str, state: AnchorState) -> State:
        """Return the state with that of one anchor replaced."""
        return replace(self, anchors={**self.anchors, name: state})


def state_path(ledger: Path) -> Path:
    """Return where the state of a ledger's anchors is."""
    return ledger.with_name(ledger.name + "-anchors.json")


def lock_path(ledger: Path) -> Path:
    """Return the file whose lock the one process has that anchors this ledger."""
    return ledger.with_name(ledger.name + "-anchor-lock")


def read_state(path: Path, log: str) -> State:
    """Return the state in *path*; an empty one where there is none, or none of this *log*. Never raises."""
    try:
        with path.open("rb") as source:
            document = json.loads(source.read(_MAX_BYTES))
        if document["v"] != _VERSION or document["log"] != log:
            return State(log)
        anchors = {str(name): _anchor(each) for name, each in document["anchors"].items()}
        heartbeat = document["heartbeat"]
        if heartbeat is not None and not isinstance(heartbeat, int | float):
            return State(log)
        return State(log, anchors, heartbeat)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # What is not known is found out again: each anchor that can be asked is.
        return State(log)


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


def _anchor(document: Mapping[str, Any]) -> AnchorState:
    known = {item.name for item in fields(AnchorState)}
    values = {name: value for name, value in document.items() if name in known}
    if any(type(value) not in _TYPES[name] for name, value in values.items()):
        raise TypeError
    return AnchorState(**values)


def write_state(path: Path, state: State) -> None:
    """Replace the state; whoever reads gets the old one or the new one. Raises ``OSError``."""
    document = {
        "v": _VERSION,
        "log": state.log,
        "heartbeat": state.heartbeat,
        "anchors": {name: asdict(each) for name, each in state.anchors.items()},
    }
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(
            beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
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
