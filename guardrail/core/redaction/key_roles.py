"""The roles that a name can mean: what makes the value of ``customer`` a person's name."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["OF_OWNER", "OWNED_NAMES", "ROLES", "Role"]


class Role(NamedTuple):
    """A name whose class depends on the value: ``customer`` can contain a number or a person's
    name.
    """

    number: str | None
    """The class of a value that looks like an assigned number."""
    words: int
    """The least number of words that count as a person's name; 0 if the value is never one; -1 if
    the class is ``number`` for every value in an object that means a person.
    """
    any_digit: bool = False
    """True if every value with a digit counts as an assigned number, as in ``account_id``."""


OF_OWNER = Role(None, 0)
"""The role of a name that says nothing without the key around it: ``{"account": {"number": ...}}``."""
OWNED_NAMES = frozenset({"name", "full", "display", "given", "family", "first", "last", "middle"})
"""Names that mean a person's name, or a part of it, in an object that means a person."""

# Words without accents. The value must look like a name: two words or, for the roles that things
# never have, one.
_STRONG = (
    "holder accountholder cardholder policyholder inhaber kontoinhaber karteninhaber titulaire titular intestatario rekeninghouder posiadacz "
    "kortinnehavare innehavare payee beneficiary beneficiaries empfanger empfaenger zahlungsempfanger beneficiaire beneficiario odbiorca alici "
    "mottagare modtager mottaker begunstigde begunstigter payer remitter debtor zahler_in passenger passengers traveller travellers traveler "
    "travelers fahrgast passagier passager pasajero pasajeros passeggero pasazer yolcu guest guests gast huesped ospite gosc patient patients "
    "patienten paciente paziente pacjent hasta insured versicherter versicherungsnehmer assure asegurado assicurato verzekerde ubezpieczony "
    "sigortali claimant tomador contraente souscripteur driver fahrer conducteur conductor_es applicant antragsteller demandeur solicitante "
    "richiedente aanvrager wnioskodawca employee mitarbeiter empleado dipendente medewerker pracownik physician doctor arzt medecin medico lekarz "
    "dokter surgeon clinician practitioner nurse spouse husband wife guarantor nominee signatory signer signee unterzeichner firmante signataire "
    "landlord mieter vermieter locataire inquilino huurder student schuler eleve alumno witness zeuge heir caller anrufer subscriber abonnent "
    "abonado attendee attendees participant participants invitee surname teilnehmer ansprechpartner kontaktperson contactpersoon kin dependant "
    "dependent borrower mortgagor lender_name donor pupil prescriber caregiver carer denunciante lessor lessee mandant mandantin reisender "
    "reisende voyageur voyageuse viajero viajera viajante viaggiatore reiziger resenar cestujici matkustaja hyresgast kiraci najemca najemnik "
    "najemce passageiro passageira pasajera passeggera pasazerka passagere allievo alumna aluna estudiante etudiant etudiante studente "
    "studentessa uczen uczennica ogrenci elev leerling oppilas patientin pacjentka pazienti klager klagerin klaegerin beklagter beklagte "
    "erziehungsberechtigter erziehungsberechtigte bewerber bewerberin demandado demandada testigo temoin testimone getuige svedek swiadek vittne "
    "davaci davali dipendenti empleada trabajador trabajadora funcionario funcionaria salarie salariee werknemer pracownica zamestnanec chauffeur "
    "autista kierowca ridic surucu forare motorista complainant appellant petitioner lodger godparent decedent coapplicant"
)
_WEAK = (
    "counterparty customer customers kunde cliente clienti klient klant kund musteri asiakas zakaznik ugyfel client person persona personne "
    "recipient recipients destinataire destinatario ontvanger sender absender expediteur remitente mittente nadawca gonderen avsandare contact "
    "owner eigentumer proprietaire propietario proprietario eigenaar wlasciciel sahibi buyer seller kaufer acheteur comprador member resident "
    "tenant manager supervisor advisor adviser representative vertreter user attorney teacher nurse assignee citizen attn attention officer "
    "consignee shipper child parent mother father mum dad partner creditor originator victim defendant plaintiff lead_traveller requester "
    "requestor submitter signed approver reviewer organizer organiser candidate guardian keeper reporter trustee executor "
    "counsel lawyer solicitor barrister notary notar attending declarant respondent licensee "
    "grantor grantee debtor neighbour neighbor colleague coworker mentor tutor coach interviewer interviewee deceased volunteer brother sister "
    "son daughter wife inspector gegner gegnerin kollege kollegin nachbar nachbarin ehefrau ehemann mutter vater betreuer schuldner glaubiger "
    "bailleur arrendador arrendatario locador locatario locataria conduttore locatore convenuto attore plaignant defendeur defenderesse epoux "
    "epouse conjoint conjointe mere pere voisin voisine collegue madre padre esposo esposa conyuge vecino vecina colega mae pai vizinho vizinha "
    "coniuge collega vicino vicina contribuente ciudadano ciudadana cidadao cittadino contribuyente moeder vader ouder buurman buurvrouw bewoner "
    "gemachtigde matka ojciec opiekun sasiad obywatel powod pozwany granne foralder kollega larare soused rodic prijemce calisan veli vatandas "
    "wnioskodawczyni responsable lehrer lehrerin enseignant professeur maestra insegnante docente leraar nauczyciel ogretmen"
)
ROLES = {**dict.fromkeys(_WEAK.split(), 2), **dict.fromkeys(_STRONG.split(), 1)}
"""The least number of words of the name that a word for a person announces."""
