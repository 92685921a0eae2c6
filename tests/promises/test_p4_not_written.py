"""P4: a value that is marked, detected or known to be sensitive is in no byte that guardrail
writes.
"""

from __future__ import annotations

import contextlib
import pickle
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guardrail import Guard
from guardrail.cli.app import run
from guardrail.config import Settings
from guardrail.errors import Denied, GuardrailError
from guardrail.testing import StaticPolicy, allow, deny
from tests.support.canaries import (
    ECHOES,
    IN_CALLS,
    SESSIONS,
    SUPPLIED,
    label_like,
    leaks,
    learn,
    plain,
    prepare,
    shaped,
)
from tests.support.guards import appearances, guarded, records, ruled, whole
from tests.support.projects import new_project

CHANGED = "admin.config_changed"


@pytest.fixture(scope="module")
def echoing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Guard, Path]]:
    """A guard whose policy writes arguments into everything it can write."""
    folder = tmp_path_factory.mktemp("echoing")
    with ruled(folder, ECHOES) as guard:
        prepare(guard)
        yield guard, folder


@pytest.mark.parametrize("place", [place for place in IN_CALLS if "hex" not in place])
def test_a_secret_that_is_detected_is_written_nowhere(
    echoing: tuple[Guard, Path], capfd: pytest.CaptureFixture[str], place: str
) -> None:
    """By its shape, wherever a call can carry it, in whatever form."""
    guard, folder = echoing
    secret = shaped()
    with guard.session(principal="alice", agent="bot"):
        IN_CALLS[place](guard, secret)
    assert leaks(folder, secret) == []
    captured = capfd.readouterr()
    assert appearances(secret, (captured.out + captured.err).encode()) == []


@pytest.mark.parametrize("place", [place for place in IN_CALLS if place not in SUPPLIED])
def test_a_value_that_is_known_is_written_nowhere(
    echoing: tuple[Guard, Path], capfd: pytest.CaptureFixture[str], place: str
) -> None:
    """Once an argument was marked: the same value anywhere in that session, though nothing about it
    looks secret.
    """
    guard, folder = echoing
    secret = plain()
    with guard.session(principal="alice", agent="bot"):
        learn(guard, secret)
        IN_CALLS[place](guard, secret)
    assert leaks(folder, secret) == []
    captured = capfd.readouterr()
    assert appearances(secret, (captured.out + captured.err).encode()) == []


@pytest.mark.parametrize("place", SESSIONS)
def test_a_secret_that_the_host_tells_is_written_nowhere(tmp_path: Path, place: str) -> None:
    """In attributes, roles, delegation; in an id it is refused or recorded as a token."""
    secret = shaped()
    who = {"principal": "alice", "agent": "bot", **SESSIONS[place](secret)}
    with guarded(tmp_path) as guard:
        prepare(guard)
        with contextlib.suppress(GuardrailError), guard.session(**who):
            for _ in range(2):
                with contextlib.suppress(Denied):
                    guard.call("send", {"text": "x"}, lambda **_: "done")
            with pytest.raises(ValueError, match="x"):
                guard.call("send", {}, _fails)
        assert leaks(tmp_path, secret) == []
    assert leaks(tmp_path, secret) == []
    whole(tmp_path / "audit.db")


def _fails(**_: Any) -> None:
    raise ValueError("x")


ATTRIBUTES = ["session attribute", "nested session attribute", "principal attribute"]


@pytest.mark.parametrize("place", ATTRIBUTES)
def test_what_the_host_told_is_not_written_once_it_is_known(tmp_path: Path, place: str) -> None:
    """It stood in clear in earlier records; from the call that makes it known on, in none: neither
    its decision, nor its outcome, nor anything later.
    """
    secret = plain().replace('"', "").replace("/", "")
    who = {"principal": "alice", "agent": "bot", **SESSIONS[place](secret)}
    with guarded(tmp_path) as guard:
        prepare(guard)
        with guard.session(**who):
            guard.call("send", {"text": "x"}, lambda **_: "done")
            before = len(records(tmp_path / "audit.db"))
            with contextlib.suppress(Denied):
                learn(guard, secret)
            for _ in range(2):
                with contextlib.suppress(Denied):
                    guard.call("send", {"text": "x"}, lambda **_: "done")
            with contextlib.suppress(Denied, ValueError):
                guard.call("send", {}, _fails)
    later = _lines(tmp_path)[before:]
    assert len(later) >= 4
    assert [line[:80] for line in later if appearances(secret, line)] == []


