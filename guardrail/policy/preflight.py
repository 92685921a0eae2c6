"""What the embedded engine is known to answer differently from OPA, or dies of, found before it is asked.

Each refusal names file and line, and whether the server engine can serve the policy as it is. ``docs/writing-policies.md``
lists the codes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from guardrail.errors import Finding
from guardrail.policy import contract
from guardrail.policy.builtins import ALLOWED, OPERATORS, REFUSED
from guardrail.policy.patterns import glob_problem, regex_problem
from guardrail.policy.sources import MAX_INTEGER
from guardrail.policy.tree import (
    REFERENCES,
    Module,
    Node,
    Reference,
    Rule,
    children,
    kind,
    line_of,
    reference,
)
from guardrail.policy.world import Scope, World

__all__ = ["examine"]

SERVER = "the server engine can do this"
_RANGE = 10_000
_NUMBER = re.compile(rb"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_FORMAT = re.compile(r"%(.?)")


def examine(modules: Sequence[Module], data: str, *, contract_checks: bool = True) -> list[Finding]:
    """Return every reason not to serve *modules* with *data*, a JSON object.

    *contract_checks* False judges any Rego, without the rules about packages and sets that policies for the guard follow.
    """
    document = json.loads(data)
    world = World(modules, document)
    findings: list[Finding] = []
    if contract_checks:
        findings += contract.examine(modules)
    findings += _shapes(modules, world)
    findings += _data_overlaps(world, modules, document, whole=contract_checks)
    edges: dict[_Point, set[_Point]] = {}
    for module in modules:
        findings += _imports(module)
        for rule in module.rules:
            examiner = _Examiner(world, module, rule)
            examiner.run()
            findings += examiner.findings
            edges.setdefault((module.package, rule.name), set()).update(examiner.uses)
    findings += _cycles(modules, edges)
    return findings


_Point = tuple[tuple[str, ...], str]


def _finding(module: Module, line: int, code: str, message: str, hint: str = SERVER) -> Finding:
    return Finding(module.source.name, line, code, message, hint)


def _imports(module: Module) -> Iterator[Finding]:
    for item in module.imports:
        if item.target.head == "data":
            yield _finding(
                module,
                item.line,
                "data-import",
                "an import of data: rules reached through it may be evaluated before what they depend on, "
                "so that a deny rule does not fire",
                f"write the reference in full, {item.target.dotted or 'data...'}; {SERVER}",
            )


def _shapes(modules: Sequence[Module], world: World) -> Iterator[Finding]:
    """Rules of one name that are different things, and packages that lie over rules. OPA refuses both."""
    first: dict[_Point, tuple[Module, Rule]] = {}
    defaults: set[_Point] = set()
    # guardrail's own first, so that the author's rule is the one that is said to differ.
    for module in sorted(modules, key=lambda module: not module.source.installed):
        for rule in module.rules:
            point = (module.package, rule.name)
            where, known = first.setdefault(point, (module, rule))
            if (known.form, known.arity) != (rule.form, rule.arity) and not _compatible(
                known, rule
            ):
                message = f"{rule.name} is a {known.form} in {where.source.name}, line {known.line}, and a {rule.form} here"
                yield _finding(
                    module, rule.line, "mixed-rule", message, "give one of them another name"
                )
            if rule.default:
                if point in defaults:
                    yield _finding(
                        module, rule.line, "mixed-rule", f"{rule.name} has a second default", ""
                    )
                defaults.add(point)
            if (*module.package, rule.name) in {
                package[: len(module.package) + 1] for package in world.packages
            }:
                message = f"{rule.name} is also a package below {'.'.join(module.package)}"
                yield _finding(
                    module, rule.line, "package-over-rule", message, "give one of them another name"
                )
            if rule.name in ALLOWED or rule.name in REFUSED or rule.name in {"input", "data"}:
                message = f"{rule.name} is the name of a builtin"
                yield _finding(
                    module, rule.line, "shadows-builtin", message, "give the rule another name"
                )


def _compatible(one: Rule, other: Rule) -> bool:
    # A default says how many arguments a function has, and nothing more.
    return one.form == other.form == "value" or (one.form == other.form == "object")


def _data_overlaps(
    world: World, modules: Sequence[Module], data: Any, *, whole: bool
) -> Iterator[Finding]:
    if whole and isinstance(data, dict) and "guardrail" in data:
        yield Finding(
            "-",
            0,
            "data-overlap",
            "data.guardrail is where policies are: data there would silently replace rules",
            "put the data under another name",
        )
        return
    for package in world.packages:
        value = data
        for name in package:
            value = value.get(name) if isinstance(value, dict) else None
            if value is None:
                break
            if not isinstance(value, dict):
                break
        if value is not None:
            module = next(module for module in modules if module.package == package)
            message = f"the data document has a value at data.{'.'.join(package)}, which would silently replace rules"
            yield _finding(
                module,
                module.package_line,
                "data-overlap",
                message,
                "put the data under another name",
            )


def _cycles(modules: Sequence[Module], edges: dict[_Point, set[_Point]]) -> Iterator[Finding]:
    """Rules and functions that need themselves: the engine's stack overflows where OPA refuses to compile."""
    state: dict[_Point, int] = {}
    looping: set[_Point] = set()

    def visit(start: _Point) -> None:
        stack: list[tuple[_Point, Iterator[_Point]]] = [(start, iter(edges.get(start, ())))]
        state[start] = 1
        while stack:
            point, rest = stack[-1]
            for target in rest:
                if state.get(target) == 1:
                    looping.add(target)
                elif target not in state and target in edges:
                    state[target] = 1
                    stack.append((target, iter(edges[target])))
                    break
            else:
                state[point] = 2
                stack.pop()

    for point in edges:
        if point not in state:
            visit(point)
    seen: set[_Point] = set()
    for module in modules:
        for rule in module.rules:
            point = (module.package, rule.name)
            if point in looping and point not in seen:
                seen.add(point)
                yield _finding(
                    module,
                    rule.line,
                    "recursion",
                    f"{rule.name} needs itself, directly or through others",
                    "OPA refuses it too",
                )


