"""Generates Rego by grammar, with types, so that most of it is taken by both engines."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from tests.support.rego.builtin_calls import CALLS, DOUBTFUL
from tests.support.rego.constructs import Constructs
from tests.support.rego.expressions import ARGS, TYPES, Scope
from tests.support.rego.traps import Traps
from tests.support.rego.unusual_values import ARGUMENTS, of_type, scalar, value, written


class Generator(Constructs, Traps):
    """Writes one program after the other. The same seed gives the same programs."""

    def __init__(self, r: random.Random) -> None:
        super().__init__(r)
        self.count = 0

    # Programs.

    def program(self) -> tuple[list[str], dict[str, object]]:
        """Return one to three modules, and the data document."""
        self.count, self.rules, self.functions, self.aliases = 0, {}, {}, []
        r = self.r
        self.wild = r.random() < 0.3
        data = {
            name: of_type(r, kind)
            for name, kind in ARGUMENTS.items()
            if name.isalpha() and r.random() < 0.7
        }
        parts: list[list[str]] = [[] for _ in range(r.choice([1, 1, 2, 3]))]
        self.imports(parts)
        late = self.late_import() if r.random() < 0.3 else None
        for _ in range(r.choice([0, 1, 1, 2])):
            r.choice(parts).append(self.tidy(self.function()))
        for _ in range(r.choice([1, 2, 3])):
            make = r.choice(
                [self.records, self.rule, self.rule, self.rule, self.grouped, self.headed]
            )
            r.choice(parts).append(self.line_ends(self.tidy(make())))
        teams = self.team() if r.random() < 0.2 else []
        if teams:
            r.choice(parts).append(self.asked_team())
        if r.random() < 0.35:
            r.choice(parts).append(self.tidy(self.dotted()))
        for name in ("allow", r.choice(["allow", "deny", "deny", "require_approval"])):
            r.choice(parts).append(self.line_ends(self.entry(name)))
        if r.random() < 0.4:
            r.choice(parts).append(self.tidy(r.choice([self.told, self.asked, self.asked])("deny")))
        if late is not None:
            for part in parts:
                part.append(late)
        own = ["\n\n".join(["package guardrail.policy", *part]) + "\n" for part in parts]
        return [*own, *teams], {"known": data}

    def name(self, prefix: str) -> str:
        """Return a name that is not taken; seldom one that hides a builtin."""
        self.count += 1
        if self.wild and self.r.random() < 0.01:
            return self.r.choice(
                ["count", "time", "json", "net", "input", "data", "contains_", "startswith"]
            )
        return f"{prefix}{self.count}"

    def entry(self, name: str) -> str:
        """Return one rule that takes part in the decision."""
        return self.tidy(self._entry(name))

    def tidy(self, text: str) -> str:
        """Return a rule without declared names that nothing reads: OPA refuses them."""
        if self.r.random() < 0.01:
            return text
        for name in set(re.findall(r"\b[vkip][0-9]+\b", text)):
            if len(re.findall(rf"\b{name}\b", text)) == 1:
                text = re.sub(rf"\b{name}\b(?! :=)", "_", text)
        return text

    def _entry(self, name: str) -> str:
        scope = Scope()
        body = self.body(scope)
        head = self.r.choice(
            [
                '"r"',
                '{"rule": "r", "message": "m"}',
                f'sprintf("%v", [{self.expression(self.kind(), 1, scope)}])',
                '"q"',
            ]
        )
        return f"{name} contains {head} if {{\n{body}\n}}"

    def rule(self) -> str:
        """Return one helper rule, of any form."""
        r, name = self.r, self.name("r")
        form = r.choice(["value", "value", "simple", "true", "set", "object", "default", "else"])
        kind = self.kind()
        scope = Scope()
        if form == "simple":
            text = f"{name} := {self.expression(kind, 3, scope)}"
        else:
            body = self.body(scope)
            result = self.expression(kind, 2, scope)
            heads = {
                "true": f"{name} if", "set": f"{name} contains {result} if",
                "object": f"{name}[{self.expression('str', 1, scope)}] := {result} if",
            }  # fmt: skip
            text = f"{heads.get(form, f'{name} := {result} if')} {{\n{body}\n}}"
            if form == "else":
                other = Scope()
                end = f" if {{\n{self.body(other)}\n}}" if r.random() < 0.5 else ""
                text += f" else := {self.expression(kind, 1, other)}{end}"
            if form == "default":
                text = (
                    f"default {name} :="
                    f" {written(r, of_type(r, kind if kind != 'sets' else 'anys'))}\n\n{text}"
                )
            if form in {"set", "true"} and r.random() < 0.4:
                text += (
                    f"\n\n{heads[form] if form == 'true' else f'{name} contains {self.expression(kind, 1, Scope())} if'}"
                    f" {{\n{self.body(Scope())}\n}}"
                )
        self.rules[name] = {
            "set": ("set", "sets"),
            "object": ("object", "obj"),
            "true": ("true", "bool"),
        }.get(form, (form, kind))
        return text

    def function(self) -> str:
        """Return one function, with patterns and literals among its arguments."""
        r, name = self.r, self.name("f")
        kinds = [self.kind() for _ in range(r.choice([1, 1, 2, 2, 3]))]
        result = self.kind()
        clauses = []
        for index in range(r.choice([1, 1, 2])):
            scope = Scope()
            arguments = [
                self.pattern(kind, scope, literal=0.15 if index == 0 else 0.3) for kind in kinds
            ]
            if self.wild and r.random() < 0.1 and len(arguments) > 1:
                arguments[1] = arguments[0]
            head = f"{name}({', '.join(arguments)})"
            clauses.append(
                f"{head} := {self.expression(result, 2, scope)} if"
                f" {{\n{self.body(scope, most=2)}\n}}"
                if r.random() < 0.7
                else f"{head} := {self.expression(result, 2, scope)}"
            )
        if r.random() < 0.2:
            clauses.insert(
                0, f"default {name}({', '.join('_' for _ in kinds)}) := {written(r, scalar(r))}"
            )
        self.functions[name] = (kinds, result)
        return "\n\n".join(clauses)

    # Bodies.

    def body(self, scope: Scope, most: int = 3) -> str:
        """Return the lines of a body; what they bind is in *scope* afterwards."""
        return "\n".join("\t" + self.statement(scope) for _ in range(self.r.randrange(1, most + 1)))

    def statement(self, scope: Scope) -> str:
        """Return one line of a body."""
        r = self.r
        makers: list[tuple[int, Callable[[Scope], str]]] = [
            (8, self.condition), (6, self.assignment), (4, self.some), (3, self.negation), (2, self.every), (3, self.unification), (2, self.iteration),
            (2, self.walk), (1, self.changed), (1, self.result), (2, self.again), (1, self.hiding), (6, self.rewritten), (1, self.equal),
        ]  # fmt: skip
        return r.choices([maker for _, maker in makers], [weight for weight, _ in makers])[0](scope)

    def condition(self, scope: Scope) -> str:
        """Return something that is true or not."""
        r = self.r
        choice = r.random()
        if choice < 0.5:
            left = right = self.r.choice(TYPES[:-1])
            if r.random() < 0.35:
                # What has a known type can't be compared with another one: OPA refuses it.
                return f"{self.dynamic()} {self.operator(left)} {self.expression(left, 2, scope)}"
            return (
                f"{self.expression(left, 2, scope)} {self.operator(left, right)}"
                f" {self.expression(right, 2, scope)}"
            )
        if choice < 0.65:
            return (
                f"{self.expression(self.kind(), 1, scope) if r.random() < 0.5 else self.dynamic()}"
                f" in {self.expression(r.choice(['ints', 'strs', 'anys', 'sets', 'obj', 'any']), 2, scope)}"
            )
        if choice < 0.7 and self.wild:
            return (
                f"{self.dynamic()}, {self.expression('any', 1, scope)} in"
                f" {self.expression(r.choice(['anys', 'obj']), 2, scope)}"
            )
        return self.expression("bool" if choice < 0.9 else "any", 3, scope)

    def assignment(self, scope: Scope) -> str:
        kind = self.kind()
        text = self.expression(kind, 3, scope)
        if self.r.random() < 0.1:
            value_text = self.expression("anys", 2, scope)
            return f"{self.pattern('anys', scope, literal=0.05)} := {value_text}"
        name = self.name("v")
        scope.add(name, kind)
        return f"{name} := {text}"

    def some(self, scope: Scope) -> str:
        source = self.r.choice(["ints", "strs", "anys", "obj", "sets", "any"])
        collection = self.expression(source, 2, scope)
        kind = {"ints": "int", "strs": "str"}.get(source, "any")
        if self.r.random() < 0.3:
            element = self.pattern(self.r.choice(["anys", "obj"]) if self.wild else "anys", scope)
        else:
            element = self.name("v")
            scope.add(element, kind)
        if self.r.random() < 0.4:
            index = element if self.wild and self.r.random() < 0.1 else self.name("k")
            if index != element:
                scope.add(index, "any")
            return f"some {index}, {element} in {collection}"
        return f"some {element} in {collection}"

    def negation(self, scope: Scope) -> str:
        if self.r.random() < 0.4 and self.rules:
            return f"not {self.r.choice(list(self.rules))}"
        return f"not {self.condition(scope) if self.wild else self.total(scope)}"

    def total(self, scope: Scope) -> str:
        """Return a condition on what always has a value."""
        r = self.r
        names = [
            name for name in scope.names() if name.startswith("v") and (name, "any") in scope.known
        ]
        one = (
            r.choice(names)
            if names and r.random() < 0.5
            else f'object.get({ARGS}, "{r.choice(sorted(ARGUMENTS))}", {written(r, scalar(r))})'
        )
        other = written(r, scalar(r))
        return r.choice(
            [
                f"{one} == {other}",
                f"{one} < {other}",
                f"is_number({one})",
                f"{one} in {self.literal('sets', Scope())}",
                f"{one} != {other}",
            ]
        )

    def every(self, scope: Scope) -> str:
        inner = scope.copy()
        source = self.r.choice(["ints", "strs", "anys", "obj", "sets"])
        collection = self.expression(source, 2, scope)
        element = self.name("v")
        inner.add(element, {"ints": "int", "strs": "str"}.get(source, "any"))
        names = element
        if self.r.random() < 0.3:
            index = self.name("k")
            inner.add(index, "any")
            names = f"{index}, {element}"
        return f"every {names} in {collection} {{ {self.condition(inner)} }}"

    def unification(self, scope: Scope) -> str:
        """Return ``=`` between a pattern and a value, or two patterns."""
        kind = self.r.choice(["anys", "anys", "obj", "obj", "any", "int", "str"])
        value_text = self.expression(kind, 2, scope) if self.r.random() < 0.4 else self.dynamic()
        left = self.pattern(kind, scope, depth=2)
        return f"{left} = {value_text}" if self.r.random() < 0.7 else f"{value_text} = {left}"

    def iteration(self, scope: Scope) -> str:
        """Return a reference with a variable in its brackets."""
        index, name = self.name("i"), self.name("v")
        base = self.reference(self.r.choice(["ints", "strs", "anys", "obj", "sets"]), scope)
        if base is None:
            return self.condition(scope)
        scope.add(index, "any")
        scope.add(name, "any")
        declared = f"some {index}\n\t" if self.r.random() < 0.5 else ""
        return f"{declared}{name} := {base}[{index}]"

    def walk(self, scope: Scope) -> str:
        subject = self.expression(self.r.choice(["obj", "anys", "any"]), 1, scope)
        path, found = self.name("p"), self.name("v")
        if self.r.random() < 0.75:
            scope.add(path, "anys")
            scope.add(found, "any")
            return f"walk({subject}, [{path}, {found}])"
        return (
            f"walk({subject}, [{self.r.choice([path, '_'])},"
            f" {self.pattern(self.r.choice(['int', 'obj', 'anys']), scope)}])"
        )

    def changed(self, scope: Scope) -> str:
        """Return a condition under other input or data."""
        target = self.r.choice(
            [
                f"{ARGS}.{self.r.choice(['n', 's', 'o', 'new'])}",
                "input",
                ARGS,
                "data.known.n",
                "data.known",
                "input.resource.id",
                "input.context.time",
            ]
        )
        condition = (
            self.r.choice(list(self.rules))
            if self.rules and self.r.random() < 0.7
            else self.condition(scope)
        )
        negation = "not " if self.r.random() < 0.2 else ""
        return f"{negation}{condition} with {target} as {self.expression('any', 1, scope)}"

    def result(self, scope: Scope) -> str:
        """Return a call whose last argument takes the result."""
        name = self.r.choice([name for name in CALLS if self.wild or name not in DOUBTFUL])
        kinds, kind = CALLS[name]
        arguments = [self.expression(each, 1, scope) for each in kinds]
        if kind in {"obj", "any"} and not self.wild:
            kind = "int"
        return f"{name}({', '.join([*arguments, self.pattern(kind if kind != 'any' else 'obj', scope)])})"

    def pattern(self, kind: str, scope: Scope, literal: float = 0.1, depth: int = 1) -> str:
        """Return something that binds names, mostly one name."""
        r = self.r
        choice = r.random()
        if choice < literal:
            if not self.wild and kind in {"obj", "sets"}:
                kind = "any"
            return written(
                r,
                (
                    of_type(r, kind)
                    if kind not in {"any", "sets"}
                    else value(r, 1)
                    if self.wild
                    else scalar(r)
                ),
            )
        if choice < literal + 0.05:
            return "_"
        bound = scope.names()
        if choice < literal + 0.1 and bound:
            return r.choice(bound)
        if depth > 0 and kind in {"anys", "any"} and r.random() < 0.5:
            return f"[{', '.join(self.pattern('any', scope, depth=depth - 1) for _ in range(r.randrange(4)))}]"
        if depth > 0 and self.wild and kind in {"obj", "any"} and r.random() < 0.3:
            keys = r.sample(["a", "b", "n", "k"], r.randrange(1, 3))
            return (
                "{"
                + ", ".join(
                    f'"{each}": {self.pattern("any", scope, depth=depth - 1)}' for each in keys
                )
                + "}"
            )
        name = self.name("v")
        scope.add(name, kind)
        return name
