"""Generated Rego that the embedded engine evaluates only after it has been rewritten."""

from __future__ import annotations

import json

from tests.support.rego.expressions import ARGS, Expressions, Scope
from tests.support.rego.unusual_values import word

FORMATS = [
    "%s",
    "%d",
    "%v-%s",
    "%5d|%-5s",
    "%.2f",
    "%q",
    "%x %X",
    "%05d",
    "%t",
    "%T",
    "%e",
    "%g",
    "%d%%",
    "%+d",
    "%z",
    "%",
    "x",
]
PATTERNS = [
    r"^\d+$",
    r"\w+",
    r"^\s*$",
    r"\ba\b",
    r"[\w.]+",
    r"^\S+$",
    r"\D",
    r"[^\d]",
    r"(?i)\ba",
    r"[\s\S]+",
    r"^[\w-]+$",
    r"\W",
]


class Rewritten(Expressions):
    """Writes lines and rules of these kinds."""

    def name(self, prefix: str) -> str:
        raise NotImplementedError

    def rewritten(self, scope: Scope) -> str:
        """Return one line of a body."""
        r = self.r
        return r.choice(
            [
                self.denied, self.denied, self.formatted, self.template, self.matched, self.computed,
                self.calculated, self.calculated, self.opened, self.opened, self.printed, self.walked,
                self.early, self.skipped, self.paired,
            ]
        )(scope)  # fmt: skip

    def bind(self, scope: Scope, kind: str = "any") -> str:
        name = self.name("v")
        scope.add(name, kind)
        return name

    def denied(self, scope: Scope) -> str:
        """Return a negation of something that may be missing."""
        r = self.r
        one, other = self.dynamic(), self.dynamic()
        return "not " + r.choice(
            [
                f'startswith({one}, "a")', f"{one} in {other}", f'{one} in ["a", 1]', f"count({one}) > 1",
                f"{one} > {other}", f"lower({one}) == {other}", f"{one}[{other}]", f"{one} != {other}",
                f"[{one}, lower({other})] == {self.literal('anys', Scope())}", f"{one}[lower({other})] == 1",
                f'regex.match(`^\\w+$`, {one})', f"is_string({one})", f"{one} + 1 == 2", f'"k", {one} in {other}',
                f"{one} == {other} with {ARGS}.s as {json.dumps(word(r))}",
                f"startswith({one}, {other}) with {ARGS}.n as 1",
            ]
        )  # fmt: skip

    def formatted(self, scope: Scope) -> str:
        r = self.r
        values = ", ".join(self.expression("any", 1, scope) for _ in range(r.randrange(3)))
        form = json.dumps(r.choice(FORMATS)) if r.random() < 0.8 else f"{ARGS}.s"
        return f"{self.bind(scope, 'str')} := sprintf({form}, [{values}])"

    def template(self, scope: Scope) -> str:
        parts = [self.expression("any", 1, scope) for _ in range(self.r.randrange(1, 3))]
        text = " \\{".join("{" + part.replace("\n", " ") + "}" for part in parts)
        return f'{self.bind(scope, "str")} := $"a{text}"'

    def matched(self, scope: Scope) -> str:
        r = self.r
        subject = r.choice([f"{ARGS}.s", f"{ARGS}.t", self.expression("str", 1, scope)])
        pattern = r.choice(PATTERNS)
        form = f"`{pattern}`" if r.random() < 0.5 else json.dumps(pattern)
        if r.random() < 0.3:
            return f'{self.bind(scope, "str")} := regex.replace({subject}, {form}, "x")'
        return f"regex.match({form}, {subject})"

    def computed(self, scope: Scope) -> str:
        """Return a match with a pattern that is computed."""
        r = self.r
        pattern = r.choice(
            [f"{ARGS}.s", json.dumps(r.choice(PATTERNS)), 'concat("", ["^", "a"])', "data.known.s"]
        )
        name = self.bind(scope, "str")
        match = r.choice([f"regex.match({name}, {ARGS}.t)", f'glob.match({name}, ["."], {ARGS}.t)'])
        return f"{name} := {pattern}\n\t{match}"

    def calculated(self, scope: Scope) -> str:
        r = self.r
        one, other = (
            r.choice([self.dynamic(), self.expression("num", 1, scope)]) for _ in range(2)
        )
        sign = r.choice("+-*%")
        if r.random() < 0.3:
            return f"{one} {sign} {other} {r.choice(['==', '>', '<='])} {self.expression('num', 1, scope)}"
        if r.random() < 0.2:
            return f"{self.bind(scope, 'num')} := {r.choice(['sum', 'product'])}({self.expression('ints', 1, scope)})"
        divided = f"({one} {sign} {other}) / {r.choice([2, 4, 10, 100])}"
        return f"{self.bind(scope, 'num')} := {r.choice([f'{one} {sign} {other}', divided])}"

    def opened(self, scope: Scope) -> str:
        """Return a line with an object pattern, or a name twice."""
        r = self.r
        source = r.choice([f"{ARGS}.o", f"{ARGS}.rs[0]", self.dynamic(), "data.known.o"])
        one, other = self.bind(scope), self.bind(scope)
        pattern = r.choice(
            [
                f'{{"a": {one}, "b": {other}}}', f'{{"a": {one}}}', f'{{"n": [{one}, {other}]}}',
                f'{{"a": "a", "k": {one}}}', f'{{"a": {{"b": {one}}}}}',
            ]
        )  # fmt: skip
        if r.random() < 0.2:
            return f"[{one}, {one}] = {ARGS}.xs"
        return r.choice(
            [
                f"{pattern} := {source}",
                f"{pattern} = {source}",
                f"some {pattern} in {ARGS}.rs",
                f"[{pattern}, _] = [{source}, 1]",
            ]
        )

    def printed(self, scope: Scope) -> str:
        return f"print({self.expression('any', 1, scope)}, {self.dynamic()})"

    def walked(self, scope: Scope) -> str:
        path, found = self.bind(scope, "anys"), self.bind(scope)
        return f"[{path}, {found}] := walk({self.dynamic()})"

    def early(self, scope: Scope) -> str:
        """Return an iteration that shares a line with a call."""
        source = self.reference(self.r.choice(["strs", "anys"]), scope) or f"{ARGS}.xs"
        return self.r.choice(
            [
                f"lower({self.dynamic()}) == {source}[_]",
                f"startswith(lower({self.dynamic()}), {source}[_])",
                f"{self.bind(scope)} := [lower({self.dynamic()}), {source}[_]]",
            ]
        )

    def skipped(self, scope: Scope) -> str:
        one, other = self.dynamic(), self.dynamic()
        return self.r.choice(
            [
                f'{self.bind(scope)} := sprintf("%v %v", [{one}, lower({other})])',
                f'{self.bind(scope)} := [{{"a": {one}, "b": upper({other})}} | some _ in {ARGS}.xs]',
                f"lower({one}, {self.bind(scope, 'str')})",
            ]
        )

    def paired(self, scope: Scope) -> str:
        return f"{self.dynamic()}, {self.dynamic()} in {self.expression('obj', 1, scope)}"

    def grouped(self) -> str:
        """Return a rule whose values are sets, one for each key."""
        name, item = self.name("r"), self.name("v")
        self.rules[name] = ("object", "obj")
        return f"{name}[{item}.a] contains {item}.n if some {item} in {ARGS}.rs"

    def late_import(self) -> str:
        """Return an import of data, which the rules may use and which follows them."""
        alias = self.name("m")
        self.aliases.append(alias)
        return f"import data.known.{self.r.choice(['n', 's', 'xs', 'o'])} as {alias}"
