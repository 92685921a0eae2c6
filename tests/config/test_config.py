"""Settings: read once, refused when they are not understood."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import fields
from pathlib import Path

import pytest

from guardrail.config import NO_SECTIONS, AccessSettings, Settings, access_rule, find
from guardrail.config.source import with_source
from guardrail.errors import ConfigError
from guardrail.keys.log_key import Keys

KEYS = Keys.ephemeral().tenant("default")


def write(folder: Path, text: str) -> Path:
    """Write a guardrail.toml."""
    path = folder / "guardrail.toml"
    path.write_text(text)
    return path


def test_no_file_is_all_defaults() -> None:
    """Keys stand beside the ledger."""
    settings = Settings.load(environment={})
    assert settings.ledger.path == Path("audit/ledger.db")
    assert settings.key_path == Path("audit/ledger.keys")
    assert settings.source is None


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """Where the program was started from does not matter."""
    path = write(
        tmp_path, '[ledger]\npath = "x/a.db"\n[keys]\npath = "k"\n[policy]\npath = ["p", "/abs"]\n'
    )
    settings = Settings.load(path, environment={})
    assert settings.ledger.path == tmp_path / "x/a.db"
    assert settings.key_path == tmp_path / "k"
    assert settings.policy.path == (tmp_path / "p", Path("/abs"))
    assert settings.source == path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[ledgr]\n", "did you mean 'ledger'"),
        ('[ledger]\npth = "x"\n', "did you mean 'path'"),
        ("[policy]\nzzz = 1\n", "known: "),
        ("ledger = 5\n", "not a table"),
        ("[ledger]\npath = 5\n", "a string"),
        ('[ledger]\npath = ""\n', "a string"),
        ("[policy]\npath = []\n", "a path or a list"),
        ("[policy]\npath = [1]\n", "a path or a list"),
        ('[policy]\nworkers = "2"\n', "a whole number"),
        ("[policy]\nworkers = true\n", "a whole number"),
        ("[policy]\nworkers = 0\n", "from 1 to 64"),
        ('[policy]\ninput = "both"\n', "one of raw, recorded"),
        ("[identity]\ntenant = 1\n", "a string"),
        ("not toml", "not valid TOML"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """A typo in a security setting must not be a default."""
    with pytest.raises(ConfigError) as caught:
        Settings.load(write(tmp_path, text), environment={})
    assert words in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            "[policy]\nworkers = 0\n",
            "correct workers under [policy]: number of worker processes (1 to 64",
        ),
        ('[policy]\nengine = "x"\n', "the engine that evaluates the policy (embedded, opa)"),
        ("[ledger]\npath = 5\n", "correct path under [ledger]: the SQLite file"),
        ("ledger = 5\n", "write its keys below the line [ledger]"),
        ("not toml", "correct that line"),
    ],
)
def test_a_value_that_is_refused_is_answered_with_what_the_setting_is_for(
    tmp_path: Path, text: str, hint: str
) -> None:
    """And with the values that it takes."""
    with pytest.raises(ConfigError) as caught:
        Settings.load(write(tmp_path, text), environment={})
    assert hint in caught.value.hint


def test_every_setting_can_be_described() -> None:
    """A value of a wrong type leads to a hint that names the key, whatever kind of setting it
    is.
    """
    for section in fields(Settings()):
        if section.name in NO_SECTIONS:
            continue
        for item in fields(getattr(Settings(), section.name)):
            with pytest.raises(ConfigError) as caught:
                Settings().override(**{section.name: {item.name: {"no": {"value": 1}}}})
            assert caught.value.hint.startswith(f"correct {item.name} under [{section.name}]: ")


def test_what_was_taken_for_settings_is_told_from_what_was_meant(tmp_path: Path) -> None:
    """The folder, a ledger, another file, a name that is nearly right; and how settings are made
    where none are.
    """
    ledger = tmp_path / "audit.db"
    sqlite3.connect(ledger).execute("CREATE TABLE t (x)").connection.close()
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    empty = tmp_path / "empty"
    empty.mkdir()
    write(tmp_path, "")
    for path, words, hint in (
        (
            tmp_path,
            "it is a folder",
            f"specify the file in that folder: {tmp_path / 'guardrail.toml'}",
        ),
        (empty, "it is a folder", "that folder contains no guardrail.toml"),
        (ledger, "it is a database", "Guard.open(ledger=FILE)"),
        (tmp_path / "binary", "it is not UTF-8 text", "specify a settings file"),
        (tmp_path / "guardrial.toml", "no such file", f"{tmp_path / 'guardrail.toml'} exists"),
        (tmp_path / "other.toml", "no such file", f"{tmp_path / 'guardrail.toml'} exists"),
        (empty / "guardrail.toml", "no such file", "guardrail init"),
        (empty / "no" / "guardrail.toml", "no such file", "guardrail init"),
    ):
        with pytest.raises(ConfigError) as caught:
            Settings.load(path, environment={})
        assert words in caught.value.message
        assert hint in caught.value.hint
    (tmp_path / "prod.toml").touch()
    with pytest.raises(ConfigError) as caught:
        Settings.load(tmp_path / "prd.toml", environment={})
    assert "prod.toml exists" in caught.value.hint


def test_a_refused_value_of_the_environment_is_answered_with_its_variable() -> None:
    """The file holds nothing that could be corrected."""
    with pytest.raises(ConfigError) as caught:
        Settings.load(environment={"GUARDRAIL_POLICIES": ":"})
    assert "GUARDRAIL_POLICIES" in caught.value.message
    assert caught.value.hint == "correct GUARDRAIL_POLICIES, or unset it"


def test_an_error_about_a_path_names_the_variable_that_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative or not, and one of several; a word that is part of another path, or of a sentence,
    is no path.
    """
    monkeypatch.chdir(tmp_path)
    for environment, message, named in (
        ({"GUARDRAIL_LEDGER": "x.db"}, f"{tmp_path}/x.db: no ledger", "GUARDRAIL_LEDGER"),
        ({"GUARDRAIL_CONFIG": "x.toml"}, "x.toml: no such file", "GUARDRAIL_CONFIG"),
        ({"GUARDRAIL_POLICIES": "/a:/b"}, "/b: no policies", "GUARDRAIL_POLICIES"),
        ({"GUARDRAIL_KEYS": "/b"}, "the keys in /b exist, but their ledger", "GUARDRAIL_KEYS"),
        ({"GUARDRAIL_KEYS": "/b"}, "/a/b: missing", ""),
        ({"GUARDRAIL_KEYS": "/b"}, "/b/log.key: missing", ""),
        ({"GUARDRAIL_POLICIES": "policies"}, "no policies found", ""),
        ({"GUARDRAIL_KEYS": "/b"}, "GUARDRAIL_KEYS: /b is a text", ""),
        ({"GUARDRAIL_KEYS": ""}, "/b: missing", ""),
    ):
        told = f"{message} (set by {named})" if named else message
        assert with_source(message, environment) == told


