"""Names of fields with personal data, by families of words in several languages.

A name is read as a *subject* (account, customer, policy, patient) and a word that says which property
of the subject the value is (number, name). Both may be in any order and language, in one word
(``Kundennummer``, ``custno``) or in several (``numéro de compte``).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from guardrail.core.redaction.key_roles import OF_OWNER, OWNED_NAMES, ROLES, Role

__all__ = ["judge_personal"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words without accents, as ``key_forms.words`` returns them. German umlauts are also written "ae".
_NUMBERS = _words(
    "number numbers num no nr nbr nos id ids serial nummer nummern numer numero numeros numara numarasi cislo szam szama numar "
    "numerot nro tal code ref reference identifier kodu"
)
# These words mean a number only at the end of a compound word, or before a subject.
_NUMBER_ENDINGS = ("nummer", "number", "numero", "numarasi", "numer", "num", "nbr", "nro", "nr", "no", "id", "ids", "code")  # fmt: skip
_LINKS = _words("de del des du da do di della dell d l la le of the for von van der den and")

_ACCOUNTS = (
    "account acct acc ac konto konta kontos compte cuenta conto conta rekening hesap hesabi tili tilin ucet uctu szamla szamlaszam bankszamla "
    "cont bankkonto bankrekening girokonto"
)
_CARDS = "card cards karte karten carte tarjeta carta cartao kaart kort karty karta kart kreditkarte kreditkort kortti creditcard debitcard"
_BANKING = (
    "routing sort sortcode bsb iban bic swift clabe aba transit blz bankleitzahl bankgiro plusgiro"
)
_CUSTOMERS = (
    "customer cust client clients kunde kunden cliente klient klienta klant klanten kund kundens musteri asiakas asiakkaan zakaznik zakaznika "
    "ugyfel cif subscriber sub abonne abonnent abonado assinante abonnement hospital payroll installation premise premises medicare gstin member mitglied mitglieds membre miembro socio "
    "membro lid medlem medlems uye patient patienten paciente paziente pacjenta hasta employee emp mitarbeiter employe "
    "empleado dipendente medewerker pracownika calisan personnel personal staff worker pensioner student matrikel citizen "
    "taxpayer beneficiary participant enrollee subscription"
)
_CONTRACTS = (
    "contract contrat contrato contratto umowy umowa vertrag vertrags avtal avtals avtale kontrakt sozlesme sopimus smlouvy "
    "smlouva szerzodes agreement loan kredit darlehen darlehens pret prestamo prestito lening kredytu lan mortgage hypothek "
    "lease leasing membership loyalty ff flyer miles rewards bonus nectar"
)
_POLICIES = (
    "policy policies certificate police policen versicherung versicherungs versicherungsschein versicherten poliza polizza polis polisy "
    "police apolice sigorta claim claims schaden schadens sinistre siniestro sinistro szkody schade skade skades insurance "
    "assurance seguro assicurazione verzekerings forsikrings forsakrings"
)
_METERS = (
    "meter meters zahler zaehler zahlpunkt zaehlpunkt compteur contador contatore licznika matare maler malepunkt sayac supply mpan mprn cups pdl "
    "marktlokations"
)
_DEVICES = "imei imeisv imsi iccid eid meid esim sim handset device gerate geraete gerat appareil dispositivo urzadzenia udid serial mac"
_DEVICES_ALONE = _words("imei imsi iccid imeisv meid udid")
_STATE = (
    "passport reisepass pass passeport pasaporte passaporto passaporte paspoort paszport paszportu pasaport pas ausweis "
    "personalausweis identitats identitaets identity kimlik identidad identite identita identiteits dowodu sozialversicherung "
    "sozialversicherungs steuer steuerident steueridentifikations tax fiscal fiscale fiscaal podatkowy vergi danova vat ust mwst "
    "nie dni nif nip pesel cpf cnpj curp bsn oib jmbg cnp egn emso cpr cvr nino ssn ein itin tin tfn nric nin bvn aadhaar tckn vkn "
    "ahv avs insee fuhrerschein fuehrerschein permis rijbewijs rijbewijs korkort korkorts forerkort ehliyet "
    "personnummer personnr kennitala henkilotunnus hetu fodselsnummer steuernummer steuerid visa citizen alien residence permit "
    "licence license driver drivers rodne"
)
_STATE_ALONE = _words(
    "nin pesel nie dni nif cpf cnpj curp bsn oib jmbg emso cpr nino ssn itin nric bvn aadhaar tckn tcno vkn snils personnummer personnr "
    "kennitala henkilotunnus hetu fodselsnummer fnr kvnr personalausweisnummer steuernummer steuerid passnummer reisepass passeport pasaporte passaporto "
    "passaporte paspoort paszport personalausweis nip vatid vatin ustid ustidnr uid codicefiscale tfn"
) - {"uid"}  # fmt: skip
_STATE_PHRASES = frozenset(
    {("codice", "fiscale"), ("partita", "iva"), ("rodne", "cislo"), ("securite", "sociale"), ("seguridad", "social"), ("prawo", "jazdy"), ("permis", "conduire"), ("permiso", "conducir"), ("carta", "identita"),
     ("carte", "identite"), ("documento", "identidad"), ("dowod", "osobisty"), ("tc", "kimlik"), ("national", "id"), ("citizen", "id"), ("state", "id"), ("voter", "id"), ("vat", "id"), ("steuer", "id"), ("ust", "id"),
     ("numero", "fiscal"), ("ni", "number"), ("ni", "no"), ("tax", "file"), ("tax", "identifier"), ("social", "insurance"), ("health", "card"), ("driver", "licence"), ("driver", "license"), ("drivers", "licence"), ("emirates", "id"), ("hong", "kong"), ("known", "traveler"), ("known", "traveller"), ("redress", "number")}
)  # fmt: skip
_PLATES_ALONE = _words(
    "plate plates licenseplate licenceplate numberplate vrm vrn vin kennzeichen autokennzeichen immatriculation matricula targa kenteken rejestracyjny "
    "rejestracja rendszam plaka placa rekisterinumero registreringsnummer fahrgestellnummer fin regno registrationplate spz"
) - {"fin"}  # fmt: skip
_PLATE_PHRASES = frozenset({("license", "plate"), ("licence", "plate"), ("number", "plate"), ("registration", "plate"), ("registration", "mark"), ("plate", "number"), ("vehicle", "registration"), ("vehicle", "reg"), ("car", "registration"), ("reg", "plate")})  # fmt: skip
_NOT_A_PLATE = _words("heat home back base name face hot license_plate")

_SUBJECTS: dict[str, str] = {
    **dict.fromkeys(_METERS.split(), "person_id"),
    **dict.fromkeys(_DEVICES.split(), "device"),
    **dict.fromkeys(_POLICIES.split(), "person_id"),
    **dict.fromkeys(_CONTRACTS.split(), "person_id"),
    **dict.fromkeys(_CUSTOMERS.split(), "person_id"),
    **dict.fromkeys(_STATE.split(), "government_id"),
    **dict.fromkeys(_BANKING.split(), "payment"),
    **dict.fromkeys(_CARDS.split(), "payment"),
    **dict.fromkeys(_ACCOUNTS.split(), "payment"),
}
_STATE_WORDS = _words(_STATE)
# With "id" or "code" these are names of things: a license id, a tax code of a product, a device
# code, a policy id of a cloud.
_ID_ONLY_NUMBER = _words(
    "pass visa license licence driver permit residence sub ac acc card cards karte carte tax vat fiscal serial mac alien sort "
    "device personal supply lan insurance transit contract_id pas identity assurance client clients cont police meter_code"
) - {"sub", "card", "device", "contract_id"}  # fmt: skip
_WITH_CODE = _words("sort routing bank bic swift clabe iban customer client kunden cliente pin")
# Alone, these can contain a number: {"account": "12345678"}
_NUMBER_ALONE: dict[str, str] = {
    **dict.fromkeys(("account", "acct", "konto", "compte", "cuenta", "conta", "rekening", "hesap", "tili"), "payment"),
    **dict.fromkeys(("contract", "agreement", "policy", "claim", "loan", "meter", "mpan", "mprn", "membership", "loyalty", "pernr", "kunnr", "lifnr", "vertrag", "contrat", "contrato", "contratto", "umowa", "polizza", "poliza", "apolice", "polis", "cif"), "person_id"),
    **dict.fromkeys(("sim", "esim"), "device"), **dict.fromkeys(("passport", "documento"), "government_id"),
}  # fmt: skip

_NAMES = _words(
    "name names nm namn navn nom noms nombre nombres nome nomes naam imie nazwisko isim adi nimi jmeno nev neve nume meno ime"
)
_NAMES_ALONE = _words(
    "surname forename vorname vornamen nachname nachnamen familienname familiennaam zuname geburtsname prenom prenoms apellido apellidos cognome "
    "voornaam voornamen achternaam tussenvoegsel imie imiona nazwisko fornamn efternamn fornavn etternavn efternavn mellomnavn etunimi "
    "sukunimi prijmeni keresztnev vezeteknev csaladnev sobrenome apelido soyad soyadi soyisim prenume prezime krestni fullname fname lname mname "
    "fullnavn volledigenaam vollername vorna nachn"
)
_NAME_PHRASES = frozenset({("krestni", "jmeno"), ("nom", "famille"), ("nome", "completo"), ("nombre", "completo"), ("nombre", "pila"), ("ad", "soyad"), ("voller", "name"), ("nom", "complet"), ("display", "name"), ("real", "name"), ("legal", "name"), ("other", "names"), ("christian", "name"), ("imie", "nazwisko"), ("name", "first"), ("name", "last"), ("name", "middle"), ("nm", "first"), ("nm", "last"), ("first", "nm"), ("last", "nm"), ("full", "nm"), ("sortable", "name"), ("sur", "name"), ("fore", "name")})  # fmt: skip
_AUTHORS = _words(
    "author authors autor autora auteur autore autrice verfasser verfasserin committer"
)
_BELIEFS = _words(
    "religion religions religione religiao religie religia konfession confessione faith"
)
_FIXED = {
    "kin": Role(None, 1),
    # a bank's one-time code, but also the tangent and a colour
    "tan": Role("secret", 0),
    # also the author of a book: {"author": "Jane Austen"}
    **dict.fromkeys(_AUTHORS, Role("name", -1)),
    # also the topic of a page: {"religion": "Buddhism", "limit": 5}
    **dict.fromkeys(_BELIEFS, Role("special", -1)),
}
_PARTS = _words("first last middle given family surname")
# Alone, these mean the name of anything, so the value must look like a person's name.
_NAMES_OF_ANYTHING = _words("nome isim naam namn navn nimi jmeno nev nume")
_ADDRESSES = _words(
    "mac macs macaddress macaddr bssid ip ips ipv4 ipv6 ipaddr ipaddress ipadresse clientip remoteip sourceip userip"
)
_ADDRESS_PAIRS = frozenset({("ip", "address"), ("mac", "address"), ("mac", "addresses"), ("mac", "addr"), ("ip", "addresses"), ("ip", "addr"), ("ip", "adresse"), ("adresse", "ip"), ("direccion", "ip"), ("indirizzo", "ip"), ("remote", "addr"), ("remote", "address"), ("client", "addr"), ("forwarded", "for")})  # fmt: skip
# Also the names of kinds of accounts: {"account_name": "Savings"}
_NAME_OF_ANYONE = frozenset({("to", "name"), ("from", "name"), ("account", "name"), ("account", "title"), ("acct", "name"), ("card", "name"), ("name", "card"), ("name", "account"), ("nm",)})  # fmt: skip
_BY = _words(
    "requested approved signed created submitted authorised authorized prepared reported issued "
    "assigned recommended referred witnessed reviewed managed admitted received verified checked completed entered handled opened closed booked "
    "written"
)
_TO = _words("assigned reports reporting delegated escalated issued addressed shipped delivered")
# "account" and "bank" do not make a name personal: {"account_name": "Savings", "bank_name": ...}
_PARTIES = frozenset(ROLES) | _words(_CUSTOMERS) - _words("personal subscription staff sub cif")

_PHONES = _words(
    "telefon telefonu telefono telefone telefoon telefonnummer telefonnr handynummer handy mobilnummer mobilnr mobil mobiltelefon telefoonnummer telemovel movil celular "
    "cellulare puhelin puhelinnumero matkapuhelin gsm gsmnummer komorka komorkowy rueckrufnummer ruckrufnummer rufnummer festnetz ceptelefonu mob "
    "mobilepuhelin telf teleph telno telnr phoneno mobileno mobiltlf tlf tlfnr telefonszam sdt"
)
_CALLS = _words(
    "callback calling called caller dialled dialed ring cell contact mobile phone emergency_number whatsapp portable dialing"
)
_PLACES = _words(
    "anschrift wohnanschrift lieferanschrift rechnungsanschrift lieferadresse rechnungsadresse domicilio domicile morada endereco adres adresa adresse "
    "adressen stras pstlz osoite katuosoite lakcim utca ulica gata gade rua sokak straat huisnummer hausnummer postnummer "
    "postleitzahl strasse woonadres zamieszkania bostadsadress postadres postadresse gatuadress ulice bydliste direccion indirizzo"
)
_PLACE_PHRASES = frozenset({("code", "postal"), ("codigo", "postal"), ("kod", "pocztowy"), ("posta", "kodu"), ("adresse", "postale"), ("mailing", "address"), ("codice", "postale"), ("post", "address")})  # fmt: skip
_MAILS = _words(
    "courriel mailadresse emailadresse emailadres epost eposta epostadress sahkoposti correo emailaddr emailaddress emailid mailaddress"
)
_MAIL_PHRASES = frozenset({("e", "mail"), ("e", "post"), ("e", "posta"), ("adresse", "mail"), ("correo", "electronico"), ("posta", "elettronica"), ("mail", "address"), ("mail", "id"), ("whats", "app")})  # fmt: skip
_BIRTHS = _words(
    "geb geburtsdatum geburtstag geburtsort naissance nacimiento nascita nascimento geboortedatum geboorteplaats urodzenia urodzin fodelsedatum fodselsdato fodselsdag "
    "fodselsdag dogum narozeni syntymaaika szuletesi nasterii rodjenja birth gbdat"
)
_BIRTH_PHRASES = frozenset({("ne", "le"), ("nee", "le"), ("nato", "il"), ("nata", "il"), ("nacido", "el"), ("nacida", "el"), ("nascido", "em"), ("nascida", "em"), ("born", "on"), ("geboren", "am"), ("geboren", "op")})  # fmt: skip

_NOT_A_BIRTH = _words("certificate rate rates weight order control")


def judge_personal(parts: list[str]) -> str | Role | None:
    """Return the class of a name, a role if the class depends on the value, or None.

    *parts* are the words of the name in lower case, without accents.
    """
    meant = [part for part in parts if part not in _LINKS] if len(parts) > 1 else parts
    meant = [word for part in meant for word in _pieces(part)]
    if not meant:
        return None
    found = _of_phrases(parts, meant) or _of_contact(meant)
    if found is not None:
        return found
    named = _of_number(meant)
    if named is not None:
        return named
    if len(meant) > 1 and (
        (meant[-1] in _NAMES | _PARTS and meant[-2] in _PARTIES)
        or (meant[0] in _NAMES and meant[1] in _PARTIES)
    ):
        return "name"
    return _of_role(meant)


def _pieces(part: str) -> Iterator[str]:
    """Yield the two parts of a compound word (``kundennummer``, ``custname``), or *part* itself."""
    if len(part) > 4:
        if part in _NAMES_ALONE or part in _STATE_ALONE or part in _PHONES:
            yield part
            return
        for ending in (*_NUMBER_ENDINGS, "name", "namn", "navn", "naam"):
            if part.endswith(ending):
                stem = part[: -len(ending)]
                if stem in _SUBJECTS or (stem in ROLES and ending[0] == "n" and len(stem) > 3):
                    yield stem
                    yield ending
                    return
        for ending in ("nummer", "number", "numero", "inhaber", "holder", "inhaberin"):
            if part.endswith(ending):
                for stem in (part[: -len(ending)].rstrip("s"), part[: -len(ending)]):
                    last = _last_subject(stem)
                    if last:
                        yield last
                        yield ending
                        return
    yield part


def _last_subject(stem: str) -> str | None:
    """Return the subject with which a compound word ends: ``krankenversicherungs`` ends with
    ``versicherungs``.
    """
    for size in range(min(len(stem), 22), 4, -1):
        if stem[-size:] in _SUBJECTS:
            return stem[-size:]
    return None


def _of_phrases(parts: list[str], meant: list[str]) -> str | None:
    head = meant[-1]
    last, joined = tuple(meant[-2:]), set(pairwise(meant))
    if head in _STATE_ALONE or joined & _STATE_PHRASES:
        return "government_id"
    if (
        head in _PLATES_ALONE and not (len(parts) > 1 and parts[-2] in _NOT_A_PLATE)
    ) or joined & _PLATE_PHRASES:
        return "government_id"
    if head in _DEVICES_ALONE or (
        head in _NUMBERS and len(meant) > 1 and meant[-2] in _DEVICES_ALONE
    ):
        return "device"
    born = tuple(parts) in _BIRTH_PHRASES or any(part in _BIRTHS for part in meant)
    if born and head not in _NOT_A_BIRTH:
        return "dob"
    if head in _NAMES_ALONE or last in _NAME_PHRASES or meant[0] in _NAMES_ALONE - {"surname"}:
        return "name"
    return None


def _of_contact(meant: list[str]) -> str | None:
    head, pairs = meant[-1], set(pairwise(meant))
    if head in _PLACES or pairs & _PLACE_PHRASES:
        return "address"
    if head in _MAILS or pairs & _MAIL_PHRASES:
        return "contact"
    if any(part in _PHONES for part in (head, meant[0])) or (
        len(meant) > 1 and meant[-2] in _PHONES and head in _NUMBERS - {"id", "code"}
    ):
        return "contact"
    if head in _NUMBERS - {"id", "ids", "code", "ref", "reference"} and any(
        part in _CALLS for part in meant[:-1]
    ):
        return "contact"
    if meant[0] in {"numero", "number", "nr", "n"} and head in _CALLS:
        return "contact"
    return None


def _of_number(meant: list[str]) -> str | Role | None:
    """Return the classification of a name that begins or ends with a word for a number."""
    rest = [part for part in meant if part not in _NUMBERS]
    numbers = [part for part in meant if part in _NUMBERS]
    if not rest or not numbers:
        return None
    if meant[-1] in _NUMBERS:
        # Adjectives follow the noun in Romance languages.
        subject = rest[0] if rest[-1] in _ADJECTIVES else rest[-1]
    elif meant[0] in _NUMBERS:
        subject = rest[0]
    else:
        return None
    cls = _SUBJECTS.get(subject)
    if cls is None:
        return None
    if subject in {"license", "licence"} and rest[0] not in _DRIVING:
        return None
    if not all(number in _WEAK_NUMBERS for number in numbers):
        return cls
    if subject in _ID_ONLY_NUMBER or (numbers[-1] == "code" and subject not in _WITH_CODE):
        return None
    return cls if cls == "government_id" else Role(cls, 0, any_digit=True)


_WEAK_NUMBERS = _words("id ids code ref reference identifier")
_ADJECTIVES = _words(
    "bancaire bancaria bancario bancaria corriente corrente courant bankowego biezacego"
)
_DRIVING = _words("driver drivers driving")


_INFLECTED = 5


def _words_of_role(word: str) -> int:
    """Return the least number of words of the name after *word*, or 0 if it means no person."""
    least = ROLES.get(word, 0)
    if not least and len(word) > _INFLECTED and word.endswith(("in", "en")):
        least = ROLES.get(word[:-2], 0)  # Kundin, hyresgästen
    return least or (ROLES.get(word[:-1], 0) if word[-1] == "s" else 0)


def _of_role(meant: list[str]) -> Role | None:
    if meant[-1] in {"list", "lists"} and len(meant) > 1:
        meant = meant[:-1]
    head = meant[-1]
    if head in _ADDRESSES or tuple(meant[-2:]) in _ADDRESS_PAIRS:
        return Role("device", 0, any_digit=True)
    if len(meant) > 1 and (
        (head == "by" and meant[-2] in _BY) or (head == "to" and meant[-2] in _TO)
    ):
        return Role(None, 2)
    if head in _FIXED:
        return _FIXED[head]
    if head in _NAMES_OF_ANYTHING and len(meant) == 1:
        return Role(None, 1)
    if (len(meant) == 1 and head in OWNED_NAMES) or all(part in _NUMBERS for part in meant):
        return OF_OWNER
    if tuple(meant) in _NAME_OF_ANYONE:
        return Role(None, 2)
    if tuple(meant) == ("service", "number"):
        return Role("person_id", 0)
    number = _NUMBER_ALONE.get(head)
    least = _words_of_role(head)
    if least and number is None:
        number = _SUBJECTS.get(head)
    if (
        number is None
        and not least
        and len(meant) == 2
        and meant[0] in _NUMBER_ALONE
        and head in {"from", "to"}
    ):
        number = _NUMBER_ALONE[meant[0]]
    if (
        number is None
        and len(meant) > 1
        and meant[0] in {"titular", "titulaire", "intestatario", "drzitel", "ziskatel", "posiadacz"}
    ):
        least = 1
    return Role(number, least) if number or least else None
