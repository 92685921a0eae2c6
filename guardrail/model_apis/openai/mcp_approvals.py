"""Checks MCP call approvals in requests to the Responses API.

The provider runs such a call when a request approves it, so a program may approve only calls that
guardrail has admitted.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Self

from guardrail.core.words import counted
from guardrail.model_apis.asked_again import digest_of
from guardrail.model_apis.calls import AskedCall, Refusal, text_or_none
from guardrail.model_apis.kept_names import kept_name
from guardrail.model_apis.open_calls import Owner
from guardrail.model_apis.openai.history import places_of
from guardrail.model_apis.openai.response_items import APPROVAL, HOSTED, TEXTS, ItemKind, call_of
from guardrail.model_apis.requested_tools import ModelRequestError

__all__ = ["AdmittedApprovals", "approval_error"]

_MOST = 8_192
"""Maximum number of stored calls."""
_CODE = "model_request.approval"
_ANSWER = "mcp_approval_response"
_RESULT = "mcp_call"
_REFERENCES = ("item_reference", None)
_PARTS_OF_CALL = frozenset({"arguments", "name", "server_label"})
_OTHER_CALLS = (*TEXTS, *HOSTED)
_PARTS_OF_ANSWER = frozenset({"approval_request_id", "approve"})


class _Known(NamedTuple):
    """An approval request: made by the provider, or sent only by a program."""

    digest: str
    session: str = ""
    response: str | None = None
    """The id of the response that contained the request."""
    conversation: str | None = None
    """The id of the conversation that the response belongs to."""
    usable: bool = False
    """True if the call was admitted, and no other call has the same id."""
    used: bool = False
    ran: str | None = None
    """The id of the item that shows that the provider has run the call."""

    def usable_in(self, session: str) -> bool:
        """Return True if the call can be approved in *session*. Earlier approvals are not
        considered.
        """
        return self.usable and self.session == session


class AdmittedApprovals:
    """The MCP calls that their owners can approve. Each call can be approved once, in its own
    session. Thread-safe and bounded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: OrderedDict[tuple[Owner, str], _Known] = OrderedDict()

    def add(
        self,
        owner: Owner,
        session: str,
        conversation: str | None,
        call: AskedCall,
        response: object,
    ) -> None:
        """Store an admitted call that *owner* has received, or note that the provider has run it.
        *session*, *conversation* and *response* are the ids of the call's session, of the
        conversation in the request, and of the response. Calls that do not need approval are
        ignored.
        """
        with self._lock:
            if call.approval is not None:
                ran = self._calls.get(_key(owner, call.approval))
                if ran is not None and ran.used:
                    self._calls[_key(owner, call.approval)] = ran._replace(ran=_stored_id(call.id))
            elif call.approvable and call.id is not None:
                digest = digest_of(call)
                earlier = self._calls.get(_key(owner, call.id))
                self._keep(
                    _key(owner, call.id),
                    _Known(
                        digest,
                        session,
                        _stored_id(response),
                        _stored_id(conversation),
                        # With two calls that have this id, the provider could mean either.
                        usable=earlier is None or earlier.digest == digest,
                    ),
                )

    def _keep(self, place: tuple[Owner, str], known: _Known) -> None:
        self._calls[place] = known
        while len(self._calls) > _MOST:
            self._calls.popitem(last=False)

    def use(self, owner: Owner, session: str, body: Mapping[str, Any]) -> AskedCall | None:
        """Use the approvals in the request *body*, and return None.

        Do not use any approval, and return a call, in these cases:

        - An approval is not for a call that was admitted for *owner* in *session*, or has already
          been used. Exception: a request that does not use stored state, and that contains the
          call's result as the provider returned it, only repeats its history, so the provider does
          not run the call again.
        - The request repeats a call, or its result, with a different name, server or arguments.
        - The provider could find a different call: the request continues a different response or
          conversation than the call's, or continues none and does not repeat the call.
        """
        items = _items(body)
        contents = _Contents.of(body, items)
        with self._lock:
            said: dict[str, AskedCall] = {}
            for item in items:
                for name, call in _calls_in(item):
                    if len(said) >= _MOST:
                        raise ModelRequestError(
                            f"the request has more than {counted(_MOST, 'MCP call')}", code=_CODE
                        )
                    known = self._calls.get(_key(owner, name))
                    if known is not None and known.digest != digest_of(call):
                        return _refused(call)
                    said[name] = call
            fresh: set[str] = set()
            for item in filter(_approves, items):
                approved = text_or_none(item.get("approval_request_id"))
                found = None if approved is None else self._calls.get(_key(owner, approved))
                if approved is not None and found is not None and found.usable_in(session):
                    if contents.has_result(found, approved):
                        continue
                    is_first = approved not in fresh
                    if is_first and not found.used and contents.means(found, approved):
                        fresh.add(approved)
                        continue
                call = AskedCall(None, None, approved, None)
                return _refused(said.get(approved or "", call))
            for name, call in said.items():
                if _key(owner, name) not in self._calls:
                    # The provider may store a call that the program invented.
                    self._keep(_key(owner, name), _Known(digest_of(call)))
            self._mark(owner, fresh, used=True)
        return None

    def give_back(self, owner: Owner, body: Mapping[str, Any]) -> None:
        """Make the approvals used by *body* usable again, because the provider has rejected the
        request and has not run any call.
        """
        items = _items(body)
        contents = _Contents.of(body, items)
        with self._lock:
            for item in filter(_approves, items):
                name = text_or_none(item.get("approval_request_id"))
                known = None if name is None else self._calls.get(_key(owner, name))
                if name and known is not None and not contents.has_result(known, name):
                    self._mark(owner, [name], used=False)

    def _mark(self, owner: Owner, names: Iterable[str], *, used: bool) -> None:
        for name in names:
            place = _key(owner, name)
            known = self._calls.get(place)
            if known is not None:
                self._calls[place] = known._replace(used=used)


