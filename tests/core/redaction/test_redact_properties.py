"""Properties that hold for any JSON value: nothing marked gets through, nothing is redacted twice,
nothing is mutated.
"""

from __future__ import annotations

import base64
import copy
import json
import unicodedata
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guardrail.core.log.record import dumps
from guardrail.core.redaction.detectors.scan import JOINT, scan
from guardrail.core.redaction.improbable import improbable
from guardrail.core.redaction.session_memory import Memory
from guardrail.errors import RedactionError
from tests.support.redaction import REDACTOR

# Words in which detectors have something to find, joined with plain ones at random.
_WORDS = st.sampled_from(
    [
        "bob@example.com", "password=hunter2x", "token", "secret", "key:", "=", " ", "\n", "'", '"', "{", "}", "https://u:p4ss@h.example/a?b=",
        "AKIA" + "Q7" * 8, "4111 1111 1111 1111", "+49 30 1234567", "Bearer abcdef123456", "first_name", "api_key", "\u200b", "\x00", "\x01",
        "é", "gr1:", "gr1:secret:-:" + "a" * 24, "-u", "a:b1", "078-05-1120", "eyJhbGciOi1.eyJzdWIiOi1.abc", "--password", "is", "%68", "\\u0068",
        "-----BEGIN RSA PRIVATE KEY-----", "x" * 40, "3lyTWqHMt5UySny2drdPYheRTEzrNux8Cn5JWFHL", "GB29NWBK60161331926819", "[]", "&", "user_id=7",
    ]
)  # fmt: skip
_TEXTS = st.one_of(
    st.lists(_WORDS, max_size=7).map("".join),
    st.text(max_size=30).filter(lambda text: not _surrogate(text)),
)
_KEYS = st.one_of(
    _TEXTS,
    st.sampled_from(
        [
            "password",
            "email",
            "card",
            "name",
            "first_name",
            "payment_methods",
            "payment_method",
            "address",
            "token",
            "x",
            "head",
            "$t",
        ]
    ),
)
_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        _TEXTS,
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(_KEYS, inner, max_size=4),
        inner.map(lambda value: json.dumps(value, ensure_ascii=False)),
    ),
    max_leaves=12,
)
_OBJECTS = st.dictionaries(_KEYS, _JSON, max_size=5)


def _surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [*value, *(text for member in value.values() for text in _strings(member))]
    if isinstance(value, list):
        return [text for member in value for text in _strings(member)]
    return []


@settings(max_examples=150, deadline=None)
@given(_OBJECTS, st.booleans())
def test_a_recorded_view_is_not_redacted_again(args: dict[str, Any], declared: bool) -> None:
    """Redacting what was recorded changes nothing: the policy sees the same input when a decision
    is derived again.
    """
    memory = Memory()
    view = REDACTOR.inspect(args, schema=None, declared=declared, memory=memory).view()
    again = REDACTOR.inspect(view.value, schema=None, declared=declared, memory=memory).view()  # type: ignore[arg-type]
    assert again.value == view.value
    assert not again.changed


@settings(max_examples=150, deadline=None)
@given(_OBJECTS, st.booleans())
def test_the_gate_lets_a_recorded_view_pass(args: dict[str, Any], declared: bool) -> None:
    """The last gate finds nothing in a view, and a view is always a record's JSON."""
    memory = Memory()
    view = REDACTOR.inspect(args, schema=None, declared=declared, memory=memory).view()
    assert REDACTOR.gate(_strings(view.value), memory) is None
    dumps([view.value, view.removed])


@settings(max_examples=200, deadline=None)
@given(
    _OBJECTS,
    st.lists(st.sampled_from(["", "/*", "/password", "/x/*", "/*/*", "/email/0"]), max_size=3),
)
@example({"Qz7!k9x": []}, [""])
@example({"x": {"Qz7!k9x": {}}}, ["/x"])
def test_arguments_are_never_mutated(args: dict[str, Any], pointers: list[str]) -> None:
    """Neither inspection nor a view changes what was given, and a tightened view is stable too."""
    before = copy.deepcopy(args)
    memory = Memory()
    inspection = REDACTOR.inspect(args, schema=None, declared=True, memory=memory)
    inspection.view()
    tight = inspection.view(pointers)
    assert args == before
    assert REDACTOR.gate(_strings(tight.value), memory) is None
    assert inspection.view(pointers).removed.keys() == tight.removed.keys()


