"""Telephone numbers, IP addresses, labelled numbers, national ids and names in prose."""

from __future__ import annotations

import pytest

from guardrail.core.redaction.detectors.national import is_national_id
from guardrail.core.redaction.detectors.scan import scan


def _found(text: str) -> list[tuple[str, str]]:
    return [(hit.cls, text[hit.start : hit.end]) for hit in scan(text)]


@pytest.mark.parametrize(
    "text",
    [
        "+49 30 1234567", "+442079460123", "0033 6 12 34 56 78", "020 7946 0123", "07700 900123", "06 12 34 56 78", "(02) 9876 5432", "415-555-0123", "(415) 555-0123", "(11) 91234-5678", "+91 98765 43210", "030/23125010",
        "0412 345 678", "call 612 34 56 78", "Tel.: 7946 0123", "Rückruf unter 2312501", "llámame al 612345678", "phone number is 5550123", "8 (495) 123-45-67", "8(916)1234567",
    ],
)  # fmt: skip
def test_telephone_numbers_of_many_countries(text: str) -> None:
    """In international form, in national form, and in any form after a word for calling."""
    (found,) = _found(text)
    assert found[0] == "contact"
    assert text.endswith(found[1])


@pytest.mark.parametrize(
    "text",
    [
        "+1 23", "+999 999 999 999", "0123-456-789-012-345", "01 02 03", "2026-03-14 12", "14.03.2026", "612 34 56 78", "12345678", "call depth 12", "$415-555-0123", "674-221-7728.pdf", "00999999999999", "0999 999 999 999",
        "09999 99999 99999", "+0049", "item 020.7946.0123.4567.8901",
    ],
)  # fmt: skip
def test_other_numbers_are_no_telephone_numbers(text: str) -> None:
    """Dates, ids, amounts, files, and numbers that no country has."""
    assert [cls for cls, _ in _found(text)] in ([], ["opaque"])


@pytest.mark.parametrize(
    "text",
    ["203.0.113.7", "http://203.0.113.7:8080/x", "8.8.8.8 is our dns server: 8.8.4.4", "2001:db8:85a3::8a2e:370:7334", "[2001:db8::1:7]", "203.0.113.7-203.0.113.9", "login 10.0.0.7", "fd00:1:2:3:4:5:6:7", "::ffff:203.0.113.7"],
)  # fmt: skip
def test_addresses_of_hosts(text: str) -> None:
    """IPv4 and IPv6, in URLs and ranges. Private ones only if the text says whose they are."""
    assert "device" in {cls for cls, _ in _found(text)}


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "0.0.0.0", "255.255.255.0", "version 10.20.30.40", "Chrome/120.0.10.4", "pkg-10.20.30.40", "10.20.30.40-beta", "1.3.6.1.4.1.311", "3.1.4.1", "300.1.1.1", "01.2.3.40", "10.1.2.3", "192.168.1.1", "172.20.1.1", "169.254.1.1", "224.0.0.251",
        "12:34:56", "std::vector", "a::b::c", "::1", "fe80::", "dead::beef", "1:2:3:4:5:6:7:8:9", "a1::b2::c3", "1:2:3:4:5:6:7::8:9",
    ],
)  # fmt: skip
def test_other_dots_and_colons_stay(text: str) -> None:
    """Versions, masks, times, names in code, and the machine itself."""
    assert _found(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("account no. 12345678", ("payment", "12345678")), ("a/c 12345678", ("payment", "12345678")), ("compte n° 12345678", ("payment", "12345678")), ("the account number is 12345678", ("payment", "12345678")),
        ("Konto (12345678)", ("payment", "12345678")), ("Kundennummer: 4711-0815", ("person_id", "4711-0815")), ("policy HV 348 639", ("person_id", "HV 348 639")), ("sort code 20-00-00", ("payment", "20-00-00")),
        ("IMEI 356699793981564", ("device", "356699793981564")), ("plate AB12 CDE", ("government_id", "AB12 CDE")), ("DOB 12/03/1985", ("dob", "12/03/1985")), ("born on 12 March 1985", ("dob", "12 March 1985")), ("née le 12 mars 1985", ("dob", "12 mars 1985")),
        ("date of birth: March 12, 1985", ("dob", "March 12, 1985")), ("verification code is 482913", ("secret", "482913")), ("PIN 4829", ("secret", "4829")), ("passport C01X00T47", ("government_id", "C01X00T47")), ("cust_no cust-48213", ("person_id", "cust-48213")),
        ("DNI 12345678Z", ("government_id", "12345678Z")),
    ],
)  # fmt: skip
def test_numbers_go_by_the_words_before_them(text: str, found: tuple[str, str]) -> None:
    """In several languages, with abbreviations, fillers and punctuation between."""
    assert _found(text) == [found]


