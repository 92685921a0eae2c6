"""``policy check`` and ``policy test`` if the settings say that OPA evaluates the policies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from guardrail.cli.app import Exit
from tests.support.command_line import Cli

POLICY = """package guardrail.policy

allow contains strings.render_template("{{.id}}", {"id": "x"}) if input.resource.id == "x"
"""
TEST = """package guardrail.policy_test

test_x if "x" in data.guardrail.policy.allow with input as {"resource": {"id": "x"}}

test_y if "x" in data.guardrail.policy.allow with input as {"resource": {"id": "y"}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "p.rego").write_text(POLICY)
    (tmp_path / "policies" / "p_test.rego").write_text(TEST.partition("test_y")[0])
    (tmp_path / "guardrail.toml").write_text('[policy]\nengine = "opa"\n')
    (tmp_path / "guardrail.toml").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_policies_that_only_opa_loads_are_checked_and_tested(cli: Cli, project: Path) -> None:
    checked = cli("policy", "check")
    assert checked.code == Exit.YES, checked.out
    assert "embedded  refused" in checked.out
    assert "opa       accepted" in checked.out
    tested = cli("policy", "test")
    assert tested.code == Exit.YES, tested.out
    assert tested.out.startswith("OK  1 passed")
    # The same policies, named by their path.
    assert cli("policy", "check", project / "policies").code == Exit.YES
    # A copy belongs to no settings, so the embedded engine would serve it.
    shutil.copytree(project / "policies", project / "copy")
    assert cli("policy", "check", project / "copy").code == Exit.NO


def test_a_failing_test_is_at_its_line(cli: Cli, project: Path) -> None:
    path = project / "policies" / "p_test.rego"
    path.write_text(TEST)
    ran = cli("policy", "test")
    assert ran.code == Exit.NO
    assert f"{path}:5: it is not true on OPA" in " ".join(ran.out.split())


def test_the_contract_counts_on_opa_too(cli: Cli, project: Path) -> None:
    (project / "policies" / "q.rego").write_text('package other\n\nallow contains "q" if true\n')
    for command in ("check", "test"):
        ran = cli("policy", command)
        assert ran.code == Exit.NO
        assert "outside guardrail.policy" in " ".join(ran.out.split())