# What says of the words near it what they are.
_CONTEXTS = st.sampled_from(
    [
        "oracle ", "connect ", "scott/tiger@prod", "create user ", "identified by q9x", "Server=a;", "PWD={a b}", "login bob", " password k9!x", "mysql", " -pk9x", "\t-pk9x", "sqlplus", "sqlcl ",
        "<name>password</name>", "<name>", "password", "<value>k9x</value>", "<password>", "k9x", "</password>", "card ", "6212345678901234569", "connect(", "x=db_password)", "password=db_password)",
        "Bearer k9x!abc", "masterauth k9x!", "auth", "token or 'k9x'", "${API_TOKEN:-k9x}", "&lt;", "&amp;#61;", "mailto:", "kata sandi", "redis-cli", "-a k9x", "for alice ", "password for", " 'k9x'",
        "パスワード: k9x", "токен: k9x", "name: password", "\nvalue: k9x", "insert into u (password)", " values ('k9x')", "setPassword(", '"k9x")', "password: str", ' = "k9x"', "auth=(", "ConvertTo-SecureString ", "token ==", ", required=True",
    ]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.lists(_TEXTS | st.lists(_CONTEXTS | _WORDS, max_size=4).map("".join), min_size=1, max_size=5)
)
@example(["password=hunter2x", "Bearer abcdef123456\\u0068"])
@example(["oracle", "scott/tiger@prod"])
@example(["create user x", "identified by q9x"])
@example(["Server=a", "PWD={a b}"])
@example(["PWD={a b}", "Server=a"])
@example(["login x", "y password k9x"])
@example(["<name>password</name>", "<value>k9x</value>"])
@example(["card", "6212345678901234569"])
@example(["connect(", "password=db_password)"])
@example(["mysql\t-pk9x", " -x"])
@example(["sqlcl scott/tiger", " -x"])
@example(["masterauth k9x!ab", "pass"])
def test_joined_texts_hit_as_each_does_alone(texts: list[str]) -> None:
    """Scanning several texts at once finds exactly what scanning each finds."""
    texts = [text.replace("\x00", "").replace("\x01", "") for text in texts]
    joined = JOINT.join(texts)
    starts = [sum(len(text) + 1 for text in texts[:index]) for index in range(len(texts))]
    alone = [
        (start + hit.start, start + hit.end, hit.cls)
        for start, text in zip(starts, texts, strict=True)
        for hit in scan(text)
    ]
    assert [(hit.start, hit.end, hit.cls) for hit in scan(joined)] == alone


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | _TEXTS)
def test_text_and_errors_never_raise(text: str) -> None:
    """Any message gives encodable text, in which the gate finds nothing."""
    memory = Memory()
    shown = REDACTOR.text(text, memory)
    shown.encode("utf-8")
    assert REDACTOR.gate([shown], memory) is None
    failure = REDACTOR.error(ValueError(text), memory)
    assert REDACTOR.gate(failure.values(), memory) is None


def _hide(secret: str, how: str) -> Any:
    spread = "\u200b".join(secret)
    octets = secret.encode()
    return {
        "plain": secret,
        "deep": [[{"a": [{"b": secret}]}]],
        "json": json.dumps({"a": [secret, json.dumps({"b": secret})]}),
        "escaped": json.dumps({"a": "".join(f"\\u{ord(char):04x}" for char in secret)}).replace(
            "\\\\", "\\"
        ),
        "url": f"https://example.com/?q={quote(secret, safe='')}&r=1",
        "percent": "https://example.com/" + "".join(f"%{byte:02X}" for byte in octets),
        "header": f"X-Note: {secret}; a=b",
        "joined": f"before {spread} after",
        "base64-0": base64.b64encode(octets).decode(),
        "base64-1": base64.b64encode(b"a" + octets + b"zz").decode(),
        "base64-2": "x " + base64.urlsafe_b64encode(b"ab" + octets + b"z").decode(),
        "hex": octets.hex(),
        "HEX": f"0x{octets.hex().upper()}",
        "key": {f"x {secret}": 1, secret: {secret: secret}},
        "repr": repr({"a": secret}),
        "prose": f"It is {secret}, I think.",
        "list": [secret] * 3,
    }[how]


_HOWS = ["plain", "deep", "json", "escaped", "url", "percent", "header", "joined", "base64-0", "base64-1", "base64-2", "hex", "HEX", "key", "repr",
         "prose", "list"]  # fmt: skip
