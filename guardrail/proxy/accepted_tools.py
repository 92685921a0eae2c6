"""The tools that a person has accepted: the file set in ``[proxy] tools``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from guardrail.core import json_text
from guardrail.core.schema.compiled import compile_schema
from guardrail.core.times import record_time
from guardrail.errors import ConfigError, SchemaError, UsageError, os_reason
from guardrail.model_apis.requested_tools import ModelRequestError, RequestedTool
from guardrail.system.disk import save_file
from guardrail.system.input_files import FileVersion, read_input, version_of
from guardrail.system.os_user import user_named
from guardrail.tools.tool import tool_name

__all__ = [
    "AcceptedTools",
    "Tools",
    "accepted_as",
    "read_accepted",
    "rejection_of",
    "tool_document",
    "tool_of",
    "write_accepted",
]

_FORMAT = "guardrail/proxy-tools/1"
_LARGEST = 16 * 1024 * 1024
_MOST_NAMES = 100
"""Maximum number of names in each list in the record of a change."""


Tools = Mapping[str, RequestedTool]


class AcceptedTools:
    """The accepted tools in the current version of the file."""

    def __init__(self, path: Path) -> None:
        """Read the file. A missing file counts as empty. Raises ``ConfigError`` if the file can't
        be read or is malformed.
        """
        self._path = path
        self.problem: ConfigError | None = None
        """The error with which reading the file failed, or None."""
        # This comes before the read, so that ``refresh`` notices a change made during the read.
        self._version = self._file_version()
        self.tools: Tools = read_accepted(path)
        """The accepted tools, keyed by name. The mapping is replaced if the file changes."""

    def _file_version(self) -> FileVersion | None:
        try:
            return version_of(self._path.stat())
        except OSError:
            return None

    def refresh(self) -> bool:
        """Reload the file if it has changed, and return True if it has. While the file can't be
        read, no tools count as accepted.
        """
        version = self._file_version()
        if version == self._version:
            return False
        try:
            self.tools = read_accepted(self._path)
            self.problem = None
        except ConfigError as error:
            self.tools = {}
            self.problem = error
        self._version = version
        return True

    def change_since(self, before: Tools) -> dict[str, Any]:
        """Return the detail of the ``admin.tools_accepted`` record for the change from *before* to
        the tools that are currently accepted.
        """
        now = self.tools
        both = now.keys() & before.keys()
        names = {
            "added": now.keys() - both,
            "removed": before.keys() - both,
            "changed": {name for name in both if now[name].digest != before[name].digest},
        }
        try:
            found = self._path.stat()
        except OSError:
            owner = written = None
        else:
            owner = user_named(found.st_uid)
            written = record_time(datetime.fromtimestamp(found.st_mtime, UTC))
        return {
            "digest": _digest(now),
            "previous": _digest(before),
            "count": len(now),
            **{kind: sorted(each)[:_MOST_NAMES] for kind, each in names.items()},
            "file": {"owner": owner, "written": written},
        }


def accepted_as(tools: Tools, tool: RequestedTool) -> RequestedTool | None:
    """Return the tool in *tools* that equals *tool*, or None if *tool* has not been accepted with
    this schema.
    """
    known = tools.get(tool.name)
    return known if known is not None and known.digest == tool.digest else None


def rejection_of(tool: RequestedTool) -> str:
    """Return the reason why guardrail rejects the schema of *tool*, so that the tool stays
    undeclared even if it is accepted, or an empty string.
    """
    try:
        if tool.schema is not None:
            compile_schema(tool.schema)
    except SchemaError as error:
        return error.message
    return ""


def _digest(tools: Tools) -> str:
    """Return the SHA-256, in hex, of the file that ``write_accepted`` would write."""
    return hashlib.sha256(_content(tools.values())).hexdigest()


def read_accepted(path: Path) -> dict[str, RequestedTool]:
    """Return the accepted tools, keyed by name, or an empty mapping if there is no file. Raises
    ``ConfigError`` if the file can't be read, is malformed, or contains a tool with a digest that
    does not match its schema.
    """
    try:
        text = read_input(path, _LARGEST)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _refused(path, os_reason(error)) from None
    try:
        found = json_text.read(text.decode("utf-8"))
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            raise ValueError(f"its format is not {_FORMAT}")
        tools = [tool_of(each) for each in found["tools"]]
    except (ValueError, LookupError, TypeError) as error:
        reason = str(error) if type(error) is ValueError else "it is malformed"
    else:
        made = {tool.name: tool for tool in tools}
        if len(made) == len(tools):
            return made
        reason = "it contains a tool twice"
    raise _refused(path, reason)


def _refused(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"the file of accepted tools, {path}, can't be used: {reason}",
        code="config.proxy_tools",
        hint="correct or remove this file, and accept the tools again: guardrail proxy accept",
    )


def tool_of(entry: Mapping[str, Any]) -> RequestedTool:
    """Return the tool in a document created by ``tool_document``. Raises ``ValueError``,
    ``LookupError`` or ``TypeError`` for any other document.
    """
    form, schema, description = entry["form"], entry["schema"], entry.get("description", "")
    if type(form) is not str or type(schema) is not dict or type(description) is not str:
        raise ValueError("a tool in it is malformed")
    try:
        name = tool_name(entry["name"])
    except UsageError as error:
        raise ValueError(error.message) from None
    try:
        tool = RequestedTool(name, form, schema, description, entry.get("grammar"))
    except ModelRequestError as error:
        raise ValueError(error.message) from None
    if entry["digest"] != tool.digest:
        raise ValueError("the digest of a tool does not match its schema")
    return tool


def tool_document(tool: RequestedTool) -> dict[str, Any]:
    """Return *tool* in the format for the file."""
    grammar = {} if tool.grammar is None else {"grammar": tool.grammar}
    return {
        "name": tool.name,
        "server": None,
        "form": tool.form,
        "schema": tool.schema,
        **grammar,
        "digest": tool.digest,
    }


def write_accepted(path: Path, tools: Iterable[RequestedTool]) -> None:
    """Write the file of accepted tools. The file is durable when this returns. If this raises
    ``ConfigError``, an existing file is unchanged.
    """
    save_file(path, _content(tools))


def _content(tools: Iterable[RequestedTool]) -> bytes:
    entries = [tool_document(tool) for tool in sorted(tools, key=lambda tool: tool.name)]
    return (json.dumps({"format": _FORMAT, "tools": entries}, indent=2) + "\n").encode()
