"""The sensitive values of one session."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import re
import sys
import threading
import unicodedata
from urllib.parse import quote, quote_plus

import pytest

from guardrail.core.redaction import session_memory
from guardrail.core.redaction.session_memory import Memory
from tests.support.redaction import view

_VALUE = 'p4ss "wörd"/+&'


def _known(*values: str, cls: str = "secret") -> Memory:
    session_memory = Memory()
    for value in values:
        session_memory.remember(value, cls)
    return session_memory


@pytest.mark.parametrize(
    "form",
    [
        _VALUE,
        json.dumps(_VALUE)[1:-1],
        json.dumps(_VALUE, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(_VALUE)),
        json.dumps(_VALUE)[1:-1].replace("/", "\\/"),
        repr(_VALUE),
        ascii(_VALUE),
        quote(_VALUE, safe=""),
        quote(_VALUE),
        quote_plus(_VALUE),
        "".join(f"%{byte:02x}" for byte in _VALUE.encode()),
        _VALUE.encode().hex(),
        _VALUE.encode().hex().upper(),
        *(
            base64.b64encode(b"u:"[:shift] + _VALUE.encode() + b"tail").decode()
            for shift in range(3)
        ),
        *(base64.urlsafe_b64encode(b"u:"[:shift] + _VALUE.encode()).decode() for shift in range(3)),
        "\u200b".join(_VALUE),
    ],
)
@pytest.mark.parametrize("others", [0, 400])
def test_a_value_is_recognised_in_every_form(form: str, others: int) -> None:
    """Plain, escaped, quoted, base64 in all three alignments, hex, split by invisible characters;
    few values or many.
    """
    session_memory = _known(*(f"other va1ue n0mber {index}" for index in range(others)), _VALUE)
    text = f"before {form} after"
    assert session_memory.knows(text) == "secret"
    scrubbed = session_memory.scrub(text)
    assert form not in scrubbed
    assert session_memory.knows(scrubbed) is None


@pytest.mark.parametrize("others", [0, 400])
@pytest.mark.parametrize("value", ["s1xch9", "sev3n9h", "é8êë9ù", "01234a6789"])
@pytest.mark.parametrize("shift", range(8))
def test_short_values_are_found_at_any_offset(value: str, shift: int, others: int) -> None:
    """The index of pieces misses no place of a value in a text."""
    session_memory = _known(*(f"an0ther va1ue {index}" for index in range(others)), value)
    assert session_memory.knows("_" * shift + value + "_" * 9) == "secret"
    assert session_memory.knows("_" * shift + value[:-1] + "_" * 9) is None


def test_text_without_known_values_comes_back_as_it_is() -> None:
    """Not even normalised."""
    session_memory = _known("c0rrect h0rse")
    text = "correct\u200b mule"
    assert session_memory.scrub(text) is text
    assert Memory().scrub(text) is text


@pytest.mark.parametrize(
    "value", ["short", "     x    ", "password", "email", "gr1:secret:-:" + "a" * 24]
)
def test_what_is_no_telling_value_is_not_remembered(value: str) -> None:
    """Too short, blank, the name of a field, one of guardrail's own marks."""
    session_memory = _known(value)
    assert len(session_memory) == 0
    assert session_memory.knows(f"x {value} x") is None


def test_the_stricter_class_stays() -> None:
    """A value that is known twice has the stricter class."""
    session_memory = _known("c0rrect h0rse", cls="name")
    assert session_memory.knows("c0rrect h0rse") == "name"
    session_memory.remember("c0rrect h0rse", "secret")
    session_memory.remember("c0rrect h0rse", "name")
    assert session_memory.knows("c0rrect h0rse") == "secret"


def test_a_text_counts_as_searched_only_for_the_values_known_then() -> None:
    """Not if a value came in during the search, and no longer once one comes in."""
    memory = Memory()
    memory.remember("Zq7!kd92LpX", "secret")
    memory.mark_clean(["hello"], memory.added)
    assert "hello" in memory.clean()
    before = memory.added
    memory.remember("tr0ub4dor&3x", "secret")
    assert "hello" not in memory.clean()
    memory.mark_clean(["hello"], before)
    assert "hello" not in memory.clean()


def test_own_marks_are_passed_over() -> None:
    """A known value that happens to be part of a mark is no hit there."""
    session_memory = _known("secret:-")
    mark = "gr1:secret:-:" + "a" * 24
    assert session_memory.knows(mark) is None
    assert session_memory.scrub(mark) == mark


