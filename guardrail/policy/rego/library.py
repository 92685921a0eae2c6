"""Redirects calls of some built-in functions to functions that are written in Rego.

A Python function can't return undefined, and can't receive a set of sets, arrays or objects. Such
functions of OPA are therefore written in Rego, and use the worker's functions where that is
possible.

``count`` is among them because the engine counts the UTF-16 code units of a string: two for each
character beyond U+FFFF, so a limit on the length of a string would have a different effect than in
OPA. A Python function in its place would copy every collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guardrail.policy.rego.rewriting.splices import Extents, Splice, spliced
from guardrail.policy.rego.tree import Module, Node, kind, nodes, reference
from guardrail.policy.sources import ModuleSource

__all__ = ["LIBRARY", "with_library_functions"]

_PACKAGE = b"data.guardrail.lib.engine."
_NAMES = {
    "array.flatten": b"flatten",
    "count": b"size",
    "json.filter": b"filter",
    "json.remove": b"remove",
    "object.subset": b"subset",
    "regex.template_match": b"template_match",
    "uuid.parse": b"parse_uuid",
}
"""Built-in functions, and the function that replaces each."""
LIBRARY = ModuleSource(
    "guardrail/lib/engine.rego",
    "guardrail/lib/engine.rego",
    """package guardrail.lib.engine

size(value) := guardrail.characters(value) if is_string(value)

size(value) := count(value) if not is_string(value)

member(value, values) := value in values

collection(values) := values if type_name(values) in {"array", "object", "set"}

filter(value, paths) := json.filter(value, listed(paths))

remove(value, paths) := json.remove(value, listed(paths))

listed(values) := [value | some value in values] if is_set(values)

listed(values) := values if not is_set(values)

flatten(values) := [item | some value in values; some item in items(value)] if is_array(values)

flatten(values) := guardrail.refuse(values) if not is_array(values)

items(value) := value if is_array(value)

items(value) := [value] if not is_array(value)

template_match(template, text, start, end) := regex.match(pattern, text) if {
	pattern := guardrail.template_pattern(template, start, end)
}

subset(whole, part) := count(part - whole) == 0 if {
\tis_set(whole)
\tis_set(part)
}

subset(whole, part) := object.subset(whole, part) if not is_set(whole)

subset(whole, part) := object.subset(whole, part) if not is_set(part)

parse_uuid(text) := found if some found in guardrail.uuid(text)
""",
    installed=True,
)
"""The module that defines these functions, and ``member``."""
_COLLECTIONS = frozenset({"Array", "Set", "Object", "ArrayCompr", "SetCompr", "ObjectCompr"})
_COMPOSITION = ("guardrail", "main")
"""The package that composes the decision. It is not rewritten, because it counts only sets and runs
for every call.
"""


def with_library_functions(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, with such calls redirected. Line numbers do not
    change.
    """
    return [spliced(module.source.text, set(_splices(module))) for module in modules]


def _splices(module: Module) -> Iterator[Splice]:
    if module.package == _COMPOSITION:
        return
    own = {rule.name for rule in module.rules}
    raw = module.source.text.encode("utf-8")
    for rule in module.rules:
        extents = Extents(rule, raw)
        for name, content in nodes(rule.node):
            callee = reference(content["fcn"]) if name == "Call" else None
            if callee is None or callee.dotted not in _NAMES or callee.head in own:
                continue
            if callee.dotted == "count" and not _may_be_text(content["params"]):
                continue
            start, end = extents.of(content["fcn"])
            yield Splice(start, end, _PACKAGE + _NAMES[callee.dotted])


def _may_be_text(parameters: list[Node]) -> bool:
    return bool(parameters) and kind(parameters[0]) not in _COLLECTIONS