class _Examiner:
    """Looks at one rule."""

    def __init__(self, world: World, module: Module, rule: Rule) -> None:
        self.scope = Scope(world, module, rule)
        self.world, self.module, self.rule = world, module, rule
        self.raw = module.source.text.encode("utf-8")
        self.findings: list[Finding] = []
        self.uses: set[_Point] = set()

    def refuse(self, line: int, code: str, message: str, hint: str = SERVER) -> None:
        self.findings.append(_finding(self.module, line or self.rule.line, code, message, hint))

    def run(self) -> None:
        head = self.rule.head
        if head.parts and not (
            self.rule.form == "object" and len(head.parts) == 1 and not head.static
        ):
            self.refuse(
                self.rule.line,
                "ref-head",
                "a rule head with dots or several brackets: the engine may leave out what it defines",
                f"write name := value, name contains value or name[key] := value; {SERVER}",
            )
        for part in head.dynamic:
            self.visit(part)
        self.visit(
            {key: value for key, value in self.rule.node.items() if key not in {"head", "refr"}}
        )
        self.visit({key: value for key, value in self._head().items() if key != "refr"})

    def _head(self) -> dict[str, Any]:
        if "head" not in self.rule.node:
            return {}
        return dict(next(iter(self.rule.node["head"].values())))

    def visit(self, node: Any) -> None:
        """Look at *node* and everything below it."""
        name = kind(node)
        if name in REFERENCES:
            self._reference(node)
            return
        content = node[name] if name is not None else node
        if name == "Call":
            self._call(content)
            return
        if name == "NotExpr":
            self._negation(content["expr"])
        elif name == "ArithExpr":
            self._arithmetic(content)
        elif name == "Number":
            self._number(content)
        elif name is None and isinstance(node, dict) and node.get("with_mods"):
            for change in node["with_mods"]:
                self._with(change)
                self.visit(change["as"])
            node = {key: value for key, value in node.items() if key != "with_mods"}
            content = node
        for child in children(content):
            self.visit(child)

    # References.

    def _reference(self, node: Node) -> None:
        found = reference(node)
        assert found is not None
        if found.base is not None:
            self.visit(found.base)
        for part in found.dynamic:
            self.visit(part)
        at = self.scope.resolve(found)
        if (
            found.head is not None
            and found.head in self.scope.own
            and found.head not in self.rule.local
        ):
            self.uses.add((self.module.package, found.head))
        if at.root == "input":
            self._input(at.static, found.line)
        elif found.head == "data":
            self._data(found)

    def _input(self, path: tuple[str, ...], line: int) -> None:
        field = contract.unavailable(path)
        if field is not None:
            self.refuse(
                line,
                "session-field",
                f"input.context.session.{field} does not exist yet",
                "use only id",
            )

    def _data(self, found: Reference) -> None:
        path = found.static
        if self.world.inside(path):
            self.refuse(
                found.line,
                "package-path",
                "a reference to a whole package, or through one by a variable: its rules may be evaluated before what "
                "they depend on",
                f"name one rule, in full; {SERVER}",
            )
            return
        package = self.world.owner(path)
        if package is None:
            return
        name = path[len(package)]
        if name not in self.world.packages[package]:
            self.refuse(
                found.line,
                "unknown-rule",
                f"there is no {name} in package {'.'.join(package)}",
                "check the name",
            )
        else:
            self.uses.add((package, name))

    # Functions.

    def _call(self, content: dict[str, Any]) -> None:
        callee, line = reference(content["fcn"]), int(content["span"]["line"])
        parameters: list[Node] = content["params"]
        for parameter in parameters:
            self.visit(parameter)
        name = callee.dotted if callee is not None else None
        if callee is None or name is None:
            self.refuse(line, "call", "a call of something that is not a function's name")
            return
        if callee.head == "data":
            self._data(callee)
        elif name in self.scope.own:
            self.uses.add((self.module.package, name))
        elif name in REFUSED:
            code, reason = REFUSED[name]
            hint = (
                "time is in input.context.time; the rest belongs to the caller"
                if code == "impure"
                else SERVER
            )
            self.refuse(
                line, "impure-builtin" if code == "impure" else "builtin", f"{name} {reason}", hint
            )
        elif name in OPERATORS or name not in ALLOWED:
            self.refuse(
                line,
                "builtin",
                f"{name} is not one of the functions that are known to answer like OPA",
            )
        else:
            check = _CHECKS.get(name)
            if check is not None:
                check(self, name, parameters, line)

    def _with(self, change: dict[str, Any]) -> None:
        target, line = reference(change["refr"]), int(change["span"]["line"])
        if target is None or target.dotted is None:
            self.refuse(line, "with", "with changes something that is not written out")
        elif target.head == "input":
            return
        elif target.head != "data":
            self.refuse(
                line,
                "with-builtin",
                "with replaces a function, which the engine only partly knows",
            )
        elif self.world.inside(target.static) or self.world.owner(target.static) is not None:
            self.refuse(
                line, "with-rule", "with replaces a rule", f"replace input or data; {SERVER}"
            )

    def _negation(self, node: Node) -> None:
        if not self._comparable(node):
            self.refuse(
                line_of(node),
                "not-undefined",
                "not before a call or comparison on something that may be missing: undefined for OPA, true here",
                "name_ok if { ... } and then: not name_ok; or give it a value first with object.get",
            )

    def _comparable(self, node: Node) -> bool:
        """Whether ``not node`` means the same to both engines, also where something in it is missing."""
        name = kind(node)
        if name in REFERENCES:
            return self._indices_total(node)
        if name == "Call":
            # The call itself may be undefined, its arguments may not.
            return all(self.scope.total(parameter) for parameter in node["Call"]["params"])
        equal = (name == "BoolExpr" and node["BoolExpr"]["op"] == "Eq") or (
            name == "AssignExpr" and node["AssignExpr"]["op"] == "Eq"
        )
        if equal:
            sides = next(iter(node.values()))
            return all(
                self._indices_total(side) if kind(side) in REFERENCES else self.scope.total(side)
                for side in (sides["lhs"], sides["rhs"])
            )
        return self.scope.total(node)

    def _indices_total(self, node: Node) -> bool:
        found = reference(node)
        assert found is not None
        if found.base is not None and not self.scope.total(found.base):
            return False
        return all(self.scope.total(part) for part in found.dynamic)

    # Numbers.

    def _number(self, content: dict[str, Any]) -> None:
        span = content["span"]
        written = _NUMBER.match(self.raw, span["start"])
        if written is None:
            return
        text = written[0]
        if text.lstrip(b"-").isdigit():
            if abs(int(text)) > MAX_INTEGER:
                self.refuse(
                    int(span["line"]),
                    "integer-range",
                    "an integer beyond 64 bits, which becomes another number here",
                )
        elif len(text) > 15:
            self.refuse(
                int(span["line"]), "decimal-range", "more digits than the engine's numbers have"
            )

    def _arithmetic(self, content: dict[str, Any]) -> None:
        sides = (content["lhs"], content["rhs"])
        whole = content["op"] != "Div" and all(self.scope.integer(side) for side in sides)
        sets = content["op"] == "Sub" and any(self.scope.a_set(side) for side in sides)
        if not whole and not sets:
            self.refuse(
                int(content["span"]["line"]),
                "decimal-arithmetic",
                "arithmetic on what may be no whole number: OPA reckons in decimal, the engine in binary (0.1 + 0.2 > 0.3)",
                f"round(x) first, or pass smallest units such as cents; {SERVER}",
            )