@pytest.mark.slow
def test_memory_is_bounded_and_forgets_secrets_last() -> None:
    """Old personal values go first; both counts and sizes are bounded."""
    session_memory = _known("first s3cr3t")
    for index in range(6_000):
        session_memory.remember(f"va1ue n0mber {index}", "name")
    assert len(session_memory) <= 2_048
    assert session_memory.knows("first s3cr3t") == "secret"
    assert session_memory.knows("va1ue n0mber 5999") == "name"
    assert session_memory.knows("va1ue n0mber 17 ") is None
    for index in range(600):
        session_memory.remember(f"{index} " + "x" * 8_000, "name")
    assert len(session_memory) < 200


def test_a_very_long_value_is_known_by_its_beginning() -> None:
    """What a text holds of it still counts."""
    value = "".join(chr(97 + index * 7 % 26) for index in range(20_000))
    assert _known(value).knows(f"x {value} x") == "secret"


def test_memory_is_never_written() -> None:
    """No copy, no pickle, no value in its repr."""
    session_memory = _known("c0rrect h0rse")
    assert "horse" not in repr(session_memory)
    with pytest.raises(TypeError):
        pickle.dumps(session_memory)
    with pytest.raises(TypeError):
        copy.copy(session_memory)


def test_threads_may_remember_and_search_at_once() -> None:
    """No value is lost, no search fails."""
    session_memory = Memory()
    failures: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for index in range(150):
                session_memory.remember(f"thr3ad {name} va1ue {index}", "secret")
                assert session_memory.knows(f"a thr3ad {name} va1ue {index} b") == "secret"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(session_memory) == 600


def test_the_count_of_additions_grows_only_with_what_is_new() -> None:
    """Who kept something redacted looks again when it has grown, and only then."""
    session_memory = Memory()
    long = "x" * 8_000 + "".join(chr(97 + index * 7 % 26) for index in range(8_000))
    for value in ("c0rrect h0rse", "\uff430rrect mule", long):
        before = session_memory.added
        session_memory.remember(value, "name")
        assert session_memory.added == before + 1
        session_memory.remember(value, "name")
        session_memory.remember(value, "opaque")
        assert session_memory.added == before + 1
        session_memory.remember(value, "secret")
        assert session_memory.added == before + 2
    session_memory.remember("short", "secret")
    assert session_memory.added == 6


def test_a_memory_full_of_secrets_forgets_the_oldest_of_them() -> None:
    """Bounded also where nothing but secrets is known; the newest are kept."""
    session_memory = Memory()
    for index in range(2_500):
        session_memory.remember(f"s3cr3t number {index}.", "secret")
    assert len(session_memory) <= 2_048
    assert session_memory.knows("a s3cr3t number 2499. b") == "secret"
    assert session_memory.knows("a s3cr3t number 0. b") is None


def test_values_that_end_and_begin_alike_are_all_found() -> None:
    """The index takes a stretch in which they differ, and none is missed where there is none."""
    values = [f"the same beginning {index:04d} the same end" for index in range(300)]
    session_memory = _known(
        *values, *(f"{index % 10}" * 3 + "-same-same-same" for index in range(60))
    )
    for value in values:
        assert session_memory.knows(f"a {value} b") == "secret"
    assert session_memory.knows("the same beginning 9999 the same end") is None


@pytest.mark.parametrize(
    "written", ["Gr²ße-µ7kkQx", "pass\u00a0word-77x", "Zu\u0308rich-Geheim", "wait…for-it-99", "ﬁne-l1gature9"]
)  # fmt: skip
def test_a_value_is_known_as_it_was_written_and_in_its_normal_form(written: str) -> None:
    """What is encoded keeps the characters that NFKC changes; what is read plainly does not."""
    normal = unicodedata.normalize("NFKC", written)
    session_memory = _known(written)
    for text in (written, unicodedata.normalize("NFD", written), normal):
        octets = text.encode()
        for form in (
            text,
            json.dumps(text),
            re.sub(
                r"u[0-9a-f]{4}", lambda match: match.group().upper().replace("U", "u"), ascii(text)
            ),
            quote(text),
            "".join(f"%{byte:02x}" for byte in octets),
            octets.hex(),
            base64.b64encode(b"a" + octets + b"b").decode(),
            quote(json.dumps(text)),
            json.dumps(quote(text)),
        ):
            assert session_memory.knows(f"x {form} y") == "secret", form


def test_a_value_that_is_written_in_many_ways_is_known_in_each_up_to_a_bound() -> None:
    """Each spelling counts as new; the class is one."""
    session_memory = Memory()
    spellings = [
        "".join(chr(ord(char) + 0xFEE0) if index & 1 << at else char for at, char in enumerate("k9x-va1ue-0"))
        for index in range(1, 40)
    ]  # fmt: skip
    for spelling in spellings:
        session_memory.remember(spelling, "name")
    assert len(session_memory) == 1
    assert session_memory.added == 8
    assert session_memory.knows(spellings[3].encode().hex()) == "name"
    assert session_memory.class_of(spellings[30]) == "name"


