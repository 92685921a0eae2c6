"""Heads as JSON lines, for anchor files, standard output and the system log."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime

from guardrail.anchors.anchor import timestamp
from guardrail.core.log.checkpoint import MAX_NOTE, Checkpoint, SignedNote
from guardrail.errors import NoteError

__all__ = ["LINE_START", "MAX_LINE", "HeadLine", "head_line", "parse_line", "parse_lines"]

LINE_START = b'{"guardrail":"head/1"'
"""The first bytes of every line."""
MAX_LINE = 2 * MAX_NOTE
"""Maximum length of a line in bytes. guardrail does not write longer lines."""


@dataclass(frozen=True, slots=True)
class HeadLine:
    """A head that was read from a line."""

    head: Checkpoint
    note: SignedNote
    time: str
    """Time according to the writer, RFC 3339."""

    @property
    def seconds(self) -> float | None:
        """The time in seconds since 1970, or None if it is not a valid time."""
        try:
            found = datetime.fromisoformat(self.time)
        except ValueError:
            return None
        return found.timestamp() if found.tzinfo is not None else None


def head_line(note: SignedNote, now: float | None = None) -> bytes:
    """Return *note* as a line, with its line feed.

    The line contains its own type, so that it can be found among other lines.
    """
    head = Checkpoint.parse(note.text)
    document = {
        "guardrail": "head/1",
        "log": head.origin,
        "note": str(note),
        "size": head.size,
        "ts": timestamp(time.time() if now is None else now),
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"


def parse_line(line: bytes) -> HeadLine | None:
    """Return the head in *line*, or None if the line is incomplete, has a different type, or is
    inconsistent.

    The caller checks the signatures.
    """
    if len(line) > MAX_LINE:
        return None
    try:
        document = json.loads(line)
        if not isinstance(document, dict) or document.get("guardrail") != "head/1":
            return None
        note, time_ = document.get("note"), document.get("ts")
        if not isinstance(note, str) or not isinstance(time_, str):
            return None
        parsed = SignedNote.parse(note)
        head = Checkpoint.parse(parsed.text)
    except (ValueError, RecursionError, NoteError):
        return None
    if document.get("log") != head.origin or document.get("size") != head.size:
        return None
    return HeadLine(head, parsed, time_)


def parse_lines(raw: bytes, origin: str | None = None) -> list[HeadLine]:
    """Return the heads in *raw*, in order. *raw* is the content of an anchor file, captured output,
    or the text of a system log.

    Any text before the first ``{`` of a line, such as the prefix in a system log, is skipped. If
    *origin* is given, only heads of that log are returned.
    """
    found = []
    for line in raw.splitlines():
        at = line.find(LINE_START)
        head = parse_line(line[at:]) if at >= 0 else None
        if head is not None and origin in (None, head.head.origin):
            found.append(head)
    return found
