"""Policies that no guard takes, whatever the engine: what they are called, how much they carry,
what their ids hold.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardrail.authoring import check

POLICY = 'package guardrail.policy\n\nallow contains "a" if input.resource.id == "a"\n'


def found(folder: Path, body: str) -> list[tuple[str, int]]:
    """Return code and line of each finding about a policy with *body*."""
    (folder / "p.rego").write_text(POLICY + body, encoding="utf-8")
    report = check([folder])
    assert all(finding.hint for finding in report.findings)
    return [(finding.code, finding.line) for finding in report.findings]


@pytest.mark.parametrize(
    "id_", ["a\\u001b[31m", "a\\nb", "a\\u202eb", "a\\u200bb", "a\\u2028b", "a\\u0000", "\\ud83d\\ude00\\ue000", ""]
)  # fmt: skip
@pytest.mark.parametrize(
    "rule",
    [
        'deny contains "{}" if input.resource.id == "x"\n',
        'allow contains {{"rule": "{}", "message": "m"}} if input.resource.id == "x"\n',
        'require_approval contains {{"message": "m", "rule": "{}"}} if input.resource.id == "x"\n',
        'hide contains "{}" if input.resource.id == "x"\n',
    ],
)
def test_an_id_that_does_not_show_as_what_it_is_is_refused(
    tmp_path: Path, rule: str, id_: str
) -> None:
    """Escape sequences, line feeds, invisible and bidirectional characters, and nothing at all."""
    assert ("rule-id", 4) in found(tmp_path, rule.format(id_))


def test_an_id_that_is_put_together_is_judged_by_its_parts(tmp_path: Path) -> None:
    """As far as they are written out."""
    body = 'deny contains concat("", ["a", "\\u001b"]) if input.resource.id == "x"\n'
    assert ("rule-id", 4) in found(tmp_path, body)
    assert found(tmp_path, body.replace("\\u001b", "b")) == []


@pytest.mark.parametrize("id_", ["a.b-c_d", "too much, or no amount", "über 100 €", "日本", "a 😀"])
def test_ids_are_words_of_any_language(tmp_path: Path, id_: str) -> None:
    """With spaces and punctuation; messages may have several lines."""
    body = f'deny contains {{"rule": "{id_}", "message": "a\\nb"}} if input.resource.id == "x"\n'
    assert found(tmp_path, body) == []


@pytest.mark.parametrize(
    ("name", "package", "code"),
    [
        ("a.rego", "policy", "package-name"),
        ("a.rego", "guardrail.policies", "package-name"),
        ("a.rego", "guardrail", "package-name"),
        ("a.rego", "guardrail.main", "reserved-package"),
        ("a.rego", "guardrail.lib.mine", "reserved-package"),
        ("a.rego", "system.log", "package-name"),
        ("a.rego", "guardrail.policy_test", "package-name"),
        ("a_test.rego", "other_test", "package-name"),
    ],
)
def test_packages_of_others_are_refused(tmp_path: Path, name: str, package: str, code: str) -> None:
    """Policies are in guardrail.policy and below it, tests in such packages that end in _test."""
    (tmp_path / name).write_text(f"package {package}\n\nx := 1\n")
    assert (code, 1) in found(tmp_path, "")


@pytest.mark.parametrize(
    ("name", "package"),
    [("a.rego", "guardrail.policy.help"), ("a_test.rego", "guardrail.policy.help_test"), ("a_test.rego", "guardrail.policy_test")],
)  # fmt: skip
def test_packages_below_are_taken(tmp_path: Path, name: str, package: str) -> None:
    """For helpers, and for tests."""
    (tmp_path / name).write_text(f"package {package}\n\nx := 1\n")
    assert found(tmp_path, "") == []


def test_ten_megabytes_of_data_are_refused(tmp_path: Path) -> None:
    """With what to do instead."""
    (tmp_path / "data.json").write_text(json.dumps({"names": ["x" * 100] * 100_000}))
    assert found(tmp_path, "") == [("too-large", 0)]
