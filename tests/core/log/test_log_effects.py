"""Which call holds which effect key follows from the records."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.core.effect_values import check_effect_values, effect_text
from guardrail.core.log.effects import (
    EffectStep,
    HeldKeys,
    concerns,
    kept_details,
    step_of_fields,
)
from guardrail.errors import ArgumentsError


def decision(seq: int, key: str | None = "K", effect: str = "allow", **more: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "type": "call.decision",
        "seq": seq,
        "call": f"c{seq}",
        "tenant": "t",
        "session": "s",
        "origin": {},
        "commitment": "same",
        "decision": {"effect": effect},
    }
    return record | ({} if key is None else {"effect": {"key": key}}) | more


def outcome(seq: int, status: str, error: str | None = None) -> dict[str, Any]:
    said = None if error is None else {"class": error, "message": ""}
    return {"type": "call.outcome", "call": f"c{seq}", "status": status, "error": said}


def resolved(seq: int, *, ran: bool, key: str = "K") -> dict[str, Any]:
    return {"type": "admin.resolved", "detail": {"key": key, "decision": seq, "ran": ran}}


def taken(*records: dict[str, Any], unknown: int = 0) -> HeldKeys:
    held = HeldKeys(unknown=unknown)
    assert [wrong for record in records if (wrong := held.take(record))] == []
    return held


def state(held: HeldKeys, key: str = "K") -> tuple[int, str] | None:
    found = held.holder(key)
    return None if found is None else (found.seq, found.state)


@pytest.mark.parametrize(
    "status", ["ok", "error", "cancelled", "unknown", "returned", "input_required", "interrupted"]
)
def test_every_end_holds_the_key(status: str) -> None:
    """Except the one that proves that the body did not start."""
    held = taken(decision(1), outcome(1, status))
    assert state(held) == (1, status)
    assert held.blocking(EffectStep("K", "other")) is not None
    assert not held.any_running
    assert len(held) == 1


def test_a_call_that_did_not_start_frees_its_key() -> None:
    """The class alone is not enough: a body can raise an exception of that name."""
    assert state(taken(decision(1), outcome(1, "cancelled", "not_started"))) is None
    assert state(taken(decision(1), outcome(1, "error", "not_started"))) == (1, "error")
    assert state(taken(decision(1), outcome(2, "ok"))) == (1, "running")


def test_an_interrupted_call_may_run_again_but_no_other() -> None:
    """The same call has the same commitment and, if the framework names it, the same name."""
    held = taken(decision(1), outcome(1, "interrupted"))
    assert held.blocking(EffectStep("K", "other")) is not None
    assert held.blocking(EffectStep("K", "same")) is None
    assert held.take(decision(2)) == ""
    assert state(held) == (2, "running")
    named = {"origin": {"call_id": "x"}}
    held = taken(decision(1, **named), outcome(1, "interrupted"))
    assert held.blocking(EffectStep("K", "same")) is not None
    step = step_of_fields(decision(3, **named))
    assert step is not None
    assert held.blocking(step) is None


def test_a_second_call_with_a_held_key_is_a_conflict() -> None:
    """``verify`` reports it; from then on the newer call holds the key."""
    held = taken(decision(1), decision(2, "other"), decision(3, None), decision(4, effect="deny"))
    assert "held by 1" in held.take(decision(5))
    assert state(held) == (5, "running")
    held.take(outcome(1, "cancelled", "not_started"))
    assert state(held) == (5, "running")


def test_a_person_frees_or_confirms_a_key() -> None:
    """Only for the call that holds it."""
    first = (decision(1), outcome(1, "unknown"))
    assert state(taken(*first, resolved(1, ran=False))) is None
    held = taken(*first, resolved(1, ran=True))
    assert state(held) == (1, "ran")
    assert held.blocking(EffectStep("K", resolves=1)) is None
    for wrong in (resolved(2, ran=False), resolved(1, ran=False, key="other")):
        assert "does not hold" in taken(*first).take(wrong)
    assert taken(unknown=5).take(resolved(1, ran=False)) == ""
    assert "does not hold" in taken(unknown=5).take(resolved(5, ran=False))


def test_kept_keys_stay_held_without_their_records() -> None:
    """Each state, and only where the records do not say more."""
    full = taken(
        *(decision(seq, f"K{seq}") for seq in range(1, 250)),
        outcome(1, "interrupted"),
        outcome(2, "ok"),
    )
    details = list(kept_details(full.below(250)))
    assert len(details) == 3
    kept = taken(*({"type": "admin.effects_kept", "detail": each} for each in details))
    assert kept.below(1_000) == full.below(1_000)
    assert kept.blocking(EffectStep("K1", "same")) is None
    assert kept.take(outcome(3, "cancelled", "not_started")) == ""
    assert state(kept, "K3") is None
    changed = taken(decision(1, "K1"), outcome(1, "ok"))
    changed.take({"type": "admin.effects_kept", "detail": details[0]})
    assert state(changed, "K1") == (1, "ok")


def test_malformed_records_are_reported() -> None:
    """No writer writes them."""
    for wrong in (
        {"type": "admin.resolved", "detail": None},
        {"type": "admin.effects_kept", "detail": {}},
        decision(1) | {"effect": 5},
    ):
        assert "malformed" in HeldKeys().take(wrong)
    assert HeldKeys().take({"type": "admin.start"}) == ""


def test_the_steps_of_records() -> None:
    """Only a decision that allows takes a key."""
    assert step_of_fields(decision(1)) == EffectStep("K", "same")
    assert step_of_fields(decision(1, effect="deny")) is None
    assert step_of_fields(decision(1, None)) is None
    assert step_of_fields(outcome(1, "ok")) is None
    assert step_of_fields(resolved(7, ran=True)) == EffectStep("K", resolves=7)
    assert concerns(decision(1))
    assert not concerns(decision(1, None))
    assert concerns(outcome(1, "interrupted"))
    assert not concerns(outcome(1, "ok"))
    assert concerns(resolved(1, ran=True))
    assert not concerns({"type": "admin.start"})


def test_equal_values_have_one_text() -> None:
    """A fraction of zero makes no other number; everything else does."""
    given = ["/a"]
    one = effect_text(None, "pay", {"a": {"n": [1.0, 2]}}, given)
    assert one == effect_text(None, "pay", {"a": {"n": [1, 2.0]}, "b": 5}, given)
    others = [
        effect_text(None, "pay", {"a": {"n": [1, 2.5]}}, given),
        effect_text(None, "pay", {"a": {"n": ["1", 2]}}, given),
        effect_text("s", "pay", {"a": {"n": [1, 2]}}, given),
        effect_text(None, "pays", {"a": {"n": [1, 2]}}, given),
    ]
    assert len({one, *others}) == 5


def test_a_missing_value_is_refused() -> None:
    """All calls without it would be one."""
    check_effect_values({"a": 0}, ["/a"])
    for args in ({}, {"a": None}):
        with pytest.raises(ArgumentsError) as caught:
            check_effect_values(args, ["/a"])
        assert (caught.value.detail, caught.value.pointer) == ("effect_key", "/a")
