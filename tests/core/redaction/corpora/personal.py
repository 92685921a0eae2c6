"""Labelled tool calls of eight domains, in many spellings of names, nestings and languages."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.core.redaction.corpora.people import VALUES

__all__ = ["Case", "calls", "remembered", "sentences"]


@dataclass(frozen=True)
class Case:
    """One call or text, and the value in it that must be removed."""

    kind: str
    form: str
    value: str
    args: Any


# Names of fields, in words. Domains: bank, telecom, insurer, hospital, utility, travel, HR,
# government.
_KEYS = {
    "name": (
        "customer name|account holder|cardholder|payee|beneficiary|passenger|patient|policy holder|contact person|recipient|guest|"
        "subscriber|employee name|emergency contact|claimant|tenant name|lead traveller|attending physician|holder|insured|"
        "Kontoinhaber|Empfänger|Versicherungsnehmer|Patient|titulaire|bénéficiaire|titular|beneficiario|intestatario|"
        "rekeninghouder|odbiorca|alıcı|mottagare|modtager|beneficiário|cliente|Kunde|klant|"
        "získatel karty|patientName|payer|next of kin|signatory|remitter|full name|display name"
    ),
    "first": "first name|given name|forename|Vorname|prénom|nombre|nome|voornaam|imię|förnamn|fornavn|etunimi|křestní jméno|isim",
    "last": "last name|surname|family name|Nachname|nom de famille|apellido|cognome|achternaam|nazwisko|efternamn|sobrenome|soyad|příjmení|sukunimi",
    "email": "email|e mail|email address|contact email|correo electrónico|adresse mail|Mailadresse|courriel|sähköposti|e posta|mail",
    "phone": (
        "phone|mobile|mobile number|msisdn|contact no|tel|callback number|home phone|Telefonnummer|Handynummer|téléphone|numéro de "
        "téléphone|teléfono|móvil|cellulare|telefoonnummer|numer telefonu|telefonnummer|telemóvel|telefon no|puhelin|phone no|whats app"
    ),
    "account": (
        "account number|acct no|acct|account no|acc num|from account|to account|debit account|acct nbr|account id|beneficiary account|"
        "Kontonummer|numéro de compte|número de cuenta|numero conto|rekeningnummer|numer konta|kontonummer|número da conta|hesap no|tilinumero|číslo účtu"
    ),
    "customer": (
        "customer number|customer no|cust no|customer id|client number|cust id|subscriber id|sub id|member id|patient id|cif|cif no|"
        "Kundennummer|numéro client|número de cliente|codice cliente|klantnummer|numer klienta|kundnummer|kundenr|müşteri no|asiakasnumero|"
        "employee id|membership number|frequent flyer number|loyalty number|personnel number|staff no"
    ),
    "contract": (
        "contract number|contract id|contract no|agreement number|Vertragsnummer|numéro de contrat|número de contrato|numero contratto|"
        "contractnummer|numer umowy|avtalsnummer|sözleşme no|loan number|loan id|mortgage account|sopimusnumero"
    ),
    "policy": (
        "policy number|policy no|policyNo|claim number|claim id|claim no|certificate number|Versicherungsnummer|Policennummer|numéro de police|"
        "número de póliza|numero polizza|polisnummer|numer polisy|poliçe no|apólice|Schadennummer"
    ),
    "iban": "iban|bank account|Bankverbindung|compte bancaire|cuenta bancaria|recipient iban",
    "card": "card number|card no|pan|credit card|Kartennummer|numéro de carte|número de tarjeta|numero carta|kaartnummer|numer karty|kort nummer",
    "birth": "date of birth|dob|birth date|Geburtsdatum|date de naissance|fecha de nacimiento|data di nascita|geboortedatum|data urodzenia|födelsedatum|data de nascimento|doğum tarihi|datum narození|syntymäaika",
    "address": "street address|home address|address line 1|street|Anschrift|Straße|adresse|domicilio|dirección|indirizzo|adres|morada|endereço|postal address|delivery address|service address|katuosoite",
    "national": (
        "national id|ssn|social security number|passport number|passport no|national insurance number|id card number|Personalausweisnummer|"
        "numéro de sécurité sociale|DNI|codice fiscale|BSN|PESEL|personnummer|CPF|TC kimlik no|henkilötunnus|rodné číslo|citizen id|nin|driver licence no"
    ),
    "tax": "tax id|tax number|tin|tax file number|Steuernummer|Steuer ID|numéro fiscal|NIF|partita iva|NIP|vat id|vergi no",
    "plate": "license plate|licence plate|plate number|registration plate|vehicle registration|Kennzeichen|plaque d'immatriculation|matrícula|targa|kenteken|numer rejestracyjny|vrm",
    "device": "imei|imsi|iccid|sim number|sim serial|device id|device serial|imei number|SIM Kartennummer|esim iccid",
    "meter": "meter number|meter id|mpan|mprn|meter serial|Zählernummer|numéro de compteur|número de contador|meternummer|supply number",
    "ip": "ip|ip address|client ip|source ip|remote addr|last login ip|IP Adresse|adresse IP",
}  # fmt: skip

_OTHER_FIELDS = {
    "status": "active", "currency": "EUR", "amount": 120.5, "channel": "branch", "page": 2, "locale": "de-DE", "reason": "customer request",
    "priority": "high", "created_at": "2026-03-01T10:00:00Z", "include_closed": False,
}  # fmt: skip


def _split(name: str) -> list[str]:
    return [word for word in re.split(r"[^\w]+", name) if word]


def _spelt(rng: random.Random, name: str) -> tuple[str, str]:
    words = _split(name)
    if name != name.lower() and len(words) == 1 and not name.istitle() and not name.isupper():
        return name, "as is"
    low = [word.lower() for word in words]
    style = rng.choice(["snake", "camel", "kebab", "Pascal", "UPPER", "space", "ascii"])
    if style == "camel":
        return low[0] + "".join(word.title() for word in low[1:]), style
    if style == "Pascal":
        return "".join(word.title() for word in low), style
    if style == "kebab":
        return "-".join(low), style
    if style == "UPPER":
        return "_".join(low).upper(), style
    if style == "space":
        return " ".join(words), style
    if style == "ascii":
        plain = {
            "ä": "ae",
            "ö": "oe",
            "ü": "ue",
            "ß": "ss",
            "é": "e",
            "á": "a",
            "ó": "o",
            "ú": "u",
            "í": "i",
            "ñ": "n",
            "ç": "c",
        }
        return "".join(plain.get(char, char) for char in "_".join(low)), style
    return "_".join(low), style


def _fields(rng: random.Random) -> dict[str, Any]:
    return {name: _OTHER_FIELDS[name] for name in rng.sample(sorted(_OTHER_FIELDS), 3)}


def _shapes(rng: random.Random, key: str, value: str) -> Iterator[tuple[str, Any]]:
    others = _fields(rng)
    yield "field", {**others, key: value}
    yield "nested", {"request": {"data": [{**others, key: value}]}}
    yield "json in a string", {"payload": json.dumps({**others, key: value}, ensure_ascii=False)}
    yield (
        "name and value",
        {"fields": [{"name": key, "value": value}, {"name": "status", "value": "active"}]},
    )
    yield "list", {**others, key: [value]}


def calls(seed: int, rounds: int = 2) -> Iterator[Case]:
    """Yield labelled calls: every kind of data, under every name, in two of the forms."""
    rng = random.Random(seed)
    for _ in range(rounds):
        for kind, names in _KEYS.items():
            for name in names.split("|"):
                key, _style = _spelt(rng, name)
                value = VALUES[kind](rng)
                for form, args in rng.sample(list(_shapes(rng, key, value)), 2):
                    yield Case(kind, form, value, args)


_SENTENCES = {
    "account": (
        "Please move 200 EUR from account no. {} to savings.|The account number is {}.|Acct {} was closed yesterday.|Konto {} wurde gesperrt.|"
        "Kontonummer: {}|Le compte n° {} est clôturé.|Número de cuenta {} bloqueado.|numer konta {} jest nieaktywny|rekeningnummer {} is geblokkeerd|"
        "Refund to a/c {} please|numero di conto {} bloccato|debited from account {}"
    ),
    "customer": (
        "Customer no. {} called about the invoice.|Kundennummer {} hat gekündigt.|Member ID {} is not eligible.|numéro client {} introuvable|customer id: {}|"
        "Our client number {} wants a callback.|codice cliente {} non valido|klantnummer {} belt terug|Subscriber {} reports no signal|Patient ID {} moved to ward 3"
    ),
    "contract": "Contract number {} ends in May.|Vertragsnummer {} läuft aus.|contrat n° {} résilié|contrato {} cancelado|loan no. {} is in arrears|Agreement {} was signed.|umowa nr {} wygasa",
    "policy": "Policy number {} covers water damage.|Claim no. {} is pending.|Police Nr. {} prüfen|póliza {} vencida|numéro de police {} à vérifier|claim {} has been rejected|polisnummer {} loopt af",
    "phone": (
        "Call me on {} tomorrow.|Phone: {}|My mobile is {}.|Rückruf unter {} erbeten.|Tel. {}|appelez-moi au {}|Mi teléfono es {}|Il mio cellulare è {}|"
        "Text {} when it is ready|WhatsApp {}|numer telefonu {}|bel mij op {}|Reached him at {} twice"
    ),
    "name": (
        "Dear Mr {},|Mrs {} called again.|I am writing on behalf of {}.|Herr {} möchte kündigen.|Madame {} a téléphoné.|Sra. {} solicita un reembolso.|"
        "Passenger {} missed the connection.|The account holder is {}.|Payee: {}|Patient {} was admitted at noon.|My name is {} and I lost my card.|Mein Name ist {}.|"
        "im Auftrag von {}|Je m'appelle {}.|Customer {} asked for a refund|Kind regards,\n{}"
    ),
    "iban": "Send it to {} today.|IBAN: {}|Überweisung an {} ausführen|virement vers {}",
    "card": "My card {} was declined.|charged to {} twice|Karte {} sperren",
    "email": "Write to {} please.|Kontakt: {}|({})",
    "birth": "She was born on {}.|Date of birth: {}|DOB {}|geboren am {}|né le {}|nacido el {}|Geburtsdatum: {}|nato il {}",
    "national": "Passport number {} expires soon.|SSN: {}|National ID {} does not match.|Ausweisnummer {} prüfen|DNI {} caducado|PESEL {} niepoprawny|BSN {} onbekend|NI number {} is missing|codice fiscale {} errato",
    "tax": "Tax ID {} is not registered.|Steuernummer {} fehlt|tax number: {}|NIF {} incorrecto|numéro fiscal {} absent",
    "plate": "The car with plate {} was towed.|Kennzeichen {} gesucht|licence plate {} is stolen|matrícula {} denunciada|vehicle registration {} expired",
    "device": "IMEI {} is blocklisted.|SIM with ICCID {} swapped|IMSI: {}|imei {} gesperrt",
    "meter": "Meter number {} reads 4521 kWh.|Zählernummer {} abgelesen|MPAN {} is not found|numéro de compteur {} relevé",
    "ip": "Login from {} was refused.|The client {} sent 400 requests.|connection from {} closed|blocked {} at the firewall|last seen at IP {}|GET /index.html from {}",
}  # fmt: skip


def sentences(seed: int, rounds: int = 2) -> Iterator[Case]:
    """Yield labelled sentences in free text."""
    rng = random.Random(seed)
    for _ in range(rounds):
        for kind, texts in _SENTENCES.items():
            for text in texts.split("|"):
                value = VALUES[kind](rng)
                yield Case(kind, "prose", value, {"note": text.replace("{}", value)})


def remembered(seed: int, count: int = 60) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Yield (an earlier call that names a person, a later text, the part of the name in it)."""
    rng = random.Random(seed)
    names = [*_KEYS["name"].split("|"), "first and last"]
    for index in range(count):
        name = names[index % len(names)]
        first, last = VALUES["first"](rng), VALUES["last"](rng)
        key, _ = _spelt(rng, name)
        earlier = (
            {"first_name": first, "lastName": last}
            if name == "first and last"
            else {key: f"{first} {last}"}
        )
        part = rng.choice([first, last])
        text = rng.choice(
            [
                "{} called about the delayed refund.",
                "Told {} to try again",
                "asked whether {}'s card works",
                "spoke with {}; ok",
            ]
        )
        yield earlier, text.replace("{}", part), part