def test_an_empty_text_is_the_default_where_the_default_is_none(tmp_path: Path) -> None:
    """As `guardrail init` shows it."""
    settings = Settings.load(
        write(tmp_path, '[ledger]\nlog = ""\n[keys]\npath = ""\n'), environment={}
    )
    assert settings.ledger.log == ""
    assert settings.key_path == tmp_path / "audit" / "ledger.keys"


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    """With what to do next."""
    with pytest.raises(ConfigError) as caught:
        Settings.load(tmp_path / "guardrail.toml", environment={})
    assert caught.value.hint == "guardrail init"
    write(tmp_path, "").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError):
        Settings.load(tmp_path / "guardrail.toml", environment={})


def test_the_environment_overrides_paths() -> None:
    """Several policy folders are separated as in PATH."""
    settings = Settings.load(
        environment={
            "GUARDRAIL_LEDGER": "/l.db",
            "GUARDRAIL_POLICIES": "/a:/b",
            "GUARDRAIL_KEYS": "/k",
        }
    )
    assert settings.ledger.path == Path("/l.db")
    assert settings.policy.path == (Path("/a"), Path("/b"))
    assert settings.key_path == Path("/k")
    assert Settings.load(environment={"GUARDRAIL_POLICIES": "/a"}).policy.path == (Path("/a"),)


def test_the_digest_speaks_of_how_calls_are_governed() -> None:
    """Paths do not change it, limits do."""
    settings = Settings()
    assert settings.override(ledger={"path": "other.db"}).digest(KEYS) == settings.digest(KEYS)
    assert settings.override(policy={"workers": 2}).digest(KEYS) != settings.digest(KEYS)
    assert settings.digest(Keys.ephemeral().tenant("default")) != settings.digest(KEYS)
    assert settings.override(tools={"unknown_arguments": "refuse"}).digest(KEYS) != settings.digest(
        KEYS
    )
    assert settings.override(tools={"unknown_arguments": "accept"}).digest(KEYS) == settings.digest(
        KEYS
    )


def test_settings_of_the_proxy_govern_calls_only_if_they_are_set() -> None:
    """Addresses and limits of the listener do not change the digest; who is believed does."""
    settings = Settings()
    for same in ({"listen": "127.0.0.1:1"}, {"max_streams": 5}, {"tools": "/other.json"}):
        assert settings.override(proxy=same).digest(KEYS) == settings.digest(KEYS)
    for other in (
        {"peers": "10.0.0.1"},
        {"identity_header": "x-user"},
        {"hosted_tools": "web_search"},
        {"approval_wait_s": 0},
        {"outcome_wait_s": 10},
    ):
        assert settings.override(proxy=other).digest(KEYS) != settings.digest(KEYS)


