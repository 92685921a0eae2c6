"""A text that a policy builds from a classified argument does not contain its value, even if the
value is an ordinary word; a text that the policy contains stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from guardrail import Denied, Guard
from guardrail.core.redaction.marks import is_mark, mask_marks
from guardrail.policy.own_texts import OwnTexts
from guardrail.system import cpu_meter
from guardrail.testing import MemoryLedger, StaticPolicy, deny, memory_guard
from tests.support.approvals import Asks, bench
from tests.support.guards import records

POLICY = """package guardrail.policy

args := input.action.properties.args

deny contains {"rule": "wrong-locker", "message": msg} if {
	input.resource.id == "open"
	is_string(args.locker)
	all := json.marshal(args)
	msg := sprintf("no entry: locker %v, %v, guest %v", [args.locker, all, args.guest])
}

deny contains {"rule": sprintf("closed_%v", [args.locker]), "message": data.texts.closed} if {
	input.resource.id == "open"
}

redact contains "/badge"

deny contains sprintf("badge %v", [args.badge]) if input.resource.id == "open"
"""
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "locker": {"type": "string", "writeOnly": True},
        "guest": {"type": "string"},
        "badge": {"type": "string"},
    },
}


class Open(NamedTuple):
    """A guard and its ledger."""

    guard: Guard
    db: Path

    def deny(self, locker: str, badge: str = "sparrow") -> tuple[dict[str, Any], str]:
        """Return the record of a denied call, and the text for the agent."""
        args = {"locker": locker, "guest": "delta", "badge": badge}
        with self.guard.session(principal="alice", agent="bot"), pytest.raises(Denied) as caught:
            self.guard.call("open", args, run=lambda **_: pytest.fail("the body ran"))
        return records(self.db, "call.decision")[-1], str(caught.value)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    folder = tmp_path_factory.mktemp("quoted")
    (folder / "policies").mkdir()
    (folder / "policies" / "p.rego").write_text(POLICY)
    (folder / "policies" / "data.json").write_text('{"texts": {"closed": "the office is closed"}}')
    with Guard.open(policies=folder / "policies", ledger=folder / "audit.db") as guard:
        guard.declare("open", schema=SCHEMA)
        yield Open(guard, folder / "audit.db")


def _rules(record: dict[str, Any]) -> dict[str, str]:
    return {mask_marks(rule["rule"]): rule["message"] for rule in record["decision"]["rules"]}


@pytest.mark.parametrize(
    "value",
    ["opensesame", "blue-horse", "482913", 'say "open" twice', "o\u017fterei", "ver\u200by open"],
)
def test_a_probable_value_is_not_in_the_texts_of_the_policy(opened: Open, value: str) -> None:
    """Neither as written nor in JSON, in ids and messages, for the record and the agent."""
    record, told = opened.deny(value)
    mark = record["input"]["action"]["properties"]["args"]["locker"]
    assert is_mark(mark)
    for text in (str(record), told):
        assert value not in text
        assert value[:6] not in text
    message = _rules(record)["wrong-locker"]
    assert message.startswith(f"no entry: locker {mark}, ")
    assert message.endswith("guest delta")
    assert f"closed_{mark}" in {rule["rule"] for rule in record["decision"]["rules"]}


def test_a_value_at_a_pointer_of_the_policy_is_not_in_its_texts(opened: Open) -> None:
    """With the token that the record shows there."""
    record, _ = opened.deny("opensesame", badge="kingfisher")
    token = record["input"]["action"]["properties"]["args"]["badge"]
    assert f"badge {token}" in {rule["rule"] for rule in record["decision"]["rules"]}
    assert "kingfisher" not in str(record)


def test_a_caller_can_not_remove_a_text_that_the_policy_contains(opened: Open) -> None:
    """Ids and messages in the source or the data stay; a built text loses the value, and so does an
    entry of the data that is itself the value.
    """
    for value in ("wrong-locker", "office", "closed"):
        record, _ = opened.deny(value)
        assert "wrong-locker" in _rules(record)
        assert "the office is closed" in _rules(record).values()
    record, _ = opened.deny("the office is closed")
    assert "the office is closed" not in str(record)
    record, _ = opened.deny("no entry")
    assert "no entry" not in _rules(record)["wrong-locker"]


def test_names_of_the_call_and_parts_of_words_are_kept(opened: Open) -> None:
    """The names of the schema, and a longer word that contains the value."""
    record, _ = opened.deny("locker")
    assert _rules(record)["wrong-locker"].startswith("no entry: locker locker, ")
    record, _ = opened.deny("sparro", badge="sparrows")
    assert "sparrows" not in str(record)  # it is classified itself


def _with_labels(document: dict[str, Any]) -> dict[str, Any]:
    locker = document["action"]["properties"]["args"]["locker"]
    rule = {"rule": "r", "message": f"un{locker}ly", "severity": f"as {locker}", "effect": "deny"}
    return deny(rules=[rule | {"needs": [f"/{locker}"], "approvers": 1}], labels=[f"at:{locker}"])


def _static() -> tuple[Guard, MemoryLedger]:
    guard, ledger = memory_guard(StaticPolicy(_with_labels))
    guard.declare("open", schema=SCHEMA)
    return guard, ledger


def test_labels_needs_and_severities_are_cleaned_too() -> None:
    """A probable value inside a longer word is not found, as documented."""
    guard, ledger = _static()
    with pytest.raises(Denied):
        guard.call("open", {"locker": "friend"}, run=lambda **_: None)
    decision = ledger.of("call.decision")[-1]["decision"]
    (rule,) = decision["rules"]
    assert "friend" not in str([rule["severity"], rule["needs"], decision["labels"]])
    assert rule["message"] == "unfriendly"


def test_every_one_of_many_values_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """More values than a session remembers."""
    monkeypatch.setattr(cpu_meter, "SECONDS", 60.0)  # a slow machine's, or coverage's
    words = [f"word {number}" for number in range(2_500)]
    schema = {"type": "object", "properties": {"all": {"writeOnly": True}}}
    guard, ledger = memory_guard(StaticPolicy(deny(f"{words[0]}; {words[-1]}; word x")))
    guard.declare("open", schema=schema)
    with pytest.raises(Denied) as caught:
        guard.call("open", {"all": words}, run=lambda **_: None)
    (rule,) = ledger.of("call.decision")[-1]["decision"]["rules"]
    for text in (rule["rule"], rule["message"], str(caught.value)):
        assert words[0] not in text
        assert words[-1] not in text
        assert text.endswith("; word x")


def test_an_approval_request_does_not_contain_the_value() -> None:
    """Neither its record nor the view of the approver."""
    made = bench(Asks(rules=("card sesame",)))
    made.ask({"card": "sesame"})
    request = made.last
    assert request["decision"]["effect"] == "require_approval"
    assert "sesame" not in str(made.ledger.records)
    mark = request["input"]["action"]["properties"]["args"]["card"]
    assert f"card {mark}" in {rule["rule"] for rule in request["decision"]["rules"]}


def test_guardrails_own_texts_are_known_without_sources() -> None:
    """If only an OPA server has the policies."""
    own = OwnTexts(None)
    assert own.in_source("guardrail.no_allow")
    assert own.in_source("no rule allows this call")
    assert not own.in_source("wrong-locker")
    assert not own.in_data("wrong-locker")