@pytest.mark.parametrize(
    "text",
    [
        "order no. 12345678", "account. 12345678 rows", "account 2026", "account 2021/2022", "member 1234", "The policies. 12345678", "account balance 12345678", "name 12345678", "ip 12345678", "RFC 6901", "date of birth 12345678", "contract 2026-03-14",
        "code 482913", "is 12345678", "x@12345678", "account 123", "PIN 123456789012", "password 12345678", "born in 1985", "the street 12345678",
    ],
)  # fmt: skip
def test_numbers_after_other_words_stay(text: str) -> None:
    """Years, counts, numbers of things, and the end of a sentence in between."""
    assert [entry for entry in _found(text) if entry[0] != "secret"] == []


@pytest.mark.parametrize(
    "number",
    [
        "RSSMRA85T10A562S", "12345678Z", "X1234567L", "529.982.247-25", "AB123456C", "AB 12 34 56 C", "131052-308T", "850709-9805", "85.07.30-033.28", "756.9217.0769.85", "S1234567D", "G1234567X", "11.222.333/0001-81", "30.686.957-4",
    ],
)  # fmt: skip
def test_national_ids_with_valid_check_digits(number: str) -> None:
    """Italy, Spain, Brazil, Britain, Finland, Sweden, Belgium, Switzerland, Singapore, Chile."""
    assert is_national_id(number)
    assert ("government_id", number) in _found(f"see {number} here")


@pytest.mark.parametrize(
    "number", ["12345678A", "529.982.247-26", "QQ123456C", "S1234567A", "B1234567D", "12345678", "AB-123456-C", "131052-308A"]
)  # fmt: skip
def test_other_check_digits_are_no_national_id(number: str) -> None:
    """One digit differs, or the form does."""
    assert not is_national_id(number)


@pytest.mark.parametrize(
    "text",
    [
        "Dear Anna Bauer,", "Hi Anna!", "Mr. Bauer called", "on behalf of Anna Bauer.", "Herr Bauer ruft an", "my name is Anna", "Kind regards,\nAnna Bauer", "The account holder is Anna Bauer", "Passenger Anna Bauer is late", "Payee: Anna Bauer", "Sra. Bauer llama",
        "signed by Anna Bauer", "je m'appelle Anna Bauer", "Complaint from Anna Bauer", 'customer "Anna Bauer" left',
    ],
)  # fmt: skip
def test_names_in_prose_are_announced(text: str) -> None:
    """By a title, a greeting, a phrase, the role of the person, or the end of a letter."""
    assert [cls for cls, _ in _found(text)] == ["name"]


