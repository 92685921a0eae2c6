"""Finds the calls whose records contain a token of a given value."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from guardrail.core.redaction.key_names import classify
from guardrail.core.redaction.marks import CLASS_NAME, KEY_ID, needs_normalising, normalised
from guardrail.core.redaction.normal_forms import needs_mark, normal_form
from guardrail.errors import UsageError
from guardrail.keys.tenant_keys import ClassTokens, live_tokens
from guardrail.keys.token_keys import TokenSecrets
from guardrail.review.records import RecordedCall, RecordReader, parse
from guardrail.review.sessions import with_outcome
from guardrail.review.values import integer, text

__all__ = [
    "MAX_VALUE",
    "CallMatch",
    "FoundCalls",
    "OtherMatch",
    "TokenFinder",
    "TokenHits",
    "ValueTokens",
    "check_value",
    "find_calls",
]

MAX_VALUE = 65_536
"""Maximum size of a value in bytes. Longer values are rarely typed or stored anywhere."""
_KIND = re.compile(rf"gr1:({CLASS_NAME}):({KEY_ID}):")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?")
_MOST_MATCHES = 20
"""Maximum number of places that are listed for one call."""
_SHOWN = "/input/action/properties/args"
_ABOUT = frozenset({"/redaction", "/input/action/properties/arg_classes"})
"""Parts of a record that describe other parts, whose keys they repeat."""
_WHY_MARKS = "a random mark replaces each one, so that no two of them can be compared"


@dataclass(frozen=True, slots=True)
class TokenHits:
    """Records that contain one of several tokens."""

    total: int
    """Number of all such records."""
    lines: Sequence[tuple[int, Mapping[str, Any]]]
    """Number and content of the latest of them, latest first."""
    kinds: Collection[str]
    """The beginning of each token in the ledger: class and key (``gr1:<class>:<kid>:``)."""
    more: bool
    """True if there are earlier records."""
    tenants: Collection[str]
    """All tenants in the ledger."""


class TokensOf(Protocol):
    """Computes the tokens to look for."""

    def __call__(self, kinds: Collection[str], tenants: Collection[str]) -> Collection[str]:
        """Return the tokens of these *kinds* that the value has in these *tenants*."""


class TokenFinder(RecordReader, Protocol):
    """Finds records by token. ``guardrail.review.index.records`` implements it."""

    def with_tokens(
        self, tokens_of: TokensOf, *, before: int | None, limit: int | None
    ) -> TokenHits:
        """Return the latest records with a number below *before* that contain one of the tokens:
        those of *limit* calls, or all of them.
        """


class ValueTokens:
    """Computes the tokens of one value under every live key. It never shows the value."""

    __slots__ = ("_classes", "_secrets", "_tenants", "_value")

    def __init__(
        self,
        value: str,
        secrets: TokenSecrets,
        *,
        classes: Collection[str] = (),
        tenants: Collection[str] = (),
    ) -> None:
        """If *classes* or *tenants* are given, only their tokens are computed."""
        self._value = value
        self._secrets = secrets
        self._classes = frozenset(classes)
        self._tenants = frozenset(tenants)

    def __repr__(self) -> str:
        return "ValueTokens(...)"

    def __reduce__(self) -> str:
        raise TypeError("a value to look up can't be pickled")

    def __call__(self, kinds: Collection[str], tenants: Collection[str]) -> list[str]:
        """Return the tokens of these *kinds* that the value has in these *tenants*."""
        found: dict[str, None] = {}
        wanted = [match.groups() for match in map(_KIND.fullmatch, kinds) if match is not None]
        if self._classes:
            wanted = [each for each in wanted if each[0] in self._classes]
        for tenant in self._tenants or tenants:
            makers = live_tokens(self._secrets, tenant)
            for cls, kid in wanted:
                maker = makers.get(kid)
                if maker is not None and not needs_mark(cls, self._value):
                    found.update(dict.fromkeys(self._tokens(maker, cls)))
        return list(found)

    def _tokens(self, maker: ClassTokens, cls: str) -> Iterator[str]:
        value = self._value
        if cls == "data":
            # A value that is recorded by its size has a token of its digest.
            yield maker.exact(
                cls, hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
            )
            return
        from guardrail.core.redaction.detectors.phones import national_spellings

        plain = normalised(value) if needs_normalising(value) else value
        spelled = (value, plain, *_numbers(plain.strip()), *national_spellings(plain))
        for form in {value, *(normal_form(maker.normal, cls, each) for each in spelled)}:
            yield maker.exact(cls, form)

    def classes_of(self, kinds: Collection[str]) -> list[str]:
        """Return the classes of these *kinds* of tokens."""
        return sorted({match[1] for match in map(_KIND.fullmatch, kinds) if match is not None})

    def unknown_classes(self, kinds: Collection[str]) -> int:
        """Return how many of the given classes have none of these *kinds* of tokens."""
        return len(self._classes.difference(self.classes_of(kinds)))

    def unknown_tenants(self, tenants: Collection[str]) -> int:
        """Return how many of the given tenants are not among *tenants*."""
        return len(self._tenants.difference(tenants))

    def destroyed(self, keys: Collection[str]) -> list[str]:
        """Return those of *keys* that were destroyed, according to the key folder."""
        return [key for key in keys if key in self._secrets.destroyed]

    def unknown_keys(self, kinds: Collection[str]) -> list[str]:
        """Return the names of the keys of these *kinds* of tokens that are not in the key folder,
        because they were destroyed, belong to a different log, or are lost.
        """
        live = live_tokens(self._secrets, "")
        names = {match[2] for match in map(_KIND.fullmatch, kinds) if match is not None}
        return sorted(names - live.keys())


def _numbers(value: str) -> Iterator[str]:
    """Yield the texts from which the token of a number is made, if *value* is one: an integer and a
    float are recorded as Python writes them, so 58000 and 58000.0 have different tokens.
    """
    if _DECIMAL.fullmatch(value) is not None:
        number = float(value)
        yield repr(number)
        if number.is_integer():
            yield str(int(number))


def check_value(value: str, classes: Collection[str]) -> None:
    """Raise ``UsageError``, without any part of *value*, if it can't be found."""
    for cls in classes:
        if cls == "secret" or classify(cls).cls == "secret":
            raise UsageError(
                f"values of class {cls} can't be found: {_WHY_MARKS}",
                code="find.secret",
                hint="guardrail sessions, to look for the call by its time and caller",
            )
    if classes and all(needs_mark(cls, value) for cls in classes):
        raise UsageError(
            f"values of up to four digits can't be found in these classes: {_WHY_MARKS}",
            code="find.secret",
            hint="guardrail find --value -, without --class, looks in the other classes",
        )
    from guardrail.core.redaction.detectors.scan import scan_secrets

    plain = normalised(value)
    hits = scan_secrets(plain)
    if hits and hits[0].start == 0 and hits[-1].end >= len(plain):
        raise UsageError(
            f"this value looks like a secret, and secrets can't be found: {_WHY_MARKS}",
            code="find.secret",
            hint="guardrail sessions, to look for the call by its time and caller",
        )


