"""Reads the annotations for sensitive values in a tool's JSON Schema, and matches them with the
arguments as these are walked.

The annotations are ``writeOnly: true``, ``format: password`` and ``x-guardrail``. The schema's
patterns are never run, because a foreign regular expression might not terminate. If the pattern
before an annotation is more than a plain prefix or suffix, the annotation applies to every key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from guardrail.core.redaction.key_names import stricter
from guardrail.core.redaction.marks import is_class_name
from guardrail.errors import RedactionError

__all__ = ["Mark", "SchemaMarks", "SchemaNode", "merge_marks"]

_MAX_SUBSCHEMAS = 400
_MAX_NODES = 4_000
_MAX_DEPTH = 64
_INDEX = re.compile(r"[0-9]{1,9}\Z")
_LITERAL = re.compile(r"(\^?)([A-Za-z0-9_\- ]*)(\$?)\Z")
_ALTERNATIVES = ("allOf", "anyOf", "oneOf")
_SINGLE = ("if", "then", "else", "not")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


class Mark(NamedTuple):
    """A classification: a class, and the rules that led to it."""

    cls: str
    rules: tuple[str, ...]
    """Names of the rules, for example ``schema:writeOnly`` or ``key:password``."""


def merge_marks(one: Mark | None, other: Mark | None) -> Mark | None:
    """Return the stricter of two classifications, with the rules of both."""
    if one is None or one is other:
        return other
    if other is None:
        return one
    return Mark(stricter(one[0], other[0]), tuple(dict.fromkeys(one[1] + other[1])))


class SchemaMarks:
    """The annotations of one schema. ``root`` is None if the schema has none."""

    __slots__ = ("_anchors", "_nodes", "_schema", "root", "supplied")

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._nodes: dict[tuple[int, ...], SchemaNode] = {}
        self._anchors: dict[str, Mapping[str, Any]] | None = None
        self.supplied = frozenset(_supplied(schema, 0))
        """Names of arguments and constants, which are known to anyone who reads the schema."""
        self.root: SchemaNode | None = self.node([schema]) if _marks_anything(schema, 0) else None

    def node(self, schemas: list[Any]) -> SchemaNode | None:
        """Return the node for a location to which all of *schemas* apply. References and
        alternatives are followed.
        """
        flat: dict[int, Mapping[str, Any]] = {}
        broken = self._flatten(schemas, flat)
        if not flat and not broken:
            return None
        key = (*sorted(flat), int(broken))
        node = self._nodes.get(key)
        if node is None:
            if len(self._nodes) >= _MAX_NODES:
                raise RedactionError(
                    "a tool's schema is too large to search for marks", code="redaction.schema"
                )
            node = self._nodes[key] = SchemaNode(self, list(flat.values()), broken=broken)
        return node

    def _flatten(self, schemas: list[Any], flat: dict[int, Mapping[str, Any]]) -> bool:
        broken = False
        pending = list(schemas)
        while pending:
            schema = pending.pop()
            if not isinstance(schema, Mapping) or id(schema) in flat:
                continue
            if len(flat) >= _MAX_SUBSCHEMAS:
                raise RedactionError(
                    "a tool's schema is too large to search for marks", code="redaction.schema"
                )
            flat[id(schema)] = schema
            for word in _REFERENCES:
                if word in schema:
                    target = self._resolve(schema[word])
                    broken = broken or target is None
                    pending.append(target)
            for word in _ALTERNATIVES:
                options = schema.get(word)
                if isinstance(options, list | tuple):
                    pending.extend(options)
            pending.extend(schema[word] for word in _SINGLE if word in schema)
            for word in ("dependentSchemas", "dependencies"):
                dependent = schema.get(word)
                if isinstance(dependent, Mapping):
                    # In draft 7, this is either a schema or a list of names.
                    pending.extend(dependent.values())
        return broken

    def _resolve(self, reference: object) -> Mapping[str, Any] | None:
        """Return the target of a local reference, or None if there is none."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        if reference == "#":
            return self._schema
        if not reference.startswith("#/"):
            if self._anchors is None:
                self._anchors = dict(_anchors(self._schema, 0))
            return self._anchors.get(reference[1:])
        value: Any = self._schema
        for part in reference[2:].split("/"):
            name = _unpercent(part).replace("~1", "/").replace("~0", "~")
            if isinstance(value, Mapping):
                value = value.get(name)
            elif isinstance(value, list | tuple) and _INDEX.match(name) and int(name) < len(value):
                value = value[int(name)]
            else:
                return None
        return value if isinstance(value, Mapping) else None


