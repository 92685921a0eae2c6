"""P8: each identity that a host passes is asserted or absent, and says how. Only a token can be
verified (tests/identity/test_token_sessions.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guardrail.core.types import Agent, Assurance, Principal
from guardrail.errors import IdentityError
from guardrail.testing import StaticPolicy, allow
from tests.support.guards import OPEN, Body, guarded, records

HOSTS: list[dict[str, Any]] = [
    {},
    {"principal": "alice"},
    {"principal": "alice", "agent": "bot"},
    {"agent": Agent("bot", version="1", framework="langchain")},
    {"principal": Principal("svc", type="service", issuer="https://idp", roles=("admin",))},
    {"principal": Principal("alice", attributes={"assurance": "verified", "method": "oidc_jwt"})},
    {
        "principal": "alice",
        "attributes": {"assurance": "verified", "tenant": "other", "roles": ["root"]},
    },
    {"principal": "alice", "delegation": [{"sub": "bob", "assurance": "verified"}]},
    {"principal": Principal("", assurance=Assurance.ABSENT, method="none")},
]


def test_nothing_is_called_verified(tmp_path: Path) -> None:
    """Whatever a host says, in a decision, an outcome, a rejection, and in what the policy sees."""
    policy = StaticPolicy(allow())
    with guarded(tmp_path, policy) as guard:
        guard.declare("send", schema=OPEN)
        guard.call("send", {}, Body())
        for who in HOSTS:
            with guard.session(**who):
                guard.call("send", {}, Body())
                guard.reject("send", "bad_arguments")
    for record in records(tmp_path / "audit.db"):
        if record["type"].startswith("call."):
            for identity in (record["principal"], record["agent"]):
                assert identity["assurance"] == ("asserted" if identity["id"] else "absent")
                assert identity["method"]
    for asked in policy.inputs:
        subject = asked["subject"]
        assert subject["properties"]["assurance"] == ("asserted" if subject["id"] else "absent")
        assert subject["properties"]["method"] != "oidc_jwt"
        assert subject["properties"]["tenant"] == "default"
        assert "root" not in subject["properties"]["roles"]
        assert asked["context"]["agent"]["assurance"] in ("asserted", "absent")


@pytest.mark.parametrize(
    "who",
    [
        {"principal": Principal("alice", assurance=Assurance.VERIFIED)},
        {"agent": Agent("bot", assurance=Assurance.VERIFIED)},
        {"principal": Principal("alice", assurance="verified")},  # type: ignore[arg-type]
        {"agent": Agent("bot", assurance="verified")},  # type: ignore[arg-type]
        {"principal": Principal("", assurance="verified")},  # type: ignore[arg-type]
        {"principal": Principal("alice", assurance=Assurance.ABSENT)},
        {"agent": Agent("x" * 10_000, assurance=Assurance.ABSENT)},
    ],
)
def test_a_host_cannot_hand_over_an_identity_that_is_not_its_own_word(
    tmp_path: Path, who: dict[str, Any]
) -> None:
    """Only guardrail could say so."""
    with guarded(tmp_path) as guard, pytest.raises(IdentityError):
        guard.session(**who)


@pytest.mark.parametrize("assurance", ["VERIFIED", "yes", None, 1, "verified "])
def test_an_assurance_that_is_none_is_refused(tmp_path: Path, assurance: Any) -> None:
    """A word that the record format does not know would be read as anything."""
    with guarded(tmp_path) as guard, pytest.raises(IdentityError):
        guard.session(principal=Principal("alice", assurance=assurance))


def test_a_session_belongs_to_who_began_it(tmp_path: Path) -> None:
    """Another principal, agent or tenant is refused its id: in this process, and after a
    restart.
    """
    with guarded(tmp_path) as guard:
        guard.declare("send", schema=OPEN)
        with guard.session(principal="alice", agent="bot", id="s-1"):
            guard.call("send", {}, Body())
        for other in ({"principal": "bob"}, {"agent": "cat"}, {"tenant": "acme"}):
            with pytest.raises(IdentityError):
                guard.session(**{"principal": "alice", "agent": "bot", "id": "s-1", **other})
    with guarded(tmp_path) as guard:
        with pytest.raises(IdentityError):
            guard.session(principal="bob", agent="bot", id="s-1")
        with guard.session(principal="alice", agent="bot", id="s-1"):
            guard.call("send", {}, Body())
    assert {r["principal"]["id"] for r in records(tmp_path / "audit.db", "call.decision")} == {
        "alice"
    }


def test_calls_outside_a_session_have_an_absent_principal(tmp_path: Path) -> None:
    """Which the policy sees, and may refuse."""
    policy = StaticPolicy(allow())
    with guarded(tmp_path, policy) as guard:
        guard.call("send", {}, Body())
    assert policy.inputs[0]["subject"]["properties"]["assurance"] == "absent"
    (record,) = records(tmp_path / "audit.db", "call.decision")
    assert (record["principal"]["assurance"], record["agent"]["assurance"]) == ("absent", "absent")


def test_a_session_recorded_by_token_can_be_entered_again_by_its_owner(tmp_path: Path) -> None:
    """Where principals are recorded as tokens: after a restart it is still theirs, and nobody
    else's.
    """
    tokens = {"identity": {"principal_form": "token"}}
    for _ in range(2):
        with guarded(tmp_path, **tokens) as guard:
            guard.declare("send", schema=OPEN)
            with guard.session(principal="alice", agent="bot", id="s-1"):
                guard.call("send", {}, Body())
    with guarded(tmp_path, **tokens) as guard, pytest.raises(IdentityError):
        guard.session(principal="bob", agent="bot", id="s-1")
    found = records(tmp_path / "audit.db", "call.decision")
    assert len({record["principal"]["id"] for record in found}) == 1
    assert found[0]["principal"]["form"] == "token"


@pytest.mark.parametrize(
    "who",
    [
        {"principal": Principal("alice", issuer="x\ny")},
        {"principal": Principal("alice", type="")},
        {"principal": Principal("alice", method=5)},  # type: ignore[arg-type]
        {"agent": Agent("bot", version="1" * 600)},
        {"agent": Agent("bot", framework="\u202e")},
        {"trace": "\x1b[2J"},
        {"tenant": "a\nb"},
        {"delegation": [{"sub": ""}]},
        {"delegation": [{"sub": "a"}] * 9},
    ],
)
def test_what_a_host_says_about_itself_can_be_shown(tmp_path: Path, who: dict[str, Any]) -> None:
    """Kinds, issuers, versions and traces are short printable texts, as ids are."""
    with guarded(tmp_path) as guard, pytest.raises(IdentityError):
        guard.session(**{"principal": "alice", **who})
