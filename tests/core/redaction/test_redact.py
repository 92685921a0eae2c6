"""What is recorded of arguments, text, results and errors."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from guardrail.core.log.record import dumps
from guardrail.core.redaction.redactor import Redactor, View
from guardrail.core.redaction.session_memory import Memory
from guardrail.errors import RedactionError
from tests.support.redaction import REDACTOR, is_secret, mark, token


def _view(
    args: dict[str, Any],
    *,
    schema: dict[str, Any] | None = None,
    redact: list[str] | None = None,
    memory: Memory | None = None,
    declared: bool = True,
) -> View:
    return REDACTOR.inspect(
        args, schema=schema, declared=declared, memory=Memory() if memory is None else memory
    ).view(redact or [])


def test_nothing_to_remove_leaves_everything_as_it_was() -> None:
    """Plain arguments are recorded as they are, and the view says so."""
    args = {
        "query": "open orders",
        "limit": 20,
        "ok": True,
        "none": None,
        "f": 1.5,
        "tags": ["a", {"b": []}],
    }
    view = _view(args)
    assert view == View(args, {}, truncated=False, changed=False)


def test_a_schema_marks_a_value_and_everything_below_it() -> None:
    """writeOnly, format password and x-guardrail hold for strings, numbers, booleans, and inherit
    downwards.
    """
    schema = {
        "properties": {
            "a": {"writeOnly": True},
            "b": {"format": "password"},
            "c": {"x-guardrail": {"class": "health"}, "properties": {"x": {}, "y": {"items": {}}}},
            "d": {"x-guardrail": {"class": "health", "log": "clear"}},
        }
    }
    view = _view(
        {"a": 12, "b": "x", "c": {"x": True, "y": ["flu", 3, None]}, "d": "flu"}, schema=schema
    )
    value: Any = view.value
    assert is_secret(value["a"])
    assert is_secret(value["b"])
    assert value["c"] == {
        "x": token("health", "true"),
        "y": [token("health", "flu"), token("health", "3"), None],
    }
    assert value["d"] == "flu"
    assert view.removed["/a"] == ["secret", "schema:writeOnly"]
    assert view.removed["/c/y/0"] == ["health", "schema:x-guardrail"]


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/T", "$defs": {"T": {"properties": {"x": {"writeOnly": True}}}}},
        {
            "allOf": [{"properties": {"x": {"$ref": "#/$defs/S"}}}],
            "$defs": {"S": {"anyOf": [{"type": "null"}, {"format": "password"}]}},
        },
        {"oneOf": [{}, {"properties": {"x": {"writeOnly": True}}}]},
        {"additionalProperties": {"writeOnly": True}},
        {"patternProperties": {"^x": {"writeOnly": True}}},
        {"patternProperties": {"^(a+)+$": {"writeOnly": True}}},
        {
            "properties": {"x": {"$ref": "#secret"}},
            "$defs": {"S": {"$anchor": "secret", "writeOnly": True}},
        },
        {"properties": {"x": {"$ref": "https://example.com/elsewhere.json"}}},
        {"properties": {"x": {"x-guardrail": 7}}},
        {"properties": {"x": {"x-guardrail": {"class": "Not a class!"}}}},
        {"if": {}, "then": {"properties": {"x": {"writeOnly": True}}}},
        {"dependentSchemas": {"x": {"properties": {"x": {"writeOnly": True}}}}},
    ],
)
def test_a_mark_is_found_wherever_the_schema_puts_it(schema: dict[str, Any]) -> None:
    """References, alternatives and patterns are followed; what can't be resolved or understood
    counts as a mark.
    """
    value: Any = _view({"x": "va1ue-1x1"}, schema=schema).value
    assert "va1ue-1x1" not in json.dumps(value)


def test_list_items_are_marked_by_place() -> None:
    """prefixItems and items are told apart, and a recursive schema ends."""
    schema: dict[str, Any] = {
        "$defs": {"N": {"properties": {"pin": {"writeOnly": True}, "next": {"$ref": "#/$defs/N"}}}},
        "properties": {
            "l": {"prefixItems": [{"writeOnly": True}], "items": {}},
            "n": {"$ref": "#/$defs/N"},
        },
    }
    value: Any = _view(
        {"l": ["a", "b"], "n": {"pin": 1, "next": {"next": {"pin": 2}}}}, schema=schema
    ).value
    assert is_secret(value["l"][0])
    assert value["l"][1] == "b"
    assert is_secret(value["n"]["pin"])
    assert is_secret(value["n"]["next"]["next"]["pin"])


def test_a_pydantic_secret_is_marked_by_its_own_schema() -> None:
    """SecretStr says so in the schema that pydantic makes."""
    from pydantic import BaseModel, SecretStr

    class Login(BaseModel):
        user: str
        phrase: SecretStr

    value: Any = _view({"user": "x", "phrase": "va1ue-1x1"}, schema=Login.model_json_schema()).value
    assert is_secret(value["phrase"])
    assert value["user"] == "x"


def test_undeclared_keys_below_a_mark_are_data() -> None:
    """A key that the schema does not name is recorded as a token below a mark; one that it names
    stays.
    """
    schema = {
        "properties": {"box": {"x-guardrail": {"class": "health"}, "properties": {"known": {}}}}
    }
    value: Any = _view({"box": {"known": "flu", "influenza": True}}, schema=schema).value
    assert value == {
        "box": {
            "known": token("health", "flu"),
            token("health", "influenza"): token("health", "true"),
        }
    }


@pytest.mark.parametrize(
    ("key", "cls"),
    [
        ("password", "secret"), ("dbPassword", "secret"), ("new-password", "secret"), ("API Key", "secret"), ("stripeSecretKey", "secret"),
        ("X-Api-Key", "secret"), ("refresh_token", "secret"), ("accessToken", "secret"), ("client_secret", "secret"), ("cvv", "secret"),
        ("otp_code", "secret"), ("security answer", "secret"), ("Authorization", "secret"), ("contraseña", "secret"), ("PIN", "secret"),
        ("connection_string", "secret"), ("ssh_private_key", "secret"), ("credentials", "secret"),
        ("ssn", "government_id"), ("passport_number", "government_id"), ("taxId", "government_id"), ("driversLicenseNumber", "government_id"),
        ("card_number", "payment"), ("iban", "payment"), ("bankAccountNumber", "payment"), ("payment_method_id", "payment"), ("last4", "payment"),
        ("routing_number", "payment"), ("credit_cards", "payment"),
        ("email", "contact"), ("workEmailAddress", "contact"), ("mobile_phone", "contact"), ("fax", "contact"),
        ("first_name", "name"), ("lastName", "name"), ("patient_name", "name"), ("cardholder-name", "name"), ("apellido", "name"),
        ("street", "address"), ("zip", "address"), ("postalCode", "address"), ("shipping_address", "address"), ("address2", "address"),
        ("dob", "dob"), ("dateOfBirth", "dob"), ("birth_year", "dob"),
        ("diagnosis", "health"), ("bloodType", "health"), ("medical_history", "health"),
        ("user_id", "person_id"), ("username", "person_id"), ("customerId", "person_id"),
        ("sexual_orientation", "special"), ("salary", "financial"), ("imei", "device"),
    ],
)  # fmt: skip
def test_the_name_of_a_key_gives_a_class(key: str, cls: str) -> None:
    """Families of names, in any spelling."""
    view = _view({key: "v-1"})
    assert next(iter(view.removed.values()))[0] == cls
    assert "v-1" not in json.dumps(view.value)


@pytest.mark.parametrize(
    "key",
    [
        "name", "product_name", "file_name", "max_tokens", "next_token", "page_token", "token_count", "password_policy", "key", "primary_key",
        "sort_key", "keyboard", "monkey", "has_password", "order_id", "item_ids", "ip_address", "mac_address", "email_template", "to", "cc",
        "round_to", "city", "dealer_cards", "cards", "account_id", "payment_type", "country_code", "zip_file", "street_view_mode", "author", "passenger_count",
        "description", "pass_rate", "secretary", "tokenizer", "address_type", "card_type", "license", "phone_type", "authored_by",
    ],
)  # fmt: skip
def test_a_name_that_only_resembles_one_gives_none(key: str) -> None:
    """Counts, types, pages and homonyms stay readable."""
    assert not _view({key: "word"}).changed


def test_a_class_holds_for_everything_below_its_key() -> None:
    """Names inherit downwards; a stricter one below is stricter; lists keep their length."""
    view = _view(
        {
            "card": {"holder": "x y", "cvv": "123", "parts": ["a", "b"]},
            "payment_method": "cash",
            "address": {"line1": "5 Elm"},
        }
    )
    value: Any = view.value
    assert value["payment_method"] == "cash"
    assert is_secret(value["card"]["cvv"])
    assert view.removed["/card/cvv"] == ["secret", "key:payment", "key:secret"]
    assert value["card"]["parts"] == [token("payment", "A"), token("payment", "B")]
    assert value["address"] == {"line1": token("address", "5 Elm")}


def test_json_inside_strings_is_taken_apart_and_written_again() -> None:
    """Also JSON in JSON; the pointer leads through the string, and the string has the class of what
    it holds.
    """
    inner = json.dumps({"password": "va1ue-1x1", "n": 1})
    inspection = REDACTOR.inspect(
        {"body": json.dumps({"a": [inner]})}, schema=None, declared=True, memory=Memory()
    )
    view = inspection.view()
    content = json.loads(json.loads(view.value["body"])["a"][0])  # type: ignore[index]
    assert content["n"] == 1
    assert is_secret(content["password"])
    assert inspection.arg_classes["/body/a/0/password"] == ["secret"]
    assert inspection.arg_classes["/body"] == ["secret"]


def test_json_that_holds_nothing_is_kept_byte_for_byte() -> None:
    """White space and order of a JSON string stay when nothing in it was removed."""
    args = {"body": ' {"b": 1,  "a": [1, 2]} '}
    assert _view(args).value == args


def test_json_with_a_repeated_key_is_not_recorded() -> None:
    """Which of two equal keys counts depends on the reader."""
    value: Any = _view({"body": '{"password": "va1ue-1x1", "password": {}}'}).value
    assert value["body"]["$t"] == "str"
    assert "va1ue-1x1" not in json.dumps(value)


def test_detectors_take_out_only_what_they_hit() -> None:
    """The rest of a text stays readable; a whole hit is the token alone."""
    view = _view(
        {
            "note": "write to Bob@Example.com today",
            "to": "bob@example.com",
            "url": "https://u:p4ssw@h.example/a?token=abc&lang=de",
        }
    )
    value: Any = view.value
    assert value["note"] == f"write to {token('contact', 'bob@example.com')} today"
    assert value["to"] == token("contact", "bob@example.com")
    assert re.fullmatch(
        r"https://gr1:secret:-:\w{24}@h\.example/a\?token=gr1:secret:-:\w{24}&lang=de", value["url"]
    )
    assert view.removed["/to"] == ["contact", "detector:email"]


def test_numbers_are_looked_at_as_well() -> None:
    """A card number that is an integer goes; other numbers stay numbers."""
    value: Any = _view({"a": 4111111111111111, "b": 4111111111111112, "c": -123456.5}).value
    assert value == {
        "a": token("payment", "4111111111111111"),
        "b": 4111111111111112,
        "c": -123456.5,
    }


def test_a_key_can_be_sensitive_itself() -> None:
    """Keys are scanned; pointers use the recorded name, escaped; two keys of one name both stay."""
    view = _view(
        {"m": {"bob@example.com": {"email": "x"}, "BOB@example.com": 2, "a/b": {"email": "y"}}}
    )
    name = token("contact", "bob@example.com")
    assert view.value == {
        "m": {
            name: {"email": token("contact", "x")},
            f"{name}-2": 2,
            "a/b": {"email": token("contact", "y")},
        }
    }
    assert view.removed[f"/m/{name}"] == ["contact", "key-name"]
    assert f"/m/{name}/email" in view.removed
    assert "/m/a~1b/email" in view.removed


def test_a_known_value_that_reads_like_a_field_name_goes_as_a_key_too() -> None:
    """A pass phrase used as a key, here and below."""
    memory = Memory()
    memory.remember("Qzrtplkwxnbv", "secret")
    view = _view({"a": {"Qzrtplkwxnbv": {"Qzrtplkwxnbv": 1}}, "b": "Qzrtplkwxnbv"}, memory=memory)
    assert "Qzrtplkwxnbv" not in json.dumps([view.value, view.removed])
    assert REDACTOR.gate(["Qzrtplkwxnbv"], memory) == "secret"


def test_a_policy_pointer_removes_what_it_names() -> None:
    """Scalars, lists and objects, keys included, `*` for any key or index; the same value elsewhere
    goes too.
    """
    args = {
        "a": {"k9x": "va1ue-1x1", "n": 5},
        "l": [{"p": "va1ue-2x2"}, {"p": "value-3"}],
        "copy": "has va1ue-2x2 in it",
        "flag": True,
        "none": None,
    }
    inspection = REDACTOR.inspect(args, schema=None, declared=True, memory=Memory())
    assert not inspection.view().changed
    view = inspection.view(["/a", "/l/*/p", "/flag", "/none", "/missing/*"])
    value: Any = view.value
    assert value["a"] == {
        token("policy", "k9x"): token("policy", "va1ue-1x1"),
        token("policy", "n"): token("policy", "5"),
    }
    assert value["l"] == [{"p": token("policy", "va1ue-2x2")}, {"p": token("policy", "value-3")}]
    assert "va1ue-2x2" not in value["copy"]
    assert value["flag"] == token("policy", "true")
    assert view.removed["/l/1/p"] == ["policy", "policy"]
    assert view.removed["/copy"] == ["policy", "known"]
    assert view.changed
    assert not inspection.view().changed


def test_the_empty_pointer_means_all_arguments() -> None:
    """RFC 6901: the empty string is the whole document."""
    value: Any = _view({"a": "va1ue-1x1", "b": [1]}, redact=[""]).value
    assert "va1ue-1x1" not in json.dumps(value)


@pytest.mark.parametrize("pointer", ["a", "a/b", "/~2", "/a~", "/~", "/" + "a" * 2000])
def test_a_malformed_pointer_raises(pointer: str) -> None:
    """The guard denies then: an obligation that is not understood."""
    with pytest.raises(RedactionError) as caught:
        _view({"a": 1}, redact=[pointer])
    assert caught.value.code == "redaction.pointer"


def test_an_undeclared_tool_is_recorded_by_kind_size_and_token() -> None:
    """No string, number or flag of it is readable; classes are still found for the policy."""
    memory = Memory()
    args = {
        "to": "bob@example.com",
        "n": 5,
        "x": 1.2345,
        "ok": True,
        "none": None,
        "l": ["word"],
        "my key 1": "",
        "password": "va1ue-1x1",
    }
    inspection = REDACTOR.inspect(args, schema=None, declared=False, memory=memory)
    value: Any = inspection.view().value
    assert value == {
        "to": {"$t": "str", "len": 15, "tok": token("contact", "bob@example.com")},
        "n": {"$t": "int", "tok": value["n"]["tok"]},  # so few digits get a random mark
        "x": {"$t": "float", "tok": token("text", "1.2345")},
        "ok": {"$t": "bool"},
        "none": None,
        "l": [{"$t": "str", "len": 4, "tok": token("text", "word")}],
        token("key", "my key 1"): "",
        "password": {"$t": "str", "tok": value["password"]["tok"]},
    }
    assert is_secret(value["password"]["tok"])
    assert value["n"]["tok"].startswith("gr1:text:-:")
    assert inspection.view().removed[""] == ["undeclared", "minimal"]
    assert inspection.arg_classes == {"/to": ["contact"], "/password": ["secret"]}
    assert memory.knows("va1ue-1x1") == "secret"


def test_class_secret_never_correlates() -> None:
    """Two recordings of one secret have nothing in common; other classes have equal tokens."""
    one: Any = _view({"password": "va1ue-1x1", "email": "A@b.example"}).value
    other: Any = _view({"password": "va1ue-1x1", "email": "a@b.example"}).value
    assert one["password"] != other["password"]
    assert one["email"] == other["email"]


def test_the_strictest_class_decides_and_every_rule_is_named() -> None:
    """A schema's class, a key's class and a detector's: secret wins over all."""
    schema = {"properties": {"email": {"x-guardrail": {"class": "health"}}}}
    view = _view({"email": "AKIA" + "Q7" * 8}, schema=schema)
    assert is_secret(view.value["email"])  # type: ignore[index]
    assert view.removed["/email"] == [
        "secret",
        "schema:x-guardrail",
        "key:contact",
        "detector:provider-key",
    ]


