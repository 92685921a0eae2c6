"""Writes rules whose heads have dots or several brackets as rules with plain names.

``user.name := x`` becomes ``__h0 := x``, ``p[q].r := x`` becomes ``__h1[[q, "r"]] := x``, and
``user`` and ``p`` are objects made of such rules, each defined in an added line at the end of a
file. A reference to one of the rules, ``user.name``, becomes ``__h0``, so that the rules may depend
on each other as in OPA.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from guardrail.policy.rego.rewriting.keywords import PREFIX
from guardrail.policy.rego.rewriting.splices import Splice, end_of, fresh_names, spliced
from guardrail.policy.rego.tree import REFERENCES, Module, Node, RegoRule, kind, reference
from guardrail.policy.tokens import Token, tokens

__all__ = ["with_plain_heads"]

_OPENING, _CLOSING = frozenset({b"(", b"[", b"{"}), frozenset({b")", b"]", b"}"})
_LONGEST = 6
"""Maximum number of parts after a name."""


class _NoPlainForm(Exception):
    """Rules that can't be written with plain names."""


@dataclass(frozen=True, slots=True)
class _DottedHead:
    module: Module
    rule: RegoRule

    @property
    def fixed(self) -> bool:
        """True if all parts are literal names."""
        return len(self.rule.head.static) == len(self.rule.head.parts)

    @property
    def is_set(self) -> bool:
        return not self.rule.default and "Set" in self.rule.node["head"]


@dataclass(slots=True)
class _PlaceOfRules:
    """One place in the object that the rules of a name form."""

    name: str
    """Name of the rule that has its value."""
    heads: list[_DottedHead] = field(default_factory=list)
    """Rules that define it directly."""
    below: dict[str, _PlaceOfRules] = field(default_factory=dict)
    pairs: list[tuple[_DottedHead, tuple[str | Node, ...]]] = field(default_factory=list)
    """All rules at or below it, with the rest of their path, if one has a computed part next."""
    values: str = ""
    members: str = ""


