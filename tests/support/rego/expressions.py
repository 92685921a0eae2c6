"""Expressions of generated Rego, by type."""

from __future__ import annotations

import random

from tests.support.rego.builtin_calls import CALLS, DOUBTFUL, Writer, literal_call
from tests.support.rego.unusual_values import ARGUMENTS, of_type, scalar, value, written

TYPES = ["int", "num", "str", "bool", "ints", "strs", "anys", "sets", "obj", "any"]
ARGS = "input.action.properties.args"
_PLACES = {
    "input.resource.id": "str", "input.subject.id": "str", "input.context.time": "str", "input.action.name": "str", "input.resource.properties.labels": "anys",
    "input.subject.properties.roles": "anys", "input.context.agent.version": "any", "input.resource.properties.declared": "bool",
}  # fmt: skip
_COMPARISONS = ["==", "!=", "<", "<=", ">", ">="]


class Scope:
    """The names that are bound at one place, with their types."""

    def __init__(self, known: list[tuple[str, str]] | None = None) -> None:
        self.known = known or []

    def add(self, name: str, kind: str) -> None:
        self.known.append((name, kind))

    def copy(self) -> Scope:
        return Scope(list(self.known))

    def names(self) -> list[str]:
        return [name for name, _ in self.known]

    def of(self, kind: str) -> list[str]:
        return [name for name, own in self.known if kind in {own, "any"}]