def test_a_random_value_under_a_name_that_hints_is_a_secret() -> None:
    """Digests and UUIDs stay readable, unless the key says that they open something."""
    uuid = "550e8400-e29b-41d4-a716-446655440000"
    other = "650e8400-e29b-41d4-a716-446655440000"
    value: Any = _view({"request": other, "acme_key": uuid, "cache_key": other}).value
    assert value["request"] == value["cache_key"] == other
    assert is_secret(value["acme_key"])


def test_long_strings_are_recorded_by_their_head() -> None:
    """Size and token say the rest; the head is clean; the view says that it is truncated."""
    text = "word " * 10 + "bob@example.com " + "more words " * 5000
    view = _view({"t": text})
    value: Any = view.value
    assert view.truncated
    assert value["t"]["len"] == len(text)
    assert value["t"]["head"].startswith("word word")
    assert "bob@" not in value["t"]["head"]


def test_long_base64_is_recorded_by_size() -> None:
    """Nobody reads it, and it could hold anything."""
    data = base64.b64encode(bytes(range(256))).decode()
    value: Any = _view({"a": data, "b": f"data:image/png;base64,{data}"}).value
    assert value["a"]["len"] == len(data)
    assert value["b"]["$t"] == "str"
    assert "head" not in value["b"]


@pytest.mark.parametrize(
    "args",
    [
        {"l": list(range(20_000))},
        {f"key number {index}": "x" * 20 for index in range(3_000)},
        {"l": ["x" * 15_000] * 20},
        {f"k{index}": {"email": f"user{index}@example.com"} for index in range(900)},
        {"é" * 60: ["\x02" * 10_000] * 4},
        {"email": [f"é{index}@example.com" for index in range(3_000)]},
        {"x" * 50_000: "y"},
    ],
    ids=["list", "keys", "strings", "removals", "escapes", "one-key", "long-key"],
)
@pytest.mark.parametrize("declared", [True, False])
def test_a_view_always_fits_a_record(args: dict[str, Any], declared: bool) -> None:
    """However much there is: what does not fit is recorded by kind, size and token."""
    inspection = REDACTOR.inspect(args, schema=None, declared=declared, memory=Memory())
    for view in (inspection.view(), inspection.view(["/*"])):
        assert len(dumps(view.value)) <= 41_000
        assert len(dumps(view.removed)) <= 12_000
        assert len(dumps(inspection.arg_classes)) <= 12_000
        assert view.truncated or not declared


