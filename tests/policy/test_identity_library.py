"""``guardrail.lib.identity`` and ``guardrail.lib.tenant``: complete tests, and the same answers on
both engines.
"""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from guardrail.authoring.check import check
from guardrail.authoring.test import run_tests
from guardrail.policy.embedded.compiled import compile_policies
from guardrail.policy.embedded.workbench import Workbench
from guardrail.policy.sources import installed_folder, load_policies
from tests.support.policies import write
from tests.support.rego.comparison import Reference
from tests.support.rego.libraries import coverage, surviving_conditions
from tests.support.rego.unusual_values import value

LIBRARIES = ("identity", "tenant")
ASKED = """package guardrail.policy

import data.guardrail.lib.identity
import data.guardrail.lib.tenant

answers := [
	identity.verified,
	identity.verified_person,
	identity.verified_by(input.asked),
	identity.authenticated_within(input.asked),
	sort(identity.roles),
	identity.has_role(input.asked),
	identity.has_any_role(input.asked),
	identity.has_every_role(input.asked),
	identity.has_any_role({input.asked}),
	identity.has_every_role({input.asked}),
	identity.in_group(input.asked),
	identity.actors,
	identity.delegated,
	identity.delegation_depth,
	identity.current_actor,
	identity.current_actor_is(input.asked),
	identity.any_actor_is(input.asked),
	identity.every_actor_in(input.asked),
	identity.verified_agent,
	identity.agent_is(input.asked),
	identity.agent_in(input.asked),
	identity.agent_version_is(input.asked),
	identity.agent_framework_is(input.asked),
	identity.agent_verified_by(input.asked),
	identity.agent_charter_in(input.asked),
	identity.agent_charter_in({input.asked}),
	tenant.is(input.asked),
	tenant.one_of(input.asked),
]
"""
CALLER: dict[str, Any] = {
    "subject": {
        "id": "alice@example.com",
        "type": "user",
        "properties": {
            "assurance": "verified",
            "authenticated_at": "2026-07-01T10:00:00Z",
            "groups": ["finance"],
            "issuer": "https://login.example.com",
            "method": "oidc_jwt",
            "roles": ["clerk", "reader"],
            "tenant": "acme",
        },
    },
    "context": {
        "agent": {
            "id": "bot",
            "version": "7",
            "framework": "langchain",
            "assurance": "verified",
            "method": "oidc_jwt",
            "issuer": "https://login.example.com",
            "charter": "sha256:00",
        },
        "delegation": [{"sub": "bot"}, {"sub": "desk"}],
        "time": "2026-07-01T10:05:00.000000Z",
    },
}
PLACES = [
    (),
    ("subject",),
    ("subject", "id"),
    ("subject", "type"),
    ("subject", "properties"),
    *(("subject", "properties", name) for name in CALLER["subject"]["properties"]),
    ("context",),
    ("context", "agent"),
    *(("context", "agent", name) for name in CALLER["context"]["agent"]),
    ("context", "delegation"),
    ("context", "delegation", 1),
    ("context", "delegation", 1, "sub"),
    ("context", "time"),
]
INPUTS = 1_500
IMPLIED = {"is_number(seconds)", "is_string(text)", "begins_with_day(text)"}
"""Conditions that are false only where a later condition is false as well, or raises an error."""


def unusual(r: random.Random) -> dict[str, Any]:
    """Return an input in which parts are missing or have any value."""
    asked = copy.deepcopy(CALLER)
    for _ in range(r.choice([0, 1, 1, 2, 4])):
        place = r.choice(PLACES)
        texts = [each for each in leaves(CALLER) if isinstance(each, str)]
        new = r.choice([value(r), r.choice(texts), [r.choice(texts)], []])
        if not place:
            asked = {}
            continue
        parent: Any = asked
        for name in place[:-1]:
            parent = parent[name] if has(parent, name) else None
        if has(parent, place[-1]):
            if r.random() < 0.3 and isinstance(parent, dict):
                del parent[place[-1]]
            else:
                parent[place[-1]] = new
    lists = [["clerk", "reader"], ["bot", "desk"], ["acme"], ["sha256:00"]]
    known = [*leaves(CALLER), *lists, 300, 299, 0, 1e9]
    asked["asked"] = r.choice([value(r), r.choice(known), r.choice(known)])
    return asked


def has(parent: Any, name: Any) -> bool:
    if isinstance(parent, dict):
        return name in parent
    return isinstance(parent, list) and isinstance(name, int) and name < len(parent)


def leaves(content: Any) -> list[Any]:
    if isinstance(content, dict):
        return [leaf for each in content.values() for leaf in leaves(each)]
    if isinstance(content, list):
        return [leaf for each in content for leaf in leaves(each)]
    return [content]


def test_both_engines_have_the_same_answers_which_are_never_undefined(
    tmp_path: Path, reference: Reference
) -> None:
    """Nor errors, for whatever input."""
    loaded = load_policies([write(tmp_path, {"p.rego": ASKED})])
    r = random.Random(11)
    seen: list[set[str]] = [set() for _ in range(ASKED.count("\t"))]
    with Workbench() as bench:
        compiled = compile_policies(loaded, bench)
        bench.load(compiled.texts, compiled.data)
        for name in LIBRARIES:
            source = next(each for each in loaded.modules if each.key.endswith(f"/{name}.rego"))
            assert reference.put(f"lib-{name}", source.text) == ""
        assert reference.put("asked", ASKED) == ""
        for _ in range(INPUTS):
            document = json.dumps(unusual(r))
            there = reference.rule("data.guardrail.policy.answers", document)
            assert isinstance(there, list), document
            assert bench.rule("data.guardrail.policy.answers", document) == there, document
            for known, answer in zip(seen, there, strict=True):
                known.add(json.dumps(answer))
    # Every question had more than one answer.
    assert [len(known) > 1 for known in seen] == [True] * len(seen)


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_tests_of_the_library_cover_every_line(opa_program: Path, name: str) -> None:
    assert coverage(opa_program, name) == (100, None)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_test_of_the_library_fails_without_any_one_of_its_conditions(
    tmp_path: Path, opa_program: Path, name: str
) -> None:
    assert surviving_conditions(opa_program, name, tmp_path) <= IMPLIED


def test_the_example_passes_its_tests_and_has_no_warnings() -> None:
    folder = installed_folder() / "examples"
    paths = [folder / "verified_payments.rego", folder / "verified_payments_test.rego"]
    report = run_tests(paths)
    assert report.ok
    assert len(report.results) == 6
    assert check(paths).lints == ()
