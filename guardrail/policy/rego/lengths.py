"""Makes ``count`` count the characters of a string, as OPA does.

The embedded engine counts UTF-16 code units: two for each character beyond U+FFFF, so a limit on
the length of a string would have a different effect than in OPA. The engine's ``count`` can't be
replaced with a Python function, because that would copy every collection. Each call is therefore
rewritten as a call of ``data.guardrail.lib.engine.size``, which uses the engine's ``count`` for
collections.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guardrail.policy.rego.tree import Module, kind, nodes, reference
from guardrail.policy.sources import ModuleSource

__all__ = ["SIZES", "with_sizes"]

_FUNCTION = b"data.guardrail.lib.engine.size"
SIZES = ModuleSource(
    "guardrail/lib/engine.rego",
    "guardrail/lib/engine.rego",
    """package guardrail.lib.engine

size(value) := guardrail.characters(value) if is_string(value)

size(value) := count(value) if not is_string(value)

member(value, values) := value in values
""",
    installed=True,
)
"""The module that defines the functions ``size`` and ``member``. The worker provides
``guardrail.characters``.
"""
_COLLECTIONS = frozenset({"Array", "Set", "Object", "ArrayCompr", "SetCompr", "ObjectCompr"})
_COMPOSITION = ("guardrail", "main")
"""The package that composes the decision. It is not rewritten, because it counts only sets and runs
for every call.
"""


def with_sizes(modules: Sequence[Module]) -> list[str]:
    """Return the texts of *modules*, in order, with each ``count`` of a potential string replaced.
    Line numbers do not change.
    """
    texts = []
    for module in modules:
        raw = module.source.text.encode("utf-8")
        pieces: list[bytes] = []
        at = 0
        for start, end in sorted(set(_calls(module))):
            pieces += [raw[at:start], _FUNCTION]
            at = end
        texts.append(b"".join([*pieces, raw[at:]]).decode("utf-8") if at else module.source.text)
    return texts


def _calls(module: Module) -> Iterator[tuple[int, int]]:
    """Yield the range of bytes of ``count`` in each call whose argument may be a string."""
    if module.package == _COMPOSITION or any(rule.name == "count" for rule in module.rules):
        return
    for rule in module.rules:
        for name, content in nodes(rule.node):
            if name != "Call":
                continue
            callee, counted = reference(content["fcn"]), content["params"][:1]
            if callee is None or callee.dotted != "count":
                continue
            if counted and kind(counted[0]) not in _COLLECTIONS:
                span = content["fcn"]["Var"]["span"]
                yield int(span["start"]), int(span["end"])