@dataclass(frozen=True, slots=True)
class CallMatch:
    """One place at which a record contains the value's token."""

    seq: int
    cls: str
    pointer: str
    """RFC 6901 pointer into the record."""

    @property
    def place(self) -> str:
        """The pointer for people: below ``args`` if it is in the arguments."""
        return self.pointer.replace(_SHOWN, "args", 1).lstrip("/")


@dataclass(frozen=True, slots=True)
class OtherMatch:
    """One record that contains the value's token and belongs to no call."""

    seq: int
    type: str
    ts: str
    places: tuple[CallMatch, ...]


@dataclass(frozen=True, slots=True)
class FoundCalls:
    """The calls whose records contain the value's token, oldest first."""

    records: int
    """Number of all records that contain it."""
    calls: tuple[tuple[RecordedCall, tuple[CallMatch, ...]], ...]
    others: tuple[OtherMatch, ...]
    """The records that belong to no call here, because its decision was pruned, or because they are
    about no call.
    """
    before: int | None
    """Number to pass as *before* to find earlier ones, or None if there are none."""
    unknown_keys: tuple[str, ...]
    """Names of keys whose tokens were not searched, because the keys are not in the key folder."""
    destroyed_keys: tuple[str, ...]
    """Those of ``unknown_keys`` that were destroyed."""
    classes: tuple[str, ...]
    """The classes of the tokens in the ledger."""
    tenants: tuple[str, ...]
    """The tenants in the ledger."""
    unknown_classes: int
    """Number of the classes to search that have no token in the ledger."""
    unknown_tenants: int
    """Number of the tenants to search that the ledger does not have."""