def test_deep_arguments_end() -> None:
    """Depth beyond the limit is recorded by kind; depth beyond Python's own raises nothing else."""
    deep: Any = "va1ue-1x1"
    for _ in range(200):
        deep = [deep]
    view = _view({"d": deep, "password": "x-1"})
    assert view.truncated
    assert "va1ue-1x1" not in json.dumps(view.value)
    nested = "1"
    for _ in range(10):
        nested = json.dumps([nested])
    assert not _view({"j": nested}).truncated


def test_what_is_not_json_is_refused() -> None:
    """A foreign object or key denies; its text is in no message."""
    for bad in ({"a": object()}, {"a": {1: 2}}, {"a": {1, 2}}):
        with pytest.raises(RedactionError) as caught:
            _view(bad)
        assert caught.value.code == "redaction.type"


def test_subclasses_can_not_lie() -> None:
    """Of subclasses of str, int, dict and list, the plain content is taken."""

    class Text(str):
        def __str__(self) -> str:
            return "clean"

        def __len__(self) -> int:
            return 0

    class Box(dict[str, object]):
        def items(self) -> Any:
            return []

    value: Any = _view({"a": Text("bob@example.com"), "b": Box(password="va1ue-1x1")}).value
    assert value["a"] == token("contact", "bob@example.com")
    assert is_secret(value["b"]["password"])


