"""The key of tokens is replaced and destroyed step by step: whatever is interrupted, keys work."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from guardrail.errors import KeysError
from guardrail.keys import token_file
from guardrail.keys.log_key import TOKENS_FILE, Keys
from guardrail.keys.token_file import TokenKeyFile
from guardrail.keys.token_keys import TokenSecrets
from guardrail.ledger.reader import LedgerReader
from guardrail.system import durable
from guardrail.system.durable import replace_file
from guardrail.wiring.token_rotation import DESTROYED, ROTATED, destroy_keys, rotate_key
from tests.support.guards import OPEN, child, guarded, journal_of, records, whole, write_policy

BOB = "bob@example.com"
LATER = datetime.now(UTC) + timedelta(days=400)


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a ledger in which one call names the first key."""
    call(tmp_path)
    return tmp_path


def call(folder: Path) -> None:
    with guarded(folder) as guard, guard.session(principal="alice"):
        guard.declare("send", schema=OPEN)
        guard.call("send", {"to": BOB}, lambda **_: 1)


def secrets_of(folder: Path) -> TokenSecrets:
    return Keys.load(folder / "audit.keys").secrets


def rotate(folder: Path, steps: int = 99) -> None:
    """Rotate the key. Die before the step after *steps* steps."""
    change(folder, steps, lambda file, admin, _: rotate_key(file, admin, "yearly"))


def destroy(folder: Path, steps: int = 99, **options: Any) -> Any:
    chosen = {"lookup_days": 0, "held": False, **options}
    return change(
        folder,
        steps,
        lambda file, admin, reader: destroy_keys(file, reader, admin, "old", **chosen),
    )


def change(folder: Path, steps: int, work: Callable[[TokenKeyFile, Any, LedgerReader], Any]) -> Any:
    left = iter(range(steps))

    def step() -> None:
        if next(left, None) is None:
            raise Killed

    with (
        guarded(folder) as guard,
        TokenKeyFile.locked(folder / "audit.keys") as file,
        LedgerReader.open(folder / "audit.db") as reader,
    ):
        replace = file.replace

        def replaced(secrets: TokenSecrets) -> None:
            step()
            replace(secrets)

        def admin(type_: str, detail: Mapping[str, Any]) -> None:
            step()
            journal_of(guard).admin(type_, detail)

        file.replace = replaced  # type: ignore[method-assign]
        return work(file, admin, reader)


def details(folder: Path, type_: str) -> list[dict[str, Any]]:
    return [record["detail"] for record in records(folder / "audit.db", f"admin.{type_}")]


def test_a_rotation_is_recorded_and_the_previous_key_stays_live(folder: Path) -> None:
    """Before the key is used, and once it is."""
    before = secrets_of(folder)
    rotate(folder)
    after = secrets_of(folder)
    assert after.replaced == before.epochs
    names = {"token_key": after.epoch.kid, "previous": before.epoch.kid, "reason": "yearly"}
    assert details(folder, ROTATED) == [
        {**names, "phase": each} for each in ("prepared", "current")
    ]
    (first, _) = records(folder / "audit.db", f"admin.{ROTATED}")
    assert first["actor"]["method"] == "os_user"
    file = folder / "audit.keys" / TOKENS_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    call(folder)
    used = [r["redaction"]["key"] for r in records(folder / "audit.db", "call.decision")]
    assert used == [before.epoch.kid, after.epoch.kid]
    whole(folder / "audit.db")


@pytest.mark.parametrize("steps", range(4))
def test_a_rotation_that_is_killed_leaves_usable_keys_and_can_be_repeated(
    folder: Path, steps: int
) -> None:
    """After each step. No key is prepared twice, and none is used that no record names."""
    before = secrets_of(folder)
    with pytest.raises(Killed):
        rotate(folder, steps)
    left = secrets_of(folder)
    assert left.epochs[0] == before.epoch
    if left.epoch != before.epoch:
        assert details(folder, ROTATED)[0]["token_key"] == left.epoch.kid
    call(folder)
    rotate(folder)
    after = secrets_of(folder)
    # A rotation whose key was already current was complete but for its last record.
    assert len(after.epochs) == (3 if left.epoch != before.epoch else 2)
    assert after.epoch == after.epochs[-1]
    assert {r["redaction"]["key"] for r in records(folder / "audit.db", "call.decision")} <= {
        each.kid for each in after.epochs
    }


def test_a_key_is_destroyed_only_if_no_record_names_it(folder: Path) -> None:
    """Or if it was replaced long enough ago, and nothing is held."""
    first = secrets_of(folder).epoch
    rotate(folder)
    for options in (
        {},
        {"lookup_days": 300},
        {"lookup_days": 300, "held": True, "now": LATER},
        {"lookup_days": 500, "now": LATER},
    ):
        done = destroy(folder, **options)
        assert done.destroyed == ()
        assert [each.kid for each in done.kept] == [first.kid]
        assert "names it" in done.kept[0].why
    done = destroy(folder, lookup_days=300, now=LATER)
    assert done.destroyed == (first.kid,)
    assert details(folder, DESTROYED) == [
        {"token_key": first.kid, "rule": "lookup_days", "reason": "old"}
    ]
    content = (folder / "audit.keys" / TOKENS_FILE).read_text()
    assert first.key.hex() not in content
    assert json.loads(content)["destroyed"] == [first.kid]
    call(folder)


