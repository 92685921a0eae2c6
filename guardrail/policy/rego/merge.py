"""Merges all modules of one package into one, and maps the lines of the result to the authors'
files.

If rules are referenced through an alias, the embedded engine evaluates the rules in a package's
second and later modules before the rules that they depend on, so a deny rule may not fire. With one
module per package, this does not happen.
"""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from guardrail.errors import Finding
from guardrail.policy.rego.heads import TextEdit, UnreadableRule, head_edits
from guardrail.policy.rego.tree import Import, Module, kind, nodes
from guardrail.policy.tokens import on_one_line, unix_lines

__all__ = ["MergedPackage", "SourceLine", "merge", "merge_package"]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line in an author's file."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class MergedPackage:
    """A package, merged into one module."""

    name: str
    """The module's name in the engine: the package."""
    text: str
    package: tuple[str, ...]
    starts: tuple[int, ...]
    """First line of each part, in ascending order. Lines are numbered from 1."""
    origins: tuple[SourceLine, ...]
    """Location of each part in the authors' files. Lines that guardrail generated have no file."""

    def place(self, line: int) -> SourceLine:
        """Return the location in the authors' files that *line* of ``text`` comes from. Its line is
        0 if guardrail generated *line*.
        """
        index = bisect.bisect_right(self.starts, line) - 1
        if index < 0 or not self.origins[index].file:
            return SourceLine(self.name, 0)
        origin = self.origins[index]
        return SourceLine(origin.file, origin.line + line - self.starts[index])


def merge(modules: Iterable[Module]) -> tuple[list[MergedPackage], list[Finding]]:
    """Return one module per package, sorted by name, and the findings that prevent merging."""
    packages: dict[tuple[str, ...], list[Module]] = {}
    for module in modules:
        packages.setdefault(module.package, []).append(module)
    merged: list[MergedPackage] = []
    findings: list[Finding] = []
    for package in sorted(packages):
        members = sorted(
            packages[package], key=lambda module: (module.source.key, module.source.text)
        )
        problems = _name_clashes(members)
        findings += problems
        if not problems:
            try:
                merged.append(merge_package(members))
            except UnreadableRule as unreadable:
                findings.append(unreadable.finding)
    return merged, findings


def merge_package(members: Sequence[Module]) -> MergedPackage:
    """Merge *members*, all from one package, into one module. Imports are written once, at the top,
    followed by the texts.

    Raises ``UnreadableRule``.
    """
    package = members[0].package
    lines = [b"package " + _write_package(package).encode("utf-8")]
    seen: dict[tuple[str, tuple[str, ...]], None] = {}
    for module in members:
        raw = module.source.text.encode("utf-8")
        for item in module.imports:
            if not item.ignored and (item.alias, _import_path(item)) not in seen:
                seen[item.alias, _import_path(item)] = None
                lines.append(on_one_line(raw, *item.span))
    named = frozenset(rule.name for module in members for rule in module.rules)
    named |= {"input", "data", *(alias for alias, _ in seen)}
    fresh = _name_generator(named.union(*map(_used_names, members)))
    starts, origins = [1], [SourceLine("", 0)]
    written = sum(line.count(b"\n") + 1 for line in lines)
    for module in members:
        body, places = _without_header(module, named, fresh)
        for index, line in enumerate(places):
            last = origins[-1]
            if not index or line != last.line + written + 1 - starts[-1]:
                starts.append(written + 1)
                origins.append(SourceLine(module.source.name, line))
            written += 1
        lines.append(body)
    return MergedPackage(
        name="/".join(package) + ".rego",
        text=(b"\n".join(lines) + b"\n").decode("utf-8"),
        package=package,
        starts=tuple(starts),
        origins=tuple(origins),
    )


def _import_path(item: Import) -> tuple[str, ...]:
    """Return the path of an import in a form that can be compared: ``a.b`` differs from
    ``["a.b"]``.
    """
    return (str(item.target.head), *map(str, item.target.parts))


def _name_generator(taken: frozenset[str]) -> Callable[[], str]:
    numbers = count()
    names = (f"__g{number}" for number in numbers)
    return lambda: next(name for name in names if name not in taken)


def _write_package(package: tuple[str, ...]) -> str:
    rest = "".join(
        f".{name}" if _PLAIN.match(name) else f"[{json.dumps(name, ensure_ascii=False)}]"
        for name in package[1:]
    )
    return package[0] + rest


