"""Generated rules with dots or several brackets in their heads, rules of other packages, rules with
the name of a keyword, and lines that assign with ``=``.
"""

from __future__ import annotations

from tests.support.rego.expressions import ARGS, Scope
from tests.support.rego.rewritten import Rewritten

KEYWORDS = ["as", "every", "true", "if", "contains", "with"]


class Constructs(Rewritten):
    """Writes rules and lines of these kinds."""

    def body(self, scope: Scope, most: int = 3) -> str:
        raise NotImplementedError

    def dotted(self) -> str:
        """Return rules that form one object."""
        r, name = self.r, self.name("r")
        if r.random() < 0.15:
            return self.keyword(name)
        heads = r.choice(
            [
                ["a", "b"],
                ["a", "b.c", "b.d"],
                ["a.b", "a.s contains"],
                ["[x]", '["k"]'],
                ["[x].k", "a.k"],
                ["[x][y]"],
                ["[x] contains", "a contains"],
                ["n[x].k contains", "n.a.k contains", "m"],
                ["[x][y]", "[x].k contains"],
                ["a.b[x]", "a.c", 'a["d-e"]'],
                ["[x][y].z", "a.b.z"],
                ["a", "b[x][y]"],
                ['["k"]'],
            ]
        )
        chunks = [self.part(name, head) for head in heads for _ in range(r.choice([1, 1, 2]))]
        if heads[0] in {"a", "a.b"} and r.random() < 0.3:
            chunks.append(f"default {name}.{heads[0]} := 0")
        for head in heads:
            path = head.removesuffix(" contains")
            if "[" not in path:
                chunks.append(f"{self.name('r')} := {name}.{path}")
                self.rules[chunks[-1].split()[0]] = ("value", "any")
        self.rules[name] = ("object", "obj")
        reader = self.name("r")
        self.rules[reader] = ("value", "anys")
        place = r.choice(
            [
                f"{name}[i]",
                f"{name}[i][j]",
                f"{name}.a",
                f'{name}["b"]',
                f"data.guardrail.policy.{name}[i]",
                f"{name}[{ARGS}.s]",
                f"{name}[i].k",
            ]
        )
        if any(head.endswith("contains") for head in heads):
            # The engines order the sets in a list differently.
            place = f"{place}[_]"
        chunks.append(f"{reader} := [v | v := {place}]")
        other = self.name("r")
        self.rules[other] = ("true", "bool")
        chunks.append(
            f"{other} if not {r.choice([f'{name}.a', f'{name}.b.c', f'{name}[{ARGS}.s]'])}"
        )
        return "\n\n".join(chunks)

    def headed(self) -> str:
        """Return a rule whose head iterates."""
        r, name = self.r, self.name("r")
        source = self.reference(r.choice(["ints", "strs", "anys", "obj", "sets"]), Scope())
        source = source or f"{ARGS}.xs"
        item = r.choice([f"{source}[_]", f"{source}[i]", f"lower({source}[_])"])
        item = r.choice([item, f'{{"a": {item}}}', f"[1, {item}]"])
        head = r.choice(
            [f"{name} contains {item}", f"{name} := {item}", f"{name}[i] := {source}[i]"]
        )
        form = "set" if " contains " in head else "object" if "[i] :=" in head else "value"
        self.rules[name] = (form, {"set": "sets", "object": "obj"}.get(form, "any"))
        if r.random() < 0.5:
            head += f" if {self.condition(Scope())}"
            if form == "value" and r.random() < 0.5:
                head += f"\nelse := {r.choice([item, '1'])}"
        return head

    def part(self, name: str, head: str) -> str:
        """Return one rule of an object."""
        scope = Scope()
        lines = [f"some {part} in {self.keys(scope)}" for part in "xy" if f"[{part}]" in head]
        path = head if head[0] == "[" else f".{head}"
        value = self.expression(self.kind(), 1, scope)
        if self.r.random() < 0.4:
            lines.append(self.condition(scope))
        written = (
            f"{name}{path} {value}" if head.endswith("contains") else f"{name}{path} := {value}"
        )
        body = "\n".join(f"\t{line}" for line in lines)
        return f"{written} if {{\n{body}\n}}" if lines else written

    def keys(self, scope: Scope) -> str:
        return self.r.choice(
            ['["a", "b"]', '{"k", "z", 1}', f"{ARGS}.xs", "[]", f'[{ARGS}.s, "a"]']
        )

    def condition(self, scope: Scope) -> str:
        raise NotImplementedError

    def keyword(self, reader: str) -> str:
        """Return a rule with the name of a keyword, and another one that reads it."""
        word = self.r.choice(KEYWORDS)
        self.rules[reader] = ("value", "any")
        part = self.name("k")
        value = self.expression(self.kind(), 1, Scope())
        path = self.r.choice(["", "data.guardrail.policy."])
        return f"{word}.{part} := {value}\n\n{reader} := {path}{word}.{part}"

    def team(self) -> list[str]:
        """Return modules of other packages."""
        self.teams = self.r.sample(["a", "b", "c.d"], self.r.randrange(1, 4))
        modules = []
        for team in self.teams:
            self.rules, kept = {}, self.rules
            self.functions, functions = {}, self.functions
            chunks = [f"package guardrail.policy.team.{team}"]
            for name in self.r.sample(["t", "u", "no", "g"], self.r.randrange(1, 4)):
                value = self.expression(self.kind(), 1, Scope())
                chunks.append(
                    {
                        "t": f"t := {value}",
                        "u": f"u := 1 if {self.condition(Scope())}",
                        "no": f"no contains {value}",
                        "g": f"g(x) := [x, {value}]",
                    }[name]
                )
            self.rules, self.functions = kept, functions
            modules.append("\n\n".join(chunks) + "\n")
        return modules

    def asked_team(self) -> str:
        """Return a rule that reads the rules of the other packages through a variable."""
        name = self.name("r")
        self.rules[name] = ("set", "sets")
        line = self.r.choice(
            [
                "v := data.guardrail.policy.team[_].no[_]",
                "v := data.guardrail.policy.team[_].t",
                f"v := data.guardrail.policy.team[{ARGS}.s]",
                "some k, v in data.guardrail.policy.team",
                "v := data.guardrail.policy.team",
                "v := data.guardrail.policy.team.a",
                "data.guardrail.policy.team[v].u",
                "v := data.guardrail.policy.team[x].d.t",
                'v := [1 | not data.guardrail.policy.team.a["t"]]',
                "v := data.guardrail.policy.team.c",
            ]
        )
        return f"{name} contains v if {{\n\t{line}\n}}"

    def equal(self, scope: Scope) -> str:
        """Return lines that assign an object with ``=``, or compare two."""
        one, other = self.bind(scope), self.bind(scope)
        value = self.dynamic()
        return self.r.choice(
            [
                f'{one} := {value}\n\t{other} = {{"a": {one}}}',
                f'{one} = {value}\n\t{{"a": [{one}, {{"b": 1}}]}} = {other}',
                f'{{"a": {one}, "b": 1}} = {{"b": {other}, "a": {value}}}',
                f'[{{"a": {one}}}, {other}] = [{{"a": {value}}}, 1]',
                f'{{"a": {one}}} = {{"a": {other}}}\n\t{one} = {value}',
                f'{other} = {{"a": {value}, "k": lower({self.dynamic()})}}\n\t{one} := 1',
            ]
        )