def _key(owner: Owner, name: str) -> tuple[Owner, str]:
    return owner, kept_name(name)


def _stored_id(name: object) -> str | None:
    """Return the id *name* in the form in which it is stored, or None if *name* is not an id."""
    found = text_or_none(name)
    return None if found is None else kept_name(found)


def _items(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the input items in a request, and the items in nested lists, because a provider could
    accept an approval in any of them.
    """
    given = body.get("input")
    items: list[Mapping[str, Any]] = [item for item in _listed(given) if isinstance(item, dict)]
    lists = (value for item in items for value in item.values() if isinstance(value, list))
    return items + [part for each in lists for part in each if isinstance(part, dict)]


def _listed(given: object) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _calls_in(item: Mapping[str, Any]) -> Iterator[tuple[str, AskedCall]]:
    """Yield the ids under which a provider could look up the call that *item* contains, with the
    call. Any item that contains the name of a tool counts, whatever its type.
    """
    if _PARTS_OF_CALL.isdisjoint(item):
        return
    for field in ("id", "approval_request_id"):
        name = text_or_none(item.get(field))
        if name is not None and (field != "id" or item.get("type") == APPROVAL or _is_odd(item)):
            yield name, call_of({**item, "type": APPROVAL, "id": name}, ItemKind.CALL)


def _is_odd(item: Mapping[str, Any]) -> bool:
    """Return True unless *item* is a call of a different, known type."""
    return item.get("type") not in _OTHER_CALLS


class _Contents(NamedTuple):
    """What a request says about calls, apart from approvals."""

    places: frozenset[str]
    """The response and the conversation that the request continues, as they are kept."""
    results: frozenset[str]
    """The ids of the approvals for whose calls the request contains a result."""
    referred: frozenset[str]
    """The ids of items that the provider looks up, as they are kept."""
    repeated: frozenset[str]
    """The ids of requests for approval that the request repeats."""

    @classmethod
    def of(cls, body: Mapping[str, Any], items: Iterable[Mapping[str, Any]]) -> Self:
        """Return the contents of the request *body* with these *items*."""
        results, referred, repeated = set(), set(), set()
        for item in items:
            kind, name = item.get("type"), text_or_none(item.get("id"))
            if kind == _RESULT:
                results.add(text_or_none(item.get("approval_request_id")))
            elif name is not None and kind in (APPROVAL, *_REFERENCES):
                repeated.add(name)
                if kind != APPROVAL:
                    referred.add(kept_name(name))
        return cls(
            frozenset(map(kept_name, places_of(body))),
            frozenset(name for name in results if name is not None),
            frozenset(referred),
            frozenset(repeated),
        )

    def has_result(self, known: _Known, name: str) -> bool:
        """Return True if the request contains the result of the call whose approval has the id
        *name*, and the provider sent this result before.
        """
        if known.ran is None or self.places:
            return False
        return name in self.results or known.ran in self.referred

    def means(self, known: _Known, name: str) -> bool:
        """Return True if the provider can find no other call with the id *name* than *known*."""
        if self.places:
            return self.places <= {known.response, known.conversation}
        return name in self.repeated


def _approves(item: Mapping[str, Any]) -> bool:
    if item.get("type") != _ANSWER and not item.keys() >= _PARTS_OF_ANSWER:
        return False
    return item.get("approve") is not False


def _refused(call: AskedCall) -> AskedCall:
    return replace(call, refusal=Refusal(_CODE, ""))


def approval_error() -> ModelRequestError:
    """Return the error for a request with a call that ``AdmittedApprovals.use`` returns."""
    return ModelRequestError(
        "the request approves an MCP call that was not allowed for this caller in this session, "
        "was allowed with a different name, server or arguments, or has already been approved; "
        "or the provider could find a different call with this id",
        code=_CODE,
        hint="continue the response that contains the call, or repeat the call in the input; "
        "otherwise, let the model request the call again. Approvals from before a restart "
        "are not known",
    )
