"""A real OPA to compare with, and what the two engines make of one program."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any, Self

from guardrail.errors import Finding, PolicyError
from guardrail.policy.embedded.compiled import merge_served, parse_sources, rewrite
from guardrail.policy.embedded.rehearsal import sample_input
from guardrail.policy.embedded.workbench import UNDEFINED, EngineRefusal, Workbench
from guardrail.policy.input_limits import check_input
from guardrail.policy.rego.merge import MergedPackage
from guardrail.policy.rego.preflight import examine
from guardrail.policy.sources import ModuleSource
from tests.support.rego.unusual_values import arguments

_ROUNDS = 6
DECISION = "data.guardrail.main.decision"


def find_opa() -> str | None:
    """Return the program, or None where there is none."""
    return os.environ.get("GUARDRAIL_OPA") or shutil.which("opa")


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        opened = socket.socket(socket.AF_UNIX)
        opened.settimeout(30)
        try:
            opened.connect(self._path)
        except OSError:
            opened.close()
            raise
        self.sock = opened


class Reference:
    """An OPA server of one's own, on a socket in a folder of one's own."""

    def __init__(self, program: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="opa-")
        path = os.path.join(self._folder, "s")
        self._process = subprocess.Popen(
            [
                program,
                "run",
                "--server",
                "--addr",
                f"unix://{path}",
                "--log-level",
                "error",
                "--disable-telemetry",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._connection = _Connection(path)
        for _ in range(1200):
            # The socket is there before the server listens.
            try:
                self._connection.connect()
                break
            except OSError:
                time.sleep(0.05)
        for source in installed():
            assert self.put(source.key, source.text) == ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder)

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
        """Return status and JSON of one request."""
        self._connection.request(method, path, body)
        answer = self._connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else {}

    def put(self, name: str, text: str) -> str:
        """Load a module; return "" or why not."""
        status, said = self.ask("PUT", f"/v1/policies/{name}", text.encode())
        return "" if status == 200 else json.dumps(said.get("errors") or said)[:600]

    def clear(self, names: list[str]) -> None:
        """Forget modules. One that another one needs goes after it."""
        waiting = list(names)
        for _ in names:
            waiting = [
                name
                for name in waiting
                if self.ask("DELETE", f"/v1/policies/{name}")[0] not in {200, 404}
            ]
        assert not waiting

    def data(self, document: dict[str, Any]) -> None:
        """Put each member of *document* at its name."""
        for name, content in document.items():
            status, said = self.ask("PUT", f"/v1/data/{name}", json.dumps(content).encode())
            assert status == 204, said

    def rule(self, path: str, policy_input: str) -> Any:
        """Return the value of a rule, ``UNDEFINED``, or an ``Exception``."""
        url = (
            "/v1/data/"
            + path.removeprefix("data.").replace(".", "/")
            + "?strict-builtin-errors=true"
        )
        status, said = self.ask("POST", url, b'{"input": ' + policy_input.encode() + b"}")
        if status != 200:
            return RuntimeError(json.dumps(said)[:400])
        return said.get("result", UNDEFINED)


COMPOSITION = """package guardrail.main

default effect := "deny"

effect := "allow" if {
	count(data.guardrail.policy.deny) == 0
	count(data.guardrail.policy.require_approval) == 0
	count(data.guardrail.policy.allow) > 0
}

decision := {
	"effect": effect,
	"fired": [
		[r | some r in data.guardrail.policy.allow],
		[r | some r in data.guardrail.policy.deny],
		[r | some r in data.guardrail.policy.require_approval],
	],
}
"""
"""The heart of guardrail's own: the whole of it would be judged again with every program."""
BASE = """package guardrail.policy

allow contains "" if false

deny contains "" if false

require_approval contains "" if false
"""


def installed() -> list[ModuleSource]:
    """Return what is loaded with every program."""
    texts = {"main": COMPOSITION, "base": BASE}
    return [ModuleSource(name, name, text, installed=True) for name, text in texts.items()]


@dataclass
class Outcome:
    """What became of one program."""

    state: str
    """``compared``, ``refused``, ``opa refuses`` or ``unloadable``."""
    why: str = ""
    modules: list[str] = field(default_factory=list)
    """What was compared: without the rules that were refused."""
    refused: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    flips: list[str] = field(default_factory=list)
    """Calls that the embedded engine allows and OPA does not."""
    answers: int = 0
    loud: int = 0
    allowed: int = 0