def test_lone_surrogates_and_invisible_characters_are_no_way_out() -> None:
    """The view can be written, and a split value is found."""
    value: Any = _view({"a": "x\ud800y", "b": "bob@exam\u200bple.com", "c": "née"}).value
    dumps(value)
    assert value["b"] == token("contact", "bob@example.com")
    assert value["c"] == "née"


def test_values_of_a_session_are_redacted_like_arguments() -> None:
    """Attributes, and any other JSON value."""
    view = REDACTOR.value([{"email": "bob@example.com"}, "bob@example.com"], Memory())
    assert view.value == [
        {"email": token("contact", "bob@example.com")},
        token("contact", "bob@example.com"),
    ]


def test_free_text_loses_what_is_known_and_what_is_detected() -> None:
    """Messages, labels, names of tools."""
    memory = Memory()
    _view({"password": "c0rrect h0rse"}, memory=memory)
    text = REDACTOR.text("login with c0rrect h0rse failed for bob@example.com", memory)
    assert re.fullmatch(
        rf"login with gr1:secret:-:\w{{24}} failed for {token('contact', 'bob@example.com')}", text
    )
    assert REDACTOR.text("plain", memory) == "plain"
    assert "va1ue-1x1" not in REDACTOR.text('{"password": "va1ue-1x1"}', memory)


