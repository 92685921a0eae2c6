"""Classifies names of fields with personal data, in English and in part in German and Spanish."""

from __future__ import annotations

__all__ = ["ABOUT_LAST", "JUDGES", "word_set"]


def word_set(text: str) -> frozenset[str]:
    """Return the words of *text*."""
    return frozenset(text.split())


ABOUT_LAST = word_set(
    "count counts length len size limit limits type types policy policies required enabled disabled expiry expires "
    "expiration expired ttl lifetime strength rotation format mode method methods name names field fields file files path "
    "paths dir folder version status state id ids url uri endpoint provider template subject body title schema rule rules "
    "valid verified exists set index idx algorithm alg label labels kind category usage budget estimate"
)

_NAME_HEADS = word_set(
    "surname firstname lastname fullname givenname familyname middlename maidenname fname lname forename patronymic "
    "nachname vorname apellido apellidos nombre nombres prenom nom cardholder accountholder"
)
_NAME_QUALIFIERS = word_set(
    "first last full given family middle maiden legal preferred birth person personal people customer client patient "
    "passenger guest contact employee user member owner holder cardholder recipient sender beneficiary payee payer "
    "applicant student guardian parent mother father spouse partner child tenant borrower lender driver rider traveler "
    "traveller attendee participant candidate billing shipping emergency caller subscriber insured policyholder buyer "
    "seller renter signer signatory visitor resident donor claimant manager representative accountholder delivery "
    "pickup nick"
)
_EMAIL = word_set("email emails mailbox gmail mailto correo")
_PHONE = word_set(
    "phone phones telephone telephones tel mobile cell cellphone cellular fax msisdn whatsapp landline handynummer telefon "
    "telefono telefone handy phonenumber mobilenumber"
)
_NUMBERISH = word_set("number numbers num no nr nbr id code address addresses addr digits")
_PLACE = word_set(
    "postal zip zipcode zipcodes postcode postcodes plz postalcode street streets strasse calle rue housenumber apartment "
    "address addresses addr adresse direccion endereco indirizzo"
)
_NOT_A_HOME = word_set(
    "ip ipv4 ipv6 mac memory contract server host url web network wallet bus base start target smart register physical "
    "virtual socket bind listen remote peer port cell range token"
)
_BIRTH = word_set(
    "dob birthday birthdate dateofbirth geburtsdatum birthyear birthplace fechanacimiento"
)
_NOT_A_BIRTH = word_set("certificate rate rates weight order control")
_GOVERNMENT = word_set(
    "ssn passport passports aadhaar aadhar cpf cnpj curp dni nie nif bsn pesel itin tin ein nino idnumber nationalid taxid "
    "dea npi socialsecurity driverslicense driverlicense drivinglicense drivinglicence personnummer steuernummer"
)
_LICENCE = word_set("license licence licenses licences")
_PAYMENT = word_set(
    "iban bban pan ccnumber cardnumber creditcard debitcard cardno accountnumber routingnumber sortcode bic swift upi "
    "ccnum aba clabe bsb vpa"
)
_CARD_OWNERS = word_set("credit debit payment bank gift saved stored charge prepaid sim id")
_ACCOUNT_OWNERS = word_set(
    "bank checking savings brokerage payee beneficiary debit credit from to source destination iban"
)
_BANKED = word_set("bank checking savings brokerage payee beneficiary debit")
_PAYMENT_BOXES = word_set(
    "method methods detail details info information instrument instruments data profile profiles"
)
_PERSON_ID = word_set(
    "username usernames userid userids login loginname screenname customerid patientid memberid employeeid passengerid "
    "guestid studentid personid"
)
_PERSONS = word_set(
    "user users customer customers patient member employee student passenger guest person subscriber account contact "
    "citizen resident traveler traveller insured applicant voter taxpayer"
)
_HEALTH = word_set(
    "diagnosis diagnoses medication medications prescription prescriptions allergy allergies symptom symptoms icd icd10 "
    "mrn disability disabilities pregnancy pregnant immunization immunizations vaccination vaccinations comorbidities "
    "bloodtype genome medical disease diseases illness allergen allergens comorbidity diagnose drug drugs medicament medicaments medikament medikamente medicamento medicamentos medicamente farmaco farmaci lek leki "
    "lakemedel medicijn medicijnen arzneimittel ilac diagnostico diagnosi diagnoza rozpoznanie diagnos tani alergia alergias allergie allergien allergia "
    "krankheit krankheiten maladie enfermedad malattia doenca choroba sjukdom ziekte hastalik vorerkrankungen"
)
_MEDICINES = word_set("medication medications prescription prescriptions diagnosis")
_HEALTH_PAIRS = frozenset(
    {("blood", "type"), ("blood", "group"), ("lab", "results"), ("lab", "result"), ("health", "condition"), ("test", "results"),
     ("health", "conditions"), ("health", "record"), ("health", "records"), ("nhs", "number"), ("health", "history"),
     ("health", "status"), ("insurance", "number"), ("health", "id"), ("health", "plan"), ("genetic", "data"),
     ("treatment", "plan"), ("mental", "health"), ("chief", "complaint"), ("clinical", "notes"), ("patient", "notes")}
)  # fmt: skip
_SPECIAL = word_set(
    "ethnicity ethnic nationality citizenship immigration denomination "
    "etnia etnicidad ethnie ethnizitat nacionalidad nationalite nationalitat narodowosc uyruk"
)
_SPECIAL_PAIRS = frozenset(
    {("sexual", "orientation"), ("gender", "identity"), ("political", "affiliation"), ("political", "party"),
     ("political", "views"), ("party", "membership"), ("party", "affiliation"), ("orientacion", "sexual"), ("orientation", "sexuelle"), ("religious", "affiliation"), ("religious", "belief"), ("religious", "beliefs"),
     ("marital", "status"), ("criminal", "record"), ("union", "membership"), ("union", "member"), ("union", "dues"), ("trade", "union"), ("criminal", "history"),
     ("immigration", "status"), ("visa", "status")}
)  # fmt: skip
_BIOMETRIC = word_set("biometric biometrics voiceprint faceprint retina iris faceid")
_FINANCIAL = word_set("salary salaries wage wages payslip gehalt salario")
_DEVICE = word_set("imei imsi iccid idfa gaid meid imeisv")


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
    if head in {"acc", "acct", "accts"} and before in _BANKED:
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
    if (
        parts[0] == "medical" or (parts[0] in _MEDICINES and head in {"concept", "text", "display"})
    ) and head not in ABOUT_LAST | {"center", "specialty", "department"}:
        return "health"
    if head in _SPECIAL or (before, head) in _SPECIAL_PAIRS:
        return "special"
    if head in _BIOMETRIC or parts[0] in {"biometric", "biometrics"}:
        return "biometric"
    if head in _FINANCIAL or (before, head) in {
        ("credit", "score"),
        ("net", "worth"),
        ("annual", "income"),
        ("monthly", "income"),
        ("household", "income"),
    }:
        return "financial"
    if head in _DEVICE or (before, head) == ("advertising", "id"):
        return "device"
    return None


def _judge_person(parts: list[str], head: str, before: str) -> str | None:
    if head in _BIRTH or ("birth" in parts and head not in _NOT_A_BIRTH):
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


JUDGES = (_judge_government, _judge_payment, _judge_health, _judge_person)
"""Functions that return the class of a name, or None: strictest class first."""
