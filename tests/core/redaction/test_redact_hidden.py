"""What the policy's pointers hide, and keys: of values and keys that they name, nothing is recorded
anywhere.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from guardrail.core.log.record import dumps
from guardrail.core.redaction.session_memory import Memory
from tests.support.redaction import REDACTOR, is_secret, redactor, token, view

BOB = "bob@example.com"
CARD = 4_111_111_111_111_111


# --- keys ---


def test_two_keys_never_become_one() -> None:
    """A key that was a token from the start, and one that gets the same token, both stay, and
    pointers reach both.
    """
    own = token("contact", BOB)
    args = {"m": {BOB: "va1ue-0ne", own: "value-two", "note": "value-three"}}
    shown = view(args)
    assert shown.value == {
        "m": {f"{own}-2": "va1ue-0ne", own: "value-two", "note": "value-three"},
    }
    assert dumps(view(args, "/m/*").value).count(b"value-") == 0
    below = view({"m": {"k9x": 1, token("policy", "k9x"): 2}}, "/m").value
    assert below == {
        "m": {
            f"{token('policy', 'k9x')}-2": token("policy", "1"),
            token("policy", "k9x"): token("policy", "2"),
        }
    }


def test_a_key_below_a_policy_pointer_is_in_no_pointer_of_the_record() -> None:
    """Not where a rule hit below it, not elsewhere as the key of something else, not in the
    classes.
    """
    args = {
        "patients": {"K4rl 9x": {"email": BOB, "lines": [{"password": "value-1"}]}},
        "other": {"K4rl 9x": {"email": BOB}, "list": [{"K4rl 9x": "x"}]},
    }
    inspection = REDACTOR.inspect(args, schema=None, declared=True, memory=Memory())
    assert "/patients/K4rl 9x/email" in inspection.view().removed
    for pointers in (["/patients"], ["/patients/*", "/patients"], ["/patients", "/patients"]):
        shown = inspection.view(pointers)
        assert "K4rl" not in json.dumps([shown.value, shown.removed, shown.classes])
        key, email = token("policy", "K4rl 9x"), token("policy", "email")
        place = f"/patients/{key}/{email}"
        assert shown.removed[place] == ["contact", "key:contact", "policy"]
        assert shown.classes[place] == ["contact"]
        assert f"/other/{key}/email" in shown.removed


def test_a_key_below_a_policy_pointer_is_in_no_pointer_that_was_made_wider() -> None:
    """Where there is so much that the account is cut, what is left of it holds no such key
    either.
    """
    for many, names in ((100, ["K4rl 9x"]), (900, [f"K4rl {index}x" for index in range(900)])):
        args = {"l": [{name: {"email": BOB, "pin": 7} for name in names[:3]}] * many}
        assert f"/l/*/{names[0]}/email" in view(args).removed
        shown = view(args, "/l")
        assert "K4rl" not in json.dumps([shown.value, shown.removed, shown.classes])
        assert len(dumps(shown.removed)) <= 12_000


def test_a_key_that_becomes_known_only_now_gets_a_name_of_its_own() -> None:
    """Two keys that hold one known value both stay."""
    shown = view({"a": "k9x-va1ue", "m": {"k9x-va1ue": 1, token("policy", "k9x-va1ue"): 2}}, "/a")
    own = token("policy", "k9x-va1ue")
    assert shown.value == {"a": own, "m": {f"{own}-2": 1, own: 2}}


def test_a_known_value_goes_as_a_key_where_no_value_is_text() -> None:
    """Keys are compared although there is nothing else to search."""
    memory = Memory()
    memory.remember("Qzrtplkwxnbv", "secret")
    shown = view({"Qzrtplkwxnbv": 1, "n": [True, None]}, memory=memory)
    assert b"Qzrtplkwxnbv" not in dumps([shown.value, shown.removed])


def test_a_known_secret_in_a_place_of_another_class_gets_no_token() -> None:
    """A token would let it be told from others."""
    memory = Memory()
    memory.remember("va1ue-0ne", "secret")
    shown = view({"email": "va1ue-0ne"}, memory=memory)
    assert is_secret(shown.value["email"])  # type: ignore[index]
    assert shown.removed["/email"] == ["secret", "key:contact", "known"]


def test_a_known_value_behind_escapes_takes_its_own_text_only() -> None:
    """The other texts of the same call stay readable."""
    memory = Memory()
    memory.remember("c0rrect h0rse", "secret")
    shown = view({"a": "is %630rrect%20h0rse", "b": "plain", "c": "c0rrect h0rse!"}, memory=memory)
    assert shown.value["b"] == "plain"  # type: ignore[index]
    assert is_secret(shown.value["a"])  # type: ignore[index]
    assert b"horse" not in dumps(shown.value)


@pytest.mark.parametrize(
    "encoded", ["63-30-72-72-65-63-74-20-68-30-72-73-65", "=63=30=72=72=65=63=74=20=68=30=72=73=65"]
)
def test_an_encoding_without_escapes_takes_its_own_text_only(encoded: str) -> None:
    """Wherever in the call it stands, as a key too, and if the value itself stands there as
    well.
    """
    memory = Memory()
    memory.remember("c0rrect h0rse", "secret")
    shown = view({"a": "plain", "b": f"is {encoded}", "c": "c0rrect h0rse!"}, memory=memory)
    assert shown.value["a"] == "plain"  # type: ignore[index]
    assert is_secret(shown.value["b"])  # type: ignore[index]
    assert b"0rse" not in dumps(shown.value)
    below = view(
        {"a": "plain", "m": {encoded: 1}, "n": f"{encoded} or c0rrect h0rse"}, memory=memory
    )
    assert below.value["a"] == "plain"  # type: ignore[index]
    assert encoded[:8].encode() not in dumps([below.value, below.removed])


# --- policy pointers ---


def test_a_policy_pointer_to_one_element_leaves_the_others() -> None:
    """An index names one place."""
    shown = view({"l": ["one", "two", {"a": 1}]}, "/l/0", "/l/7", "/l/1/x", "/l/2/b")
    assert shown.value == {"l": [token("policy", "one"), "two", {"a": 1}]}


def test_a_policy_pointer_given_twice_says_so_once() -> None:
    """The record names a rule once for a place."""
    shown = view({"a": "va1ue-0ne", "b": "va1ue-0ne too"}, "/a", "/a", "/*")
    assert shown.removed["/a"] == ["policy", "policy"]
    assert shown.removed["/b"] == ["policy", "policy"]


def test_a_place_that_is_both_known_and_named_by_the_policy_says_both_once() -> None:
    """Known values are looked for once more after the pointers, and every place is noted once."""
    memory = Memory()
    memory.remember("va1ue-0ne", "name")
    sized = {"$t": "str", "len": 7}
    args = {"a": "has va1ue-0ne", "b": "k9x-va1ue", "c": "is k9x-va1ue", "d": sized}
    shown = view(args | {"e": "va1ue-0ne is k9x-va1ue"}, "/b", memory=memory)
    assert shown.removed == {
        "/a": ["name", "known"],
        "/b": ["policy", "policy"],
        "/c": ["policy", "known"],
        "/e": ["name", "known"],
    }
    assert shown.value["d"] == sized  # type: ignore[index]
    assert b"k9x" not in dumps(shown.value)


def test_card_numbers_that_became_known_are_looked_for_as_well() -> None:
    """A number, a flag and nothing, beside a pointer that makes the number known. Other numbers
    turn up by chance.
    """
    sized = {"$t": "str", "len": 7654321}
    args = {"a": 7654321, "b": {"c": 7654321, "d": None, "e": True}, "n": 1.25, "s": sized}
    assert view(args, "/a").value == args | {"a": token("policy", "7654321")}
    memory = Memory()
    memory.remember(str(CARD), "policy")
    shown = view({"b": {"c": CARD + 0.5, "d": f"x{CARD:x}"}, "n": f"{CARD}"}, memory=memory)
    assert str(CARD) not in json.dumps([shown.value, shown.removed])


def test_several_classes_at_one_place_are_named_in_order() -> None:
    """The policy sees each class once, the record the strictest first."""
    inspection = REDACTOR.inspect(
        {"note": f"{BOB} 4111 1111 1111 1111 {BOB}", "body": json.dumps({"a": BOB, "pin": "12"})},
        schema=None,
        declared=True,
        memory=Memory(),
    )
    assert inspection.arg_classes["/note"] == ["contact", "payment"]
    assert inspection.arg_classes["/body"] == ["contact", "secret"]
    assert inspection.view().removed["/note"] == ["payment", "detector:email", "detector:card"]
    assert inspection.view().removed["/body"] == ["secret", "json"]


def test_nothing_in_an_undeclared_call_stays_nothing() -> None:
    """Null says nothing, beside values that are recorded by size."""
    deep: Any = None
    for _ in range(40):
        deep = {"a": deep}
    shown = view({"b": b"x", "c": b"y", "n": None, "deep": deep}, declared=False)
    assert shown.value["n"] is None  # type: ignore[index]
    assert shown.value["b"] != shown.value["c"]  # type: ignore[index]


@pytest.mark.parametrize("declared", [True, False])
def test_a_long_string_that_the_policy_names_shows_no_beginning(declared: bool) -> None:
    """Its size and a token are recorded, and its text is known from then on."""
    memory = Memory()
    long = "K4rl has the flu. " * 3_000
    shown = view({"note": long, "data": "A1b2" * 200}, "/*", memory=memory, declared=declared)
    assert b"flu" not in dumps(shown.value)
    assert shown.removed["/note"][-1] == "policy"
    assert memory.knows(f"x {long[:8_192]} x") == "policy"
    assert memory.knows(f"x {'A1b2' * 200} x") == "policy"


@pytest.mark.parametrize("pointer", ["/p", "/p/*", "/p/*/K4rl 9x", "/p/7/*", "/*/7/K4rl 9x/id"])
@pytest.mark.parametrize("deep", [True, False])
def test_what_the_policy_names_in_what_is_not_shown_is_known(pointer: str, deep: bool) -> None:
    """Too much or too deep for a record: the value is still recognised elsewhere, and the record
    names the rule.
    """
    memory = Memory()
    people = [{"K4rl 9x": {"id": f"p4t1ent-{index}", "age": 1234567}} for index in range(900)]
    limits = redactor(depth=1) if deep else REDACTOR
    shown = view({"p": people, "n": 1}, pointer, memory=memory, by=limits)
    assert shown.value["p"].keys() == {"$t", "len", "tok"}  # type: ignore[index]
    assert shown.removed["/p"] == ["policy", "policy"]
    assert "K4rl" not in json.dumps([shown.removed, shown.classes])
    assert memory.knows("it is p4t1ent-7 who came") == "policy"
    assert (memory.knows("it is p4t1ent-8 who came") == "policy") is ("7" not in pointer)
    for miss in ("/p/x", "/p/9999", "/p/1/none/id", "/p/1/K4rl 9x/id/0", "/n/1"):
        assert view({"p": people, "n": 1}, miss, by=limits).removed == {}


def test_a_value_that_is_known_already_keeps_its_class() -> None:
    """The rule that found it says more than the policy's pointer to what holds it."""
    memory = Memory()
    memory.remember("p4t1ent-7", "health")
    view(
        {"p": [[f"p4t1ent-{index}"] for index in range(20)]},
        "/p",
        memory=memory,
        by=redactor(depth=1),
    )
    assert memory.knows("a p4t1ent-7 b") == "health"
    assert memory.knows("a p4t1ent-8 b") == "policy"


def test_keys_inside_a_json_string_that_the_policy_names_are_in_no_pointer() -> None:
    """What was found inside is noted at the string, and the keys that are data are known from then
    on.
    """
    memory = Memory()
    body = json.dumps({"K4rl 9x": {"email": BOB, "pin": "1234"}, "plain": 1})
    shown = view({"body": body, "other": {"note": BOB}}, "/body", memory=memory)
    assert shown.removed["/body"] == ["secret", "key:contact", "key:secret", "json", "policy"]
    assert shown.classes["/body"] == ["contact", "secret"]
    assert set(shown.removed) == {"/body", "/other/note"}
    assert memory.knows("ask K4rl 9x about it") is not None
    assert memory.knows("a plain text") is None
