"""What a real OPA says in ``policy check``, beside the embedded engine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from lintkit import ALLOW, write

from guardrail.authoring.check import EngineState, check
from guardrail.authoring.opa_program import OpaProgram, find_opa
from guardrail.policy.sources import installed_folder


@pytest.fixture(scope="session")
def opa() -> OpaProgram:
    """The program. Where there is none the test is NOT RUN, and with CI=true that is a failure."""
    found = find_opa()
    if found is None:
        reason = "NOT RUN: no opa (set GUARDRAIL_OPA, or put it on PATH)"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.mark.parametrize("folder", ["starter", "examples"])
def test_both_engines_accept_the_shipped_policies(opa: OpaProgram, folder: str) -> None:
    """With the schema of the input, and nothing but pure functions."""
    report = check([installed_folder() / folder], opa=opa)
    assert [(said.engine, said.state) for said in report.engines] == [
        ("embedded", EngineState.ACCEPTED),
        ("opa", EngineState.ACCEPTED),
    ]
    assert report.ok


@pytest.mark.parametrize(
    ("body", "code", "embedded"),
    [
        ('deny contains "d" if input.resource.name == "x"\n', "rego_type_error", EngineState.ACCEPTED),
        ('deny contains "d" if {\n\tunused := 5\n\tinput.resource.id == "x"\n}\n', "rego_compile_error", EngineState.ACCEPTED),
        ('deny contains "d" if time.now_ns() > 5\n', "rego_type_error", EngineState.REFUSED),
    ],
)  # fmt: skip
def test_each_engine_says_its_own(
    tmp_path: Path, opa: OpaProgram, body: str, code: str, embedded: EngineState
) -> None:
    """At the author's file and line; the report refuses what one of them refuses."""
    folder = write(tmp_path, {"a b.rego": ALLOW + body})
    report = check([folder], opa=opa)
    own, real = report.engines
    assert own.state is embedded
    assert real.state is EngineState.REFUSED
    assert {(finding.file, finding.code) for finding in real.findings} == {
        (str(folder / "a b.rego"), code)
    }
    assert all(5 <= finding.line <= 6 for finding in real.findings)
    assert report.findings == own.findings + real.findings
    assert not report.ok


def test_no_finding_names_a_folder_that_is_gone(tmp_path: Path, opa: OpaProgram) -> None:
    """Where OPA names two places, both are the author's."""
    body = "default x := 1\n\nx := 2 if false\n"
    folder = write(
        tmp_path, {"a.rego": ALLOW + body, "b.rego": "package guardrail.policy\n\ndefault x := 3\n"}
    )
    report = check([folder], opa=opa)
    text = " ".join(finding.message for finding in report.engines[1].findings)
    assert str(folder / "b.rego") in text
    assert "guardrail-opa-" not in text


def test_an_opa_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """And changes no verdict."""
    report = check([write(tmp_path, {"a.rego": ALLOW})])
    assert report.engines[1].state is EngineState.NOT_FOUND
    assert "GUARDRAIL_OPA" in report.engines[1].about
    assert (report.ok, report.answered) == (True, True)


def test_an_opa_that_gives_no_answer_is_no_yes(tmp_path: Path) -> None:
    """A program that fails without a finding."""
    false = shutil.which("false")
    assert false is not None
    report = check([write(tmp_path, {"a.rego": ALLOW})], opa=OpaProgram(Path(false)))
    assert report.engines[1].state is EngineState.FAILED
    assert (report.ok, report.answered) == (True, False)