def test_identities_keep_personal_data_and_lose_secrets() -> None:
    """The host gave them in clear; a secret in them is a mistake."""
    assert REDACTOR.identity("bob@example.com") == "bob@example.com"
    assert REDACTOR.identity("01JD3Q4Z5X6W7V8U9T0S1R2Q3P") == "01JD3Q4Z5X6W7V8U9T0S1R2Q3P"
    assert "AKIA" not in REDACTOR.identity("bot AKIA" + "Q7" * 8)
    assert REDACTOR.gate_identity(["bob@example.com"]) is None
    for _ in range(2):
        assert REDACTOR.gate_identity(["x", "AKIA" + "Q7" * 8]) == "secret"
    # The texts of more identities than are remembered are searched again.
    assert REDACTOR.gate_identity(f"session-{number}" for number in range(1_100)) is None
    assert REDACTOR.gate_identity(["session-0", "AKIA" + "Q7" * 8]) == "secret"


def test_the_gate_names_the_class_that_still_hits() -> None:
    """Detectors, known values, keys; own marks and field names pass."""
    memory = Memory()
    memory.remember("message", "name")
    memory.remember("k1m.lar5en", "name")
    assert REDACTOR.gate(["plain", "bob@example.com"], memory) == "contact"
    assert REDACTOR.gate(["plain", "bob@example.com", "password=hunter2"], memory) == "secret"
    assert REDACTOR.gate(["x k1m.lar5en x"], memory) == "name"
    assert REDACTOR.gate(["message", mark("secret"), token("contact", "x")], memory) is None
    assert REDACTOR.gate(["plain"], memory) is None
    memory.remember("pla1n t3xt", "secret")
    assert REDACTOR.gate(["plain", "pla1n t3xt"], memory) == "secret"
    assert REDACTOR.gate([], memory) is None