def test_a_key_that_no_record_names_is_destroyed(folder: Path) -> None:
    """Here, the second key was never used."""
    rotate(folder)
    unused = secrets_of(folder).epoch
    rotate(folder)
    done = destroy(folder)
    assert done.destroyed == (unused.kid,)
    assert len(done.kept) == 1
    assert details(folder, DESTROYED)[0]["rule"] == "unnamed"


@pytest.mark.parametrize("steps", range(2))
def test_a_destruction_that_is_killed_can_be_repeated(folder: Path, steps: int) -> None:
    """The record comes first: no key disappears without one."""
    rotate(folder)
    unused = secrets_of(folder).epoch
    rotate(folder)
    with pytest.raises(Killed):
        destroy(folder, steps)
    assert unused in secrets_of(folder).epochs
    assert destroy(folder).destroyed == (unused.kid,)
    assert unused not in secrets_of(folder).epochs
    call(folder)


def test_a_missing_last_record_is_written_before_a_key_is_destroyed(folder: Path) -> None:
    """The rotation was killed before it."""
    rotate(folder)
    with pytest.raises(Killed):
        rotate(folder, 3)
    second = secrets_of(folder).epochs[1]
    assert destroy(folder).destroyed == (second.kid,)
    assert details(folder, ROTATED)[-1] == {
        "token_key": secrets_of(folder).epoch.kid,
        "previous": second.kid,
        "reason": "old",
        "phase": "current",
    }


def test_the_key_of_an_earlier_version_is_never_destroyed(folder: Path) -> None:
    """It also makes commitments and the MACs of heads."""
    file = folder / "audit.keys" / TOKENS_FILE
    master = json.loads(file.read_bytes())["master"]
    file.write_text(json.dumps({"epoch": 1, "key": master}))
    rotate(folder)
    done = destroy(folder, lookup_days=1, now=LATER)
    assert done.destroyed == ()
    assert "earlier version" in done.kept[0].why
    call(folder)


def test_an_open_session_keeps_its_key_and_a_new_one_takes_the_new_key(folder: Path) -> None:
    """In one guard, without a restart. Both keys stay live."""
    with guarded(folder) as guard:
        guard.declare("send", schema=OPEN)
        early = guard.session(principal="alice", id="early")
        with early:
            guard.call("send", {"to": BOB}, lambda **_: 1)
        with TokenKeyFile.locked(folder / "audit.keys") as file:
            rotate_key(file, journal_of(guard).admin, "x")
        with early:
            guard.call("send", {"to": BOB}, lambda **_: 1)
        with guard.session(principal="alice", id="late"):
            guard.call("send", {"to": BOB}, lambda **_: 1)
    kids = [r["redaction"]["key"] for r in records(folder / "audit.db", "call.decision")]
    epochs = [each.kid for each in secrets_of(folder).epochs]
    assert kids == [epochs[0]] * 3 + [epochs[1]]


def test_a_key_that_a_running_process_may_use_is_kept(folder: Path) -> None:
    """Until that process has been restarted."""
    write_policy(folder, 'allow contains "any"')
    rotate(folder)
    second = secrets_of(folder).epoch
    with child(folder, engine="embedded") as running:
        running.ask("call")
        rotate(folder)
        done = destroy(folder, lookup_days=1, now=LATER)
        assert second.kid not in done.destroyed
        (kept,) = [each for each in done.kept if each.kid == second.kid]
        assert "running process" in kept.why
        assert len(kept.processes) == 1
    with child(folder, engine="embedded") as restarted:
        restarted.ask("call")
        assert second.kid in destroy(folder, lookup_days=1, now=LATER).destroyed


def test_one_process_at_a_time_replaces_keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is told to try again, and what a killed one left is removed."""
    monkeypatch.setattr(token_file, "PATIENCE", 0.0)
    rest = folder / "audit.keys" / f".{TOKENS_FILE}.4711"
    rest.write_text("keys")
    with TokenKeyFile.locked(folder / "audit.keys"):
        assert not rest.exists()
        with pytest.raises(KeysError) as caught, TokenKeyFile.locked(folder / "audit.keys"):
            pass
    assert caught.value.code == "keys.busy"


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda folder: (folder / TOKENS_FILE).chmod(0o644), "keys.exposed"),
        (lambda folder: folder.chmod(0o755), "keys.exposed"),
        (lambda folder: (folder / TOKENS_FILE).write_text("{}"), "keys.malformed"),
        (lambda folder: (folder / TOKENS_FILE).unlink(), "keys.missing"),
    ],
)
def test_damaged_keys_are_not_replaced(
    folder: Path, damage: Callable[[Path], None], code: str
) -> None:
    """Wrong permissions, wrong content, no file."""
    keys = folder / "audit.keys"
    damage(keys)
    with pytest.raises(KeysError) as caught, TokenKeyFile.locked(keys) as file:
        file.read()
    assert caught.value.code == code
    assert caught.value.hint


def test_keys_that_can_not_be_written_stay_as_they_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, for example: no half file, and a hint."""
    before = secrets_of(folder)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with TokenKeyFile.locked(folder / "audit.keys") as file:
        monkeypatch.setattr(durable, "new_file", full)
        with pytest.raises(KeysError) as caught:
            file.replace(before.prepared())
    assert caught.value.code == "keys.write"
    assert caught.value.hint
    assert secrets_of(folder) == before


