"""Generated Rego that looks for one kind of fault each: heads that are undefined for some elements,
names that are declared again, imports with odd keys, and line ends.
"""

from __future__ import annotations

import json

from tests.support.rego.expressions import ARGS, Expressions, Scope
from tests.support.rego.unusual_values import word

RECORDS = [f"{ARGS}.rs", f"{ARGS}.rs", "data.known.rs", f"{ARGS}.rs[0].k", f"{ARGS}.xs"]
LISTS = [f"{ARGS}.xs", f"{ARGS}.ns", f"{ARGS}.ss", "data.known.xs", '["a", "b"]', "[0, 1]", "[1, 0]"]  # fmt: skip
KEYS = ["account  id", "montant\u00a0HT", "a.b", "n", "s", "é", "a/b"]


class Traps(Expressions):
    """Writes rules of these kinds."""

    def name(self, prefix: str) -> str:
        raise NotImplementedError

    # Heads that are undefined for some elements.

    def elements(self, name: str) -> str:
        """Return lines that bind *name* to one record after the other."""
        r = self.r
        lines = r.choice(
            [
                [f"some {name} in {r.choice(RECORDS)}"],
                [f"some {name} in {r.choice(RECORDS)}"],
                [f"{name} := {r.choice(RECORDS)}[_]"],
                [f"walk({ARGS}.rs, [_, {name}])"],
                ["some o0 in " + r.choice(RECORDS), f"some {name} in o0.k"],
                [f"some {name} in [o0 | some o0 in {r.choice(RECORDS)}; o0.n]"],
            ]
        )
        if r.random() < 0.5:
            condition = [f'{name}.a == "a"', f"{name}.n >= 1", f"is_object({name})", f"not {name}.b", f"{name}.k", f'{name}.a != "b"']  # fmt: skip
            lines = [*lines, r.choice(condition)]
        if r.random() < 0.2:
            lines = ["some o1 in [1, 2]", *lines, "o1 < 3"]
        return "\n".join("\t" + line for line in lines)

    def term(self, name: str, depth: int = 1) -> str:
        """Return what a head computes of *name*, which may lack it."""
        r = self.r
        plain = [f"{name}.a", f'{name}["b"]', f"{name}.n", f"{name}.k[0].a", f"{name}.a"]
        if depth == 0 or r.random() < 0.35:
            return r.choice(plain)
        one, other = self.term(name, 0), self.term(name, 0)
        calls = [f for f, (kinds, _) in self.functions.items() if len(kinds) == 1]
        return r.choice(
            [
                f'sprintf("%s", [{name}.a])', f'{{"rule": "r", "message": {one}}}', f"[{one}, {other}]", f'concat("/", [{name}.a, "z"])',
                f'({one} == "a")', f"count({name}.b) + 1", f"{r.choice(calls)}({one})" if calls else one, f"[o2 | some o2 in {name}.b]",
                f'{{"k": {one}, "v": {other}}}', f'object.get({name}, "a", {other})', f"[{one}][0]", f"{{\n\t# {{\n\t\"k\": {one},\n}}",
            ]
        )  # fmt: skip

    def records(self) -> str:
        """Return a rule whose head is undefined for some elements."""
        r, name, item = self.r, self.name("r"), self.name("v")
        body = self.elements(item)
        one, other = self.term(item), self.term(item)
        form = r.choice(["set", "set", "value", "else", "object", "key", "function", "default"])
        block = f"if {{\n{body}\n}}"
        if "\n" not in body and r.random() < 0.5:
            block = f"if {body.strip()}"
        if form == "function":
            function = self.name("f")
            self.functions[function] = (["any"], "any")
            text = f"{function}(p0) := {self.term('p0')}"
            if r.random() < 0.6:
                text += f" if p0 != {json.dumps(word(r))}"
                text += f"\nelse := {self.term('p0')}" * (r.random() < 0.5)
            self.rules[name] = ("set", "sets")
            return f"{text}\n\n{name} contains {function}({item}) {block}"
        heads = {
            "set": f"{name} contains {one} {block}", "value": f"{name} := {one} {block}", "else": f"{name} := 1 if {ARGS}.ok else := {one} {block}",
            "object": f"{name}[{item}.a] := {one} {block}", "key": f"{name}[{one}] := {other} {block}",
            "default": f"default {name} := 1\n\n{name} := {one} {block}",
        }  # fmt: skip
        if form == "else" and r.random() < 0.5:
            heads["else"] = f"{name} := {one} {block} else := {self.term(f'{ARGS}.o')}"
        forms = {"set": ("set", "sets"), "object": ("object", "obj"), "key": ("object", "obj")}
        self.rules[name] = forms.get(form, (form, "any"))
        return heads[form]

    def told(self, name: str) -> str:
        """Return a rule of the decision whose member is undefined for some elements."""
        item = self.name("v")
        return f"{name} contains {self.term(item)} if {{\n{self.elements(item)}\n}}"

    def asked(self, name: str) -> str:
        """Return a rule of the decision that reads what another rule collected."""
        r = self.r
        rule, text = r.choice(list(self.rules)), json.dumps(r.choice(["a", "b", "a", 1]))
        condition = r.choice([f"{text} in {rule}", f"{rule}[{text}]", f"{rule} == {text}", rule])
        return f'{name} contains "asked" if {condition}'

    # Names that are declared again.

    def again(self, scope: Scope) -> str:
        """Return a line in which a name that means something is declared in a body of its own."""
        r = self.r
        known = [*scope.names(), *scope.names(), *self.rules, *self.aliases]
        if not known:
            return f"{self.bound(scope)} := {r.choice(LISTS)}"
        name, found, source = r.choice(known), self.name("k"), r.choice(LISTS)
        if r.random() < 0.3:
            return r.choice(
                [
                    f"every {found} in {source} {{ some {name}; {source}[{name}] == {found} }}",
                    f"every {name} in {source} {{ {name} != {json.dumps(word(r))} }}",
                    f"every {name}, {found} in {source} {{ {source}[{name}] == {found} }}",
                    f"every {found} in [{name}] {{ {name} := 1; {found} != {name} }}",
                ]
            )
        inner = r.choice(
            [
                f"{found} | some {name}; {found} := {source}[{name}]",
                f"{found} | some {name}; {source}[{name}]; {found} := {name}",
                f"{name} | some {name} in {source}",
                f"[{name}, {found}] | some {name}, {found} in {source}",
                f"{name} | {name} := {r.choice([source, '1', name])}",
                f"{found} | {found} := {name}; some {name}; {source}[{name}]",
                f"{found} | some {found} in [{name}]; {name} := 5",
                (
                    f"{found} | some {name}; {source}[{name}]; {found} := [{name} | some {name} in"
                    f" {source}]"
                ),
                f"{found} | some [{name}, {found}] in [[1, 2], {source}]",
            ]
        )
        opening, closing = r.choice(["[]", "{}", "[]"])
        return f"{self.bound(scope)} := {opening}{inner}{closing}"

    def bound(self, scope: Scope) -> str:
        name = self.name("v")
        scope.add(name, "any")
        return name

    def hiding(self, scope: Scope) -> str:
        """Return a line that declares the name of an import or a rule."""
        known = [*self.aliases, *self.aliases, *self.rules]
        if not known:
            return self.again(scope)
        name, source = self.r.choice(known), self.r.choice(LISTS)
        scope.add(name, "any")
        return self.r.choice(
            [
                f"some {name}\n\t{source}[{name}]",
                f"some {name} in {source}",
                f"{name} := {source}",
                f"some {name}, {self.bound(scope)} in {source}",
            ]
        )

    # Imports and line ends.

    def imports(self, parts: list[list[str]]) -> None:
        """Write the same imports into each of *parts*; seldom, one name means two things."""
        r = self.r
        if r.random() < 0.4:
            return
        for _ in range(r.choice([1, 1, 2])):
            key = r.choice(KEYS)
            alias = self.name("m")
            targets = [f"{ARGS}[{json.dumps(key, ensure_ascii=False)}]"] * len(parts)
            if key == "a.b" and r.random() < 0.5:
                targets[-1] = f"{ARGS}.a.b"
            self.aliases.append(alias)
            for part, target in zip(parts, targets, strict=True):
                part.append(f"import {target} as {alias}")

    def line_ends(self, text: str) -> str:
        """Return a rule, seldom with the line ends of another system. What parts rules stays as it
        is.
        """
        if self.r.random() < 0.1:
            return text.replace("\n", "\r\n")
        return text