def _lines(folder: Path) -> list[bytes]:
    from tests.support.guards import lines

    return lines(folder / "audit.db")


def test_the_call_that_makes_a_value_known_does_not_write_it_itself(tmp_path: Path) -> None:
    """Marked in an argument, and in the same call in everything that came before the argument was
    looked at.
    """
    secret = plain()
    with guarded(tmp_path) as guard:
        prepare(guard)
        with guard.session(principal="alice", agent="bot"):
            guard.call(
                "login",
                {"a": f"first {secret}", "pin": secret, "z": secret},
                lambda **_: secret,
                call_id=f"call {secret}",
            )
        with guard.session(principal="alice", agent="bot"), contextlib.suppress(Denied):
            guard.call(f"tool {secret}", {"pin": secret}, lambda **_: "done", server=None)
        assert leaks(tmp_path, secret) == []
    assert leaks(tmp_path, secret) == []
    whole(tmp_path / "audit.db")


def test_a_result_that_makes_a_value_known_does_not_write_it_with_the_outcome(
    tmp_path: Path,
) -> None:
    """A key in the result says that the value is a password; the framework's id of the same call
    holds it too.
    """
    secret = plain()
    with guarded(tmp_path) as guard:
        prepare(guard)
        guard.declare("logged", schema={"type": "object"}, log_output=True)
        with guard.session(principal="alice", agent="bot"):
            guard.call("logged", {}, lambda: {"password": secret, "text": f"it is {secret}"})
            guard.call("send", {"text": secret}, lambda **_: "done", call_id=secret)
        with guard.session(principal="alice", agent="bot"):
            before = len(records(tmp_path / "audit.db"))
            guard.call("logged", {}, lambda: {"password": secret}, call_id="x " + secret)
    found = _lines(tmp_path)
    assert not [line for line in found[:before] if appearances(secret, line)]
    # The decision came before anyone could know; the outcome did not.
    assert not appearances(secret, found[before + 1])


@pytest.mark.parametrize("place", sorted(SUPPLIED))
def test_what_a_session_knows_strikes_nothing_that_host_or_policy_supplied(
    echoing: tuple[Guard, Path], place: str
) -> None:
    """A tool's labels, rule ids, severities and needs stay as they are, or a page could strike them
    from the record.
    """
    guard, folder = echoing
    secret = label_like() if place == "tool labels" else plain()
    with guard.session(principal="alice", agent="bot"):
        learn(guard, secret)
        before = len(records(folder / "audit.db"))
        with contextlib.suppress(AssertionError):
            IN_CALLS[place](guard, secret)
    found = [line for line in _lines(folder)[before:] if appearances(secret, line)]
    assert len(found) == 1
    assert b'"omitted":null' in found[0]


def test_a_denial_tells_the_agent_no_secret(tmp_path: Path) -> None:
    """Neither its text nor its repr, arguments, pickle, cause or context."""
    secret, known = shaped(), plain()
    with guarded(
        tmp_path, StaticPolicy(deny("r", rules=[_rule(f"not with {secret} or {known}")]))
    ) as guard:
        prepare(guard)
        with guard.session(principal="alice", agent="bot"):
            with pytest.raises(Denied):
                learn(guard, known)
            with pytest.raises(Denied) as caught:
                guard.call("send", {"text": secret}, lambda **_: "done")
    error = caught.value
    told = (
        f"{error} {error!r} {error.args} {error.hint} {error.code} {error.__notes__}"
        if hasattr(error, "__notes__")
        else f"{error} {error!r} {error.args} {error.hint} {error.code}"
    ).encode() + pickle.dumps(error)
    assert appearances(secret, told) == []
    assert appearances(known, told) == []
    assert error.__cause__ is None


