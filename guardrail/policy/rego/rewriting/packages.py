"""Writes a reference to a whole package, ``data.team``, or to its rules through a variable,
``data.team[x].deny``, as a reference to an object made of the rules.

The embedded engine may evaluate rules that it reaches in this way before the rules that they depend
on. The object refers to each rule by its full name, and only to the rules that the reference can
reach, as OPA does. It is a rule in an added line at the end of the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from guardrail.policy.rego.rewriting.keywords import PREFIX
from guardrail.policy.rego.rewriting.splices import Splice, end_of, fresh_names, spliced
from guardrail.policy.rego.tree import REFERENCES, Module, Node, Reference, kind, reference

__all__ = ["with_package_objects"]


class _NoObject(Exception):
    """A reference for which there is no such object."""


def with_package_objects(modules: Sequence[Module], data: str) -> list[str]:
    """Return the texts of *modules*, in order, without such references, unless *data*, a JSON
    object, or a replacement (``with``) has values in the same place.
    """
    if not any(_is_wide(node, modules) for module in modules for node in _wide(module)):
        return [module.source.text for module in modules]
    writer = _PackageWriter(modules, json.loads(data))
    return [writer.text(module) for module in modules]


def _wide(module: Module) -> Iterator[Node]:
    for rule in module.rules:
        for node in _references(rule.node):
            found = reference(node)
            if found is not None and found.head == "data":
                yield node


def _is_wide(node: Node, modules: Sequence[Module]) -> bool:
    found = reference(node)
    assert found is not None
    size = len(found.static)
    return any(module.package[:size] == found.static for module in modules)


def _references(node: Any) -> Iterator[Node]:
    """Yield the references in *node*, and those in their brackets, except the targets of
    ``with``.
    """
    if isinstance(node, dict):
        if kind(node) in REFERENCES:
            yield node
            found = reference(node)
            assert found is not None
            for part in (*found.dynamic, *([found.base] if found.base is not None else [])):
                yield from _references(part)
            return
        for key, value in node.items():
            if key not in {"span", "refr"}:
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


class _PackageWriter:
    def __init__(self, modules: Sequence[Module], data: Any) -> None:
        self._data = data
        self._fresh = fresh_names(modules)
        self._rules: dict[tuple[str, ...], dict[str, bool]] = {}
        """The names of each package's rules, with True if they can have a value."""
        self._closed = {module.package for module in modules if module.source.installed}
        self._tests = {module.package for module in modules if module.test}
        self._replaced = [
            target
            for module in modules
            for target in _targets([rule.node for rule in module.rules])
        ]
        for module in modules:
            names = self._rules.setdefault(module.package, {})
            for rule in module.rules:
                valued = rule.form != "function" or bool(rule.head.parts)
                names[rule.name] = names.get(rule.name, False) or valued

    def text(self, module: Module) -> str:
        """Return the text of *module*."""
        raw = module.source.text.encode("utf-8")
        splices: list[Splice] = []
        added: dict[tuple[str | None, ...], tuple[str, str]] = {}
        for node in () if module.source.installed else _wide(module):
            found = reference(node)
            assert found is not None
            size = len(found.static)
            if not any(package[:size] == found.static for package in self._rules):
                continue
            pattern = (*found.static, *_pattern(found))
            try:
                if pattern not in added:
                    added[pattern] = (self._fresh(), self._object(pattern, size))
            except _NoObject:
                continue
            name = f"{_path(module.package)}.{added[pattern][0]}"
            splices.append(_use(node, raw, size, name))
        lines = [f"{name} := {value}" for name, value in added.values()]
        text = spliced(module.source.text, splices)
        return "\n".join([text, *lines, ""]) if lines else text

    def _object(self, pattern: Sequence[str | None], size: int) -> str:
        """Return the object at the path of the first *size* parts of *pattern*. The other parts
        limit what it contains; None stands for any name.
        """
        path = tuple(str(part) for part in pattern[:size])
        if any(target[:size] == path[: len(target)] for target in self._replaced):
            raise _NoObject
        if any(package[:size] == path for package in (*self._closed, *self._tests)):
            raise _NoObject
        if size and _value(self._data, path) is not None:
            raise _NoObject
        return self._at(path, pattern[size:])

    def _at(self, path: tuple[str, ...], rest: Sequence[str | None]) -> str:
        size = len(path)
        below = {package[size] for package in self._rules if package[:size] == path != package}
        rules = self._rules.get(path, {})
        entries: list[str] = []
        only = rest[0] if rest else None
        for part in sorted(below):
            if only is None or only == part:
                if part in rules:
                    raise _NoObject
                entries.append(f"[[{_text(part)}, {self._at((*path, part), rest[1:])}]]")
        for rule, valued in sorted(rules.items()):
            name = rule.removeprefix(PREFIX)
            if valued and (only is None or only == name):
                given = self._fresh()
                value = f"{_path(path)}[{_text(rule)}]"
                entries.append(f"[[{_text(name)}, {given}] | {given} := {value}]")
        if not size:
            entries += self._documents(below, only)
        given = self._fresh()
        return (
            f"{{{given}k: {given}v | some {given}e in [{', '.join(entries)}]; "
            f"some [{given}k, {given}v] in {given}e}}"
        )

    def _documents(self, below: set[str], only: str | None) -> Iterator[str]:
        """Yield the entries for the values in the data document."""
        for name in sorted(self._data):
            if name in below:
                raise _NoObject
            if only is None or only == name:
                yield f"[[{_text(name)}, data[{_text(name)}]]]"


def _pattern(found: Reference) -> list[str | None]:
    parts = found.parts[len(found.static) :]
    if any(kind(part) == "Number" for part in parts):
        return [None]
    return [part if isinstance(part, str) else None for part in parts]


def _targets(node: Any) -> Iterator[tuple[str, ...]]:
    """Yield the paths below ``data`` that are replaced."""
    if isinstance(node, dict):
        for change in node.get("with_mods") or ():
            target = reference(change["refr"])
            if target is not None and target.head == "data":
                yield target.static
        for key, value in node.items():
            if key != "span":
                yield from _targets(value)
    elif isinstance(node, list):
        for item in node:
            yield from _targets(item)


def _value(data: Any, path: Sequence[str]) -> Any:
    for name in path:
        data = data.get(name) if isinstance(data, Mapping) else None
    return data


def _text(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _path(package: Sequence[str]) -> str:
    return "data" + "".join(f"[{_text(name)}]" for name in package)


def _use(node: Node, raw: bytes, size: int, name: str) -> Splice:
    chain = [node]
    while kind(chain[-1]) != "Var":
        chain.append(next(iter(chain[-1].values()))["refr"])
    start = int(chain[-1]["Var"]["span"]["start"])
    chosen = chain[len(chain) - 1 - size]
    end = end_of(raw, next(iter(chosen.values()))["span"])
    return Splice(start, end, raw[start:end].count(b"\n") * b"\n" + name.encode())
