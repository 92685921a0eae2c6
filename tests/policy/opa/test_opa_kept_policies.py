"""Policies that an OPA server evaluates are kept if this machine has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardrail import Guard
from guardrail.config import Settings
from guardrail.ledger.kept_policies import KeptPolicies
from guardrail.ledger.reader import LedgerReader
from guardrail.review.rederive import NotDerived, Rederivation, decided_lines, rederive
from tests.support.guards import OPEN, Body
from tests.support.opa_server import bundle_file, served

POLICY = (
    'package guardrail.policy\n\nallow contains "small" if input.action.properties.args.n < 5\n'
)


def called(
    opa_program: Path, folder: Path, *, named: bool, path: str = "policies"
) -> tuple[KeptPolicies, Rederivation]:
    """Make one call with a hidden argument, and derive its decision again."""
    (folder / "policies").mkdir()
    (folder / "policies" / "p.rego").write_text(POLICY)
    archive, revision = bundle_file(folder / "b.tgz", [folder / "policies"])
    (folder / "other").mkdir()
    (folder / "other" / "p.rego").write_text(POLICY + "# another policy\n")
    with served(opa_program, folder, "--bundle", str(archive)) as server:
        chosen = Settings().override(
            ledger={"path": folder / "audit.db"},
            policy={"engine": "opa", "path": [folder / path]},
            opa={
                "url": server.url,
                "start_limit_ms": 30_000,
                **({"revisions": revision} if named else {}),
            },
            identity={"require": "any"},
        )
        with Guard.open(chosen) as guard:
            guard.declare("send", schema=OPEN)
            guard.call("send", {"n": 1, "password": "quiet-otter-42"}, Body())
    kept = KeptPolicies(folder / "audit.db")
    with LedgerReader.open(folder / "audit.db") as reader:
        return kept, rederive(decided_lines(reader.lines()), kept.read)


@pytest.mark.parametrize("named", [False, True])
def test_policies_at_the_path_in_the_settings_are_kept_and_derived_by_the_embedded_engine(
    opa_program: Path, tmp_path: Path, named: bool
) -> None:
    """Also if the settings name the revision: it contains the digest of these policies."""
    kept, found = called(opa_program, tmp_path, named=named)
    assert len(kept.files()) == 2
    assert (found.same, found.gaps, found.other_engines) == (1, {}, 1)
    assert found.engine[0] == "regorus"
    assert [used.engine for used in found.policies] == ["opa"]


@pytest.mark.parametrize("path", ["other", "missing"])
def test_policies_that_only_the_server_has_are_not_kept_and_the_report_says_so(
    opa_program: Path, tmp_path: Path, path: str
) -> None:
    kept, found = called(opa_program, tmp_path, named=True, path=path)
    assert kept.files() == []
    assert list(found.gaps) == [NotDerived.NOT_KEPT]
