"""Ordinary policies, in the style of public documentation: each loads in the embedded engine, and
gives OPA's answer to calls with complete, missing and mistyped fields.

A file in ``ordinary/`` begins with its inputs (``# input``) and its data (``# data``).
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guardrail.errors import PolicyError
from guardrail.policy.embedded.compiled import compile_sources
from guardrail.policy.embedded.workbench import EngineRefusal, Workbench
from guardrail.policy.sources import ModuleSource
from tests.support.rego.comparison import Reference, same

FOLDER = Path(__file__).with_name("ordinary")
NAMES = sorted(path.stem for path in FOLDER.glob("*.rego"))
PLACES = 8
"""Maximum number of places that are changed in each input."""


def notes(text: str, kind: str) -> list[Any]:
    """Return the JSON values in the comments of one kind."""
    return [json.loads(found) for found in re.findall(rf"^# {kind} (.*)$", text, re.MULTILINE)]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every member and item, outer ones first."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield (*path, key)
    for key in keys:
        yield from places(value[key], (*path, key))


def variants(value: Any) -> Iterator[Any]:
    """Yield *value* itself, and copies in which one place is missing or has another type."""
    yield value
    yield {}
    for *before, last in list(places(value))[:PLACES]:
        for other in (None, 7, "x", KeyError):
            changed = copy.deepcopy(value)
            at = changed
            for key in before:
                at = at[key]
            if other is KeyError:
                del at[last]
            else:
                at[last] = other
            yield changed


def answer(bench: Workbench, package: str, given: str) -> Any:
    """Return the embedded engine's answer, or the exception. Rules that rewriting added are left
    out.
    """
    try:
        rows = bench.query(package, given)["result"]
    except (EngineRefusal, PolicyError) as error:
        return error
    document = rows[0]["expressions"][0]["value"]
    return {name: value for name, value in document.items() if not name.startswith("__h")}


@pytest.fixture(scope="module")
def bench() -> Iterator[Workbench]:
    with Workbench(time_limit=5.0) as found:
        yield found


@pytest.mark.parametrize("name", NAMES)
def test_an_ordinary_policy_answers_as_in_opa(
    reference: Reference, bench: Workbench, name: str
) -> None:
    """An error instead of an answer denies the call. It must stay rare, and never happens for the
    complete input.
    """
    text = (FOLDER / f"{name}.rego").read_text("utf-8")
    inputs, data = notes(text, "input"), next(iter(notes(text, "data")), {})
    package = f"data.ordinary.{name}"
    source = ModuleSource(f"{name}.rego", name, text)
    merged, _ = compile_sources([source], [], json.dumps(data), bench, contract_checks=False)
    bench.load([(module.name, module.text) for module in merged], json.dumps(data))
    assert reference.put(name, text) == ""
    reference.data(data)
    answered = errors = 0
    for given in inputs:
        for index, changed in enumerate(variants(given)):
            written = json.dumps(changed)
            here, there = answer(bench, package, written), reference.rule(package, written)
            if isinstance(here, Exception):
                assert index or isinstance(there, Exception)
                errors += not isinstance(there, Exception)
            else:
                assert same(here, there), written
                answered += 1
    reference.clear([name])
    assert answered >= 2 * errors
    assert len(inputs) * 2 <= answered


@pytest.mark.parametrize(
    "expression",
    [
        'sprintf("%d", [to_number("1.0")])',
        'sprintf("%v", [[to_number("1.50")]])',
        'json.marshal({"a": to_number("2.0")})',
        'json.marshal(json.unmarshal("[1.0, 2]"))',
        'sprintf("%v", [[units.parse("1.50")]])',
    ],
)
def test_a_number_from_a_text_keeps_its_spelling_or_fails(
    reference: Reference, bench: Workbench, expression: str
) -> None:
    """OPA writes a number as it was spelled, and the engine does not know the spelling."""
    text = f"package ordinary.spelled\n\nx := {expression}\n"
    source = ModuleSource("spelled.rego", "spelled", text)
    merged, _ = compile_sources([source], [], "{}", bench, contract_checks=False)
    bench.load([(module.name, module.text) for module in merged], "{}")
    assert reference.put("spelled", text) == ""
    here = answer(bench, "data.ordinary.spelled", "{}")
    there = reference.rule("data.ordinary.spelled", "{}")
    reference.clear(["spelled"])
    assert isinstance(here, Exception) or same(here, there)


def test_there_are_enough_of_them() -> None:
    assert len(NAMES) >= 95