def _rule(message: str) -> dict[str, Any]:
    return deny("r")["rules"][0] | {"message": message}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda g, s: g.call("send", {"text": s}, run=s),
        lambda g, s: g.call(s + "\n", {}, run=lambda: 1),
        lambda g, s: g.call("send", {"text": s}, run=lambda **_: (_ for _ in s)),
        lambda g, s: g.session(principal=s + "\n"),
        lambda g, s: g.session(principal=s * 40),
        lambda g, s: g.session(principal="alice", id="", tenant=s),
        lambda g, s: g.session(principal="alice", delegation=[{"sub": s + "\x00"}]),
        lambda g, s: g.session(principal="alice", attributes={"x": object(), s: {s}}),
        lambda g, s: g.declare(s + "\n"),
        lambda g, s: g.declare("x", target=[s]),
        lambda g, s: g.declare("x", labels=s),
        lambda g, s: g.declare("x", schema=type(s, (), {})),
        lambda g, s: g.admit("send", {}).settle(s),
    ],
)
def test_errors_of_the_guard_quote_no_value(tmp_path: Path, wrong: Any) -> None:
    """What a caller got wrong is named by its kind and place, never by its value."""
    secret = shaped()
    with guarded(tmp_path) as guard:
        prepare(guard)
        with pytest.raises(GuardrailError) as caught:
            wrong(guard, secret)
    error: BaseException | None = caught.value
    while error is not None:
        assert appearances(secret, f"{error} {error!r} {error.args}".encode()) == []
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert appearances(secret, getattr(caught.value, "hint", "").encode()) == []


def test_sessions_do_not_know_each_others_values(tmp_path: Path) -> None:
    """For contrast: in another session the same words are only words, so the tests above can
    fail.
    """
    secret = plain()
    with guarded(tmp_path, StaticPolicy(allow())) as guard:
        prepare(guard)
        with guard.session(principal="alice", agent="bot"):
            learn(guard, secret)
        with guard.session(principal="bob", agent="bot"):
            guard.call("send", {"text": secret}, lambda **_: "done")
    assert leaks(tmp_path, secret)


SIGNER = """
import sys
from cryptography.hazmat.primitives.serialization import load_pem_private_key
key = load_pem_private_key(open(sys.argv[1], "rb").read(), None)
sys.stdout.buffer.write(key.sign(sys.stdin.buffer.read()))
"""


def test_a_secret_in_the_settings_is_written_by_no_start(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither by the start with it, nor by the next one, which records it as the old value. All
    other values of settings are shown.
    """
    pin, password, name, pattern = secrets.token_hex(12), shaped(), shaped(), secrets.token_hex(9)
    project = new_project(tmp_path / "project")
    db = project / "audit.db"
    usual = Settings().override(ledger={"path": db}, policy={"path": [project / "policies"]})
    Guard.open(usual).close()
    key = shutil.copy(usual.key_path / "log.key", tmp_path / "elsewhere")
    Guard.open(
        usual.override(
            keys={"signer": [sys.executable, "-c", SIGNER, str(key), f"--pin={pin}"]},
            policy={"time_zones": ["Europe/Berlin"]},
            identity={"tenant": f"postgres://shop:{password}@db.internal/shop"},
            redaction={"keys": {"customer": [name]}, "patterns": {"customer": [f"{pattern}[a-z]"]}},
        )
    ).close()
    Guard.open(usual).close()
    there, back = (item["detail"] for item in whole(db) if item["type"] == CHANGED)
    named = {"identity.tenant", "keys.signer", "redaction.keys", "redaction.patterns"}
    assert named | {"policy.time_zones"} == set(there["changed"])
    for each in (there, back):
        [zones] = [item for item in each["changes"] if item["name"] == "policy.time_zones"]
        assert ["Europe/Berlin"] in [zones[side].get("value") for side in ("old", "new")]
    for seq in range(len(whole(db))):
        run(["show", str(seq), "--ledger", str(db)])
    captured = capfd.readouterr()
    assert "policy.time_zones" in captured.out
    for secret in (pin, password, name, pattern):
        assert leaks(project, secret) == []
        assert appearances(secret, (captured.out + captured.err).encode()) == []