# What single builtins are allowed with.


def _literal(node: Node) -> object:
    """Return the value of a number or text that is written out, else None."""
    name = kind(node)
    return node[name]["value"] if name in {"String", "RawString", "Number"} else None


def _whole(node: Node) -> int | None:
    value = _literal(node)
    return value if isinstance(value, int) else None


def _sprintf(examiner: _Examiner, _: str, parameters: list[Node], line: int) -> None:
    text = _literal(parameters[0])
    verbs = _FORMAT.findall(text) if isinstance(text, str) else ["?"]
    if any(verb not in {"v", "%"} for verb in verbs):
        examiner.refuse(
            line,
            "sprintf-format",
            "a sprintf format that is not written out, or has verbs other than %v and %%",
            f"write %v; {SERVER}",
        )


def _range(examiner: _Examiner, name: str, parameters: list[Node], line: int) -> None:
    ends = [_whole(parameter) for parameter in parameters[:2]]
    if None in ends or abs((ends[0] or 0) - (ends[1] or 0)) > _RANGE:
        examiner.refuse(
            line,
            "range",
            f"{name} whose ends are not written out, or over {_RANGE} apart: it can use up all memory",
        )


def _shift(examiner: _Examiner, name: str, parameters: list[Node], line: int) -> None:
    by, value = _whole(parameters[1]), _whole(parameters[0])
    fits = by is not None and 0 <= by < 64
    if fits and name == "bits.lsh":
        fits = value is not None and by is not None and abs(value) << by <= MAX_INTEGER
    if not fits:
        examiner.refuse(
            line, "shift", f"{name} by an amount that is not written out, or beyond 64 bits"
        )


