"""Reads the engine's syntax trees: nodes, references and local names.

A node is an object with one capitalised key, as in ``{"Call": {...}}``. All other values are plain
structure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from guardrail.policy.sources import ModuleSource

__all__ = [
    "Module",
    "Node",
    "Reference",
    "RegoRule",
    "children",
    "kind",
    "nodes",
    "parse_module",
    "reference",
]

Node: TypeAlias = "dict[str, Any]"

REFERENCES = frozenset({"Var", "RefDot", "RefBrack"})
_STRUCTURES = (dict, list)
IGNORED_IMPORTS = ("rego", "future")


@dataclass(frozen=True, slots=True)
class Reference:
    """The parts of a reference such as ``data.a.b["c"][x]``."""

    head: str | None
    """The variable at the beginning, or None if the reference begins with an expression."""
    parts: tuple[str | Node, ...]
    """Literal names as strings, everything else as nodes."""
    base: Node | None
    """The expression at the beginning, if it is not a variable."""
    line: int

    @property
    def static(self) -> tuple[str, ...]:
        """The names up to the first part that is not a literal."""
        names: list[str] = []
        for part in self.parts:
            if not isinstance(part, str):
                break
            names.append(part)
        return tuple(names)

    @property
    def dotted(self) -> str | None:
        """The whole reference as ``a.b.c``, or None if a part is not a literal."""
        names = self.static
        if self.head is None or len(names) != len(self.parts):
            return None
        return ".".join((self.head, *names))

    @property
    def dynamic(self) -> Iterator[Node]:
        """The parts that are not literals."""
        return (part for part in self.parts if not isinstance(part, str))


@dataclass(frozen=True, slots=True)
class RegoRule:
    """One rule or one default."""

    name: str
    """The first name in the rule's head."""
    form: str
    """Kind of the rule: ``set``, ``value``, ``object`` or ``function``."""
    default: bool
    head: Reference
    node: Node
    """The node below ``Spec`` or ``Default``."""
    line: int
    arity: int
    simple: Node | None
    """The value if the rule is just ``name := value``, otherwise None."""
    local: frozenset[str]
    """Names that are bound anywhere in the rule: by arguments, ``some``, ``:=`` or ``every``."""

    @property
    def always_has_key(self) -> bool:
        """True if in OPA a key that is not a string, such as the 1 in ``p[1] contains x`` and
        ``p[1].r := x``, exists even if the rule does not fire.
        """
        parts = self.head.parts
        kept = len(parts) if "Set" in self.node.get("head", {}) else len(parts) - 1
        for part in parts[: max(kept, 0)]:
            if isinstance(part, str):
                continue
            value = part["UnaryExpr"]["expr"] if kind(part) == "UnaryExpr" else part
            return kind(value) in {"Number", "Bool", "Null"}
        return False


@dataclass(frozen=True, slots=True)
class Module:
    """One parsed file."""

    source: ModuleSource
    package: tuple[str, ...]
    """The module's package, below ``data``."""
    package_line: int
    package_span: tuple[int, int]
    imports: tuple[Import, ...]
    rules: tuple[RegoRule, ...]
    test: bool = False


@dataclass(frozen=True, slots=True)
class Import:
    """One import."""

    alias: str
    target: Reference
    line: int
    span: tuple[int, int]
    """Range of bytes of the statement in the file."""
    ignored: bool = field(default=False)
    """True for ``rego.v1`` and ``future.keywords``, which no longer have an effect."""


def kind(node: Any) -> str | None:
    """Return the kind of a node, or None for plain structure."""
    if isinstance(node, dict) and len(node) == 1:
        (name,) = node
        if isinstance(name, str) and name[:1].isupper():
            return name
    return None


def children(node: Any) -> list[Any]:
    """Return the direct children of a node that can contain nodes."""
    if isinstance(node, dict):
        # Source positions are half of the tree, but do not contain nodes.
        return [
            value for key, value in node.items() if key != "span" and isinstance(value, _STRUCTURES)
        ]
    return node if isinstance(node, list) else []