def find_calls(
    records: TokenFinder, tokens: ValueTokens, *, before: int | None, limit: int | None
) -> FoundCalls:
    """Return the latest *limit* calls, or all of them, among the records below *before*."""
    wanted: set[str] = set()

    def tokens_of(kinds: Collection[str], tenants: Collection[str]) -> Collection[str]:
        found = tokens(kinds, tenants)
        wanted.update(found)
        return found

    hits = records.with_tokens(tokens_of, before=before, limit=limit)
    seen: set[str] = set()
    calls: list[tuple[RecordedCall, tuple[CallMatch, ...]]] = []
    others: list[OtherMatch] = []
    for seq, record in hits.lines:
        call = text(record, "call") or text(record, "approval", "id")
        if call in seen:
            continue
        decision, places = _places(records, call, wanted) if call else (None, [])
        if decision is None:
            here = tuple(_matches(seq, record, wanted))
            others.append(OtherMatch(seq, text(record, "type"), text(record, "ts"), here))
            continue
        seen.add(call)
        if before is None or all(place.seq < before for place in places):
            # Otherwise, the call is among the later ones, which were shown before.
            places = places or list(_matches(seq, record, wanted))
            calls.append((with_outcome(records, decision), tuple(places[:_MOST_MATCHES])))
    unknown = tokens.unknown_keys(hits.kinds)
    calls.sort(key=lambda each: each[0].seq)
    return FoundCalls(
        records=hits.total,
        calls=tuple(calls),
        others=tuple(reversed(others)),
        before=hits.lines[-1][0] if hits.more and hits.lines else None,
        unknown_keys=tuple(unknown),
        destroyed_keys=tuple(tokens.destroyed(unknown)),
        classes=tuple(tokens.classes_of(hits.kinds)),
        tenants=tuple(sorted(hits.tenants)),
        unknown_classes=tokens.unknown_classes(hits.kinds),
        unknown_tenants=tokens.unknown_tenants(hits.tenants),
    )


def _places(
    records: RecordReader, call: str, wanted: Collection[str]
) -> tuple[int | None, list[CallMatch]]:
    """Return the number of the decision or rejection of *call*, or None if it is not here, and the
    places in the records of the call that contain one of the *wanted* tokens.
    """
    decision: int | None = None
    places: list[CallMatch] = []
    for line in records.by_call(call):
        record = parse(line)
        seq = integer(record, "seq")
        if seq is None:
            continue
        if text(record, "type") in {"call.decision", "call.rejected"}:
            decision = seq
        places += _matches(seq, record, wanted)
    return decision, places


def _matches(seq: int, record: Mapping[str, Any], wanted: Collection[str]) -> Iterator[CallMatch]:
    """Yield each place in *record* that contains one of the *wanted* tokens."""
    pending: list[tuple[str, Any]] = [("", record)]
    while pending:
        pointer, value = pending.pop()
        if isinstance(value, str):
            yield from _in_text(seq, pointer, value, wanted)
        elif isinstance(value, Mapping):
            for key, member in reversed([*value.items()]):
                here = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
                if here in _ABOUT:
                    continue
                yield from _in_text(seq, here, key, wanted)
                pending.append((here, member))
        elif isinstance(value, list):
            pending += [(f"{pointer}/{at}", each) for at, each in reversed([*enumerate(value)])]


def _in_text(seq: int, pointer: str, value: str, wanted: Collection[str]) -> Iterator[CallMatch]:
    at = value.find("gr1:")
    while at >= 0:
        kind = _KIND.match(value, at)
        if kind is not None and value[at : kind.end() + 24] in wanted:
            yield CallMatch(seq, kind[1], pointer)
        at = value.find("gr1:", at + 4)
