"""OPA's own conformance cases: each gives OPA's answer or is refused. A silent difference fails."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from guardrail.errors import PolicyError, PolicyLoadError
from guardrail.policy.embedded.compiled import compile_sources
from guardrail.policy.embedded.workbench import EngineRefusal, Workbench
from guardrail.policy.sources import ModuleSource

pytestmark = pytest.mark.corpora

CORPORA = os.environ.get("GUARDRAIL_CORPORA", "")
CASES = Path(CORPORA) / "rego_cases.jsonl.gz"
ANSWERED_AT_LEAST = 1500
"""Cases that must be answered, not refused: a preflight that refuses everything proves nothing."""


def cases() -> list[dict[str, Any]]:
    if not CORPORA or not CASES.exists():
        pytest.skip("NOT RUN: GUARDRAIL_CORPORA names no folder with rego_cases.jsonl.gz")
    with gzip.open(CASES, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def plain(value: Any, *, unordered: bool) -> Any:
    """A value in a form where equal means equal in Rego: 1 and 1.0 are one number, true is none."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return ["literal", value]
    if isinstance(value, int | float):
        return ["number", int(value) if value == int(value) else value]
    if isinstance(value, list):
        items = [plain(item, unordered=unordered) for item in value]
        return ["list", sorted(items, key=repr) if unordered else items]
    return [
        "object",
        sorted([key, plain(item, unordered=unordered)] for key, item in value.items()),
    ]


def verdict(case: dict[str, Any], bench: Workbench) -> str:
    """Return ``same``, ``refused: ...``, ``loud`` or ``SILENT: ...``."""
    modules = case.get("modules") or []
    query = case["query"]
    sources = [
        ModuleSource(f"{index}.rego", f"{index:03}", text) for index, text in enumerate(modules)
    ]
    sources.append(
        ModuleSource(
            "query.rego", "query", f"package conformance_query\n\nanswer if {{\n\t{query}\n}}\n"
        )
    )
    data = json.dumps(case.get("data") or {})
    try:
        merged, _ = compile_sources(sources, [], data, bench, contract_checks=False)
    except PolicyLoadError as error:
        return "refused: " + error.findings[0].code
    served = [(module.name, module.text) for module in merged]
    asked = next(module.text for module in merged if module.package == ("conformance_query",))
    # The query as it was rewritten. Rules that were added follow it.
    query = asked[asked.index("answer if {") + 11 : asked.index("\n}\n")]
    if "v" not in case.get("input", {"v": None}):
        return "refused: an input that is no JSON"
    policy_input = json.dumps(case["input"]["v"]) if "input" in case else None
    try:
        bench.load(served, data)
        result = bench.query(query, policy_input).get("result", [])
    except EngineRefusal:
        return "loud" if "want_result" in case else "same"
    except PolicyError as error:
        return f"loud: {error.detail}"
    if "want_result" not in case:
        return "SILENT: an answer where OPA raises"
    got = [
        {name: value for name, value in row["bindings"].items() if not name.startswith("__h")}
        for row in result
        if all(item["value"] is not False for item in row["expressions"])
    ]
    unordered = bool(case.get("sort_bindings"))
    # The rows of a result have no order.
    here, there = (
        sorted((plain(row, unordered=unordered) for row in rows), key=repr)
        for rows in (got, case["want_result"])
    )
    same = here == there
    return "same" if same else f"SILENT: {json.dumps(got)[:300]}"


def test_every_case_gives_opas_answer_or_is_refused() -> None:
    """A case that is answered, and not as OPA answers it, is a defect."""
    found: list[tuple[str, str]] = []
    with Workbench(time_limit=5.0) as bench:
        found = [(case["note"], verdict(case, bench)) for case in cases()]
    silent = [f"{note}: {said}" for note, said in found if said.startswith("SILENT")]
    counts = Counter(said.split(":")[0] for _, said in found)
    print(dict(counts))
    assert len(found) == 2067
    assert silent == []
    assert counts["same"] >= ANSWERED_AT_LEAST