def nodes(tree: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the kind and the content of every node in *tree*, outer nodes first."""
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(reversed(item))
        elif isinstance(item, dict):
            if len(item) == 1:
                ((name, content),) = item.items()
                if isinstance(content, dict) and name[:1].isupper():
                    yield name, content
            stack += [
                value
                for key, value in reversed(item.items())
                if key != "span" and isinstance(value, _STRUCTURES)
            ]


def line_of(node: Any) -> int:
    """Return the line on which a node begins."""
    name = kind(node)
    content = node[name] if name is not None else node
    span = content.get("span") if isinstance(content, dict) else None
    return int(span["line"]) if span else 0


def reference(node: Node) -> Reference | None:
    """Return *node* parsed as a reference, or None if it is not a reference."""
    name = kind(node)
    if name not in REFERENCES:
        return None
    line = line_of(node)
    parts: list[str | Node] = []
    while True:
        name = kind(node)
        if name == "RefDot":
            content = node["RefDot"]
            parts.append(content["field"][1])
        elif name == "RefBrack":
            content = node["RefBrack"]
            index = content["index"]
            written = kind(index) in {"String", "RawString"}
            parts.append(index[kind(index)]["value"] if written else index)
        elif name == "Var":
            return Reference(node["Var"]["value"], tuple(reversed(parts)), None, line)
        else:
            return Reference(None, tuple(reversed(parts)), node, line)
        node = content["refr"]


def parse_module(source: ModuleSource, tree: dict[str, Any], *, test: bool = False) -> Module:
    """Convert *tree*, the engine's syntax tree of *source*, to a ``Module``."""
    package = reference(tree["package"]["refr"])
    assert package is not None
    assert package.head is not None
    span = tree["package"]["span"]
    raw = source.text.encode("utf-8")
    return Module(
        source=source,
        package=(package.head, *package.static),
        package_line=int(span["line"]),
        package_span=(span["start"], span["end"]),
        imports=tuple(_import(item, raw) for item in tree["imports"]),
        rules=tuple(_rule(item, raw) for item in tree["rules"]),
        test=test,
    )


def _import(item: dict[str, Any], raw: bytes) -> Import:
    target = reference(item["refr"])
    assert target is not None
    span = item["span"]
    names = (str(target.head), *target.static)
    alias = _text(item["as"], raw) if item.get("as") else names[-1]
    return Import(
        alias,
        target,
        int(span["line"]),
        (span["start"], span["end"]),
        target.head in IGNORED_IMPORTS,
    )


def _rule(item: dict[str, Any], raw: bytes) -> RegoRule:
    default = "Default" in item
    node = item["Default"] if default else item["Spec"]
    form, content = ("value", node) if default else next(iter(node["head"].items()))
    head = reference(content["refr"])
    assert head is not None
    arity = 0
    if form == "Func":
        arity = len(content["args"])
    elif default and node.get("args"):
        arity, form = len(node["args"]), "Func"
    shape = "function" if form == "Func" else "set" if form == "Set" else "value"
    if head.parts and form != "Func":
        shape = "object"
    simple = None
    if not default and shape == "value" and not node["bodies"] and content.get("assign"):
        simple = content["assign"]["value"]
    return RegoRule(
        name=str(head.head),
        form=shape,
        default=default,
        head=head,
        node=node,
        line=int(node["span"]["line"]),
        arity=arity,
        simple=simple,
        local=frozenset(_bound(node, content, raw)),
    )


def _bound(node: Node, head: Node, raw: bytes) -> Iterator[str]:
    for argument in head.get("args") or ():
        yield from _variables(argument)
    for name, content in nodes(node):
        if name == "AssignExpr" and content["op"] == "ColEq":
            yield from _variables(content["lhs"])
        elif name == "SomeVars":
            yield from (_text(variable, raw) for variable in content["vars"])
        elif name in {"SomeIn", "Every"}:
            for side in ("key", "value"):
                place = content.get(side)
                if place and kind(place) is None:
                    yield _text(place, raw)
                elif place:
                    yield from _variables(place)


def _variables(pattern: Any) -> Iterator[str]:
    for name, content in nodes(pattern):
        if name == "Var":
            yield content["value"]


def _text(span: dict[str, int], raw: bytes) -> str:
    # The tree represents a name that is only declared by its position.
    return raw[span["start"] : span["end"]].decode("utf-8")