def plain(content: Any) -> Any:
    """Return a value in a form where equal means equal in Rego."""
    if isinstance(content, bool) or content is None or isinstance(content, str):
        return ["literal", content]
    if isinstance(content, int | float):
        if abs(content) >= 2**64:
            # OPA writes out all digits where the embedded engine has an exponent.
            return ["number", float(content)]
        whole = isinstance(content, int) or content.is_integer()
        return ["number", int(content) if whole else content]
    if isinstance(content, list):
        return ["list", [plain(item) for item in content]]
    return ["object", sorted([_key(key), plain(item)] for key, item in content.items())]


def _key(text: str) -> str:
    """Keys that are no texts come out as JSON, with numbers as they were written."""
    try:
        return json.dumps(plain(json.loads(text)))
    except ValueError:
        return text


def unordered(content: Any) -> Any:
    """The same, with every list sorted: sets come out of both engines as lists."""
    if isinstance(content, list):
        return sorted((unordered(item) for item in content), key=repr)
    return content


class Comparison:
    """Runs programs through both engines."""

    def __init__(self, reference: Reference, bench: Workbench, *, judged: bool = True) -> None:
        """*judged* False leaves the preflight out, to see what it is for."""
        self.reference, self.bench, self._judged = reference, bench, judged
        self._own, problems = parse_sources(installed(), [], bench)
        assert not problems

    def run(
        self, modules: list[str], data: dict[str, Any], inputs: list[str], rules: list[str]
    ) -> Outcome:
        """Return what both make of *modules* for each input: the decision, and the value of each
        rule.
        """
        document = json.dumps(data)
        modules, merged, refused = self._pruned(modules, document)
        if not merged:
            return Outcome("refused", refused=refused)
        text = "\n".join(modules)
        rules = [name for name in rules if re.search(rf"^(default )?{name}\b", text, re.MULTILINE)]
        try:
            self.bench.load([(module.name, module.text) for module in merged], document)
        except EngineRefusal as refusal:
            return Outcome("unloadable", refusal.text[-200:], refused=refused)
        names = [f"x{index}" for index in range(len(modules))]
        try:
            outcome = self._compare(names, modules, data, inputs, rules)
            outcome.refused, outcome.modules = refused, modules
            return outcome
        finally:
            self.reference.clear(names)

    def _judge(
        self, sources: list[ModuleSource], document: str
    ) -> tuple[list[MergedPackage], list[Finding]]:
        parsed, findings = parse_sources(sources, [], self.bench)
        parsed, problems = rewrite(parsed, document, self.bench)
        findings += problems
        if findings:
            return [], findings
        findings = examine([*self._own, *parsed], document) if self._judged else []
        merged, clashes = merge_served([*self._own, *parsed], self.bench)
        return merged, [*findings, *clashes]

    def _pruned(
        self, modules: list[str], document: str
    ) -> tuple[list[str], list[MergedPackage], list[str]]:
        """Return *modules* without the rules that are refused, merged, and the codes with which
        they were refused.
        """
        codes: list[str] = []
        for _ in range(_ROUNDS):
            sources = [
                ModuleSource(f"{index}.rego", f"x{index}", text)
                for index, text in enumerate(modules)
            ]
            merged, findings = self._judge(sources, document)
            if not findings:
                return modules, merged, codes
            codes += [finding.code for finding in findings]
            lines = [
                {finding.line for finding in findings if finding.file == source.name}
                for source in sources
            ]
            modules = connected(
                [without(text, those) for text, those in zip(modules, lines, strict=True)]
            )
        return modules, [], codes

    def _compare(
        self,
        names: list[str],
        modules: list[str],
        data: dict[str, Any],
        inputs: list[str],
        rules: list[str],
    ) -> Outcome:
        problem = self._put(names, modules)
        self.reference.data(data)
        outcome = Outcome("opa refuses" if problem else "compared", problem)
        for policy_input in inputs:
            try:
                check_input(policy_input.encode())
            except PolicyError:
                continue
            whole: Any = None
            if not problem:
                whole = self.reference.rule("data.guardrail", policy_input)
            for rule in [DECISION, *(f"data.guardrail.policy.{name}" for name in rules)]:
                self._one(outcome, rule, policy_input, whole)
        return outcome

    def _put(self, names: list[str], modules: list[str]) -> str:
        """Load *modules*; return "" or why OPA does not take them."""
        waiting = list(zip(names, modules, strict=True))
        # A module may need functions of another one.
        for _ in modules:
            waiting = [(name, text) for name, text in waiting if self.reference.put(name, text)]
        if not waiting:
            return ""
        # And the other one may need functions of it.
        self.reference.clear(names)
        if any("\npackage guardrail.policy.team" in f"\n{text}" for text in modules):
            return "several packages"
        imports = dict.fromkeys(re.findall(r"^import .*$", "\n".join(modules), re.MULTILINE))
        rest = [re.sub(r"^(package|import) .*$", "", text, flags=re.MULTILINE) for text in modules]
        return self.reference.put(
            names[0], "\n".join(["package guardrail.policy", *imports, *rest])
        )

    def _there(self, rule: str, policy_input: str, whole: Any) -> Any:
        """Return OPA's value of *rule*, which is in *whole* unless a rule raises."""
        if not isinstance(whole, dict):
            return self.reference.rule(rule, policy_input)
        for name in rule.split(".")[2:]:
            if name not in whole:
                return UNDEFINED
            whole = whole[name]
        return whole

    def _one(self, outcome: Outcome, rule: str, policy_input: str, whole: Any) -> None:
        try:
            here = self.bench.rule(rule, policy_input)
        except (EngineRefusal, PolicyError):
            # No decision: the call is denied.
            outcome.loud += 1
            return
        there: Any = RuntimeError(outcome.why)
        if outcome.state == "compared":
            there = self._there(rule, policy_input, whole)
        outcome.answers += 1
        allows = rule == DECISION and here is not UNDEFINED and here["effect"] == "allow"  # type: ignore[index]
        outcome.allowed += allows
        if allows and not (isinstance(there, dict) and there.get("effect") == "allow"):
            outcome.flips.append(f"{policy_input}: OPA {there}")
        if outcome.state == "compared" and not same(here, there):
            kind = (
                "order"
                if not isinstance(there, Exception)
                and there is not UNDEFINED
                and here is not UNDEFINED
                and unordered(plain(here)) == unordered(plain(there))
                else "value"
            )
            outcome.differences.append(
                f"{kind}: {rule}: here {here!r}, OPA {there!r}, input {policy_input}"
            )


