"""Personal data and secrets in the texts of vendors' interfaces: forms, lines, messages of trades,
streets, sentences. Each rule is tested on texts that differ in kind.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from guardrail.core.redaction.detectors.streets import streets
from tests.support.redaction import view


def _shown(args: Any) -> str:
    return json.dumps(view(args).value, ensure_ascii=False)


def _check(text: str, *hidden: str) -> None:
    shown = _shown({"t": text})
    assert not [value for value in hidden if value in shown], shown


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("guest_name=Maren+Quist&fare=Y", ["Maren"]),
        ("amount=5&customer%5Bname%5D=Maren%20Quist&x=1", ["Maren"]),
        ("order[buyer][name]=Maren Quist&order[total]=5", ["Maren"]),
        ("name=Maren+Quist&dob=1979-08-30", ["Maren", "1979"]),
        ("https://x.test/find?page=2&passenger=Maren+Quist", ["Maren"]),
    ],
)
def test_a_parameter_of_a_form_goes_by_its_name(text: str, hidden: list[str]) -> None:
    _check(text, *hidden)


@pytest.mark.parametrize(
    "text",
    [
        "product=Blue+Kettle&name=Navy+Blue&qty=2",
        "email=null&x=1",
        "account=savings&page=2",
        "item[name]=Blue Kettle&x=1",
        "customer=12&x=1",
        "a & b = c",
        "guest=Maren",
    ],
)
def test_other_parameters_stay(text: str) -> None:
    assert view({"t": text}).value == {"t": text}


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("guest:\n  name: Maren Quist\n  phone: 0511 22 33 44\n", ["Maren", "0511"]),
        ("given_name: Maren\nfamily_name: Quist\n", ["Maren", "Quist"]),
        ("* Diagnosis: asthma\n* Ward: 4B", ["asthma"]),
        ("[buyer]\nbuyer = Maren Quist\nsize = 3", ["Maren"]),
        ("Customer no: KD-99182\nOrder: two", ["99182"]),
        ('mutation { book(input: {passenger: "Maren Quist", seat: "4A"}) { id } }', ["Maren"]),
        ("SELECT * FROM t WHERE guest_name LIKE '%Quist%' AND tenant <> 'Maren Quist'", ["Quist"]),
        ("INSERT INTO guests (guest_name, dob, tenant, n) VALUES ('Maren Quist', '1979-08-30', 'Tove Lund', upper('x'))", ["Quist", "1979", "Tove"]),
        ("<stay><guest>Maren Quist</guest><room>4</room></stay>", ["Maren"]),
        ("| Full Name | Birth Date |\n|---|---|\n| Maren Quist | 1979-08-30 |", ["Maren", "1979"]),
    ],
)  # fmt: skip
def test_a_value_goes_by_the_name_before_it(text: str, hidden: list[str]) -> None:
    _check(text, *hidden)


@pytest.mark.parametrize(
    "text",
    [
        "phone: required\nname: string\n",
        "name: Blue Kettle\nsize: 3\n",
        "dob: none\nname: Blue Kettle",
        "address: see below\nstreet: quiet",
        "first_name: must not be empty\nn: 1",
        "account: savings\nallergies: see the long list of things to avoid here\n",
        "username: root\nport: 22",
        "SELECT name FROM books WHERE guest LIKE '%' AND title = 'Blue Kettle'",
        "INSERT INTO t (guest, dob, n) VALUES ('blue', null, 3)",
        "INSERT INTO t (guest, dob) VALUES (now(), upper('x'))",
        "<books><guest>none</guest></books>",
        "phone: 12\nticket: 3",
        "policy number: none yet\nx: y",
        "author: 'Jane Austen', title: 'Emma'",
    ],
)
def test_lines_that_describe_fields_stay(text: str) -> None:
    assert view({"t": text}).value == {"t": text}


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("SSR DOCS BA HK1/P/NOR/N7712345/NOR/30AUG79/F/01JAN31/QUIST/MAREN", ["N7712345", "30AUG79", "QUIST", "MAREN"]),
        ("SR DOCA LH HK1-R-NOR-STORGATA 7-OSLO", ["STORGATA"]),
        ("SSR FOID LH HK1/PPN7712345", ["N7712345"]),
        ("NM1QUIST/MAREN MRS", ["QUIST", "MAREN"]),
        ("P<NORQUIST<<MAREN<<<<<<<<<<<<<<<<<<<<<<<<<<<\nN7712345<6NOR7908304F3101011<<<<<<<<<<<<<<04", ["QUIST", "N7712345"]),
        ("MSH|^~\\&|A\rPID|1||55102^^^H||QUIST^MAREN||19790830|F", ["55102", "QUIST", "19790830"]),
        ("NAD+CN+++QUIST MAREN+STORGATA 7+OSLO'CTA+IC+:MAREN QUIST'", ["QUIST", "STORGATA"]),
        ("dn: uid=mquist,cn=Maren Quist,dc=x\ncn: Maren Quist\nobjectClass: person", ["mquist", "Maren"]),
    ],
)  # fmt: skip
def test_fields_of_messages_go_by_their_position(text: str, hidden: list[str]) -> None:
    _check(text, *hidden)


@pytest.mark.parametrize(
    "text",
    ["DOCS are in /docs/api/v2", "PID||||", "cn: Maren", "a << b", "NAD+ is a coenzyme", "see dn: below\ncn: 3"],
)  # fmt: skip
def test_other_messages_stay(text: str) -> None:
    assert view({"t": text}).value == {"t": text}


@pytest.mark.parametrize(
    "street",
    [
        "4112 Juniper Terrace Apt 9", "88 W 14th Street", "35 Lynn Village Suite 536", "7 ter, rue des Lilas", "Calle de la Luna 42, Piso 3",
        "Via Garibaldi, 19", "Rua das Flores, 120", "ul. Lipowa 5/7", "ул. Садовая, д. 7 к. 3", "Lindenallee 14b", "Kölner Straße 5", "Prinsengracht 263", "Björkgränd 8",
        "Kossuth utca 12", "Gül Sokak No: 4", "οδός Ερμού 12", "東京都港区芝公園4-2-8", "建国路88号", "서울특별시 강남구 테헤란로 152",
    ],
)  # fmt: skip
def test_a_street_with_its_number_goes_from_a_sentence(street: str) -> None:
    _check(f"Bring it to {street}, please", street)
    # In a field of its own, the name of the field decides.
    assert view({"destination": street}).value == {"destination": street}
    assert view({"street": street}).value != {"street": street}


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("residing at 12 Hollow Oak, and", "12 Hollow Oak"),
        ("sie ist wohnhaft in Am Anger 3. Danach", "Am Anger 3"),
        ("demeurant 6, boulevard des Alpes à Gap", "6, boulevard des Alpes"),
        ("bor på Storgata 7 siden mai", "Storgata 7"),
    ],
)
def test_an_announced_address_needs_no_word_for_a_street(text: str, hidden: str) -> None:
    _check(text, hidden)


@pytest.mark.parametrize(
    "text",
    [
        "Table 3 Shows The Open Court", "the 12 Open Court cases", "Top 5 Best Western Court", "Monitoring 24/7 in Spring 2026", "Parkplatz 5", "Via Email 5 times",
        "residing at home", "she lives at the sea", "residing at a 1", "residing at (none) 5", "residing at a b c d e f g h i j 5", "living at extraordinarily low cost 5", "mieszka na wsi od 1990",
    ],
)  # fmt: skip
def test_other_numbers_are_no_address(text: str) -> None:
    assert list(streets(text)) == []


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("our customer, Maren Quist, wants", "Maren Quist"),
        ("unsere Kundin, Maren Quist (Oslo)", "Maren Quist"),
        ("made by Maren Quist, born on 2 May", "Maren Quist"),
        ("and Maren Quist, residing at", "Maren Quist"),
        ("Hyresgästen Maren Quist bor", "Maren Quist"),
        ("entregar a Maren Quist hoy", "Maren Quist"),
        ("Пассажир Исидор Поляков летит", "Исидор Поляков"),
        ("お客様の山田太郎様", "山田太郎"),
        ("客户王小明,电话", "王小明"),
        ("고객 김민수님", "김민수"),
        ("الطالب غالب الجابر رقم", "غالب الجابر"),
        ("电话13812345678", "13812345678"),
    ],
)
def test_a_person_is_announced_by_the_words_around_the_name(text: str, hidden: str) -> None:
    _check(f"Today {text} x", hidden)


@pytest.mark.parametrize(
    "text",
    [
        "The client, Northwind Traders, paid.", "The author, in Chapter Four, says", "the Company, born on the web", "a guest, Maren Quist Blvd and on",
        "Today, Paris Hilton, won", "数字号12345", "ここ12345678901",
    ],
)  # fmt: skip
def test_other_words_with_capitals_stay(text: str) -> None:
    assert view({"t": text}).value == {"t": text}


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("snmp-server community wintergreen RO", "wintergreen"),
        ("snmp-server host 10.1.1.1 version 2c wintergreen", "wintergreen"),
        ("com2sec readonly default wintergreen", "wintergreen"),
        ("rocommunity wintergreen 10.0.0.0/8", "wintergreen"),
        ("radius-server key wintergreen", "wintergreen"),
        ("set pre-shared-key ascii-text winter9green", "winter9green"),
        ("$db = new PDO($dsn, 'root', 'wintergreen');", "wintergreen"),
        ('DriverManager.getConnection("jdbc:x", "scott", "wintergreen")', "wintergreen"),
        ("JSESSIONID=9A8F7E6D5C4B3A291807F6E5D4C3B2A1; path=/", "9A8F7E6D"),
        ("The wifi key for the lab is winter9green now", "winter9green"),
        ("\x1b[1mpassword\x1b[0m=wintergreen ok", "wintergreen"),
    ],
)
def test_a_secret_goes_by_the_syntax_around_it(text: str, secret: str) -> None:
    _check(text, secret)


def test_a_number_of_an_unknown_place_is_not_an_official_number() -> None:
    """The library of check digits has no data on the place."""
    assert view({"t": "no 233036083002249984"}).value == {"t": "no 233036083002249984"}


def test_the_end_of_a_letter_is_a_line_of_its_own() -> None:
    _check("See you.\nAll the best,\nMaren Quist", "Maren")


def test_a_control_sequence_in_a_key_does_not_hide_its_name() -> None:
    for key in ("password\x1b[31m", "\x1b[1mpassword\x1b[0m", "password\x07"):
        assert "wintergreen" not in _shown({key: "wintergreen"})


@pytest.mark.parametrize(
    ("args", "hidden"),
    [
        ({"mac": "00:1b:44:11:3a:b7"}, "00:1b"), ({"dea": "AQ1234563"}, "AQ12"), ({"drug": "sertraline"}, "sertraline"), ({"nm": "Maren Quist"}, "Quist"),
        ({"medicationCodeableConcept": {"text": "sertraline"}}, "sertraline"), ({"assignedTo": "Maren Quist"}, "Quist"), ({"guest": {"full": "Maren Quist"}}, "Quist"),
        ({"author": "Maren Quist", "assignee": "x"}, "Quist"), ({"author": {"name": "Maren Quist"}}, "Quist"), ({"given": ["Maren"], "family": "Quist"}, "Quist"),
        ({"religion": "Lutheran", "email": "x@y.no"}, "Lutheran"), ({"applicant": {"religion": "Lutheran"}}, "Lutheran"), ({"reference": "Patient/1", "display": "Maren Quist"}, "Quist"),
        ({"получатель": "Исидор Поляков"}, "Поляков"), ({"имя": "Исидор"}, "Исидор"), ({"адрес": "Садовая 7"}, "Садовая"), ({"予約者": "伊藤千代子"}, "伊藤"), ({"الطالب": "غالب الجابر"}, "غالب"),
        ({"NAME_LAST": "Quist", "GBDAT": "1979-08-30"}, "Quist"), ({"né le": "30/08/1979"}, "1979"), ({"studentFirst": "Maren"}, "Maren"), ({"assignees": ["Maren Quist"]}, "Quist"),
        ({"argv": ["--phone", "0511223344", "-v"]}, "0511"), ({"question": "What is your full name?", "answer": "Maren Quist"}, "Quist"), ({"question": "Home address", "answer": "Storgata 7"}, "Storgata"),
    ],
)  # fmt: skip
def test_a_value_goes_by_a_key_of_a_known_family(args: dict[str, Any], hidden: str) -> None:
    assert hidden not in _shown(args)


@pytest.mark.parametrize(
    "args",
    [
        {"author": "Jane Austen"}, {"author": "system", "email": ""}, {"religion": "Buddhism", "limit": 5}, {"from_account": "savings"}, {"username": "root"}, {"first": "Blue", "n": 3},
        {"display": "Blue Kettle", "reference": "Device/1"}, {"имя файла": "Отчет"}, {"full": "Blue Kettle"}, {"question": "Home address", "answer": "in the next town"},
        {"family": "Arial"}, {"blue_number_box": "x"}, {str(index): index for index in range(30)} | {"display": "Blue Kettle"}, {"x" * 70: 1, "religion": "Buddhism"},
    ],
)  # fmt: skip
def test_values_that_say_otherwise_stay(args: dict[str, Any]) -> None:
    assert view(args).value == args
