"""The families of names for personal data, and the roles whose class depends on the value."""

from __future__ import annotations

from typing import Any

import pytest

from guardrail.core.redaction.key_names import classify
from guardrail.core.redaction.key_names_personal import judge_personal
from guardrail.core.redaction.key_roles import Role
from guardrail.core.redaction.key_scripts import judge_script
from guardrail.core.redaction.known_names import KnownNames
from guardrail.core.redaction.person_names import is_person, name_span
from guardrail.core.redaction.roles import is_assigned_number, mark_of_role
from guardrail.core.redaction.session_memory import BLANK, Memory
from tests.support.redaction import view


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("acctNo", "payment"), ("numero_de_compte", "payment"), ("Bankkontonummer", "payment"), ("compte bancaire numéro", "payment"), ("sort-code", "payment"),
        ("custno", "person_id"), ("Krankenversicherungsnummer", "person_id"), ("policyNo", "person_id"), ("meter_serial", "person_id"), ("numer umowy", "person_id"),
        ("imeiNumber", "device"), ("sim_serial", "device"), ("numéro fiscal", "government_id"), ("rodné číslo", "government_id"), ("numéro de permis", "government_id"),
        ("driver_licence_no", "government_id"), ("kenteken", "government_id"), ("vehicleRegistration", "government_id"),
        ("Kontoinhaber_name", "name"), ("customer name", "name"), ("nazwisko", "name"), ("nom du titulaire", "name"), ("apellidos_cliente", "name"), ("display name", "name"),
        ("adresse postale", "address"), ("Lieferanschrift", "address"), ("e_post", "contact"), ("calling_number", "contact"), ("número de móvil", "contact"), ("telefon nr", "contact"), ("numéro de portable", "contact"),
        ("data di nascita", "dob"), ("фамилия", "name"), ("номер_счёта", "payment"), ("電話番号", "contact"), ("계좌번호", "payment"), ("护照号码", "government_id"), ("住所", "address"), ("生年月日", "dob"), ("顧客番号", "person_id"),
        ("bank_acc", "payment"), ("upi", "payment"), ("knownTravelerNumber", "government_id"), ("kvnr", "government_id"), ("geb", "dob"), ("wstoken", "secret"), ("lockboxCombo", "secret"), ("keypadCode", "secret"), ("annualIncome", "financial"),
    ],
)  # fmt: skip
def test_a_name_in_any_language_gives_the_class(name: str, cls: str) -> None:
    """The subject and the word for a number or a name, in any order, in one word or several."""
    assert classify(name).cls == cls


@pytest.mark.parametrize(
    "name",
    [
        "order_number", "customer_order_number", "software_license_number", "tracking_no", "plan_id", "product_code", "policy_type", "тип_телефона", "client_code", "number", "id_ids",
        "heat_plate", "birth_rate", "pagetoken", "colour_combo", "certificate", "numero", "de", "sub_district_name",
    ],
)  # fmt: skip
def test_a_name_that_only_shares_a_word_gives_no_class(name: str) -> None:
    """Numbers of things, types, and the word for a number alone."""
    assert classify(name).cls is None


