"""Built-in functions that the worker computes give OPA's results, for all kinds of arguments.

``GUARDRAIL_CALLS`` says how many calls of each function, ``GUARDRAIL_FUZZ_SEED`` which.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from typing import Any

from guardrail.errors import PolicyError
from guardrail.policy.embedded.compiled import compile_sources
from guardrail.policy.embedded.workbench import EngineRefusal, Workbench
from guardrail.policy.rego.builtins import ALLOWED
from guardrail.policy.sources import ModuleSource
from tests.support.rego.comparison import Reference
from tests.support.rego.function_arguments import FUNCTIONS, PLAIN, written

COUNT = int(os.environ.get("GUARDRAIL_CALLS") or 15)
SEED = os.environ.get("GUARDRAIL_FUZZ_SEED", "guardrail")


def rules() -> dict[str, tuple[str, str]]:
    """Return function and expression by the name of a rule."""
    found = {}
    for function, (_, forms) in FUNCTIONS.items():
        for number, form in enumerate(forms):
            arguments = ", ".join(each.format(i=index) for index, each in enumerate(form))
            name = f"{function.replace('.', '_')}_{number}"
            found[name] = (function, f"{function}({arguments})")
    return found


def plain(value: Any) -> Any:
    """Return *value* so that 1, 1.0 and true are told apart as Rego does."""
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def answer(ask: Callable[[], Any]) -> Any:
    """Return a value, ``UNDEFINED``, or an ``Exception``."""
    try:
        return ask()
    except (EngineRefusal, PolicyError, HTTPException) as error:
        # OPA itself crashes for some networks.
        return error


def test_functions_give_the_results_of_opa(
    reference: Reference, record_property: Callable[[str, object], None]
) -> None:
    """If OPA raises, the engine raises. If OPA gives a value, the engine gives it or raises."""
    expressions = rules()
    text = "package calls\n" + "".join(
        f"\n{name} := {expression}\n" for name, (_, expression) in expressions.items()
    )
    sources = [ModuleSource("calls.rego", "calls.rego", text)]
    assert reference.put("calls.rego", text) == ""
    states: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    wrong: list[str] = []
    with Workbench(time_limit=5.0) as bench:
        merged, _ = compile_sources(sources, [], "{}", bench, contract_checks=False)
        bench.load([(module.name, module.text) for module in merged], "{}")
        for name, (function, _) in expressions.items():
            r = random.Random(f"{SEED}-{name}")
            for _ in range(COUNT):
                given = f'{{"a": {written(FUNCTIONS[function][0](r))}}}'
                question = (f"data.calls.{name}", given)
                theirs = answer(partial(reference.rule, *question))
                ours = answer(partial(bench.rule, *question))
                if isinstance(ours, Exception):
                    states["raised" if isinstance(theirs, Exception) else "loud"] += 1
                elif plain(ours) == plain(theirs):
                    states["same"] += 1
                    answered[function] += 1
                else:
                    wrong.append(f"{name} {given}: {ours!r}, in OPA {theirs!r}"[:1000])
    reference.clear(["calls.rego"])
    record_property("figure", f"{COUNT} calls of each function: {dict(states)}, {len(wrong)} wrong")
    assert wrong == []
    assert set(answered) == set(FUNCTIONS)
    assert states["same"] > states["loud"]


def test_every_function_that_is_called_is_allowed() -> None:
    assert set(FUNCTIONS) <= set(ALLOWED)
    assert all(
        len(form) == ALLOWED[name] for name, (_, forms) in FUNCTIONS.items() for form in forms
    )
    assert PLAIN