def without(text: str, lines: set[int]) -> str:
    """Return a module without the rules that stand on any of *lines*."""
    kept: list[str] = []
    first = 1
    for chunk in text.rstrip("\n").split("\n\n"):
        last = first + chunk.count("\n") + 1
        if not lines & set(range(first, last + 1)) or chunk.startswith("package "):
            kept.append(chunk)
        first = last + 1
    return "\n\n".join(kept) + "\n"


def imported(text: str) -> set[str]:
    """Return the names of the imports of a module."""
    return set(re.findall(r"^import .* as (m[0-9]+)$", text, re.MULTILINE))


def connected(modules: list[str]) -> list[str]:
    """Return *modules* without the rules that need generated rules or imports which are gone."""
    while True:
        defined = set(re.findall(r"^(?:default )?([rf][0-9]+)\b", "\n".join(modules), re.MULTILINE))
        kept = [
            "\n\n".join(
                chunk
                for chunk in text.split("\n\n")
                if set(re.findall(r"\b[rf][0-9]+\b", chunk)) <= defined
                and set(re.findall(r"\bm[0-9]+\b", chunk)) <= imported(text)
            )
            for text in modules
        ]
        if kept == modules:
            return kept
        modules = kept


def same(here: Any, there: Any) -> bool:
    """Whether both answers are one."""
    if isinstance(there, Exception):
        return False
    if here is UNDEFINED or there is UNDEFINED:
        return here is there
    return bool(plain(here) == plain(there))


def call(r: random.Random) -> str:
    """Return the input of a generated call."""
    return sample_input(args=arguments(r), declared=r.random() < 0.8)
