"""The file of tools that appeared in requests but that nobody has accepted. A person can choose
from them.

The contents come from programs and are not trusted. They are shown only to the person who accepts
tools. Only the owner of the file can read it, because schemas are stored exactly as they were sent,
and defaults and examples in them are not redacted.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardrail.core import json_text
from guardrail.ledger.files import utc_timestamp
from guardrail.model_apis.requested_tools import RequestedTool
from guardrail.proxy.accepted_tools import accepted_as, read_accepted, tool_document, tool_of
from guardrail.system.durable import replace_file
from guardrail.system.input_files import read_input

if TYPE_CHECKING:
    from guardrail.config import Settings

__all__ = ["SeenTool", "SeenTools", "read_seen", "seen_path", "waiting_tools"]

_MOST = 500
"""Maximum number of stored tools. The oldest tools are forgotten first."""
_LONGEST = 64 * 1024
"""Maximum number of characters in a stored schema."""
_LARGEST = 64 * 1024 * 1024
_OFTEN_S = 10.0
"""Minimum number of seconds between writes of the file."""


@dataclass(frozen=True, slots=True)
class SeenTool:
    """A tool that has not been accepted with this schema."""

    tool: RequestedTool
    count: int
    """Number of requests that contained the tool."""
    first: str
    """Time of the first of these requests (RFC 3339)."""
    last: str


def seen_path(ledger: Path) -> Path:
    """Return the path of the file for proxies that write to *ledger*."""
    return ledger.with_name(f"{ledger.stem}.proxy-seen.json")


class SeenTools:
    """Collects tools, and writes them to the file periodically. Thread-safe and bounded."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._tools = OrderedDict((each.tool.name, each) for each in read_seen(path))
        self._changed = False
        self._due = 0.0

    def note(self, tool: RequestedTool) -> None:
        """Record *tool*, found in a request. It replaces any earlier tool that has the same name
        but a different schema.
        """
        if tool.schema is None:
            return  # the tool has no schema to accept
        now = utc_timestamp()
        with self._lock:
            known = self._tools.pop(tool.name, None)
            if known is not None and known.tool.digest == tool.digest:
                known = replace(known, count=known.count + 1, last=now)
            else:
                if len(json.dumps([tool.schema, tool.grammar])) > _LONGEST:
                    return
                known = SeenTool(_undescribed(tool), 1, now, now)
            self._tools[tool.name] = known
            if len(self._tools) > _MOST:
                self._tools.popitem(last=False)
            self._changed = True

    @property
    def due(self) -> bool:
        """True if the file should be written now. If so, the interval starts again."""
        with self._lock:
            now = time.monotonic()
            if not self._changed or now < self._due:
                return False
            self._due = now + _OFTEN_S
            return True

    def save(self) -> None:
        """Write the file. If that fails, the tools are not offered for acceptance, but calls are
        not affected.
        """
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            found = list(self._tools.values())
        entries = [
            {
                **tool_document(each.tool),
                "count": each.count,
                "first": each.first,
                "last": each.last,
            }
            for each in found
        ]
        with contextlib.suppress(OSError):
            replace_file(self._path, json.dumps({"tools": entries}).encode(), private=True)


def read_seen(path: Path) -> list[SeenTool]:
    """Return the well-formed tools in the file, or an empty list if the file can't be read."""
    try:
        found = json_text.read(read_input(path, _LARGEST).decode("utf-8"))
    except (OSError, ValueError):
        return []
    entries = found.get("tools") if isinstance(found, dict) else None
    made: dict[str, SeenTool] = {}
    for entry in entries if isinstance(entries, list) else ():
        with contextlib.suppress(ValueError, LookupError, TypeError):
            seen = _seen(entry)
            made[seen.tool.name] = seen
    return list(made.values())


def waiting_tools(settings: Settings) -> dict[str, SeenTool]:
    """Return the tools that wait to be accepted, keyed by name: tools in requests that have not
    been accepted with the same schema. Raises ``ConfigError`` if the file of accepted tools can't
    be read.
    """
    accepted = read_accepted(settings.proxy.tools)
    return {
        each.tool.name: each
        for each in read_seen(seen_path(settings.ledger.path))
        if accepted_as(accepted, each.tool) is None
    }


def _seen(entry: Mapping[str, Any]) -> SeenTool:
    count, first, last = entry["count"], entry["first"], entry["last"]
    if type(count) is not int or type(first) is not str or type(last) is not str:
        raise ValueError("malformed")
    return SeenTool(_undescribed(tool_of(entry)), count, first[:32], last[:32])


def _undescribed(tool: RequestedTool) -> RequestedTool:
    """Return *tool* without its description, which is not compared and may contain anything."""
    return replace(tool, description="")