def test_a_rotation_without_its_last_record_delays_no_destruction(folder: Path) -> None:
    """The key that it replaced was replaced before the next rotation at the latest. A process that
    started before that may use it.
    """
    first = secrets_of(folder).epoch.kid
    with pytest.raises(Killed):
        rotate(folder, 3)
    with guarded(folder):
        rotate(folder)
    done = destroy(folder, lookup_days=1, now=LATER)
    assert first in done.destroyed


def test_a_destroyed_key_is_overwritten_in_the_file_that_had_it(folder: Path) -> None:
    """Not only in the file that replaces it. A process that is reading the old file reads again."""
    rotate(folder)
    unused = secrets_of(folder).epoch
    rotate(folder)
    with (folder / "audit.keys" / TOKENS_FILE).open("rb") as before:
        assert destroy(folder).destroyed == (unused.kid,)
        assert set(before.read()) == {0}
    content = b"".join(path.read_bytes() for path in (folder / "audit.keys").iterdir())
    assert unused.key.hex().encode() not in content


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_file_with_a_second_name_is_not_replaced(
    folder: Path, link: Callable[[Path, Path], None]
) -> None:
    """A destroyed key would stay under the other name. The hint works."""
    keys, other = folder / "audit.keys" / TOKENS_FILE, folder / "elsewhere"
    keys.rename(other)
    link(keys, other)
    before = secrets_of(folder)
    with pytest.raises(KeysError) as caught:
        rotate(folder)
    assert caught.value.code == "keys.linked"
    assert secrets_of(folder) == before
    command = (caught.value.hint or "").partition(": ")[2].partition(";")[0]
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0
    keys.chmod(0o600)
    rotate(folder)


def test_an_older_copy_of_the_keys_destroys_nothing(folder: Path) -> None:
    """It does not have the key that the ledger names as current, so its facts are out of date. A
    rotation continues from it.
    """
    file = folder / "audit.keys" / TOKENS_FILE
    rotate(folder)
    older = file.read_bytes()
    rotate(folder)
    lost = secrets_of(folder).epoch.kid
    replace_file(file, older, private=True)
    with pytest.raises(KeysError) as caught:
        destroy(folder)
    assert caught.value.code == "keys.older"
    assert lost in caught.value.message
    assert file.read_bytes() == older
    rotate(folder)
    assert destroy(folder).destroyed


def test_a_clock_that_was_set_back_makes_no_key_older(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was replaced after every earlier record, whatever the record of its replacement says."""
    rotate(folder)
    lines = LedgerReader.lines

    def changed(self: LedgerReader, *args: Any) -> Any:
        for seq, leaf, line in lines(self, *args):
            old = b'"type":"admin.token_key_rotated"' in line
            yield seq, leaf, re.sub(rb'"ts":"\d{4}', b'"ts":"2001', line) if old else line

    monkeypatch.setattr(LedgerReader, "lines", changed)
    done = destroy(folder, lookup_days=300)
    assert done.destroyed == ()
    assert "names it" in done.kept[0].why


def test_four_rotations_at_once_make_four_keys(folder: Path) -> None:
    """One after the other, while calls go on. Every key that a record names is live."""
    with guarded(folder) as guard, ThreadPoolExecutor(5) as threads:
        guard.declare("send", schema=OPEN)

        def turn() -> None:
            with TokenKeyFile.locked(folder / "audit.keys") as file:
                rotate_key(file, journal_of(guard).admin, "x")

        def calls() -> None:
            for _ in range(10):
                with guard.session(principal="alice"):
                    guard.call("send", {"to": BOB}, lambda **_: 1)

        for done in [threads.submit(calls), *(threads.submit(turn) for _ in range(4))]:
            done.result()
    secrets = secrets_of(folder)
    assert [each.number for each in secrets.epochs] == [1, 2, 3, 4, 5]
    assert secrets.current == 5
    named = {r["redaction"]["key"] for r in records(folder / "audit.db", "call.decision")}
    assert named <= {each.kid for each in secrets.epochs}
    current = [each["token_key"] for each in details(folder, ROTATED) if each["phase"] == "current"]
    assert current == [each.kid for each in secrets.epochs[1:]]
