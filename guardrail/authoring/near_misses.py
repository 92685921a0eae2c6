"""Finds the first condition that stops each rule from firing for one call, and the values that it
compares.

A rule fires if all conditions in its body hold. For each condition, the policies get a helper rule
with the conditions up to that one. The first helper without a value marks the condition that
failed. The helpers are checked and merged like the policies themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from guardrail.authoring.lints.tested import rule_id
from guardrail.core.types import Json
from guardrail.errors import PolicyError, PolicyLoadError
from guardrail.policy.embedded.compiled import CompiledPolicies, compile_sources
from guardrail.policy.embedded.workbench import UNDEFINED, EngineRefusal, Workbench
from guardrail.policy.rego.tree import Module, Node, RegoRule, nodes, reference
from guardrail.policy.sources import PolicySet
from guardrail.policy.tokens import Token, tokens

__all__ = ["NearMiss", "near_misses"]

SETS = ("deny", "require_approval", "allow", "hide")
_PACKAGE = ("guardrail", "policy")
_PREFIX = "guardrail_condition"
_OPENING = frozenset({b"(", b"[", b"{"})
_CLOSING = frozenset({b")", b"]", b"}"})
_MOST_VALUES = 5
"""Maximum number of references in one condition whose values are shown."""


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A body of a rule that did not fire, and the first of its conditions that failed."""

    effect: str
    rule: str
    """The rule's id, or an empty string if it is computed when the rule fires."""
    file: str
    line: int
    """Line of the failed condition."""
    condition: str
    """Text of the failed condition."""
    held: int
    """Number of conditions before it, all of which held."""
    conditions: int
    """Number of conditions in the body."""
    values: dict[str, Json]
    """Values of the references in the condition, by their text. A reference without a value is
    absent.
    """


@dataclass(frozen=True, slots=True)
class _Body:
    index: int
    module: Module
    rule: RegoRule
    statements: tuple[Node, ...]
    texts: tuple[str, ...]
    """Text of each statement."""

    def name(self, position: int) -> str:
        return f"{_PREFIX}_{self.index}_{position}"


def near_misses(
    policies: PolicySet, compiled: CompiledPolicies, bench: Workbench, policy_input: str
) -> list[NearMiss]:
    """Return the near misses of the authors' rules for *policy_input*, in the order of files and
    lines. *compiled* is the compiled form of *policies*.

    Rules whose conditions can't be evaluated one by one are left out.
    """
    bodies = list(_bodies(compiled.parsed))
    usable = _load(policies, bodies, bench) or [
        body for body in bodies if _load(policies, [body], bench)
    ]
    if usable and len(usable) < len(bodies):
        _load(policies, usable, bench)
    found = []
    for body in usable:
        failed = _first_failure(body, bench, policy_input)
        if failed is not None:
            found.append((body, failed))
    values = _values(policies, found, bench, policy_input)
    return [_near_miss(body, failed, values) for body, failed in found]


def _bodies(modules: Sequence[Module]) -> Iterator[_Body]:
    index = 0
    for module in modules:
        if module.source.installed or module.test or module.package != _PACKAGE:
            continue
        for rule in module.rules:
            if rule.name not in SETS or rule.form != "set" or rule.default:
                continue
            for body in rule.node["bodies"]:
                statements = tuple(body["query"]["stmts"])
                texts = _texts(module, rule, statements)
                if texts:
                    yield _Body(index, module, rule, statements, texts)
                    index += 1


def _texts(module: Module, rule: RegoRule, statements: Sequence[Node]) -> tuple[str, ...]:
    """Return the text of each statement in the rule's body, or an empty tuple if the body can't be
    split.

    The positions in the engine's syntax tree leave out quotes and parentheses at both ends of a
    statement, so statements are cut where the lines and semicolons outside of brackets end.
    """
    raw = module.source.text.encode()
    start = int(rule.node["span"]["start"])
    later = [int(other.node["span"]["start"]) for other in module.rules]
    end = min((each for each in later if each > start), default=len(raw))
    body = _body(list(tokens(raw, start, end)))
    first = [
        index
        for index, depth in _depths(body)
        if depth == 0
        and (
            index == 0
            or body[index - 1].written == b";"
            or b"\n" in raw[body[index - 1].end : body[index].start]
        )
    ]
    cuts = []
    for statement in statements:
        at = int(statement["span"]["start"])
        cuts.append(max((index for index in first if body[index].start <= at), default=-1))
    if -1 in cuts or len(set(cuts)) != len(cuts) or cuts != sorted(cuts):
        return ()
    texts = []
    for cut, following in zip(cuts, [*cuts[1:], len(body)], strict=True):
        piece = body[cut:following]
        while piece and piece[-1].written == b";":
            piece.pop()
        texts.append(raw[piece[0].start : piece[-1].end].decode())
    return tuple(texts)


def _body(written: Sequence[Token]) -> list[Token]:
    """Return the tokens after the rule's ``if``, without the braces around them."""
    for index, depth in _depths(written):
        if depth == 0 and written[index].written == b"if":
            body = list(written[index + 1 :])
            return body[1:-1] if body and body[0].written == b"{" else body
    return []