@pytest.mark.parametrize(
    ("value", "kind", "size", "items"),
    [
        (None, "null", 4, None), ("né", "str", 3, None), (12, "int", 2, None), (True, "bool", 4, None), (1.5, "float", 3, None),
        ([1, 2], "array", 5, 2), ({"a": 1}, "object", 7, 1), (b"abc", "bytes", 3, None), ({1: 2}, "object", None, 1), pytest.param(10**4000, "int", 3324, None, id="huge"),
    ],
)  # fmt: skip
def test_a_result_is_described_by_kind_size_and_token(
    value: object, kind: str, size: int | None, items: int | None
) -> None:
    """Content is not recorded unless the tool says so."""
    shown = REDACTOR.result(value, log_output=False, memory=Memory())
    assert (shown["type"], shown["bytes"], shown["items"]) == (kind, size, items)
    assert set(shown) == {"type", "bytes", "token", "items"}


def test_a_result_makes_its_values_known() -> None:
    """Also inside JSON text and inside objects of foreign classes; the next call is scrubbed of
    them.
    """

    class Profile:
        def __init__(self) -> None:
            self.first_name = "Aurelia Nkemelu"

    memory = Memory()
    REDACTOR.result({"rows": [{"iban_number": "x-1234567"}]}, log_output=False, memory=memory)
    REDACTOR.result('{"email": "not.an.addre55"}', log_output=False, memory=memory)
    REDACTOR.result(Profile(), log_output=False, memory=memory)
    value: Any = _view(
        {"note": "x-1234567 and not.an.addre55 and Aurelia Nkemelu"}, memory=memory
    ).value
    assert not any(
        text in value["note"] for text in ("x-1234567", "not.an.addre55", "Aurelia Nkemelu")
    )


