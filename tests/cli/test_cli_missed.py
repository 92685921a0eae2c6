"""``guardrail missed`` and ``guardrail redact --detector``: other detectors look at what redaction
left.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail.cli.app import Exit
from tests.support.command_line import Cli
from tests.support.guards import OPEN, guarded

DETECTOR = """
class Badges:
    note = "badges of contractors are not found"
    def find(self, text):
        at = text.find("BADGE-")
        return [(at, at + 10, "badge")] if at >= 0 else []

class Broken:
    def find(self, text):
        raise ValueError(text)

def fails():
    raise OSError("secret")
"""
OFFERED = """[guardrail.detectors]
badges = site_detectors:Badges
broken = site_detectors:Broken
fails = site_detectors:fails
absent = site_detectors:Absent
nothing = builtins:object
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A ledger with one call, and an installed package that offers detectors."""
    with guarded(tmp_path) as guard, guard.session(principal="eve@example.com"):
        guard.declare("send", schema=OPEN, log_output=True)
        guard.call("send", {"note": "for BADGE-1234, bob@example.com"}, lambda **_: "BADGE-5678")
    package = tmp_path / "site"
    (package / "site_detectors-1.dist-info").mkdir(parents=True)
    (package / "site_detectors.py").write_text(DETECTOR)
    (package / "site_detectors-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: site-detectors\nVersion: 1\n"
    )
    (package / "site_detectors-1.dist-info" / "entry_points.txt").write_text(OFFERED)
    monkeypatch.syspath_prepend(package)
    (tmp_path / "guardrail.toml").write_text('[ledger]\npath = "audit.db"\n')
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("site_detectors", None)


def test_the_values_that_a_detector_finds_in_records_are_listed(cli: Cli, project: Path) -> None:
    """What guardrail replaced is not found again, and identities are not searched."""
    ran = cli("missed", "--detector", "badges", "--detector", "guardrail")
    assert ran.code == Exit.RESERVED
    assert ran.out.splitlines() == [
        "record 1  /args/note  badge  badges: BADGE-1234",
        "record 2  /result  badge  badges: BADGE-5678",
        "badges  2 values of class badge",
    ]
    assert "note: badges of contractors are not found" in ran.err
    assert "next:  add rules to [redaction]" in ran.err
    found = json.loads(cli("missed", "--detector", "badges", "--from", "2", "--json").out)
    assert found["missed"] == [
        {
            "seq": 2,
            "place": "/result",
            "key": False,
            "detector": "badges",
            "class": "badge",
            "text": "BADGE-5678",
        }
    ]
    assert (found["exit"], found["found"], found["failures"]) == (5, 1, {})


def test_by_default_the_current_rules_search(cli: Cli, project: Path) -> None:
    """So a team sees which records a new rule would have changed."""
    ran = cli("missed")
    assert (ran.code, ran.out) == (Exit.YES, "")
    assert "nothing found in " in ran.err
    with (project / "guardrail.toml").open("a") as settings:
        settings.write("[redaction.patterns]\nbadge = ['BADGE-[0-9]+']\n")
    ran = cli("missed")
    assert ran.code == Exit.RESERVED
    assert "record 1  /args/note  badge  guardrail: BADGE-1234\n" in ran.out


def test_a_detector_that_fails_makes_the_answer_undetermined(cli: Cli, project: Path) -> None:
    """Whatever the others found. The text is not quoted."""
    ran = cli("missed", "--detector", "broken", "--detector", "badges")
    assert (ran.code, "BADGE-1234" in ran.out) == (Exit.UNKNOWN, True)
    assert "texts: the detector broken raised ValueError" in ran.err
    assert "BADGE" not in ran.err


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("badge", Exit.USAGE, "did you mean badges? known: guardrail, presidio, absent, badges"),
        ("fails", Exit.UNKNOWN, "can't be used: loading it raised OSError"),
        ("absent", Exit.UNKNOWN, "can't be used: loading it raised AttributeError"),
        ("nothing", Exit.UNKNOWN, "can't be used: it has no method find"),
    ],
)
def test_a_detector_that_can_not_be_loaded_is_refused(
    cli: Cli, project: Path, name: str, code: Exit, said: str
) -> None:
    ran = cli("missed", "--detector", name)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert "secret" not in ran.err


def test_presidio_needs_its_extra(cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    ran = cli("missed", "--detector", "presidio")
    assert ran.code == Exit.UNKNOWN
    assert "next:  pip install 'guardrail-ledger[presidio]'" in ran.err


def test_redact_shows_what_a_detector_finds_in_the_recorded_form(cli: Cli, project: Path) -> None:
    """The recorded form itself does not change."""
    (project / "value.json").write_text('{"note": "for BADGE-1234, bob@example.com"}')
    plain = cli("redact", "value.json").out
    ran = cli("redact", "value.json", "--detector", "badges")
    assert ran.code == Exit.RESERVED
    recorded, *rest = ran.out.splitlines()
    assert recorded.startswith(plain[:25])
    assert rest == ["Left by redaction", "  /note  badge  badges: BADGE-1234"]
    found = json.loads(cli("redact", "value.json", "--detector", "badges", "--json").out)
    assert found["values"][0]["missed"][0]["text"] == "BADGE-1234"
    assert (found["exit"], found["failures"]) == (5, {})
    broken = cli("redact", "value.json", "--detector", "broken")
    assert (broken.code, "NOT SEARCHED" in broken.err) == (Exit.UNKNOWN, True)