def with_plain_heads(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, without dots in heads, and with at most one part in
    brackets. Rules for which there is no such form stay as they are.
    """
    groups: dict[tuple[tuple[str, ...], str], list[_DottedHead]] = {}
    for module in modules:
        for rule in module.rules:
            groups.setdefault((module.package, rule.name), []).append(_DottedHead(module, rule))
    writer = _HeadWriter(modules)
    for point, heads in groups.items():
        if any(_is_plain(head) for head in heads) or not any(map(_is_dotted, heads)):
            continue
        if any(head.module.source.installed for head in heads):
            continue
        try:
            writer.add(point, heads)
        except _NoPlainForm:
            continue
    return writer.texts() if writer.roots else [module.source.text for module in modules]


def _is_plain(head: _DottedHead) -> bool:
    return not head.rule.head.parts


def _is_dotted(head: _DottedHead) -> bool:
    parts = head.rule.head.parts
    return len(parts) > 1 or head.fixed


class _HeadWriter:
    """Collects the changes of all modules."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self.roots: dict[tuple[tuple[str, ...], str], _PlaceOfRules] = {}
        self._modules = modules
        self._raw = {id(module): module.source.text.encode("utf-8") for module in modules}
        self._fresh = fresh_names(modules)
        self._splices: dict[int, list[Splice]] = {id(module): [] for module in modules}
        self._added: dict[int, list[str]] = {}

    def add(self, point: tuple[tuple[str, ...], str], heads: Sequence[_DottedHead]) -> None:
        """Write the rules of one name. Raises ``_NoPlainForm`` before anything is changed."""
        root = _PlaceOfRules(point[1])
        for head in heads:
            if len(head.rule.head.parts) > _LONGEST or head.rule.always_has_key:
                raise _NoPlainForm
        _grow(root, [(head, head.rule.head.parts) for head in heads], self._fresh)
        found: dict[int, list[Splice]] = {}
        for head, target, rest in _places(root):
            raw = self._raw[id(head.module)]
            found.setdefault(id(head.module), []).extend(_head_changes(head, raw, target, rest))
        for key, splices in found.items():
            self._splices[key] += splices
        first = heads[0].module
        self._added.setdefault(id(first), []).extend(_definitions(root, self._fresh))
        self.roots[point] = root

    def texts(self) -> list[str]:
        """Return the texts of all modules."""
        found = []
        for module in self._modules:
            changed = {(splice.start, splice.end) for splice in self._splices[id(module)]}
            uses = list(self._uses(module))
            heads = [(start, end) for start, end in changed]
            kept = [
                use for use in uses if not any(s <= use.start and use.end <= e for s, e in heads)
            ]
            text = spliced(module.source.text, [*self._splices[id(module)], *kept])
            added = self._added.get(id(module), [])
            found.append("\n".join([text, *added, ""]) if added else text)
        return found

    def _uses(self, module: Module) -> Iterator[Splice]:
        raw = self._raw[id(module)]
        for rule in module.rules:
            for node in _references(rule.node):
                at = self._target(module, rule, node)
                if at is not None:
                    yield _use(node, raw, *at)

    def _target(
        self, module: Module, rule: RegoRule, node: Node
    ) -> tuple[_PlaceOfRules, int, str] | None:
        """Return the place to which a reference leads, the number of its parts that lead there, and
        the beginning of its new text, or None if the reference stays as it is.
        """
        found = reference(node)
        assert found is not None
        size, before = 0, ""
        root = None
        if found.head == "data":
            for package, name in self.roots:
                written = name.removeprefix(PREFIX)
                if found.static[: len(package) + 1] == (*package, written):
                    root, size = self.roots[package, name], len(package) + 1
                    before = _path(package)
        elif found.head is not None and found.head not in rule.local:
            root = self.roots.get((module.package, found.head))
        if root is None:
            return None
        point, depth = root, size
        for part in found.static[size:]:
            following = point.below.get(part)
            if following is None:
                break
            point, depth = following, depth + 1
        renamed = bool(before) and root.name.startswith(PREFIX)
        return (point, depth, before) if depth > size or renamed else None


def _path(package: Sequence[str]) -> str:
    return "data" + "".join(f"[{json.dumps(name, ensure_ascii=False)}]" for name in package)


def _use(node: Node, raw: bytes, point: _PlaceOfRules, depth: int, before: str) -> Splice:
    chain = [node]
    while kind(chain[-1]) != "Var":
        content = next(iter(chain[-1].values()))
        chain.append(content["refr"])
    first = chain[-1]["Var"]["span"]
    chosen = chain[len(chain) - 1 - depth]
    span = next(iter(chosen.values()))["span"]
    start, end = int(first["start"]), end_of(raw, span)
    name = f'{before}["{point.name}"]' if before else point.name
    return Splice(start, end, raw[start:end].count(b"\n") * b"\n" + name.encode())


def _references(node: object) -> Iterator[Node]:
    """Yield the references in *node*, and those in their brackets."""
    if isinstance(node, dict):
        if kind(node) in REFERENCES:
            yield node
            found = reference(node)
            assert found is not None
            for part in found.dynamic:
                yield from _references(part)
            if found.base is not None:
                yield from _references(found.base)
            return
        for key, value in node.items():
            if key not in {"span", "refr"} or (key == "refr" and "as" in node):
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def _grow(
    point: _PlaceOfRules,
    heads: Sequence[tuple[_DottedHead, tuple[str | Node, ...]]],
    fresh: Callable[[], str],
) -> None:
    """Add *heads*, with the rest of their paths, below *point*."""
    computed = any(rest and not isinstance(rest[0], str) for _, rest in heads)
    if computed:
        sizes = {len(rest) for _, rest in heads}
        plain = all(_is_simple(head) for head, _ in heads)
        if len(sizes) != 1 or not plain:
            raise _NoPlainForm
        point.pairs = list(heads)
        point.values = fresh() if any(not head.is_set for head, _ in heads) else ""
        point.members = fresh() if any(head.is_set for head, _ in heads) else ""
        return
    point.heads = [head for head, rest in heads if not rest]
    groups: dict[str, list[tuple[_DottedHead, tuple[str | Node, ...]]]] = {}
    for head, rest in heads:
        if rest:
            groups.setdefault(str(rest[0]), []).append((head, rest[1:]))
    if point.heads and groups:
        raise _NoPlainForm
    if len({(head.rule.arity, head.is_set) for head in point.heads if not head.rule.default}) > 1:
        raise _NoPlainForm
    for part, members in groups.items():
        point.below[part] = _PlaceOfRules(fresh())
        _grow(point.below[part], members, fresh)


def _is_simple(head: _DottedHead) -> bool:
    """Return True if a rule is neither a function nor a default, and has no ``else``."""
    return (
        not head.rule.default
        and head.rule.form != "function"
        and len(head.rule.node.get("bodies") or []) <= 1
    )


def _places(
    point: _PlaceOfRules,
) -> Iterator[tuple[_DottedHead, str, tuple[str | Node, ...] | None]]:
    """Yield each rule with its new name, and the key that it gets, if any."""
    for head in point.heads:
        yield head, point.name, None
    for head, rest in point.pairs:
        yield head, point.members if head.is_set else point.values, rest
    for part in point.below.values():
        yield from _places(part)


def _head_tokens(rule: RegoRule, raw: bytes) -> tuple[list[Token], Token]:
    """Return the tokens of a rule's name, with its parts, and the token behind them."""
    written = list(tokens(raw, int(rule.node["span"]["start"]), end_of(raw, rule.node["span"])))
    begun = 1 if rule.default else 0
    index = begun + 1
    while index < len(written):
        token = written[index]
        if token.written == b"." and token.start == written[index - 1].end:
            index += 2
        elif token.written == b"[" and token.start == written[index - 1].end:
            depth = 1
            while depth:
                index += 1
                depth += (written[index].written in _OPENING) - (written[index].written in _CLOSING)
            index += 1
        else:
            break
    last = written[index] if index < len(written) else Token(len(raw), len(raw), b"")
    return written[begun:index], last


def _head_changes(
    head: _DottedHead, raw: bytes, name: str, rest: tuple[str | Node, ...] | None
) -> Iterator[Splice]:
    written, following = _head_tokens(head.rule, raw)
    start, end = written[0].start, written[-1].end
    if b"\n" in raw[start:end]:
        raise _NoPlainForm
    if rest is None:
        yield Splice(start, end, name.encode())
        return
    parts = _parts(written, raw)[-len(rest) :]
    key = b"[" + b", ".join(parts) + b"]"
    if not head.is_set:
        yield Splice(start, end, name.encode() + b"[" + key + b"]")
        return
    if following.written != b"contains":
        raise _NoPlainForm
    close = end_of(raw, next(iter(head.rule.node["head"].values()))["span"])
    yield Splice(start, following.end, name.encode() + b" contains [" + key + b",")
    yield Splice(close, close, b"]")


def _parts(written: Sequence[Token], raw: bytes) -> list[bytes]:
    """Return the text of each part after the name."""
    found: list[bytes] = []
    index = 1
    while index < len(written):
        if written[index].written == b".":
            found.append(b'"' + written[index + 1].written + b'"')
            index += 2
            continue
        opened, depth = written[index], 1
        while depth:
            index += 1
            depth += (written[index].written in _OPENING) - (written[index].written in _CLOSING)
        found.append(raw[opened.end : written[index].start])
        index += 1
    return found


def _definitions(point: _PlaceOfRules, fresh: Callable[[], str]) -> Iterator[str]:
    """Yield the lines that define the objects at and below *point*."""
    if point.pairs:
        yield from _object_of_pairs(point, fresh())
        return
    if point.heads:
        return
    entries = []
    for part, below in point.below.items():
        key = json.dumps(part, ensure_ascii=False)
        yield from _definitions(below, fresh)
        if below.heads and all(head.rule.form == "function" for head in below.heads):
            continue
        if below.heads and not below.heads[0].is_set:
            entries.append(f"[[{key}, {below.name}v] | {below.name}v := {below.name}]")
        else:
            entries.append(f"[[{key}, {below.name}]]")
    given = fresh()
    yield (
        f"{point.name} := {{{given}k: {given}v | some {given}e in [{', '.join(entries)}]; "
        f"some [{given}k, {given}v] in {given}e}}"
    )


def _object_of_pairs(point: _PlaceOfRules, given: str) -> Iterator[str]:
    """Yield the definition of an object whose keys are the items of lists."""
    sources = []
    if point.values:
        sources.append(f"[[{given}a, {given}b] | some {given}a, {given}b in {point.values}]")
    if point.members:
        sources.append(
            f"[[{given}c, {given}d] | some [{given}c, _] in {point.members}; {given}d := "
            f"{{{given}e | some [{given}f, {given}e] in {point.members}; {given}f == {given}c}}]"
        )
    pairs = f"{given}p"
    whole = sources[0] if len(sources) == 1 else f"array.concat({sources[0]}, {sources[1]})"
    yield f"{pairs} := {whole}"
    depth = len(point.pairs[0][1])
    written = ""
    for level in reversed(range(depth)):
        same = "".join(f"; {given}i{level}[0][{at}] == {given}k{at}" for at in range(level))
        value = f"{given}i{level}[1]" if level == depth - 1 else written
        written = (
            f"{{{given}k{level}: {given}v{level} | some {given}i{level} in {pairs}{same}; "
            f"{given}k{level} := {given}i{level}[0][{level}]; {given}v{level} := {value}}}"
        )
    yield f"{point.name} := {written}"