def _substring(examiner: _Examiner, _: str, parameters: list[Node], line: int) -> None:
    bounds = [_whole(parameter) for parameter in parameters[1:3]]
    if None in bounds or (bounds[0] or 0) < 0:
        examiner.refuse(
            line,
            "substring",
            "substring whose offset and length are not whole numbers that are written out",
        )


def _index_of(examiner: _Examiner, name: str, parameters: list[Node], line: int) -> None:
    if not _literal(parameters[1]):
        examiner.refuse(
            line,
            "indexof",
            f"{name} of a text that is not written out: an empty one differs",
            f"use contains; {SERVER}",
        )


def _pattern(place: int) -> Callable[[_Examiner, str, list[Node], int], None]:
    def check(examiner: _Examiner, name: str, parameters: list[Node], line: int) -> None:
        pattern = _literal(parameters[place])
        if not isinstance(pattern, str):
            examiner.refuse(
                line,
                "regex-pattern",
                f"{name} with a pattern that is not written out: it can't be checked",
            )
            return
        problem = regex_problem(pattern)
        if problem is not None:
            examiner.refuse(line, "regex-pattern", f"{name}: {problem}")

    return check


def _glob(examiner: _Examiner, name: str, parameters: list[Node], line: int) -> None:
    pattern, delimiters = _literal(parameters[0]), parameters[1]
    if not isinstance(pattern, str):
        examiner.refuse(
            line,
            "glob-pattern",
            f"{name} with a pattern that is not written out: it can't be checked",
        )
        return
    problem = glob_problem(pattern)
    if problem is not None:
        examiner.refuse(
            line, "glob-pattern", f"{name}: {problem}, which the engines may read differently"
        )
    listed = kind(delimiters) == "Array" and all(
        isinstance(value, str) and len(value) == 1
        for value in map(_literal, delimiters["Array"]["items"])
    )
    if not listed and kind(delimiters) != "Null":
        examiner.refuse(
            line,
            "glob-pattern",
            f"{name} with delimiters that are not written out as single characters",
        )