def test_halves_of_one_character_are_put_together_behind_escapes() -> None:
    """JSON writes what lies beyond the first plane as two escapes, and a searcher may meet them
    escaped once more.
    """
    session_memory = _known("k9x-\U0001f600-va1ue")
    assert session_memory.knows(r"k9x-\ud83d\ude00-va1ue") == "secret"
    assert session_memory.knows(r"k9x\u002d\uD83D\uDE00-va1ue") == "secret"
    assert session_memory.knows(r"k9x\u005cu002d\uD83D\uDE00-va1ue") == "secret"


@pytest.mark.slow
def test_what_was_forgotten_is_forgotten_as_it_was_written_too() -> None:
    """Room is made for spellings as for values."""
    session_memory = _known("Gr²ße-µ7kkQx", cls="name")
    for index in range(3_000):
        session_memory.remember(f"va1ue n0mber {index}", "name")
    assert session_memory.knows("Gr²ße-µ7kkQx".encode().hex()) is None
    for index in range(3_000):
        session_memory.remember(f"va1ue² n0mber {index}", "name")
    assert session_memory.knows("va1ue² n0mber 2999".encode().hex()) == "name"


def test_ordinary_values_are_told_again_and_again_in_bounded_room() -> None:
    """They are looked at once while they are few."""
    session_memory = Memory()
    for index in range(2_000):
        session_memory.remember(f"order-{index}", "name")
        session_memory.remember("password", "name")
    assert len(session_memory) == 0
    assert len(session_memory._ordinary) <= 256


def test_new_values_are_known_at_the_next_search() -> None:
    """Their forms are made then, a few values at a time; each thread finds those of all."""
    memory = Memory()
    for count in range(1, 100):
        memory.remember(f"k9x-{count:03d}-va1ue", "name")
        if count % 33 == 0:
            for number in range(1, count + 1):
                value = f"k9x-{number:03d}-va1ue"
                assert memory.class_of(value) == "name"
                assert memory.knows(f"x {value.encode().hex()} y") == "name"


def test_a_value_is_found_while_another_thread_has_room_made() -> None:
    """Calls of one session run side by side: one that fills the memory hides nothing from another's
    search.
    """
    known = _known("k9x-5ecret-va1ue!")
    done = threading.Event()
    found: list[bool] = []

    def search() -> None:
        while not done.is_set():
            found.append(bool(known.find("here k9x-5ecret-va1ue! is")))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    searcher = threading.Thread(target=search)
    searcher.start()
    try:
        for index in range(session_memory.MAX_VALUES + 50):
            known.remember(f"q7z-{index:05d}-va1ue-same", "name")
    finally:
        done.set()
        searcher.join()
        sys.setswitchinterval(before)
    assert found
    assert all(found)


@pytest.mark.parametrize(
    "rest", ["%2F%39xRestOf_it%24", "\\x2f9xRestOf_it$", "&#47;9xRestOf_it&#36;"]
)
def test_a_value_that_begins_with_another_one_goes_with_its_escaped_rest(rest: str) -> None:
    """Its beginning is found in clear, and nothing of the rest stays."""
    known = _known("hunter2-Secr3t!", "hunter2-Secr3t!/9xRestOf_it$")
    assert "RestOf" not in known.scrub(f"it is hunter2-Secr3t!{rest}")
    assert known.scrub("it is hunter2-Secr3t! and %41") != "it is hunter2-Secr3t! and %41"
    assert known.scrub("it is hunter2-Secr3t! and %41").endswith(" and %41")


@pytest.mark.parametrize("char", ["\x00", "\x01"])
def test_a_value_with_a_reserved_character_is_known_without_it(char: str) -> None:
    """These characters stand between texts that are searched together, and in place of a mark."""
    memory = _known(f"{char}Zq7!kd{char}92LpX")
    args = {"a": "text", "b": "Zq7!kd92LpX", "c": f"it is {char}Zq7!kd{char}92LpX", "d": "end"}
    shown = json.dumps(view(args, memory=memory).value)
    assert "!kd" not in shown  # the letters alone may be in a mark
    assert "92Lp" not in shown
    assert memory.class_of("Zq7!kd92LpX") == "secret"
    assert memory.knows(json.dumps(f"{char}Zq7!kd{char}92LpX")) == "secret"


def test_names_that_say_what_a_call_does_are_not_remembered() -> None:
    """Otherwise, a page with ``first_name: DELETE`` would hide a statement from later records."""
    memory = Memory()
    for name in ("DELETE", "Transfer", "Drop Table", "Refund Approve", "GET", "Mark"):
        memory.remember_name(name)
    assert len(memory) == 0
    memory.remember_name("Delete Bauer")
    found = [hit.value for hit in memory.find("DELETE FROM users; Delete Bauer")]
    assert found == ["Bauer"]