def test_a_logged_result_is_redacted() -> None:
    """The tool says so: kind and redacted value."""
    shown = REDACTOR.result({"email": "bob@example.com", "n": 1}, log_output=True, memory=Memory())
    assert shown == {
        "type": "object",
        "value": {"email": token("contact", "bob@example.com"), "n": 1},
    }


def test_a_huge_result_is_bounded_work() -> None:
    """50 MB: its size is told, its beginning searched, nothing more."""
    memory = Memory()
    shown = REDACTOR.result("password=hunt3r22 " + "x" * 50_000_000, log_output=True, memory=memory)
    assert shown["type"] == "str"
    assert len(dumps(shown)) < 5_000
    assert memory.knows("hunt3r22") == "secret"
    many = REDACTOR.result([["x"] * 1000] * 1000, log_output=False, memory=memory)
    assert many == {"type": "array", "bytes": None, "token": None, "items": 1000}


def test_a_hostile_result_is_never_asked() -> None:
    """Objects whose every method raises are described by their class."""

    class Hostile:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError("no")

        __repr__ = __str__ = __len__ = __iter__ = __eq__ = __hash__ = None  # type: ignore[assignment]

    shown = REDACTOR.result(Hostile(), log_output=True, memory=Memory())
    assert shown["type"].endswith("Hostile")
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    assert REDACTOR.result(cyclic, log_output=True, memory=Memory())["type"] == "array"


def test_an_error_is_class_and_scrubbed_message_with_its_causes() -> None:
    """Known values and detected ones go, in the whole chain."""
    memory = Memory()
    memory.remember("c0rrect h0rse", "secret")
    try:
        try:
            raise KeyError("c0rrect h0rse")
        except KeyError as cause:
            raise RuntimeError("no account bob@example.com") from cause
    except RuntimeError as error:
        shown = REDACTOR.error(error, memory)
    assert shown["class"] == "RuntimeError"
    assert "caused by KeyError" in shown["message"]
    assert "correct" not in shown["message"]
    assert "bob@" not in shown["message"]


def test_a_validation_error_never_shows_its_input() -> None:
    """Neither pydantic's own, nor its text inside another exception."""
    from pydantic import BaseModel, ValidationError

    class Model(BaseModel):
        number: int

    with pytest.raises(ValidationError) as caught:
        Model(number="va1ue-0ne")  # type: ignore[arg-type]
    shown = REDACTOR.error(caught.value, Memory())
    assert "va1ue-0ne" not in shown["message"]
    assert "number (int_parsing)" in shown["message"]
    assert "va1ue-0ne" not in REDACTOR.error(RuntimeError(str(caught.value)), Memory())["message"]


def test_hostile_exceptions_are_recorded_all_the_same() -> None:
    """str() that raises, messages of megabytes, cycles of causes, classes with odd names."""

    class Loud(Exception):
        def __str__(self) -> str:
            raise ValueError("va1ue-1x1")

    assert "va1ue-1x1" not in REDACTOR.error(Loud("va1ue-1x1"), Memory())["message"]
    long = REDACTOR.error(ValueError("x " * 2_000_000), Memory())["message"]
    assert len(long) < 1_100
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert "other" in REDACTOR.error(one, Memory())["message"]
    odd = type("bob@example.com", (Exception,), {})
    assert "bob@" not in REDACTOR.error(odd(), Memory())["class"]


def test_a_cut_message_ends_before_a_mark_not_inside_it() -> None:
    """Half a mark would not be recognised as guardrail's own."""
    for pad in range(880, 1010, 7):
        message = REDACTOR.error(
            ValueError("x " * (pad // 2) + "password=hunter2 " + "y " * 300), Memory()
        )["message"]
        assert "hunter2" not in message
        assert REDACTOR.gate([message], Memory()) is None
        assert re.search(r"gr1:[^ ]*\.\.\.$", message) is None or re.search(
            r"gr1:secret:-:[a-z2-7]{24}\.\.\.$", message
        )


def test_makers_of_foreign_marks_are_refused() -> None:
    """What would not be recognised as guardrail's own would be redacted again."""
    with pytest.raises(RedactionError):
        Redactor(token=lambda cls, value: "***", mark=mark)
    with pytest.raises(RedactionError):
        Redactor(token=token, mark=lambda cls: "***")
