"""Built-in functions with an argument of the wrong type: both engines raise an error, or both give
the same value.

Each call is the value of a rule. In a rule's body, OPA's rule index can skip the rule instead.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from guardrail.errors import PolicyError
from guardrail.policy.embedded.compiled import compile_sources
from guardrail.policy.embedded.workbench import EngineRefusal, Workbench
from guardrail.policy.rego.builtins import ALLOWED
from guardrail.policy.sources import ModuleSource
from tests.support.rego.comparison import Reference

VALUES: list[Any] = [None, True, 5, "s", ["s"], {"a": 1}]
BY_TYPE = {"string": "s", "number": 2, "boolean": True, "array": [], "set": [], "object": {}}
LITERALS = {
    "bits.lsh": ["3", "2"],
    "bits.rsh": ["input.a[0]", "2"],
    "format_int": ["input.a[0]", "10"],
    "glob.match": ["input.a[0]", '["/"]', "input.a[2]"],
    "indexof_n": ["input.a[0]", '"s"'],
    "intersection": ["{x | some x in input.a}"],
    "numbers.range": ["1", "2"],
    "numbers.range_step": ["1", "2", "1"],
    "regex.find_all_string_submatch_n": ["input.a[0]", "input.a[1]", "2"],
    "regex.find_n": ["input.a[0]", "input.a[1]", "2"],
    "regex.split": ['"s"', "input.a[1]"],
    "union": ["{x | some x in input.a}"],
}
"""Arguments of functions some of whose arguments must be literals, or are sets."""
WELL_FORMED: dict[str, list[Any]] = {
    "base64.decode": ["cw=="],
    "base64url.decode": ["cw=="],
    "hex.decode": ["73"],
    "json.unmarshal": ["[1]"],
    "net.cidr_contains": ["10.0.0.0/8", "10.0.0.1"],
    "net.cidr_contains_matches": ["10.0.0.0/8", "10.0.0.1"],
    "net.cidr_expand": ["10.0.0.0/30"],
    "net.cidr_intersects": ["10.0.0.0/8", "10.0.0.0/16"],
    "regex.template_match": ["u:{s}", "u:s", "{", "}"],
    "semver.compare": ["1.0.0", "1.0.1"],
    "time.diff": [1000, 2000],
    "time.parse_duration_ns": ["5s"],
    "time.parse_ns": ["2006-01-02", "2026-03-01"],
    "time.parse_rfc3339_ns": ["2026-03-01T00:00:00Z"],
    "units.parse": ["1K"],
    "units.parse_bytes": ["1KB"],
}
"""Arguments of functions that do not process the text ``s``."""
UNCALLED = {"walk"}
"""A call of ``walk`` that is a value is refused."""


def declared(opa: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the types of the arguments of OPA's functions."""
    ran = subprocess.run([opa, "capabilities", "--current"], capture_output=True, check=True)
    return {
        each["name"]: each["decl"].get("args", []) for each in json.loads(ran.stdout)["builtins"]
    }


def proper(kind: dict[str, Any]) -> Any:
    """Return a value of a declared type."""
    of = kind.get("of")
    return proper(of[0]) if kind["type"] == "any" and of else BY_TYPE.get(kind["type"], "s")


def result(engine: Workbench | Reference, rule: str, arguments: list[Any]) -> str:
    """Return the value of a rule, or ``error``."""
    try:
        value = engine.rule(f"data.calls.{rule}", json.dumps({"a": arguments}))
    except (EngineRefusal, PolicyError):
        return "error"
    return "error" if isinstance(value, Exception) else repr(value)


def test_each_function_with_arguments_of_each_type(reference: Reference, opa_program: Path) -> None:
    kinds = declared(opa_program)
    names = {name: "r_" + name.replace(".", "_") for name in ALLOWED if name not in UNCALLED}
    lines = ["package calls"]
    for name, rule in names.items():
        given = LITERALS.get(name) or [f"input.a[{index}]" for index in range(ALLOWED[name])]
        lines.append(f"{rule} := {name}({', '.join(given)})")
    text = "\n\n".join(lines) + "\n"
    assert reference.put("calls.rego", text) == ""
    wrong: list[str] = []
    values = 0
    with Workbench() as bench:
        sources = [ModuleSource("calls.rego", "calls.rego", text)]
        merged, _ = compile_sources(sources, [], "{}", bench, contract_checks=False)
        bench.load([(module.name, module.text) for module in merged], "{}")
        for name, rule in names.items():
            usual = WELL_FORMED.get(name) or [proper(each) for each in kinds[name]]
            for place in range(ALLOWED[name]):
                for value in VALUES:
                    arguments = [*usual[:place], value, *usual[place + 1 :]]
                    ours = result(bench, rule, arguments)
                    theirs = result(reference, rule, arguments)
                    values += ours != "error"
                    if ours != theirs:
                        wrong.append(f"{name} {arguments}: {ours}, in OPA {theirs}")
    reference.clear(["calls.rego"])
    assert wrong == []
    assert values > len(names)
