"""A string of more than 4,096 characters is recorded by its redacted beginning, its length and a
token of the whole. Nothing sensitive is cut in two.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.core.log.record import dumps
from guardrail.core.redaction.cut_strings import cut, end_of_cut, is_cut, with_heads
from guardrail.core.redaction.limits import UNCUT, Limits, unmetered
from guardrail.core.redaction.session_memory import Memory
from guardrail.core.redaction.values import all_texts
from tests.support.redaction import REDACTOR, is_secret, mark, redactor, token, view

CUT = 4_096
TAIL = " and more words" * 60

KINDS = {
    "cloud key": "AKIA" + "Q7ZK" * 4,
    "e-mail": "jane.roe-smith@mail.example.com",
    "account": "GB29NWBK60161331926819",
    "card": "4111 1111 1111 1111",
    "assignment": "password=Tr0ub4dor-9x-EVE",
    "credentials": "https://svc:Tr0ub4dor9xEVE@db.example.com/",
    "header": "Authorization: Bearer Zk81xQmB7rT0pLw93nVd",
    "option": "mysql --password Tr0ub4dor-9x-EVE",
    "JSON": '{"api_key": "Zk81xQmB7rT0pLw93nVd"}',
    "private key": "-----BEGIN PRIVATE KEY-----\n" + "Zk81xQmB7rT0pLw93nVd\n" * 120,
    "web token": "eyJhbGciOiJIUzI1NiJ9."
    + "eyJzdWIiOiJ4eXoxMjM0NTY3OD" * 30
    + ".Zk81xQmB7rT0pLw93nVd",
    "invisible": "pass\u200bword=Tr0ub4dor\u200b-9x-EVE",
}
"""A sensitive value of each kind, with the text that shows what it is."""
VALUES = ("AKIA", "jane.r", "roe-sm", "NWBK60", "4111 1", "1111 1", "Tr0ub4", "dor-9x", "Zk81xQ", "Q7ZK", "eyJzdW", "Lw93nV")  # fmt: skip
KNOWN = "va1ue-0ne-zx81-Qm"
FORMS = {
    "plain": KNOWN,
    "percent": "".join(f"%{ord(char):02x}" for char in KNOWN),
    "quoted": quote(f"{KNOWN} x"),
    "base64": base64.b64encode(f"key {KNOWN} end".encode()).decode(),
    "hex": KNOWN.encode().hex(),
    "escaped": "".join(f"\\u{ord(char):04x}" for char in KNOWN),
}


def words(size: int) -> str:
    """Return *size* characters of text in which nothing is sensitive."""
    return ("some words of a text " * (size // 21 + 1))[: size - 1] + " "


def whole(text: str) -> str:
    """Return the token of all of *text*."""
    return token("data", hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())


def recorded(text: str, memory: Memory | None = None) -> Any:
    """Return what is recorded of *text*, after checks that hold for every long text."""
    memory = Memory() if memory is None else memory
    shown = view({"t": text}, memory=memory)
    assert REDACTOR.gate(all_texts(shown.value), memory) is None
    return shown.value["t"]  # type: ignore[index]


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_across_the_cut_is_removed_whole(kind: str) -> None:
    """Wherever the cut splits it, and if it lies just before or after the cut."""
    value = KINDS[kind]
    for back in (1, 4, 9, 15, min(len(value), 700) - 3, len(value), len(value) + 30, -1):
        text = words(CUT - back) + value + TAIL
        shown = recorded(text)
        assert shown["$t"] == "str"
        assert shown["len"] == len(text)
        assert not [part for part in VALUES if part in shown["head"]], (back, shown["head"][-200:])
        assert shown["head"].startswith(words(CUT - back)[: CUT - 40 - back])


def test_the_token_of_a_value_across_the_cut_is_that_of_the_whole_value() -> None:
    """So it is found by the whole value, and half of it has no token."""
    head = recorded(words(CUT - 5) + "jane.roe@example.com" + TAIL)["head"]
    assert head == words(CUT - 5) + token("contact", "jane.roe@example.com")


@pytest.mark.parametrize("form", FORMS)
def test_a_known_value_across_the_cut_is_removed_in_every_form(form: str) -> None:
    """The session knows the value from an earlier argument."""
    memory = Memory()
    view({"password": KNOWN}, memory=memory)
    for back in (2, 9, len(FORMS[form]) - 2):
        shown = dumps(recorded(words(CUT - back) + FORMS[form] + TAIL, memory)).decode()
        assert FORMS[form][:back] not in shown.replace(words(CUT)[:500], "")
        assert KNOWN[:6] not in shown


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)),
    st.integers(-60, 120),
    st.sampled_from(["", "é", "ﬁ", "\u200b", "\U0001f600", "e\u0301"]),
)
def test_no_place_of_the_cut_shows_a_part_of_a_value(kind: str, back: int, before: str) -> None:
    """Whatever stands before the value, also if its normal form is longer or shorter."""
    own = redactor(string=300, text=300)
    text = before * 20 + words(max(1, 300 - back - 20 * len(before))) + KINDS[kind] + TAIL
    shown: Any = view({"t": text}, by=own).value
    assert not [part for part in VALUES if part in shown["t"]["head"]]
    assert not [part for part in VALUES if part in own.text(text, Memory())]


def test_a_string_is_cut_after_4096_characters() -> None:
    """One of that length is recorded completely, a longer one by its beginning."""
    text = words(CUT)
    assert view({"t": text}).value == {"t": text}
    assert not view({"t": text}).truncated
    longer = text + "x"
    shown = view({"t": longer})
    assert shown.value == {"t": {"$t": "str", "len": 4_097, "tok": whole(longer), "head": text}}
    assert shown.truncated
    assert shown.changed
    assert shown.removed == {}


def test_what_is_found_behind_the_cut_is_classified_and_known() -> None:
    """The policy learns the class, and later calls do not show the value."""
    memory = Memory()
    text = words(12_000) + " password=Tr0ub4dor-9x-EVE " + words(90_000)
    found = REDACTOR.inspect({"t": text}, schema=None, declared=True, memory=memory)
    assert found.arg_classes == {"/t": ["secret"]}
    shown = found.view()
    assert shown.removed["/t"][0] == "secret"
    assert is_secret(view({"t": "Tr0ub4dor-9x-EVE"}, memory=memory).value["t"])  # type: ignore[index]


def test_the_token_of_a_text_with_a_secret_is_random() -> None:
    """Otherwise, whoever has the key could try all codes in a text that is known apart from one."""
    for text in (f"{words(5_000)} password=Tr0ub4dor-9x-EVE", f"{words(5_000)} login code: 481516"):
        one, other = recorded(text), recorded(text)
        assert one["tok"].startswith("gr1:data:-:")
        assert one["tok"] != other["tok"]
    text = f"{words(5_000)} jane.roe@example.com"
    assert recorded(text)["tok"] == whole(text)
    nested = json.dumps({"password": "hunter2", "body": words(4_200)})
    assert recorded(nested)["tok"].startswith("gr1:data:-:")


def test_half_a_value_at_the_end_of_the_searched_part_is_not_known() -> None:
    """Elsewhere, half of the value would be hidden, and half would be shown."""
    size = Limits().searched
    value = "Tr0ub4dor-9x-EVE-and-more"
    memory = Memory()
    shown = recorded(words(size - 20) + f"password={value} " + words(500), memory)
    assert shown["len"] > size
    assert memory.knows(value) is None
    run = "." * 27_000
    assert recorded(run)["head"] == run[:CUT]


def test_a_long_json_string_is_cut_after_it_was_taken_apart() -> None:
    """A key before the cut classifies the value behind it, and inner strings are cut first."""
    inner = json.dumps({"pad": words(4_060), "password": "hunter2", "to": "bob@example.com"})
    shown = view({"t": inner})
    assert shown.removed["/t/password"] == ["secret", "key:secret"]
    head = shown.value["t"]["head"]  # type: ignore[index]
    assert "hunter2" not in head
    assert head.startswith('{"pad":"some words')
    assert shown.value["t"]["len"] == len(inner)  # type: ignore[index]
    deep = json.dumps({"a": json.dumps({"b": words(5_000)})})
    assert recorded(deep)["head"].startswith('{"a":{"$t":"str","len":')
    plain = json.dumps({"a": [words(100)] * 60})
    assert recorded(plain) == {
        "$t": "str",
        "len": len(plain),
        "tok": whole(plain),
        "head": plain[:CUT],
    }


def test_a_long_value_that_is_sensitive_as_a_whole_has_no_beginning() -> None:
    """Its class decides: a secret has a random mark and no length."""
    memory = Memory()
    shown: Any = view({"password": words(9_000), "address": words(9_000)}, memory=memory).value
    assert is_secret(shown["password"])
    assert shown["address"] == token("address", words(9_000))
    key = "-----BEGIN PRIVATE KEY-----\n" + "Zk81xQmB7rT0pLw93nVd\n" * 1_500
    assert is_secret(recorded(key))
    whole_of = "ﬁ" + words(5_000)
    assert view({"address": whole_of}).value == {"address": token("address", whole_of)}


@pytest.mark.parametrize("char", ["\u0301", "\u200d", "\ufe0f"])
def test_no_accent_is_separated_from_its_letter(char: str) -> None:
    """A character and what joins it stay together, up to a limit."""
    text = "x" * 99 + "e" + char + "y" * 50
    assert text[: end_of_cut(text, 100)] == "x" * 99
    assert end_of_cut("e" + char * 200, 100) == 68
    assert end_of_cut("é" + "x" * 200, 100) == 100


def test_a_lone_surrogate_at_the_cut_can_be_recorded() -> None:
    """It becomes the replacement character, as everywhere."""
    assert recorded(words(CUT - 1) + "\ud83d\ude00" + TAIL)["head"].endswith("\ufffd")
    assert recorded("é" * 5_000)["head"] == "é" * CUT


def test_no_mark_is_cut_in_two() -> None:
    """A text that was recorded before contains marks. A beginning that only resembles one stays."""
    one = token("name", "x")
    for back in range(1, len(one)):
        text = "x " * 100 + one + " y"
        assert cut(text, 200 + back) == "x " * 100 + "..."
    assert cut("x " * 100 + one + " y" * 9, 200 + len(one)) == "x " * 100 + one + "..."
    assert cut("x gr1:y and more", 8) == "x gr1:y ..."
    assert cut("short", 8) == "short"
    secret = mark("secret")
    assert secret[:8] not in recorded(words(CUT - 20) + secret + TAIL)["head"]


def test_many_long_strings_keep_shorter_beginnings() -> None:
    """Before a member is left out, all beginnings become shorter: 1,024, then 256 characters."""
    few: Any = view({"files": [words(5_000)] * 9}).value
    assert {len(each["head"]) for each in few["files"]} == {CUT}
    more: Any = view({"files": [words(5_000)] * 20, "n": 1}).value
    assert {len(each["head"]) for each in more["files"]} == {1_024}
    many: Any = view({"files": [words(5_000)] * 90, "n": 1}).value
    assert {len(each["head"]) for each in many["files"]} == {256}
    huge = view({"files": [words(5_000)] * 600, "n": 1})
    assert huge.value["files"].keys() == {"$t", "len", "tok"}  # type: ignore[index]
    assert huge.truncated
    assert len(dumps(huge.value)) < 40_960


def test_the_record_of_a_denial_shows_a_shorter_beginning() -> None:
    """A denial has 4,096 bytes in total. What is left out last is the beginning."""
    found = REDACTOR.inspect(
        {"to": "Bob", "body": words(9_000)}, schema=None, declared=True, memory=Memory()
    )
    base = found.view()
    shown: Any = found.shortened(base, 4_096).value
    assert len(shown["body"]["head"]) == 1_024
    assert shown["body"]["tok"] == whole(words(9_000))
    shown = found.shortened(base, 300).value
    assert shown["body"] == {"$t": "str", "len": 9_000, "tok": whole(words(9_000))}
    assert len(base.value["body"]["head"]) == CUT  # type: ignore[index]


def test_shorter_beginnings_leave_everything_else_as_it_is() -> None:
    """The same object is returned if nothing is longer, and a value is never changed."""
    cut_one = {"$t": "str", "len": 9_000, "tok": token("data", "x"), "head": "x" * 50}
    for value in (cut_one, [cut_one, 1], {"a": [cut_one], "b": None}, "x" * 90, 5):
        assert with_heads(value, 50, unmetered) is value
    assert with_heads({"a": [cut_one, 1]}, 9, unmetered) == {"a": [{**cut_one, "head": "x" * 9}, 1]}
    assert len(cut_one["head"]) == 50  # type: ignore[arg-type]
    for change in ({"head": 5}, {"tok": "x"}, {"tok": 5}, {"$t": "object"}, {"more": 1}):
        assert not is_cut({**cut_one, **change})
    assert not is_cut("x")


def test_the_policy_hides_the_beginning_or_a_value_in_it() -> None:
    """A pointer to the string leaves its size; a value that a pointer makes known is removed from
    the beginning, and the record names the string.
    """
    text = f"see va1ue-0ne-zx81 and {words(9_000)}"
    shown = view({"t": text, "id": "va1ue-0ne-zx81"}, "/id")
    assert "va1ue" not in dumps(shown.value).decode()
    assert shown.removed["/t"] == ["policy", "known"]
    assert shown.value["t"]["head"].startswith("see gr1:")  # type: ignore[index]
    hidden: Any = view({"t": text}, "/t").value
    assert hidden["t"].keys() == {"$t", "len", "tok"}


def test_a_result_is_cut_like_an_argument() -> None:
    """Length and token are those of the whole string, however much of the result is searched."""
    text = words(300_000)
    for value, at in ((text, ()), ({"content": [text]}, ("content", 0))):
        shown: Any = REDACTOR.result(value, log_output=True, memory=Memory())["value"]
        for part in at:
            shown = shown[part]
        assert shown == {"$t": "str", "len": 300_000, "tok": whole(text), "head": text[:CUT]}
    assert REDACTOR.result(text.encode(), log_output=True, memory=Memory())["value"] == shown


def test_no_value_is_cut_where_a_result_ends() -> None:
    """The last text within the limit is read until its recorded part is complete."""
    own = redactor(result=3_000)
    for size in range(2_960, 3_000, 7):
        value = [words(size), KINDS["cloud key"] + " x", KINDS["cloud key"]]
        shown = dumps(own.result(value, log_output=True, memory=Memory())).decode()
        assert "Q7ZK" not in shown
        of_keys = own.result({KINDS["cloud key"]: 1, "k": 2}, log_output=True, memory=Memory())
        assert b"Q7ZK" not in dumps(of_keys)


def test_no_value_is_cut_where_the_message_of_an_exception_ends() -> None:
    """Each message is read past its recorded part, and those of its causes as well."""
    memory = Memory()
    memory.remember(KNOWN, "secret")
    shrinking = "password=" + "v" * 3_300 + " "
    for back in (3, 9, 14):
        text = shrinking + words(4_000 - back - len(shrinking)) + KNOWN + TAIL
        cause = ValueError(text)
        error = RuntimeError("failed")
        error.__cause__ = cause
        for each in (cause, error):
            message = REDACTOR.error(each, memory)["message"]
            assert "va1" not in message
            assert len(message) <= 1_003


def test_a_view_on_which_somebody_decides_has_longer_strings() -> None:
    """Attributes of a session, and arguments if the policy decides on the recorded view."""
    text = words(16_384)
    assert REDACTOR.value({"t": text}, Memory(), limits=UNCUT).value == {"t": text}
    assert is_cut(REDACTOR.value({"t": text + "x"}, Memory(), limits=UNCUT).value["t"])  # type: ignore[index]
    assert UNCUT.searched >= UNCUT.string + 2 * UNCUT.past
