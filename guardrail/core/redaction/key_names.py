"""Classifies values by the names of their keys. The rules are based on families of names, not on
lists of field names.

A name is split into words (``userHomeAddress2`` -> user home address). The last word that carries
meaning determines the class, and the words before it qualify it. Words that only describe a value
(``_count``, ``_type``, ``is_``) remove the class.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from guardrail.core.redaction.key_forms import MAX_NAME, is_field_name, words
from guardrail.core.redaction.key_names_foreign import (
    FOREIGN_AFTER,
    FOREIGN_ENDINGS,
    FOREIGN_KEYS,
    FOREIGN_SECRETS,
    names_secret,
)
from guardrail.core.redaction.marks import is_mark_key

__all__ = ["CLASSES", "KeyInfo", "Scope", "classify", "rank", "stricter"]

CLASSES = (
    "secret",
    "government_id",
    "payment",
    "health",
    "biometric",
    "special",
    "dob",
    "address",
    "contact",
    "name",
    "financial",
    "person_id",
    "device",
    "opaque",
)
"""Built-in classes, strictest first. ``opaque`` is for values that only look random.

Classes that a schema or a policy defines rank after ``secret``.
"""

_RANK = {cls: index * 10 for index, cls in enumerate(CLASSES)}
_FOREIGN_RANK = 5


def rank(cls: str) -> int:
    """Return the strictness of *cls* as a number: smaller is stricter."""
    return _RANK.get(cls, _FOREIGN_RANK)


def stricter(one: str, other: str) -> str:
    """Return the stricter of two classes; *one* if they are equally strict."""
    return one if rank(one) <= rank(other) else other


class Scope(StrEnum):
    """The values under a key to which its class applies."""

    ANY = "any"
    CONTAINER = "container"
    """Only the content of an object or a list: the value of ``payment_method`` is often a word."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """The classification of one key."""

    cls: str | None
    scope: Scope
    hints_secret: bool
    """True if the name hints at a secret: values under it count as secrets if they look random."""
    odd: bool
    """True if the name does not look like a field name. It is scanned, as it may itself be data."""


_TRAILING_DIGITS = re.compile(r"(?<=[a-z])[0-9]+$")


def _word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that add nothing at the end of a name: password_value, new_password_confirm.
_NEUTRAL = _word_set(
    "value val text txt raw plain plaintext cleartext field input data b64 base64 hash hashed encrypted enc "
    "digest confirm confirmation confirmed again repeat hint old new current primary secondary default main full"
)
# A name that begins with one of these words describes a value instead of containing it.
_ABOUT_FIRST = _word_set(
    "is has have had num number_of no_of max min total count include includes require requires required use uses show hide "
    "allow allows enable enabled disable need needs accept accepts should can"
    "n len next prev previous page sort order group filter search"
)
_ABOUT_LAST = _word_set(
    "count counts length len size limit limits type types policy policies required enabled disabled expiry expires "
    "expiration expired ttl lifetime strength rotation format mode method methods name names field fields file files path "
    "paths dir folder version status state id ids url uri endpoint provider template subject body title schema rule rules "
    "valid verified exists set index idx algorithm alg label labels kind category usage budget estimate"
)

_SECRET = _word_set(
    "password passwords passwd pwd pswd passphrase passphrases passcode secret secrets credential credentials creds cred "
    "authorization apikey apikeys accesskey secretkey privatekey authkey accesstoken authtoken refreshtoken clientsecret "
    "cvv cvv2 cvc cvc2 csc cvn otp totp hotp pin jwt bearer csrf xsrf crumb cookie cookies pat mnemonic kubeconfig dsn "
    "pw bindpw rootpw adminpw requirepass masterauth psk storepass keypass dbpass dbpw userpass smtppass mailpass sshpass"
)
_SECRET |= FOREIGN_SECRETS
_ALONE = [[each] for each in sorted(FOREIGN_SECRETS)]
_SECRET_ENDINGS = (
    "password", "passwd", "passphrase", "secret", "apikey", "secretkey", "privatekey", "accesskey", "accesstoken",
    "authtoken", "refreshtoken", "sessiontoken", "credential", "credentials", "pwd", *FOREIGN_ENDINGS,
)  # fmt: skip
# "token" counts, unless it is a page token or a count of a model's tokens.
_TOKEN_BENIGN = _word_set(
    "next prev previous page paging pagination continuation cursor sync start end max min total prompt completion input "
    "output stop special mask pad unk eos bos cls sep num"
)
_TOKENS_SECRET = _word_set(
    "access refresh auth api session bearer secret id device push personal deploy service"
)
_KEY_SECRET = _word_set(
    "api access secret private encryption encrypt decryption signing sign master license auth shared service subscription "
    "ssh gpg pgp deploy hmac aes rsa client app application consumer account session security storage function "
    "integration admin root server webhook crypto wallet host live test functions product rest publishable"
)
_KEY_BENIGN = _word_set(
    "primary foreign sort partition object cache row issue project idempotency public map hot shard bucket composite "
    "lookup group index item routing dedup deduplication metadata unique natural order config dict cell answer"
)
# Parameters of presigned URLs: anyone who has the signature can read the file.
_SIGNED_URLS = _word_set("amz goog oss obs cos tos q ks bce access")
_PASS_BENIGN = _word_set(
    "boarding season day ski bus free all first second by test press hall single by train rail travel"
)
_CODE_SECRET = _word_set(
    "otp verification security auth authentication authorization access recovery backup mfa 2fa sms totp pin confirmation "
    "one unlock door alarm invite device gate safe"
)

_NAME_HEADS = _word_set(
    "surname firstname lastname fullname givenname familyname middlename maidenname fname lname forename patronymic "
    "nachname vorname apellido apellidos nombre nombres prenom nom cardholder accountholder"
)
_NAME_QUALIFIERS = _word_set(
    "first last full given family middle maiden legal preferred birth person personal people customer client patient "
    "passenger guest contact employee user member owner holder cardholder recipient sender beneficiary payee payer "
    "applicant student guardian parent mother father spouse partner child tenant borrower lender driver rider traveler "
    "traveller attendee participant candidate billing shipping emergency caller subscriber insured policyholder buyer "
    "seller renter signer signatory visitor resident donor claimant manager representative accountholder delivery "
    "pickup nick"
)
_EMAIL = _word_set("email emails mailbox gmail mailto correo")
_PHONE = _word_set(
    "phone phones telephone telephones tel mobile cell cellphone cellular fax msisdn whatsapp landline handynummer telefon "
    "telefono telefone handy phonenumber mobilenumber"
)
_NUMBERISH = _word_set("number numbers num no nr nbr id code address addresses addr digits")
_PLACE = _word_set(
    "zip zipcode zipcodes postcode postcodes plz postalcode street streets strasse calle rue housenumber apartment "
    "address addresses addr adresse direccion endereco indirizzo"
)
_NOT_A_HOME = _word_set(
    "ip ipv4 ipv6 mac memory contract server host url web network wallet bus base start target smart register physical "
    "virtual socket bind listen remote peer port cell range token"
)
_BIRTH = _word_set(
    "dob birthday birthdate dateofbirth geburtsdatum birthyear birthplace fechanacimiento"
)
_GOVERNMENT = _word_set(
    "ssn passport passports aadhaar aadhar cpf cnpj curp dni nie nif bsn pesel itin tin ein nino idnumber nationalid taxid "
    "socialsecurity driverslicense driverlicense drivinglicense drivinglicence personnummer steuernummer"
)
_LICENCE = _word_set("license licence licenses licences")
_PAYMENT = _word_set(
    "iban bban pan ccnumber cardnumber creditcard debitcard cardno accountnumber routingnumber sortcode bic swift "
    "ccnum aba clabe bsb vpa"
)
_CARD_OWNERS = _word_set("credit debit payment bank gift saved stored charge prepaid sim id")
_ACCOUNT_OWNERS = _word_set(
    "bank checking savings brokerage payee beneficiary debit credit from to source destination iban"
)
_PAYMENT_BOXES = _word_set(
    "method methods detail details info information instrument instruments data profile profiles"
)
_PERSON_ID = _word_set(
    "username usernames userid userids login loginname screenname customerid patientid memberid employeeid passengerid "
    "guestid studentid personid"
)
_PERSONS = _word_set(
    "user users customer customers patient member employee student passenger guest person subscriber account contact "
    "citizen resident traveler traveller insured applicant voter taxpayer"
)
_HEALTH = _word_set(
    "diagnosis diagnoses medication medications prescription prescriptions allergy allergies symptom symptoms icd icd10 "
    "mrn disability disabilities pregnancy pregnant immunization immunizations vaccination vaccinations comorbidities "
    "bloodtype genome medical diagnose"
)
_HEALTH_PAIRS = frozenset(
    {("blood", "type"), ("blood", "group"), ("lab", "results"), ("lab", "result"), ("health", "condition"), ("test", "results"),
     ("health", "conditions"), ("health", "record"), ("health", "records"), ("nhs", "number"), ("health", "history"),
     ("health", "status"), ("insurance", "number"), ("health", "id"), ("health", "plan"), ("genetic", "data"),
     ("treatment", "plan"), ("mental", "health"), ("chief", "complaint"), ("clinical", "notes"), ("patient", "notes")}
)  # fmt: skip
_SPECIAL = _word_set("ethnicity ethnic nationality citizenship immigration denomination")
_SPECIAL_PAIRS = frozenset(
    {("sexual", "orientation"), ("gender", "identity"), ("political", "affiliation"), ("political", "party"),
     ("political", "views"), ("religious", "affiliation"), ("religious", "belief"), ("religious", "beliefs"),
     ("marital", "status"), ("criminal", "record"), ("union", "membership"), ("trade", "union"), ("criminal", "history"),
     ("immigration", "status"), ("visa", "status")}
)  # fmt: skip
_BIOMETRIC = _word_set("biometric biometrics voiceprint faceprint retina iris faceid")
_FINANCIAL = _word_set("salary salaries wage wages payslip gehalt salario")
_DEVICE = _word_set("imei imsi iccid idfa gaid meid imeisv")


def classify(name: str) -> KeyInfo:
    """Return the classification by *name*. Cached for names of ordinary length."""
    return (
        _classify(name)
        if len(name) <= MAX_NAME
        else KeyInfo(None, Scope.ANY, hints_secret=False, odd=True)
    )


@lru_cache(maxsize=4096)
def _classify(name: str) -> KeyInfo:
    if is_mark_key(name):
        return KeyInfo(None, Scope.ANY, hints_secret=False, odd=False)
    odd = not is_field_name(name)
    if not name.isascii() and names_secret(name):
        return KeyInfo("secret", Scope.ANY, hints_secret=True, odd=odd)
    raw = words(name)
    if raw[-2:] == ["last", "4"] or "last4" in raw:
        return KeyInfo("payment", Scope.ANY, hints_secret=False, odd=odd)
    parts = [_TRAILING_DIGITS.sub("", part) or part for part in raw]
    # as in "address_2", "phone 1"
    while len(parts) > 1 and (parts[-1].isdigit() or parts[-1] in _NEUTRAL):
        parts.pop()
    while len(parts) > 1 and parts[0] in {
        "the",
        "my",
        "your",
        "new",
        "old",
        "x",
        "input",
        "current",
        "confirm",
    }:
        parts.pop(0)
    if not parts:
        return KeyInfo(None, Scope.ANY, hints_secret=False, odd=odd)
    cls, scope = _judge(parts)
    # "password_count" is not a password; "full_name" and "user_id" end in such a word and were
    # handled above.
    hints = cls == "secret" or parts[-1] in {"token", "auth", "sid", "salt"}
    hints = hints or (
        parts[-1] in {"key", "keys"} and (len(parts) == 1 or parts[-2] not in _KEY_BENIGN)
    )
    return KeyInfo(cls, scope, hints_secret=hints, odd=odd)


def _judge(parts: list[str]) -> tuple[str | None, Scope]:
    head, first = parts[-1], parts[0]
    before = parts[-2] if len(parts) > 1 else ""
    if len(parts) > 1 and first in _ABOUT_FIRST and first not in {"no", "order", "group"}:
        return None, Scope.ANY
    if _is_secret(parts, head, before):
        return "secret", Scope.ANY
    for judge in (_judge_government, _judge_payment, _judge_health, _judge_person):
        cls = judge(parts, head, before)
        if cls is not None:
            boxed = cls == "payment" and head in {"method", "methods"} and before == "payment"
            return cls, Scope.CONTAINER if boxed and head == "method" else Scope.ANY
    return None, Scope.ANY


def _is_secret(parts: list[str], head: str, before: str) -> bool:
    if head in _SECRET or head in {"auth", "authentication"}:
        return True
    if head.endswith(_SECRET_ENDINGS) or _is_foreign_secret(parts):
        return True
    if head in {"signature", "sig"}:
        return before in _SIGNED_URLS
    if head == "pass":
        return before not in _PASS_BENIGN
    if head == "token":
        return before not in _TOKEN_BENIGN
    if head == "tokens":
        return before in _TOKENS_SECRET
    if head in {"key", "keys"}:
        return before in _KEY_SECRET
    if head in {"code", "codes"}:
        return before in _CODE_SECRET or (before in {"time", "factor"} and len(parts) > 2)
    if head == "phrase":
        return before in {"seed", "recovery", "pass"}
    if head in {"string", "str"}:
        return before in {"connection", "secret"}
    if head == "answer":
        return before in {"security", "secret"}
    # the last word describes, the word before decides: card_verification_number, security_number
    if head in {"number", "value", "num"}:
        return before in {"verification", "pin"}
    return head == "connection" and before in {"db", "database"}


def _is_foreign_secret(parts: list[str]) -> bool:
    if tuple(parts[-2:]) in FOREIGN_KEYS or tuple(parts[-3:]) in FOREIGN_KEYS:
        return True
    if parts[-1] not in FOREIGN_AFTER:
        return False
    return (
        parts[:-1] in _ALONE
        or tuple(parts[-3:-1]) in FOREIGN_KEYS
        or tuple(parts[-4:-1]) in FOREIGN_KEYS
    )


def _judge_government(parts: list[str], head: str, before: str) -> str | None:
    if head in _GOVERNMENT or (before in _GOVERNMENT and head in _NUMBERISH):
        return "government_id"
    joined = " ".join(parts)
    if before in _LICENCE and head in _NUMBERISH - {"code"} and "software" not in parts:
        return "government_id"
    if head in _LICENCE and before in {"driver", "drivers", "driving", "s"}:
        return "government_id"
    if any(
        pair in joined
        for pair in (
            "social security",
            "national insurance",
            "national id",
            "tax id",
            "tax number",
            "identity number",
            "identity card",
            "id number",
            "id no",
            "id card",
            "government id",
            "national number",
            "visa number",
            "residence permit",
        )
    ):
        return "government_id"
    return None


def _judge_payment(parts: list[str], head: str, before: str) -> str | None:
    if head in _PAYMENT or (before in _PAYMENT and head in _NUMBERISH):
        return "payment"
    if head == "card":
        return "payment" if len(parts) == 1 or before in _CARD_OWNERS else None
    if head == "cards":
        return "payment" if before in _CARD_OWNERS else None
    if before in {"card", "cards", "cc"} and head in _NUMBERISH | _PAYMENT_BOXES | {
        "expiry",
        "expiration",
        "exp",
        "last",
        "four",
    }:
        return "payment"
    if "card" in parts[:-1] and head in {"expiry", "expiration", "month", "year", "date"}:
        return "payment"
    if head in {"account", "accounts"}:
        return "payment" if before in _ACCOUNT_OWNERS and before != "credit" else None
    if before in {"account", "acct", "routing", "sort"} and head in {
        "number",
        "numbers",
        "num",
        "no",
        "nr",
        "code",
    }:
        return "payment"
    if "payment" in parts[:-1] and head in {"id", "ids", "token"} | _PAYMENT_BOXES:
        return "payment"
    if before in {"billing", "bank"} and head in _PAYMENT_BOXES:
        return "payment"
    if head in {"four", "digits", "last"} and "last" in parts and len(parts) > 1:
        return "payment"
    return None


def _judge_health(parts: list[str], head: str, before: str) -> str | None:
    if head in _HEALTH or (before, head) in _HEALTH_PAIRS:
        return "health"
    if parts[0] == "medical" and head not in _ABOUT_LAST | {"center", "specialty", "department"}:
        return "health"
    if head in _SPECIAL or (before, head) in _SPECIAL_PAIRS:
        return "special"
    if head in _BIOMETRIC or parts[0] in {"biometric", "biometrics"}:
        return "biometric"
    if head in _FINANCIAL or (before, head) in {("credit", "score"), ("net", "worth")}:
        return "financial"
    if head in _DEVICE or (before, head) == ("advertising", "id"):
        return "device"
    return None


def _judge_person(parts: list[str], head: str, before: str) -> str | None:
    if head in _BIRTH or ("birth" in parts and head != "certificate"):
        return "dob"
    if head in _EMAIL or (before in _EMAIL and head in {"address", "addresses", "addr"}):
        return "contact"
    if head in _PHONE or (
        before in _PHONE | {"contact"}
        and head in _NUMBERISH - {"code", "address", "addresses", "addr", "id"}
    ):
        return "contact"
    if head in _PLACE and before not in _NOT_A_HOME:
        return "address"
    if (before in _PLACE and before != "zip" and head in {"line", "lines", "street", "number"}) or (
        before in {"zip", "postal", "post"} and head in {"code", "codes"}
    ):
        return "address"
    if head in _NAME_HEADS or (
        head in {"name", "names"} and before in _NAME_QUALIFIERS and "file" not in parts
    ):
        return "person_id" if before in {"user", "nick"} else "name"
    if head in _PERSON_ID or (
        before in _PERSONS - {"account", "contact"} and head in {"id", "ids"}
    ):
        return "person_id"
    if before in {"login", "screen"} and head in {"id", "name"}:
        return "person_id"
    return None