def test_settings_that_were_only_found_send_no_keys_of_callers_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upstream gets the keys of every caller, so the file that names it must be named."""
    path = write(tmp_path, '[proxy]\nupstream = "https://api.example.com"\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refused:
        _ = Settings.chosen(None, environment={}).trusted_proxy
    assert refused.value.code == "config.distrust"
    named = Settings.chosen(path, environment={}).trusted_proxy
    assert named.upstream == "https://api.example.com"
    assert named.tools == tmp_path / "proxy-tools.json"
    write(tmp_path, "[proxy]\nmax_streams = 3\n")
    assert Settings.chosen(None, environment={}).trusted_proxy.max_streams == 3


def test_the_file_is_found_from_below(tmp_path: Path) -> None:
    """As git does it; GUARDRAIL_CONFIG names another."""
    path = write(tmp_path, "")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert find(deep, environment={}) == path
    assert find(deep, environment={"GUARDRAIL_CONFIG": "/x.toml"}) == Path("/x.toml")
    assert find(Path("/proc"), environment={}) is None


def another_owns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make *path* a file of another user: really where that can be done, else by being another
    one.
    """
    me = os.geteuid()
    if me == 0:
        os.chown(path, 54321, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)


def test_settings_of_another_user_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named or found: whoever owns the file decides what it says at the next moment."""
    path = write(tmp_path, "")
    another_owns(path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    for load in (
        lambda: Settings.load(path, environment={}),
        lambda: Settings.chosen(None, environment={}),
        lambda: Settings.chosen(path, environment={}),
    ):
        with pytest.raises(ConfigError) as refused:
            load()
        assert refused.value.code == "config.owner"
        assert "owns these settings" in refused.value.message
        assert "--ledger" in refused.value.hint


def test_settings_that_were_only_found_start_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named on the command line, or by the whole path in the environment, they may; a relative path
    leads to any folder.
    """
    text = '[keys]\nsigner = ["./sign", "--fast"]\n[opa]\ntoken_file = "t"\n'
    path = write(tmp_path, text)
    (tmp_path / "deep").mkdir()
    for folder in (tmp_path, tmp_path / "deep"):
        monkeypatch.chdir(folder)
        for environment in ({}, {"GUARDRAIL_CONFIG": os.path.relpath(path)}):
            found = Settings.chosen(None, environment=environment)
            with pytest.raises(ConfigError) as refused:
                found.require_trust("[keys] signer")
            assert refused.value.code == "config.distrust"
            assert str(path) in refused.value.message
            with pytest.raises(ConfigError):
                _ = found.trusted_opa
            with pytest.raises(ConfigError):
                found.override(policy={"workers": 2}).require_trust("x")
    for named in (
        Settings.chosen(path, environment={}),
        Settings.chosen(None, environment={"GUARDRAIL_CONFIG": str(path)}),
        Settings.load(path, environment={}),
    ):
        named.require_trust("[keys] signer")
        assert named.trusted_opa.token_file == tmp_path / "t"
        # Relative to the file, as every path in it: not to where the command is typed.
        assert named.keys.signer == (str(tmp_path / "sign"), "--fast")
    write(tmp_path, '[keys]\nsigner = ["sign"]\n')
    assert Settings.load(path, environment={}).keys.signer == ("sign",)
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="changed by every user") as refused:
        Settings.load(path, environment={}).require_trust("x")
    assert "chmod o-w" in refused.value.hint


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "large"])
def test_settings_that_are_no_plain_file_are_refused_at_once(tmp_path: Path, kind: str) -> None:
    """Nothing waits for them, and no more than a megabyte is read."""
    path = tmp_path / "guardrail.toml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"#" * (1 << 21))
    with pytest.raises(ConfigError) as refused:
        Settings.load(path, environment={})
    assert refused.value.code == "config.unreadable"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_of_the_settings_of_the_ledgers_owner_only_that_readers_must_be_recorded_counts(
    tmp_path: Path,
) -> None:
    """They can forbid to read unrecorded, but not choose where another user writes."""
    ledger, file = tmp_path / "audit" / "ledger.db", tmp_path / "guardrail.toml"
    ledger.parent.mkdir()
    ledger.touch()
    file.write_text('[access]\nrequired = true\npath = "elsewhere.db"\n')
    rule = access_rule(ledger)
    assert rule == AccessSettings(path=tmp_path / "elsewhere.db", required=True)
    os.chown(file, 4711, -1)
    assert access_rule(ledger) is None, "somebody else's, who does not own the ledger"
    os.chown(ledger, 4711, -1)
    assert access_rule(ledger) == AccessSettings(required=True)
    assert access_rule(tmp_path / "other.db") is None


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('path = "audit.db"\n', "move it below [access] or [keys] or [ledger] or [policy]"),
        ("workers = 2\n", "move it below [policy]"),
        ("nothing = 2\n", "guardrail init FOLDER writes a file with every key"),
    ],
)
def test_a_key_below_no_section_is_named_with_the_sections_that_have_it(
    tmp_path: Path, text: str, hint: str
) -> None:
    """It is no mistyped section."""
    (tmp_path / "guardrail.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        Settings.load(tmp_path / "guardrail.toml", environment={})
    assert "is not in a section" in caught.value.message
    assert caught.value.hint == hint
