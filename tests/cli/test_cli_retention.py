"""The commands that keep and delete records, on a ledger whose records are old."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from guardrail.cli.app import Exit
from guardrail.core.log.record import decode
from guardrail.ledger.reader import LedgerReader
from tests.support.command_line import Cli, build


def _then(days: float) -> str:
    then = datetime.now(UTC) - timedelta(days=days)
    return then.isoformat(timespec="microseconds").replace("+00:00", "Z")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a ledger of records that are 500 days old, and its settings; it is the current
    one.
    """
    for module in ("sqlite.appending", "sqlite.batch", "writing.writer"):
        monkeypatch.setattr(f"guardrail.ledger.{module}.utc_timestamp", lambda: _then(500))
    folder, other = tmp_path / "work", tmp_path / "elsewhere"
    folder.mkdir()
    other.mkdir()
    build(folder / "audit.db")
    (folder / "guardrail.toml").write_text(
        '[ledger]\npath = "audit.db"\n[retention]\narchive = "archive"\narchive_days = 3650\n'
        f'[anchors]\nfile = "{other}/heads"\n'
    )
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the clock be right again."""

    def right() -> None:
        for module in ("sqlite.appending", "sqlite.batch", "writing.writer"):
            monkeypatch.setattr(f"guardrail.ledger.{module}.utc_timestamp", lambda: _then(0))

    return right


def types(db: Path) -> list[str]:
    with LedgerReader.open(db) as reader:
        return [decode(line)["type"] for _, _, line in reader.lines()]


def test_a_timer_does_all_that_is_due(cli: Cli, project: Path, today: Callable[[], None]) -> None:
    """Sealed and archived at once; deleted when the segment is past its time and a head is kept
    elsewhere.
    """
    db = project / "audit.db"
    first = cli("retention", "run", "--reason", "nightly")
    assert "closed" in first.out
    assert "archived" in first.out
    assert first.code == Exit.RESERVED  # no head is kept elsewhere yet
    assert "no anchor vouches for a head" in first.err
    today()
    assert cli("retention", "status", "--json").code == Exit.RESERVED
    assert cli("anchor").code == Exit.YES
    dry = json.loads(cli("retention", "run", "--dry-run", "--json").out)["due"]
    assert dry["prune_before"] == 12
    second = cli("retention", "run", "--json")
    assert second.code == Exit.YES
    document = json.loads(second.out)
    assert document["pruned"]["deleted"] == 11
    assert document["problems"] == []
    assert len(document["expired"]) == 1
    third = cli("retention", "run", "--dry-run")
    assert (third.code, third.err) == (Exit.YES, "")
    assert "admin.pruned" in types(db)
    assert cli("verify").code in {Exit.YES, Exit.RESERVED}
    assert len(list((project / "archive").glob("*.gz"))) == 2


@pytest.mark.parametrize(
    ("folder", "command"), [("audit.db-segments", "seal"), ("archive", "archive")]
)
def test_a_copy_that_is_gone_is_named_until_it_is_made_again(
    cli: Cli, project: Path, today: Callable[[], None], folder: str, command: str
) -> None:
    """By status and by doctor, with the command that makes it from the records."""
    assert "archived" in cli("retention", "run", "--reason", "nightly").out
    today()
    before = json.loads(cli("retention", "status", "--json").out)["findings"]
    assert "copy_gone" not in [each["trouble"] for each in before]
    for path in (project / folder).glob("*.gz"):
        path.unlink()
    ran = cli("retention", "status", "--json")
    assert ran.code == Exit.RESERVED
    (told,) = [each for each in json.loads(ran.out)["findings"] if each["trouble"] == "copy_gone"]
    assert told["fix"] == f"guardrail {command}"
    checks = json.loads(cli("doctor", "--json").out)["checks"]
    (check,) = [each for each in checks if each["name"] == "retention"]
    assert (check["state"], check["fix"]) == ("note", f"guardrail {command}")
    assert cli(command, "--reason", "again").code in {Exit.YES, Exit.RESERVED}
    after = json.loads(cli("retention", "status", "--json").out)["findings"]
    assert "copy_gone" not in [each["trouble"] for each in after]


def test_a_hold_keeps_everything_and_is_no_failure(
    cli: Cli, project: Path, today: Callable[[], None]
) -> None:
    """It is said by each run; who and why stand in the log, without what looks sensitive."""
    cli("seal")
    today()
    cli("anchor")
    cli("archive")
    added = cli("hold", "add", "case-7", "--reason", "order of 3 May, card 4111 1111 1111 1111")
    assert added.code == Exit.YES
    ran = cli("retention", "run")
    assert ran.code == Exit.YES
    assert "1 legal hold is in force" in ran.err
    [listed] = json.loads(cli("hold", "list", "--json").out)["holds"]
    assert listed["name"] == "case-7"
    assert listed["reason"].startswith("order of 3 May")
    assert "4111 1111" not in listed["reason"]
    assert "case-7" in cli("retention", "status").out
    assert cli("prune", "--policy", "--reason", "x").code == Exit.UNKNOWN
    assert cli("hold", "release", "case-7", "--reason", "over").code == Exit.YES
    assert cli("hold", "list").out == "No hold is in force.\n"
    assert cli("prune", "--policy", "--reason", "old").code == Exit.YES


@pytest.mark.parametrize(
    "args",
    [
        ("prune",),
        ("prune", "--policy"),
        ("prune", "--policy", "--reason", " "),
        ("hold", "add", "case"),
        ("hold", "add", "../case", "--reason", "x"),
        ("hold", "add", "4111111111111111", "--reason", "x"),
        ("hold", "release", "case"),
        ("seal", "--reason", "x" * 1001),
    ],
)
def test_what_needs_a_reason_or_a_name_is_refused_without(
    cli: Cli, project: Path, args: tuple[str, ...]
) -> None:
    """As a mistake on the command line, and nothing is written."""
    before = types(project / "audit.db")
    assert cli(*args).code == Exit.USAGE
    assert types(project / "audit.db") == before


@pytest.mark.parametrize(
    "name", ["seal", "archive", "retention run", "retention status", "backup x"]
)
def test_no_ledger_is_made_where_there_is_none(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A mistyped path is an error, and leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    ran = cli(*name.split(), "--ledger", "none.db")
    assert ran.code == Exit.UNKNOWN
    assert "there is no ledger at this path" in ran.err
    assert [each for each in os.listdir(tmp_path) if not each.startswith("none.access")] == []


def test_a_head_of_the_ledger_itself_does_not_let_prune_until_an_anchor_holds_it(
    cli: Cli, project: Path, today: Callable[[], None]
) -> None:
    """What ``guardrail checkpoint`` printed is nobody's word, and the answer says so; what is no
    head is refused.
    """
    cli("seal")
    cli("archive")
    today()
    (project / "head").write_text(cli("checkpoint").out)
    (project / "junk").write_text("junk\n")
    assert cli("prune", "--policy", "--reason", "old").code == Exit.UNKNOWN
    junk = cli("prune", "--policy", "--reason", "old", "--checkpoint", "junk")
    assert "not a signed head" in junk.err
    ran = cli("prune", "--policy", "--reason", "old", "--checkpoint", "head")
    assert ran.code == Exit.UNKNOWN
    assert "does not count: the anchor file does not hold it" in " ".join(ran.err.split())
    assert "guardrail anchor" in ran.err
    cli("anchor")
    done = cli("prune", "--policy", "--reason", "old", "--checkpoint", "head")
    assert (done.code, "11 records" in done.out) == (Exit.YES, True)


def test_a_backup_is_a_ledger_of_its_own(cli: Cli, project: Path) -> None:
    """Verified, readable by its owner alone, never in place of something."""
    ran = cli("backup", "copy.db", "--json")
    assert ran.code == Exit.YES
    assert json.loads(ran.out)["records"] == 12
    assert (project / "copy.db").stat().st_mode & 0o777 == 0o600
    assert types(project / "copy.db") == types(project / "audit.db")
    again = cli("backup", "copy.db")
    assert again.code == Exit.USAGE
    assert "never overwrites" in again.err
    assert not list(project.glob(".copy*"))


def test_verify_says_what_is_overdue_and_was_kept_too_short(
    cli: Cli, project: Path, today: Callable[[], None]
) -> None:
    """As a notice: the ledger is intact all the same."""
    cli("seal")
    today()
    ran = cli("verify", "--json")
    assert any("500 days old" in each for each in json.loads(ran.out)["notices"])
    cli("anchor")
    cli("archive")
    assert cli("prune", "--policy", "--reason", "old").code == Exit.YES
    (project / "guardrail.toml").write_text(
        '[ledger]\npath = "audit.db"\n[retention]\nfloor_days = 1000\ndays = 2000\n'
    )
    after = json.loads(cli("verify", "--json").out)["notices"]
    assert any("below the floor of 1000" in each for each in after)
    assert not any("must be deleted after" in each for each in after)