def _parse_time(examiner: _Examiner, name: str, parameters: list[Node], line: int) -> None:
    found = reference(parameters[0])
    at = examiner.scope.resolve(found) if found is not None else None
    own = at is not None and at.root == "input" and at.complete and at.static == ("context", "time")
    if not own and not isinstance(_literal(parameters[0]), str):
        examiner.refuse(
            line, "time", f"{name} of anything but input.context.time or a text that is written out"
        )


def _duration(examiner: _Examiner, name: str, parameters: list[Node], line: int) -> None:
    if not isinstance(_literal(parameters[0]), str):
        examiner.refuse(line, "time", f"{name} of a text that is not written out")


def _zone(examiner: _Examiner, name: str, parameters: list[Node], line: int) -> None:
    given = parameters[0]
    if not examiner.scope.integer(given) and not (
        kind(given) == "Array"
        and len(given["Array"]["items"]) == 2
        and _literal(given["Array"]["items"][1]) in {"UTC", ""}
    ):
        examiner.refuse(
            line, "time", f"{name} in a time zone other than UTC: the engines may have other tables"
        )


def _walk(examiner: _Examiner, _: str, parameters: list[Node], line: int) -> None:
    if len(parameters) != 2:
        examiner.refuse(
            line,
            "walk-assigned",
            "[path, value] := walk(x) yields nothing here",
            f"write walk(x, [path, value]); {SERVER}",
        )


def _total_of(examiner: _Examiner, name: str, parameters: list[Node], line: int) -> None:
    if not examiner.scope.collection_of_integers(parameters[0]):
        examiner.refuse(
            line,
            "decimal-arithmetic",
            f"{name} of what may be no whole numbers: OPA reckons in decimal, the engine in binary",
            f"{name}([round(x) | some x in xs]); {SERVER}",
        )


_CHECKS: dict[str, Callable[[_Examiner, str, list[Node], int], None]] = {
    "bits.lsh": _shift,
    "bits.rsh": _shift,
    "glob.match": _glob,
    "indexof": _index_of,
    "indexof_n": _index_of,
    "numbers.range": _range,
    "numbers.range_step": _range,
    "product": _total_of,
    "regex.find_all_string_submatch_n": _pattern(0),
    "regex.find_n": _pattern(0),
    "regex.match": _pattern(0),
    "regex.replace": _pattern(1),
    "sprintf": _sprintf,
    "substring": _substring,
    "sum": _total_of,
    "time.clock": _zone,
    "time.date": _zone,
    "time.parse_duration_ns": _duration,
    "time.parse_rfc3339_ns": _parse_time,
    "time.weekday": _zone,
    "walk": _walk,
}