@pytest.mark.parametrize(
    ("key", "value", "cls"),
    [
        ("account", "12-3456-78", "payment"), ("account", 12345678, "payment"), ("account_id", "acc_x7", "payment"), ("account_id", 7, "payment"), ("contract", "CT-2021-48113", "person_id"),
        ("customer", "Anna Bauer", "name"), ("customer", "C-481139", "person_id"), ("passenger", "Bauer", "name"), ("approved_by", "Anna Bauer", "name"), ("next_of_kin", "Anna", "name"), ("nome", "Anna", "name"),
        ("passengers", ["Anna Bauer", "Jonas Weiß"], "name"), ("client_ip", "10.0.0.7", "device"), ("person", "王小明", "name"), ("titular_cuenta_principal", "Anna Bauer", "name"), ("account_from", "12345678", "payment"), ("account_name", "Anna Bauer", "name"), ("service_number", "447700900", "person_id"), ("counterparty", "Anna Bauer", "name"),
        ("guest_list", ["Anna Bauer", "Jonas Weiß"], "name"), ("registered_keeper", "Anna Bauer", "name"), ("macAddress", "3c:22:fb:9a:01:7e", "device"),
    ],
)  # fmt: skip
def test_a_role_gives_the_class_of_a_value_that_fits(key: str, value: Any, cls: str) -> None:
    """A number that was assigned, or the name of a person."""
    seen = view({key: value})
    assert {entry[0] for entry in seen.removed.values()} == {cls}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("account", "savings"), ("account", 7), ("account", "2026-03-14"), ("account", "12.50"), ("account_id", "word"), ("customer", "Blue"), ("customer", "Central Bank"), ("customer", "x"), ("passengers", []),
        ("passengers", ["Anna Bauer", {"x": 1}]), ("passengers", ["Anna Bauer", "seat 14"]), ("passengers", ["Anna", True]), ("passengers", ["Anna"] * 65), ("customer", 12.5), ("customer", "x" * 65), ("name", "Blue Widget"), ("name", 7),
        ("ip_address", "word"), ("account", "x" * 41 + "1234"), ("owner", "platform-team"), ("account_to_type", "12345678"),
    ],
)  # fmt: skip
def test_a_role_leaves_a_value_that_does_not_fit(key: str, value: Any) -> None:
    """Kinds, dates, amounts, organisations and lists of other things."""
    assert view({key: value}).value == {key: value}


def test_a_name_next_to_personal_data_is_the_name_of_a_person() -> None:
    """Also below a key that means a person. Elsewhere, it can be the name of anything."""
    for args in (
        {"name": "Anna Bauer", "email": "a@x.example"},
        {"patient": {"name": "Anna"}},
        {"patients": [{"name": "Anna Bauer"}]},
    ):
        assert "Anna" not in str(view(args).value)
    for harmless in (
        {"name": "Anna Bauer", "colour": "red"},
        {"name": "lamp", "email": None},
        {"product": {"name": "Anna Lamp"}},
        {"name": "Anna Bauer"} | {str(index): index for index in range(30)},
    ):
        assert view(harmless).value == harmless


@pytest.mark.parametrize(
    "args",
    [
        {"account": {"number": "4711"}}, {"accounts": [{"number": "4711"}]}, {"customer": {"id": "4711"}}, {"policy": {"no": "4711"}}, {"meters": [{"serial": "4711"}]}, {"contract": {"name": "x", "nr": 4711}}, {"verification": {"code": "4711"}},
    ],
)  # fmt: skip
def test_a_number_goes_by_the_key_around_it(args: dict[str, Any]) -> None:
    """Of an account, a customer, a policy: directly, or in a list under the plural."""
    assert "4711" not in str(view(args).value)


@pytest.mark.parametrize(
    "args",
    [
        {"number": "4711"}, {"order": {"number": "4711"}}, {"orders": [{"id": "4711"}]}, {"numbers": [{"id": "4711"}]}, [{"id": "4711"}], {"status": {"code": 4711}},
    ],
)  # fmt: skip
def test_a_number_of_something_else_stays(args: Any) -> None:
    """Of an order, of a list, or of nothing."""
    assert view({"a": args} if isinstance(args, list) else args).changed is False


def test_a_pair_is_judged_by_its_value_as_well() -> None:
    """As a field of that name would be."""
    seen = view({"fields": [{"name": "customer", "value": "Anna Bauer"}, {"name": "account", "value": "savings"}]})  # fmt: skip
    assert [member["value"] == "savings" for member in seen.value["fields"]] == [False, True]