def _depths(written: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """Yield the index of each token with the number of brackets that are open before it."""
    depth = 0
    for index, token in enumerate(written):
        depth -= token.written in _CLOSING
        yield index, depth
        depth += token.written in _OPENING


def _load(policies: PolicySet, bodies: Sequence[_Body], bench: Workbench) -> list[_Body]:
    """Load the policies with helper rules for *bodies*. Return *bodies*, or an empty list if a
    helper rule is refused.
    """
    helpers: dict[str, list[str]] = {}
    for body in bodies:
        for position in range(len(body.statements)):
            conditions = "\n\t".join(body.texts[: position + 1])
            helper = f"{body.name(position)} if {{\n\t{conditions}\n}}"
            helpers.setdefault(body.module.source.key, []).append(helper)
    return list(bodies) if _load_with(policies, helpers, bench) else []


def _load_with(policies: PolicySet, helpers: dict[str, list[str]], bench: Workbench) -> bool:
    modules = [
        replace(source, text="\n\n".join([source.text, *helpers.get(source.key, ())]) + "\n")
        for source in policies.modules
    ]
    try:
        merged, _ = compile_sources(modules, (), policies.data, bench)
        bench.load([(module.name, module.text) for module in merged], policies.data)
    except (PolicyLoadError, EngineRefusal, PolicyError):
        return False
    return True


def _first_failure(body: _Body, bench: Workbench, policy_input: str) -> int | None:
    for position in range(len(body.statements)):
        try:
            value = bench.rule(f"data.guardrail.policy.{body.name(position)}", policy_input)
        except (EngineRefusal, PolicyError):
            return position
        if value is UNDEFINED or value is False:
            return position
    return None


def _values(
    policies: PolicySet,
    found: Sequence[tuple[_Body, int]],
    bench: Workbench,
    policy_input: str,
) -> dict[tuple[int, str], Json]:
    """Return the values of the references in each failed condition, by index of the body and text
    of the reference.
    """
    for named in (True, False):
        helpers: dict[str, list[str]] = {}
        names: dict[tuple[int, str], str] = {}
        for body, failed in found:
            for number, text in enumerate(_references(body, failed, named=named)):
                name = f"{_PREFIX}_value_{body.index}_{number}"
                lines = "\n\t".join([*body.texts[:failed], f"{_PREFIX}_v := {text}"])
                helpers.setdefault(body.module.source.key, []).append(
                    f"{name} contains {_PREFIX}_v if {{\n\t{lines}\n}}"
                )
                names[body.index, text] = name
        if names and _load_with(policies, helpers, bench):
            return dict(_evaluated(names, bench, policy_input))
    return {}


def _evaluated(
    names: dict[tuple[int, str], str], bench: Workbench, policy_input: str
) -> Iterator[tuple[tuple[int, str], Json]]:
    for key, name in names.items():
        try:
            value = bench.rule(f"data.guardrail.policy.{name}", policy_input)
        except (EngineRefusal, PolicyError):
            continue
        if isinstance(value, list) and value:
            # Variables that were bound before can have several values.
            yield key, value[0] if len(value) == 1 else value


def _references(body: _Body, position: int, *, named: bool) -> list[str]:
    """Return the texts of the references in a condition, whole and without variables in brackets:
    those to ``input`` and ``data`` and, if *named* is True, those to rules of the same file and to
    variables that earlier conditions bind.
    """
    raw = body.module.source.text.encode()
    heads = {"input", "data"}
    if named:
        heads |= {rule.name for rule in body.module.rules if not rule.arity}
        before = " ".join(body.texts[:position])
        heads |= {name for name in body.rule.local if re.search(rf"\b{re.escape(name)}\b", before)}
    texts: dict[str, None] = {}
    for name, content in nodes(body.statements[position]):
        if name not in {"Var", "RefDot", "RefBrack"}:
            continue
        found = reference({name: content})
        if found is None or found.head not in heads or found.dotted is None:
            continue
        text = _reference_text(raw, content)
        # Outer references come first, and contain the inner ones.
        if not any(other.startswith(text) for other in texts):
            texts[text] = None
    return list(texts)[:_MOST_VALUES]


def _reference_text(raw: bytes, content: Node) -> str:
    span = content["span"]
    return raw[_first_byte(content) : span["end"]].decode()


def _first_byte(content: Node) -> int:
    """Return the position at which a reference begins."""
    while "refr" in content:
        (content,) = content["refr"].values()
    return int(content["span"]["start"])


def _near_miss(body: _Body, failed: int, values: dict[tuple[int, str], Json]) -> NearMiss:
    span = body.statements[failed]["span"]
    return NearMiss(
        effect=body.rule.name,
        rule=rule_id(body.rule, body.module) or "",
        file=body.module.source.name,
        line=int(span["line"]),
        condition=body.texts[failed],
        held=failed,
        conditions=len(body.statements),
        values={text: value for (index, text), value in values.items() if index == body.index},
    )