class SchemaNode:
    """The schema's annotations for one location in the arguments."""

    __slots__ = (
        "_additional",
        "_children",
        "_content",
        "_items",
        "_marks",
        "_patterns",
        "_prefix",
        "_properties",
        "key_mark",
        "mark",
    )

    def __init__(
        self, marks: SchemaMarks, schemas: list[Mapping[str, Any]], *, broken: bool
    ) -> None:
        self._marks = marks
        self.mark: Mark | None = Mark("marked", ("schema:unresolved",)) if broken else None
        self.key_mark: Mark | None = None
        """The classification of the keys themselves (``propertyNames``)."""
        self._properties: dict[str, list[Any]] = {}
        self._patterns: list[tuple[str, Any]] = []
        self._additional: list[Any] = []
        self._prefix: list[Any] = []
        self._items: list[Any] = []
        self._content: list[Any] = []
        self._children: dict[str | int, SchemaNode | None] = {}
        for schema in schemas:
            self.mark = merge_marks(self.mark, _own_mark(schema))
            self._collect(schema)

    def _collect(self, schema: Mapping[str, Any]) -> None:
        for name, sub in _members(schema, "properties"):
            self._properties.setdefault(name, []).append(sub)
        self._patterns += _members(schema, "patternProperties")
        self._additional += [
            schema[word]
            for word in ("additionalProperties", "unevaluatedProperties")
            if word in schema
        ]
        self._items += [
            schema[word]
            for word in ("additionalItems", "unevaluatedItems", "contains")
            if word in schema
        ]
        items = schema.get("items")
        if isinstance(items, list | tuple):
            self._prefix += [(index, sub) for index, sub in enumerate(items)]
        elif items is not None:
            self._items.append(items)
        prefix = schema.get("prefixItems")
        if isinstance(prefix, list | tuple):
            self._prefix += [(index, sub) for index, sub in enumerate(prefix)]
        if "contentSchema" in schema:
            self._content.append(schema["contentSchema"])
        names = schema.get("propertyNames")
        if isinstance(names, Mapping):
            node = self._marks.node([names])
            self.key_mark = merge_marks(self.key_mark, node.mark if node is not None else None)

    def declares(self, key: str) -> bool:
        """Return True if *key* appears in the schema itself, and is therefore a field name and not
        data.
        """
        return key in self._properties

    def child(self, key: str) -> SchemaNode | None:
        """Return the node for the member *key*."""
        declared = key in self._properties
        known = key if declared or self._patterns else "\x00additional"
        if known in self._children:
            return self._children[known]
        schemas = list(self._properties.get(key, ()))
        schemas += [sub for pattern, sub in self._patterns if _may_match(pattern, key)]
        if not declared:
            schemas += self._additional
        node = self._marks.node(schemas) if schemas else None
        if len(self._children) < _MAX_NODES:
            self._children[known] = node
        return node

    def item(self, index: int) -> SchemaNode | None:
        """Return the node for the list element *index*."""
        here = [sub for place, sub in self._prefix if place == index]
        known = index if here else -1
        if known not in self._children:
            self._children[known] = (
                self._marks.node([*here, *self._items]) if here or self._items else None
            )
        return self._children[known]

    def content(self) -> SchemaNode | None:
        """Return the node for the JSON content of a string."""
        if not self._content:
            return None
        if _CONTENT not in self._children:
            self._children[_CONTENT] = self._marks.node(self._content)
        return self._children[_CONTENT]


_CONTENT = "\x00content"


def _members(schema: Mapping[str, Any], word: str) -> Iterator[tuple[str, Any]]:
    members = schema.get(word)
    if isinstance(members, Mapping):
        for name, sub in members.items():
            if isinstance(name, str):
                yield name, sub


def _own_mark(schema: Mapping[str, Any]) -> Mark | None:
    mark: Mark | None = None
    if schema.get("writeOnly") is True:
        mark = Mark("secret", ("schema:writeOnly",))
    if schema.get("format") == "password":
        mark = merge_marks(mark, Mark("secret", ("schema:password",)))
    if "x-guardrail" in schema:
        mark = merge_marks(mark, _extension(schema["x-guardrail"]))
    return mark


def _extension(value: object) -> Mark | None:
    """Return the classification that ``x-guardrail`` gives. An invalid value still counts as an
    annotation.
    """
    rule = ("schema:x-guardrail",)
    if value is False or value is None:
        return None
    if isinstance(value, str):
        return Mark(value if is_class_name(value) else "marked", rule)
    if not isinstance(value, Mapping):
        return Mark("marked", rule)
    if value.get("log") == "clear":
        # The author declares that this value may be read, but this does not relax any other rule.
        return None
    cls = value.get("class")
    return Mark(cls if isinstance(cls, str) and is_class_name(cls) else "marked", rule)


def _may_match(pattern: str, key: str) -> bool:
    literal = _LITERAL.match(pattern)
    if literal is None:
        return True
    start, text, end = literal.groups()
    if start and end:
        return key == text
    if start:
        return key.startswith(text)
    return key.endswith(text) if end else text in key


def _marks_anything(value: object, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        return True
    if isinstance(value, Mapping):
        if (
            value.get("writeOnly") is True
            or value.get("format") == "password"
            or "x-guardrail" in value
        ):
            return True
        if any(word in value and not str(value[word]).startswith("#") for word in _REFERENCES):
            return True
        return any(_marks_anything(sub, depth + 1) for sub in value.values())
    if isinstance(value, list | tuple):
        return any(_marks_anything(sub, depth + 1) for sub in value)
    return False


def _supplied(value: object, depth: int) -> Iterator[str]:
    """Yield the property names and the constants in a schema."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        for word in ("properties", "dependentSchemas", "dependencies"):
            members = value.get(word)
            if isinstance(members, Mapping):
                yield from (name for name in members if isinstance(name, str))
        for constant in (value.get("const"), *_listed(value, "enum"), *_listed(value, "required")):
            if isinstance(constant, str):
                yield constant
        for sub in value.values():
            yield from _supplied(sub, depth + 1)
    elif isinstance(value, list | tuple):
        for sub in value:
            yield from _supplied(sub, depth + 1)


def _listed(schema: Mapping[str, Any], word: str) -> list[Any] | tuple[Any, ...]:
    members = schema.get(word)
    return members if isinstance(members, list | tuple) else ()


def _anchors(value: object, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        for word in ("$anchor", "$dynamicAnchor"):
            name = value.get(word)
            if isinstance(name, str):
                yield name, value
        for sub in value.values():
            yield from _anchors(sub, depth + 1)
    elif isinstance(value, list | tuple):
        for sub in value:
            yield from _anchors(sub, depth + 1)


def _unpercent(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text)