def test_words_and_scripts_that_mean_nothing_give_nothing() -> None:
    """Empty names, links between words, and types of things."""
    assert judge_personal([]) is None
    assert judge_personal(["de", "la"]) is None
    assert judge_script("тип телефона") is None
    assert judge_script("数据") is None
    assert mark_of_role(Role("payment", 0), None) is None
    assert not is_assigned_number("1" * 41)


@pytest.mark.parametrize(
    ("text", "least", "is_name"),
    [
        ("Anna Bauer", 2, True), ("Bauer, Anna", 2, True), ("Ludwig van der Berg", 2, True), ("J. R. Tolkien", 2, True), ("ANNA BAUER", 2, True), ("al-Farsi, Omar", 2, True), ("王小明", 1, True), ("김 민수", 1, True),
        ("Иван Петров", 2, True), ("محمد علي", 2, True), ("anna bauer", 1, False), ("Anna", 2, False), ("A", 1, False), ("Anna 7", 1, False), ("Anna Bauer Ltd", 1, False), ("a, B", 1, False), ("", 1, False),
        ("Anna Maria Bauer, Jonas", 2, False), ("Dr. Bauer", 1, False), ("Anna. Bauer", 1, False), ("x-Ray", 1, True), ("Anna Bea Cleo Dora Emma Fay", 2, False),
    ],
)  # fmt: skip
def test_a_name_has_the_form_of_a_name(text: str, least: int, is_name: bool) -> None:
    """Capitals, particles, initials, and scripts without capitals."""
    assert is_person(text, least) is is_name


def test_a_name_in_prose_ends_where_its_words_end() -> None:
    """At a word that is not a name, a full stop, or after the surname and one first name."""
    assert name_span("Anna Bauer called", 0, 2) == 10
    assert name_span("Anna Bauer. He", 0, 2) == 10
    assert name_span("Anna. He", 0, 2) == -1
    assert name_span("IBM Anna", 0, 1) == -1
    assert name_span("Bauer, Anna called", 0, 2) == 11
    assert name_span("Anna Bauer, Jonas", 0, 2) == 10


def test_parts_of_a_name_are_whole_words() -> None:
    """Not parts of words, identifiers or paths. Ordinary words are not kept alone."""
    names = KnownNames()
    assert names.add("Anna Bauer", "name")
    assert not names.add("Anna", "name")
    assert not names.add("two words", "name")
    assert [place[:2] for place in names.find("Anna met Bauers, Anna_1, /Anna/ and Bauer")] == [
        (0, 4),
        (36, 41),
    ]
    assert not list(names.find("anna and nobody else"))
    assert not KnownNames().add("Mark May", "name")


def test_a_name_in_capitals_is_found_in_both_forms() -> None:
    """Forms print names in capitals. Chinese names have no blanks around them."""
    names = KnownNames()
    names.add("ANNA BAUER", "name")
    assert len(list(names.find("ANNA and Anna"))) == 2
    names.add("王小明", "name")
    assert [place[:2] for place in names.find("请联系王小明，王小明在")] == [(3, 6), (7, 10)]


def test_the_oldest_names_are_forgotten_first() -> None:
    """The number of names is bounded."""
    names = KnownNames()
    letters = "abcdefghijklmnopqrst"
    for one in letters:
        for other in letters:
            names.add(f"X{one}{other}zy", "name")
    assert len(names) == 256
    assert not list(names.find("Xaazy"))
    assert list(names.find("Xttzy"))


def test_a_memory_of_names_only_is_searched() -> None:
    """A first name is too probable for the other values, and a session without values has one."""
    memory = Memory()
    memory.remember_name("Zofia")
    memory.remember_name("Zofia")
    BLANK.remember_name("Zofia")
    assert (len(memory), memory.added, len(BLANK), repr(memory)) == (1, 1, 0, "Memory(1 value)")
    assert "Zofia" not in memory.scrub("ask Zofia")
    assert memory.knows("gr1:name:k1:" + "a" * 24 + " Zofia") == "name"
    assert not memory.find("gr1:name:k1:" + "a" * 24)