_SECRETS = (
    st.text(
        st.characters(min_codepoint=33, max_codepoint=0x17F, exclude_categories=["Cf", "Cc"]),
        min_size=8,
        max_size=24,
    )
    .map(lambda text: f"{text}9z")
    .filter(lambda text: improbable(unicodedata.normalize("NFKC", text)))
)  # what may turn up by chance is not hunted


def _forms(secret: str) -> list[str]:
    octets = secret.encode()
    forms = [
        secret,
        json.dumps(secret)[1:-1],
        quote(secret, safe=""),
        octets.hex(),
        octets.hex().upper(),
    ]
    for shift in range(3):
        whole = (shift + len(octets)) * 8 // 6
        forms.append(base64.b64encode(bytes(shift) + octets).decode()[(0, 2, 3)[shift] : whole])
    return forms


def _assert_absent(secret: str, recorded: object) -> None:
    for shown in (
        json.dumps(recorded, ensure_ascii=False),
        json.dumps(recorded),
        dumps(recorded).decode(),
    ):
        for form in _forms(secret):
            assert form not in shown


@pytest.mark.parametrize("how", _HOWS)
@settings(max_examples=25, deadline=None)
@given(secret=_SECRETS)
def test_a_known_value_is_in_no_form_anywhere(how: str, secret: str) -> None:
    """Once a value was marked, no form of it is in later arguments, results, messages or errors."""
    import unicodedata

    secret = unicodedata.normalize("NFKC", secret)
    if (
        len(secret) < 8
        or secret.startswith("gr1:")
        or any(secret in word for word in ("before", "after", "https://example.com/"))
    ):
        return
    memory = Memory()
    schema = {"properties": {"x": {"writeOnly": True}}}
    REDACTOR.inspect({"x": secret}, schema=schema, declared=True, memory=memory)
    place = _hide(secret, how)
    view = REDACTOR.inspect(
        {"note": place, "n": 1}, schema=None, declared=True, memory=memory
    ).view()
    _assert_absent(secret, view.value)
    _assert_absent(secret, view.removed)
    text = place if isinstance(place, str) else json.dumps(place)
    _assert_absent(secret, REDACTOR.text(text, memory))
    _assert_absent(secret, REDACTOR.error(KeyError(text), memory))
    _assert_absent(secret, REDACTOR.result(place, log_output=True, memory=memory))
    assert REDACTOR.gate(_strings(place), memory) is not None


@pytest.mark.parametrize("how", ["plain", "deep", "json", "list", "key", "prose"])
@pytest.mark.parametrize("rule", ["schema", "policy", "key"])
@settings(max_examples=15, deadline=None)
@given(secret=_SECRETS)
def test_a_marked_place_holds_nothing_of_its_value(how: str, rule: str, secret: str) -> None:
    """Whatever stands below a mark of schema or policy, or a key that says secret, its value is not
    recorded.
    """
    place = _hide(secret, how)
    schema = (
        {"properties": {"box": {"x-guardrail": {"class": "health"}}}} if rule == "schema" else None
    )
    name = "password" if rule == "key" else "box"
    args = (
        {name: place, "note": "x"} if how == "prose" else {name: place, "note": "x", "copy": secret}
    )
    inspection = REDACTOR.inspect(args, schema=schema, declared=True, memory=Memory())
    view = inspection.view(["/box"] if rule == "policy" else [])
    if how == "key" and rule == "key":
        # the name of a key below a key that only sounds secret is data only where it is known: next
        # property
        return
    shown = json.dumps([view.value, view.removed], ensure_ascii=False)
    assert secret not in shown
    assert json.dumps(secret)[1:-1] not in shown


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.text(max_size=5)
        | st.binary(max_size=4)
        | st.integers()
        | st.floats()
        | st.builds(object),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.tuples(inner)
            | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_results_of_any_kind_are_described(value: Any) -> None:
    """A result is described whatever it is, and the description can be recorded."""
    for log_output in (False, True):
        shown = REDACTOR.result(value, log_output=log_output, memory=Memory())
        assert shown["type"]
        dumps(shown)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=12))
def test_a_malformed_pointer_is_refused_and_any_other_is_fine(pointer: str) -> None:
    """A policy's pointer is RFC 6901, or the view raises."""
    inspection = REDACTOR.inspect(
        {"a": {"b": [1, "x"]}}, schema=None, declared=True, memory=Memory()
    )
    bad = (pointer != "" and not pointer.startswith("/")) or "~" in pointer.replace(
        "~0", ""
    ).replace("~1", "")
    if bad:
        with pytest.raises(RedactionError):
            inspection.view([pointer])
    else:
        inspection.view([pointer])