@pytest.mark.parametrize(
    "text",
    [
        "Anna Bauer", "Hello World", "Hey Jude", "on behalf of Anna", "New York: Anna Bauer", "The Great Gatsby", "Terminal:\nAnna Bauer", "\n\nAnna Bauer", " : Anna Bauer", "7 Anna Bauer", "see: Mr Ñ", "\n: \nAnna Bauer", "ſ ẞa", "is Anna Bauer", "x" * 50 + " Anna Bauer",
        "the number is Anna Bauer", "a_b_ Anna Bauer",
    ],
)  # fmt: skip
def test_other_capitals_stay(text: str) -> None:
    """Without a word that announces a name, capitals mean nothing."""
    assert "name" not in {cls for cls, _ in _found(text)}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Wolfgang Amsel <w.amsel@web.example>", "Wolfgang Amsel"),
        ('cc: "Lena Brandt" <mailto:lena@brandt.example>', "Lena Brandt"),
        ("please write to Ana <ana@web.example>", "Ana"),
        ("ATTENDEE;CN=Noemi Farkas:mailto:noemi@farkas.example", "Noemi Farkas"),
        ('ORGANIZER;CN="Noemi Farkas":mailto:noemi@farkas.example', "Noemi Farkas"),
        ("BEGIN:VCARD\nFN:Hamza Idrissi\nORG:Acme", "Hamza Idrissi"),
        ("BEGIN:VCARD\r\nADR;TYPE=home:;;12 Rue Atlas;Rabat\r\n", "12 Rue Atlas;Rabat"),
        ("BEGIN:VCARD\nBDAY:1990-01-31", "1990-01-31"),
        ("Kind regards, Eleni Vasilaki", "Eleni Vasilaki"),
    ],
)
def test_address_books_and_mail_name_people(text: str, found: str) -> None:
    """By the place of the name in the format."""
    assert found in {value for _, value in _found(text)}


@pytest.mark.parametrize(
    "text",
    [
        "see the Users <u@> page",
        "BEGIN:VCARD\nFN:\nVERSION:4.0",
        "x;CN=ldap:users",
        "regards, see below",
        "^[a-z0-9._%+-]+@[a-z0-9.-]+\\.[a-z]{2,}$",
    ],
)
def test_formats_without_people_stay(text: str) -> None:
    """Empty values, other formats, and the pattern of an address."""
    assert _found(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("first_name,last_name,dob\nTomás,Quintero,2011-02-03\n", ["Tomás", "Quintero", "2011-02-03"]),
        ("| Patient | MRN |\n|---|---|\n| Lorna Quill | 0098213 |", ["Lorna Quill", "0098213"]),
        ("Our list:\nname;phone\nAna Ruiz;5550123\nOther words\n", ["Ana Ruiz", "5550123"]),
        ('id,email\n7,"ana@web.example"\n\nid,email\n', ["ana@web.example"]),
        ("text\n| Phone | Qty |\n|:--|--|\n| 5550123 | 4 |\n\nend", ["5550123"]),
    ],
)  # fmt: skip
def test_columns_of_a_table_name_their_cells(text: str, found: list[str]) -> None:
    """In CSV and in tables with bars, to the next blank line."""
    assert [value for _, value in _found(text)] == found


@pytest.mark.parametrize(
    "text",
    [
        "date,open,close\n2026-01-02,101.2,103.4",
        "name,qty\nGreen Tea,4",
        "| Name | Type |\n|---|---|\n| Max Retries | int |",
        "phone,qty\nonly one cell",
        "name,phone\n\nAna Ruiz,x",
        "phone,email\nnone,n/a",
    ],
)
def test_tables_of_other_things_stay(text: str) -> None:
    """A column called "name" says nothing alone, and a line with fewer cells is no row."""
    assert _found(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Das Passwort lautet Sonnenschirm42, bitte ändern.", "Sonnenschirm42"),
        ("la contraseña es Girasol#21.", "Girasol#21"),
        ("Hasło do WiFi to zielonaZaba12", "zielonaZaba12"),
        ("パスワードは Sakura2024x です", "Sakura2024x"),
        ("密码是 Lantern88q,请保密", "Lantern88q"),
        ("the alarm code is 4471", "4471"),
    ],
)
def test_sentences_name_passwords_and_codes(text: str, found: str) -> None:
    """In several languages."""
    assert _found(text) == [("secret", found)]


@pytest.mark.parametrize(
    "text",
    ["Das Passwort ist falsch.", "la clave es importante", "密码是 必填", "senha é $SENHA_1"],
)
def test_sentences_about_passwords_stay(text: str) -> None:
    """A word without a digit or a sign, and a variable."""
    assert _found(text) == []