_CONSTANTS = {"String": 1, "RawString": 1, "Number": 0, "Bool": 0, "Null": 0}
"""Kinds of literals, with the number of bytes (quotes) on either side of the literal's span in the
tree.
"""


def _computed_members(module: Module) -> Iterator[tuple[int, int]]:
    """Yield the positions of literal set members, which must be replaced with computed members.

    If a rule's member is a literal, the engine stops at the first success, so it never evaluates
    the remaining elements, one of which might raise an error. OPA evaluates all of them. An index
    into a list has the same value as the literal, but is computed each time.
    """
    for rule in module.rules:
        if rule.form != "set" or not rule.node.get("bodies"):
            continue
        key = rule.node["head"]["Set"].get("key")
        name = kind(key)
        if name in _CONSTANTS:
            span, around = key[name]["span"], _CONSTANTS[name]
            yield span["start"] - around, span["end"] + around


def _without_header(
    module: Module, named: frozenset[str], fresh: Callable[[], str]
) -> tuple[bytes, list[int]]:
    """Return the rules of *module* as the engine evaluates them, and for each line the
    corresponding line in the author's file.
    """
    raw = module.source.text.encode("utf-8")
    edits = list(head_edits(module, raw, named, fresh))
    for start, end in _computed_members(module):
        edits.append(TextEdit(start, end, ((b"[" + raw[start:end] + b"][0]", start),)))
    for start, end in [module.package_span, *(item.span for item in module.imports)]:
        # Spaces replace the header so that line numbers do not change.
        blank = bytes(byte if byte in b"\r\n" else 0x20 for byte in raw[start:end])
        edits.append(TextEdit(start, end, ((blank, start),)))
    pieces: list[tuple[bytes, int]] = []
    at = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        pieces += [(raw[at : edit.start], at), *edit.pieces]
        at = edit.end
    pieces.append((raw[at:], at))
    return unix_lines(b"".join(text for text, _ in pieces)), _source_lines(raw, pieces)


def _source_lines(raw: bytes, pieces: Sequence[tuple[bytes, int]]) -> list[int]:
    """Return, for each line of *pieces*, the line in *raw* that its first byte comes from."""
    ends = [found.start() for found in re.finditer(b"\n", raw)]
    lines: list[int] = []
    begun = False
    for text, origin in pieces:
        if text and not begun:
            lines.append(bisect.bisect_left(ends, origin) + 1)
            begun = True
        for found in re.finditer(b"\n", text):
            begun = found.end() < len(text)
            if begun:
                lines.append(bisect.bisect_left(ends, origin + found.end()) + 1)
    return lines if begun else [*lines, len(ends) + 1]


def _name_clashes(members: Sequence[Module]) -> list[Finding]:
    findings: list[Finding] = []
    owners: dict[str, tuple[tuple[str, ...], Module, Import]] = {}
    for module in members:
        for item in module.imports:
            if item.ignored:
                continue
            target = _import_path(item)
            known = owners.setdefault(item.alias, (target, module, item))
            if known[0] != target:
                findings.append(
                    Finding(
                        module.source.name,
                        item.line,
                        "import-clash",
                        (
                            f"the import name {item.alias} refers to something else in "
                            f"{known[1].source.name}, line {known[2].line}"
                        ),
                        "give one of them another name; OPA itself keeps imports per file",
                    )
                )
    for module in members:
        own = {item.alias for item in module.imports}
        used = _used_names(module) if owners else {}
        for alias, (_, owner, item) in owners.items():
            if alias in own:
                clash = next((rule.line for rule in module.rules if rule.name == alias), None)
            else:
                clash = used.get(alias)
            if clash is not None:
                findings.append(
                    Finding(
                        module.source.name,
                        clash,
                        "import-clash",
                        f"{alias} is also the name of an import in {owner.source.name}, line"
                        f" {item.line}",
                        "rename one of them; OPA itself keeps imports per file",
                    )
                )
    return findings


def _used_names(module: Module) -> Mapping[str, int]:
    """Return every name that *module* uses, with the line of its first use."""
    found: dict[str, int] = {}
    for rule in module.rules:
        for name in rule.local:
            found.setdefault(name, rule.line)
        for name, content in nodes(rule.node):
            if name == "Var":
                found.setdefault(content["value"], int(content["span"]["line"]))
    return found
