"""Names of new logs: unique, readable, and valid wherever a log is named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.config import Settings, log_names
from guardrail.config.log_names import (
    configured_name,
    is_of_project,
    new_log_name,
    possible_names,
)
from guardrail.core.log.checkpoint import Checkpoint, NoteKey, SignedNote
from guardrail.core.log.record import dumps

KEY = "9f86d081" + "5a" * 28
OTHER = "0a0b0c0d" + "5b" * 28


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with an ordinary name."""
    monkeypatch.setattr(log_names, "host_name", lambda: "web-1.example.com")


def in_folder(folder: Path, **ledger: object) -> Settings:
    """Return the settings of a project in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "guardrail.toml").write_text("")
    return Settings.load(folder / "guardrail.toml", environment={}).override(ledger=ledger)


def test_a_name_is_the_host_the_project_and_eight_digits_of_the_key(tmp_path: Path) -> None:
    """The folder of guardrail.toml is the project, wherever its ledger is."""
    settings = in_folder(tmp_path / "shop")
    assert new_log_name(settings, KEY) == "web-1.example.com/shop-9f86d081"
    assert new_log_name(settings, OTHER) == "web-1.example.com/shop-0a0b0c0d"
    assert new_log_name(settings, KEY, part="access") == "web-1.example.com/shop.access-9f86d081"
    elsewhere = settings.override(ledger={"path": tmp_path / "var" / "x.db"})
    assert new_log_name(elsewhere, KEY) == "web-1.example.com/shop-9f86d081"


def test_without_settings_the_project_is_where_the_ledger_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder ``audit`` is the ledger's own; a link to the project is followed."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "link").symlink_to("shop")
    for ledger in ("shop/x.db", "shop/audit/ledger.db", "link/audit/ledger.db"):
        settings = Settings().override(ledger={"path": tmp_path / ledger})
        assert new_log_name(settings, KEY) == "web-1.example.com/shop-9f86d081"
    monkeypatch.chdir(tmp_path / "shop")
    assert new_log_name(Settings(), KEY) == "web-1.example.com/shop-9f86d081"
    root = Settings().override(ledger={"path": Path("/audit/ledger.db")})
    assert new_log_name(root, KEY) == "web-1.example.com/project-9f86d081"


def test_a_configured_name_is_used_as_it_is(tmp_path: Path) -> None:
    """Only white space and ``+`` are replaced, which no name may hold."""
    settings = in_folder(tmp_path / "shop", log="acme/prod one+two~x")
    assert new_log_name(settings, KEY) == configured_name(settings) == "acme/prod-one-two~x"
    assert new_log_name(settings, KEY, part="access") == "acme/prod-one-two~x.access"
    assert possible_names(settings, [KEY]) == ["acme/prod-one-two~x"]
    assert not is_of_project(settings, "web-1.example.com/shop-9f86d081")


@pytest.mark.parametrize(
    ("folder", "shown"),
    [
        ("my project (2)", "my-project-2"),
        ("caf\u00e9", "caf\u00e9"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u65e5\u672c", "\u65e5\u672c"),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u093f\u0928\u094d\u0926\u0940"),
        ("a~2", "a-2"),
        ("a+b=c", "a-b-c"),
        ("x\u202etxt\u200b\u00a0\u2028y", "x-txt-y"),
        ("$(rm)`;'\"", "rm"),
        ("tab\tline\nend", "tab-line-end"),
        ("\udcff\udcfe", "project"),
        ("---", "project"),
        ("a" * 100, "a" * 64),
    ],
)
def test_an_odd_folder_gives_a_valid_name(tmp_path: Path, folder: str, shown: str) -> None:
    """Whatever a file system allows."""
    settings = in_folder(tmp_path / folder)
    assert new_log_name(settings, KEY) == f"web-1.example.com/{shown}-9f86d081"


@pytest.mark.parametrize(
    ("name", "shown"),
    [("(none)", "none"), ("", "host"), ("a b\u00a0c", "a-b-c"), ("\udcff", "host"), ("h+1", "h-1")],
)
def test_an_odd_host_gives_a_valid_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, shown: str
) -> None:
    """A kernel takes any bytes as its name."""
    monkeypatch.setattr(log_names, "host_name", lambda: name)
    assert new_log_name(in_folder(tmp_path / "shop"), KEY) == f"{shown}/shop-9f86d081"


@given(
    st.text(min_size=1, max_size=80).filter(lambda text: "/" not in text and "\0" not in text),
    st.text(max_size=80),
)
def test_every_name_fits_into_lines_and_signed_heads(folder: str, host: str) -> None:
    """It names a key, is the first line of a checkpoint, and is a JSON string of valid Unicode."""
    settings = Settings().override(
        ledger={"path": Path("/nowhere") / folder / "audit" / "ledger.db"}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_names, "host_name", lambda: host)
        name = new_log_name(settings, KEY)
    text = Checkpoint(name, 3, b"r" * 32).text
    assert Checkpoint.parse(text).origin == name
    note = SignedNote.sign(text, NoteKey(name, b"k" * 32), lambda _: b"s" * 64)
    assert SignedNote.parse(note.encode()).text == text
    assert json.loads(dumps({"log": name})) == {"log": name}
    assert re.fullmatch(r"[^\s+~\x00-\x1f]+", name)


def test_logs_of_one_project_are_known_by_their_names(tmp_path: Path) -> None:
    """With any key, and after restarts; no other project's, and no access log."""
    settings = in_folder(tmp_path / "shop")
    ours = "web-1.example.com/shop-0a0b0c0d"
    assert is_of_project(settings, ours)
    assert is_of_project(settings, f"{ours}~12")
    for name in (
        "web-1.example.com/shop",
        "web-1.example.com/shop.access-0a0b0c0d",
        "web-1.example.com/shop-2-0a0b0c0d",
        "web-1-example.com/shop-0a0b0c0d",
        f"{ours}x",
        f"{ours}~",
    ):
        assert not is_of_project(settings, name), name
    assert possible_names(settings, [KEY]) == [
        "web-1.example.com/shop-9f86d081",
        "web-1.example.com/ledger",
    ]
