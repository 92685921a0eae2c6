"""All modules of one package as one module, and the way back to the authors' files and lines.

The embedded engine evaluates rules of a package's second and later modules before the rules they depend on where they
are reached through an alias: a deny rule then does not fire. With one module per package there is no second one.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from guardrail.errors import Finding
from guardrail.policy.renaming import Edit, renamed
from guardrail.policy.tree import Import, Module, kind, nodes

__all__ = ["Merged", "Place", "merge", "merge_package"]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """A line in an author's file."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Merged:
    """One package as one module."""

    name: str
    """What the engine calls it: the package."""
    text: str
    package: tuple[str, ...]
    starts: tuple[int, ...]
    """First lines of the stretches, ascending, from 1."""
    files: tuple[str, ...]
    """The file each stretch is from; its first line is line 1 there. Empty for lines that guardrail wrote."""

    def place(self, line: int) -> Place:
        """Return where *line* of ``text`` comes from; line 0 where guardrail wrote it."""
        index = bisect.bisect_right(self.starts, line) - 1
        if index < 0 or not self.files[index]:
            return Place(self.name, 0)
        return Place(self.files[index], line - self.starts[index] + 1)


def merge(modules: Iterable[Module]) -> tuple[list[Merged], list[Finding]]:
    """Return one module per package, in the order of their names, and what stands in the way of it."""
    packages: dict[tuple[str, ...], list[Module]] = {}
    for module in modules:
        packages.setdefault(module.package, []).append(module)
    merged: list[Merged] = []
    findings: list[Finding] = []
    for package in sorted(packages):
        members = sorted(
            packages[package], key=lambda module: (module.source.key, module.source.text)
        )
        problems = _clashes(members)
        findings += problems
        if not problems:
            merged.append(merge_package(members))
    return merged, findings


def merge_package(members: Sequence[Module]) -> Merged:
    """Return *members*, all of one package, as one module: imports hoisted and written once, texts one below the other."""
    package = members[0].package
    lines = ["package " + _written(package)]
    seen: set[tuple[str, str]] = set()
    for module in members:
        raw = module.source.text.encode("utf-8")
        for item in module.imports:
            key = (item.alias, item.target.dotted or "")
            if not item.ignored and key not in seen:
                seen.add(key)
                lines.append(" ".join(raw[item.span[0] : item.span[1]].decode("utf-8").split()))
    rules = frozenset(rule.name for module in members for rule in module.rules)
    taken = rules.union((alias for alias, _ in seen), *map(_names, members))
    starts, files = [1], [""]
    count = len(lines)
    for module in members:
        starts.append(count + 1)
        files.append(module.source.name)
        body = _without_header(module, renamed(module, rules, taken))
        lines.append(body)
        count += body.count("\n") + 1
    return Merged(
        name="/".join(package) + ".rego",
        text="\n".join(lines) + "\n",
        package=package,
        starts=tuple(starts),
        files=tuple(files),
    )


def _written(package: tuple[str, ...]) -> str:
    rest = "".join(f".{name}" if _PLAIN.match(name) else f'["{name}"]' for name in package[1:])
    return package[0] + rest


_CONSTANTS = {"String": 1, "RawString": 1, "Number": 0, "Bool": 0, "Null": 0}
"""Kinds of values that are written out, and how many bytes stand before and after what the tree says of them."""


def _computed_members(module: Module) -> Iterator[tuple[int, int]]:
    """Yield where the members of sets are written out.

    The engine leaves such a rule with the first success: what would fail for a later element is never evaluated. OPA
    evaluates it. The member of a list is the same value, and is computed each time.
    """
    for rule in module.rules:
        if rule.form != "set" or not rule.node.get("bodies"):
            continue
        key = rule.node["head"]["Set"].get("key")
        name = kind(key)
        if name in _CONSTANTS:
            span, around = key[name]["span"], _CONSTANTS[name]
            yield span["start"] - around, span["end"] + around


def _without_header(module: Module, edits: Sequence[Edit]) -> str:
    raw = bytearray(module.source.text.encode("utf-8"))
    # From the end, so that the other places stay what they are; imports and the package stand before all rules.
    members = [
        (start, end, f"[{raw[start:end].decode('utf-8')}][0]")
        for start, end in _computed_members(module)
    ]
    for start, end, text in sorted([*members, *edits], reverse=True):
        raw[start:end] = text.encode("utf-8")
    for start, end in [module.package_span, *(item.span for item in module.imports)]:
        # Blanks keep every line where it is.
        raw[start:end] = bytes(byte if byte in b"\r\n" else 0x20 for byte in raw[start:end])
    return raw.decode("utf-8").replace("\r\n", "\n").replace("\r", " ")


def _clashes(members: Sequence[Module]) -> list[Finding]:
    findings: list[Finding] = []
    owners: dict[str, tuple[str, Module, Import]] = {}
    for module in members:
        for item in module.imports:
            if item.ignored:
                continue
            target = item.target.dotted or ""
            known = owners.setdefault(item.alias, (target, module, item))
            if known[0] != target:
                findings.append(
                    Finding(
                        module.source.name,
                        item.line,
                        "import-clash",
                        f"import name {item.alias} means something else in {known[1].source.name}, line {known[2].line}",
                        "give one of them another name; the server engine keeps imports per file",
                    )
                )
    for module in members:
        own = {item.alias for item in module.imports}
        used = _names(module)
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
                        f"{alias} is also the name of an import in {owner.source.name}, line {item.line}",
                        "rename one of them; the server engine keeps imports per file",
                    )
                )
    return findings


def _names(module: Module) -> Mapping[str, int]:
    """Every name that *module* uses, with the first line where it does."""
    found: dict[str, int] = {}
    for rule in module.rules:
        for name in rule.local:
            found.setdefault(name, rule.line)
        for name, content in nodes(rule.node):
            if name == "Var":
                found.setdefault(content["value"], int(content["span"]["line"]))
    return found
