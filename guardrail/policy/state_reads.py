"""Finds the session state that policies read, so that the guard loads and passes only that
(``guardrail.lib.session`` and others).

The answer may contain a section that is never read, but never lacks one that is: a rule that reads
a missing section would not fire. So a read that this module can't follow, such as a whole
``input.context`` in a variable, counts as a read of every section.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from guardrail.core.state_reads import RECENT, SECTIONS
from guardrail.policy.library_calls import SourceToken, literal, source_tokens
from guardrail.policy.templates import without_templates

__all__ = ["ALL_STATE", "STATE_MODULES", "StateRead", "StateReads", "state_reads_in"]

StateReads: TypeAlias = frozenset[str]
"""Sections of the session state: some of ``session``, ``principal_state`` and ``agent_state``, and
``recent`` if the recent calls in them are read.
"""
ALL_STATE: Final[StateReads] = frozenset({*SECTIONS, RECENT})

STATE_MODULES: Final = frozenset({"session", "flow", "duty"})
"""The modules of the library that read session state."""
_LIBRARY: Final = ("data", "guardrail", "lib")
_SCOPES: Final[Mapping[str, StateReads]] = {
    "session": frozenset({"session"}),
    "principal": frozenset({"principal_state"}),
    "agent": frozenset({"agent_state"}),
}
"""The section that a function of such a module reads, by its first argument."""
_FIXED: Final[Mapping[str, StateReads]] = {
    "first_seen": frozenset({"session", "principal_state"}),
}
"""The sections that functions of such modules read whose first argument is no scope."""
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class StateRead:
    """A read of session state in a module."""

    line: int
    sections: StateReads


def state_reads_in(text: str) -> Iterator[StateRead]:
    """Yield each read of session state in the module *text*. Rules that no decision uses count,
    too; ``input.context.session.id`` and replacements by ``with`` are no reads.
    """
    written = list(source_tokens(without_templates(text)))
    imports = list(_imports(written))
    imported = {name: path for _, name, path in imports}
    aliases = {index for index, _, _ in imports}
    recent = RECENT in {literal([token]) or token.written for token in written}
    for index, token in enumerate(written):
        before = written[index - 1].written if index else ""
        if before in {".", "with"} or index in aliases or not _WORD.fullmatch(token.written):
            continue
        sections: StateReads = frozenset()
        if token.written == "input":
            sections = _of_input(written, index)
        elif before != "import" and (token.written == "data" or token.written in imported):
            sections = _of_library(written, index, imported.get(token.written, ("data",)))
        if sections:
            more = recent or sections >= frozenset(SECTIONS) or token.written != "input"
            yield StateRead(token.line, sections | {RECENT} if more else sections)


def _imports(written: Sequence[SourceToken]) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Yield the index of the last token, the name and the path of each import of data."""
    for index, token in enumerate(written):
        if token.written != "import":
            continue
        names, end = _path_at(written, index + 1)
        renamed = end + 1 < len(written) and written[end].written == "as"
        if names[:1] == ("data",):
            last = end + 1 if renamed else end - 1
            yield last, written[last].written if renamed else names[-1], names


def _path_at(written: Sequence[SourceToken], start: int) -> tuple[tuple[str, ...], int]:
    """Return the names of the reference that begins at *start*, up to the first part that is not a
    literal, and the index of the token after them.
    """
    names: list[str] = []
    at = start
    if at < len(written):
        names.append(written[at].written)
        at += 1
    while at + 1 < len(written):
        following = written[at + 1]
        if written[at].written == "." and _WORD.fullmatch(following.written):
            names.append(following.written)
            at += 2
            continue
        # On the next line, a bracket begins another expression.
        name = literal([following])
        closed = at + 2 < len(written) and written[at + 2].written == "]"
        same_line = written[at].line == written[at - 1].line
        if written[at].written != "[" or name is None or not closed or not same_line:
            break
        names.append(name)
        at += 3
    return tuple(names), at


def _of_input(written: Sequence[SourceToken], index: int) -> StateReads:
    """Return the sections that the reference to input at *index* reads."""
    names, end = _path_at(written, index)
    caller = [token.written for token in written[max(index - 4, 0) : index]]
    if caller == ["object", ".", "get", "("]:
        names = (*names, *_key_after(written, end))
    path = names[1:]
    if not path or path == ("context",):
        return ALL_STATE
    if path[0] != "context" or path[1] not in SECTIONS or path[1:3] == ("session", "id"):
        return frozenset()
    # The calls can also be read through a computed key, a loop or a function of another module.
    whole = len(path) < 3 or path[2] in {RECENT, "recent_complete"}
    return frozenset({path[1], RECENT}) if whole else frozenset({path[1]})


def _key_after(written: Sequence[SourceToken], comma: int) -> tuple[str, ...]:
    """Return the names in the second argument of ``object.get``, if it is a literal string or list
    of strings, otherwise nothing.
    """
    at = comma + 1
    if at >= len(written) or written[comma].written != ",":
        return ()
    if written[at].written != "[":
        name = literal([written[at]])
        return (name,) if name is not None and _ends(written, at + 1, ",") else ()
    names: list[str] = []
    while at + 2 < len(written) and written[at].written in {"[", ","}:
        name = literal([written[at + 1]])
        if name is None:
            return ()
        names.append(name)
        at += 2
    return tuple(names) if _ends(written, at, "]") and _ends(written, at + 1, ",") else ()


def _ends(written: Sequence[SourceToken], at: int, symbol: str) -> bool:
    return at < len(written) and written[at].written == symbol


def _of_library(written: Sequence[SourceToken], index: int, start: tuple[str, ...]) -> StateReads:
    """Return the sections that the reference at *index* reads through the library. *start* is the
    path of its first name.
    """
    names, end = _path_at(written, index)
    path = (*start, *names[1:])
    depth = len(_LIBRARY)
    if path[:depth] != _LIBRARY or len(path) == depth:
        # A part of the path is computed, so it can lead to the library.
        return ALL_STATE if _LIBRARY[: len(path)] == path else frozenset()
    if path[depth] not in STATE_MODULES:
        return frozenset()
    function = path[depth + 1 :]
    if len(function) != 1 or not _ends(written, end, "("):
        return ALL_STATE
    if function[0] in _FIXED:
        return _FIXED[function[0]]
    scope = literal(written[end + 1 : end + 2])
    alone = _ends(written, end + 2, ",") or _ends(written, end + 2, ")")
    return _SCOPES.get(scope or "", ALL_STATE) if alone else ALL_STATE