class Expressions:
    """Writes expressions that are mostly of the type that is asked for."""

    def __init__(self, r: random.Random) -> None:
        self.r = r
        self.rules: dict[str, tuple[str, str]] = {}
        """Name to form and type of what has been written so far."""
        self.functions: dict[str, tuple[list[str], str]] = {}
        self.aliases: list[str] = []
        """Names of imports."""
        self.wild = False
        """Whether to write also what is known to be refused: tame programs are mostly taken."""

    def dynamic(self) -> str:
        """Return something whose type nobody knows before it is evaluated."""
        r = self.r
        names = [name for name in ARGUMENTS if name.isascii() and name.isalpha()]
        places = [f"{ARGS}.{r.choice(names)}"] * 6
        places += [
            f"{ARGS}.o.a",
            f"{ARGS}.xs[0]",
            f"{ARGS}.v.a.b",
            ARGS,
            f"{ARGS}.missing",
            f"{ARGS}.v[{ARGS}.s]",
            f"{ARGS}.o[{ARGS}.s]",
            f"{ARGS}.p.k",
            f"{ARGS}.ns[{ARGS}.m]",
        ]
        return r.choice(places)

    def operator(self, *kinds: str) -> str:
        """Return a comparison; sets can't be compared by order."""
        return self.r.choice(_COMPARISONS if self.wild or "sets" not in kinds else ["==", "!="])

    def kind(self) -> str:
        return self.r.choice(TYPES)

    def expression(self, kind: str, depth: int, scope: Scope) -> str:
        """Return an expression that is mostly of type *kind*."""
        r = self.r
        if r.random() < 0.02 or (kind == "any" and r.random() < 0.7):
            return self.dynamic()
        if kind == "any":
            kind = r.choice(TYPES[:-1])
        if depth > 0 and r.random() < 0.65:
            text = self.compound(kind, depth, scope)
            if text is not None:
                return text
        if r.random() < 0.7:
            found = self.reference(kind, scope)
            if found is not None:
                return found
        return self.literal(kind, scope)

    def literal(self, kind: str, scope: Scope) -> str:
        r = self.r
        if kind == "sets":
            items = [
                written(r, value(r, 1) if r.random() < 0.4 else scalar(r))
                for _ in range(r.randrange(4))
            ]
            return "{" + ", ".join(items) + "}" if items else "set()"
        if kind in {"anys", "any"} and r.random() < 0.4:
            return f"[{', '.join(self.expression('any', 0, scope) for _ in range(r.randrange(3)))}]"
        if kind == "obj" and self.wild and r.random() < 0.3:
            key = r.choice([f"{ARGS}.s", f"{ARGS}.t", f'concat("", [{written(r, "a")}])'])
            return (
                f'{{"a": {self.expression("any", 0, scope)}, {key}:'
                f' {self.expression("any", 0, scope)}, "b": 1}}'
            )
        if kind == "obj" and r.random() < 0.1:
            return (
                f'object.union({{"a": {self.expression("any", 0, scope)}}}, {{{ARGS}.s:'
                f" {self.expression('any', 0, scope)}}})"
            )
        if kind == "obj" and r.random() < 0.4:
            keys = r.sample(["a", "b", "n", "k"], r.randrange(3))
            return (
                "{"
                + ", ".join(f'"{each}": {self.expression("any", 0, scope)}' for each in keys)
                + "}"
            )
        return written(r, of_type(r, kind))

    def reference(self, kind: str, scope: Scope) -> str | None:
        """Return a reference to something of type *kind*: a variable, a rule, input, data."""
        r = self.r
        pool = scope.of(kind) * 3
        pool += [alias for alias in self.aliases if alias not in scope.names()]
        pool += [name for name, (_, own) in self.rules.items() if kind in {own, "any"}]
        arguments = [name for name, own in ARGUMENTS.items() if kind in {own, "any"}]
        pool += [
            f"{ARGS}.{name}" if name.isascii() and name.isalpha() else f'{ARGS}["{name}"]'
            for name in arguments
        ]
        pool += [f"data.known.{name}" for name in arguments if name.isalpha() and name.isascii()][
            :2
        ]
        pool += [place for place, own in _PLACES.items() if kind in {own, "any"}]
        pool += [
            f"data.guardrail.policy.{name}"
            for name, (_, own) in self.rules.items()
            if kind in {own, "any"}
        ][:1]
        return r.choice(pool) if pool else None

    def compound(self, kind: str, depth: int, scope: Scope) -> str | None:
        """Return a call, an operator or a comprehension."""
        r, lower = self.r, depth - 1
        choice = r.random()
        if choice < 0.12 and self.functions:
            able = [name for name, (_, own) in self.functions.items() if kind in {own, "any"}]
            if able:
                name = r.choice(able)
                return f"{name}({', '.join(self.expression(each if r.random() < 0.3 else 'any', lower, scope) for each in self.functions[name][0])})"
        if choice < 0.3 and kind in {"ints", "strs", "anys", "sets", "obj"}:
            return self.comprehension(kind, scope)
        if choice < 0.45 and kind in {"int", "num"} and not self.wild:
            return f"{self.whole(lower, scope)} {r.choice('+-*%')} {self.whole(lower, scope)}"
        if choice < 0.45 and kind in {"int", "num"}:
            return (
                f"{self.expression(kind, lower, scope)} {r.choice('+-*%/')}"
                f" {self.expression('int', lower, scope)}"
                if r.random() < 0.5
                else (
                    f"count({self.expression('anys', lower, scope)}) {r.choice('+-*%')}"
                    f" {r.randrange(1, 9)}"
                )
            )
        if choice < 0.45 and kind == "sets":
            return (
                f"({self.expression('sets', lower, scope)} {r.choice('&|-')}"
                f" {self.expression('sets', lower, scope)})"
            )
        if choice < 0.5 and kind == "bool":
            return (
                f"({self.expression(k := self.kind(), lower, scope)} {self.operator(k)}"
                f" {self.expression(k, lower, scope)})"
            )
        if choice < 0.65:
            text = literal_call(
                Writer(r, self.wild, lambda each: self.expression(each, lower, scope)), kind
            )
            if text is not None:
                return text
        able = [
            name
            for name, (_, own) in CALLS.items()
            if kind in {own, "any"} and (self.wild or name not in DOUBTFUL)
        ]
        if not able:
            return None
        name = r.choice(able)
        return (
            f"{name}({', '.join(self.expression(each, lower, scope) for each in CALLS[name][0])})"
        )

    def whole(self, depth: int, scope: Scope) -> str:
        """Return what is surely a whole number."""
        r = self.r
        return r.choice(
            [
                f"count({self.expression('anys', depth, scope)})",
                f"round({self.expression('num', depth, scope)})",
                str(r.randrange(1, 20)),
                f"floor({self.expression('int', 0, scope)})",
            ]
        )

    def comprehension(self, kind: str, scope: Scope) -> str:
        inner = scope.copy()
        lines = [self.some(inner) if self.r.random() < 0.8 else self.iteration(inner)]
        if self.r.random() < 0.5:
            lines.append(self.condition(inner))
        item = {"ints": "int", "strs": "str"}.get(kind, "any")
        body = "; ".join(line.replace("\n\t", "; ") for line in lines)
        last = (
            inner.names()[-1]
            if inner.names() and self.r.random() < 0.6
            else self.expression(item, 1, inner)
        )
        if kind == "obj":
            return f"{{{self.expression('str', 1, inner)}: {last} | {body}}}"
        return f"[{last} | {body}]" if kind != "sets" else f"{{{last} | {body}}}"
