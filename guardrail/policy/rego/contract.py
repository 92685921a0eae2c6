"""The contract for the guard's policies: their packages, their sets, and the paths that they may
read and write.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from guardrail.errors import Finding
from guardrail.policy.rego.entries import entry_problems, named_values, text_of
from guardrail.policy.rego.tree import Module, Node, RegoRule, nodes
from guardrail.policy.rego.tree import kind as kind_of

__all__ = ["ROOT", "SETS", "examine", "remarks"]

ROOT = ("guardrail", "policy")
RESERVED = (("guardrail", "main"), ("guardrail", "lib"))
SETS = frozenset({"allow", "deny", "require_approval", "redact", "label", "hide", "obligation"})
"""Names that the composition reads from ``package guardrail.policy``."""
NAMED = SETS - {"redact", "label", "obligation"}
"""Sets whose members must have ids."""


def examine(modules: Sequence[Module]) -> Iterator[Finding]:
    """Yield the findings about the authors' modules that apply to all engines."""
    own = [each for each in modules if each.package == ROOT and not each.source.installed]
    named = named_values(rule for module in own if not module.test for rule in module.rules)
    for module in modules:
        if module.source.installed:
            continue
        yield from _package_findings(module)
        if module.test:
            continue
        for rule in module.rules:
            if rule.name not in SETS:
                continue
            if module.package != ROOT:
                yield Finding(
                    module.source.name,
                    rule.line,
                    "set-elsewhere",
                    f"{rule.name} has an effect only in package guardrail.policy",
                    (
                        "move it to a file whose package is guardrail.policy (a package can have "
                        "several files)"
                    ),
                )
            elif rule.form != "set" or rule.default:
                yield Finding(
                    module.source.name,
                    rule.line,
                    "set-form",
                    f"{rule.name} must be a set that rules add to with contains",
                    _set_hint(rule),
                )
            elif rule.name in NAMED and not _is_displayable(_id_texts(rule)):
                yield Finding(
                    module.source.name,
                    rule.line,
                    "rule-id",
                    f"the id of this {rule.name} rule is empty, or contains control, formatting "
                    "or invisible characters",
                    "use letters, digits, spaces and punctuation, because ids appear in "
                    "records, approvals and reports",
                )
            else:
                for message, hint in entry_problems(rule, named):
                    yield Finding(module.source.name, rule.line, "set-entry", message, hint)


def _set_hint(rule: RegoRule) -> str:
    if not rule.default:
        return f'write {rule.name} contains "why" if {{ ... }}'
    if rule.name == "allow":
        return "remove the default: allow is a set, and a call that no rule allows is denied"
    return f"remove the default: {rule.name} is a set, and is empty if no rule adds to it"


def _id_texts(rule: RegoRule) -> Iterator[str]:
    """Yield the literal strings in the ids of a rule's members."""
    key: Node | None = rule.node["head"]["Set"].get("key")
    if kind_of(key) == "Object":
        assert key is not None
        key = next(
            (value for _, name, value in key["Object"]["fields"] if text_of(name) == "rule"), None
        )
    whole = text_of(key)
    if whole is not None:
        yield whole
    elif kind_of(key) == "Call":
        for name, content in nodes(key):
            if name in {"String", "RawString"} and content["value"]:
                yield str(content["value"])


def _is_displayable(texts: Iterator[str]) -> bool:
    """Return True if ids can be displayed safely: no character moves the cursor, reverses text or
    is invisible.
    """
    return all(text and all(map(_visible, text)) for text in texts)


def _visible(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] != "C" and category not in {"Zl", "Zp"}


def _package_findings(module: Module) -> Iterator[Finding]:
    package, name = module.package, ".".join(module.package)
    reserved = any(package[: len(own)] == own for own in RESERVED)
    test_name = package[-1].endswith("_test")
    subject = (*package[:-1], package[-1].removesuffix("_test")) if module.test else package
    if reserved:
        message = f"package {name} belongs to guardrail, which always loads its own copy"
        yield Finding(
            module.source.name,
            module.package_line,
            "reserved-package",
            message,
            "name the package guardrail.policy, or a package below it",
        )
    elif subject[: len(ROOT)] != ROOT:
        message = f"package {name} is outside guardrail.policy"
        yield Finding(
            module.source.name,
            module.package_line,
            "package-name",
            message,
            "name the package guardrail.policy, or a package below it",
        )
    elif module.test is not test_name:
        message = (
            "a test needs both a file name that ends in _test.rego and a package "
            "name that ends in _test: this file has only one of the two"
        )
        yield Finding(
            module.source.name,
            module.package_line,
            "test-package",
            message,
            "name both as tests, for example package guardrail.policy_test in x_test.rego",
        )


def remarks(modules: Sequence[Module]) -> Iterator[Finding]:
    """Yield warnings about probable mistakes: sets in ``guardrail.policy`` that nothing reads, and
    a missing allow rule.
    """
    yield from _never_allows(modules)
    written: dict[str, int] = {}
    for module in modules:
        for rule in module.rules:
            written[rule.name] = written.get(rule.name, 0) + 1
    for module in modules:
        if module.package != ROOT or module.source.installed:
            continue
        for rule in module.rules:
            # The head of a rule counts as one mention of its name.
            if (
                rule.form == "set"
                and rule.name not in SETS
                and _count_mentions(modules, rule.name) <= written[rule.name]
            ):
                yield Finding(
                    module.source.name,
                    rule.line,
                    "unread-set",
                    (
                        f"no rule reads {rule.name}; if it is a misspelt allow or deny, "
                        "it has no effect"
                    ),
                    (f"guardrail reads the sets {', '.join(sorted(SETS - {'obligation'}))}"),
                )


def _never_allows(modules: Sequence[Module]) -> Iterator[Finding]:
    own = [module for module in modules if not module.source.installed and not module.test]
    if own and not any(
        rule.name == "allow" and module.package == ROOT for module in own for rule in module.rules
    ):
        yield Finding(
            own[0].source.name,
            own[0].package_line,
            "no-allow",
            "no rule adds to allow in package guardrail.policy, so every call will be denied",
            'add a rule: allow contains "why" if { ... }',
        )


def _count_mentions(modules: Sequence[Module], name: str) -> int:
    count = 0
    for module in modules:
        for rule in module.rules:
            for kind, content in nodes(rule.node):
                if (kind == "Var" and content["value"] == name) or (
                    kind == "RefDot" and content["field"][1] == name
                ):
                    count += 1
    return count
