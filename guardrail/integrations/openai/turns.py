"""One request from a governed client, and its response: the request reports outcomes, and the
response contains decided calls.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from guardrail.call.scope import SessionScope
from guardrail.integrations.openai.asserted import client_context
from guardrail.integrations.openai.governed_streams import replaced, stream_of, without_length
from guardrail.model_apis.answers import AnswerStream, govern_body
from guardrail.model_apis.api import Api
from guardrail.model_apis.asking import Asked, Deciding
from guardrail.model_apis.claims import claims_in
from guardrail.model_apis.deciding import Decider, adrive_deciding, drive_deciding
from guardrail.model_apis.error_bodies import check_error_body
from guardrail.model_apis.offered_tools import offered_tools
from guardrail.model_apis.open_calls import OpenCalls, owner_of
from guardrail.model_apis.openai.history import RefusedItems, conversation_of
from guardrail.model_apis.openai.mcp_approvals import AdmittedApprovals, approval_error
from guardrail.model_apis.openai.routes import refuse
from guardrail.model_apis.requests import choices_of, hosts_shell
from guardrail.model_apis.sse import compact, read_request

if TYPE_CHECKING:
    from guardrail.guard import Guard

__all__ = ["ClientTurns", "Turn"]


class ClientTurns:
    """The state that all requests of one governed client share."""

    def __init__(
        self, guard: Guard, session: SessionScope | None, wait_for_approval: float | None
    ) -> None:
        self.guard = guard
        self.wait_for_approval = wait_for_approval
        self.open_calls = OpenCalls()
        self.refused = RefusedItems()
        self.approvals = AdmittedApprovals()
        self._session = session

    def begin(self, api: Api, request: Any) -> Turn:
        """Return the turn for *request*, in the session of the code that makes the request."""
        session = self._session or self.guard.calls.callers.current()
        return Turn(self, api, session, request)


class Turn:
    """One request and its response."""

    def __init__(
        self, shared: ClientTurns, api: Api, session: SessionScope | None, request: Any
    ) -> None:
        self._shared = shared
        self._api = api
        self._body = read_request(_content(request))
        self._owner = owner_of(session)
        self._session = "" if session is None else session.id
        self.decider = Decider(
            shared.guard,
            shared.open_calls,
            session,
            shared.wait_for_approval,
            adapter="openai",
            context=client_context(),
            offered=offered_tools(api, self._body),
            released=functools.partial(
                shared.approvals.add, self._owner, self._session, conversation_of(self._body)
            ),
        )
        if api is Api.RESPONSES and self._body.get("background"):
            raise refuse("responses with background=True")

    def _invented(self) -> Asked | None:
        """Return an MCP call that the request approves although guardrail did not admit it, or
        None.
        """
        if self._api is not Api.RESPONSES:
            return None
        found = self._shared.approvals.use(self._owner, self._session, self._body)
        return None if found is None else Asked([found], None, None)

    def settle(self) -> None:
        """Record the results that the request reports. Raises ``ModelRequestError`` if the request
        approves an MCP call that guardrail did not admit.
        """
        invented = self._invented()
        if invented is not None:
            self.decider.decide(invented)
            raise approval_error()
        if self._shared.open_calls:
            claims = claims_in(self._api, self._body)
            for admission, claim in self._shared.open_calls.take(self._owner, claims):
                admission.settle(claim.status, result=claim.content)

    async def asettle(self) -> None:
        """Async version of ``settle``."""
        invented = self._invented()
        if invented is not None:
            await self.decider.adecide(invented)
            raise approval_error()
        if self._shared.open_calls:
            claims = claims_in(self._api, self._body)
            for admission, claim in self._shared.open_calls.take(self._owner, claims):
                await admission.asettle(claim.status, result=claim.content)

    def request(self, request: Any) -> Any:
        """Return the request to send to the provider. Refused calls that the provider expects are
        restored.
        """
        if self._api is not Api.RESPONSES:
            return request
        body = self._shared.refused.restored(self._owner, self._body)
        if body is self._body:
            return request
        return type(request)(
            request.method,
            request.url,
            headers=without_length(request.headers),
            content=compact(body).encode(),
            extensions=request.extensions,
        )

    def _stream(self) -> AnswerStream:
        return AnswerStream(
            self._api,
            self._keep_refused,
            hosts_shell=hosts_shell(self._body),
            choices=choices_of(self._body),
        )

    def _govern_body(self, body: bytes) -> Deciding[bytes]:
        return govern_body(self._api, body, self._keep_refused, hosts_shell=hosts_shell(self._body))

    def _keep_refused(self, item: Any, refusal: str, places: frozenset[str]) -> None:
        self._shared.refused.add(self._owner, item, refusal, places)

    def _check_failure(self, status: int, body: bytes) -> None:
        """Make the request's approvals usable again if the provider rejected the request. Raises
        ``ModelAnswerError`` if *body*, the body of the error, contains tool calls.
        """
        check_error_body(body)
        if self._api is Api.RESPONSES and 400 <= status < 500:
            self._shared.approvals.give_back(self._owner, self._body)

    def answer(self, response: Any) -> Any:
        """Return *response* with only its decided calls."""
        if not response.is_success:
            self._check_failure(response.status_code, response.read())
            return response
        if _is_stream(response):
            return stream_of(response, self._stream(), self.decider)
        try:
            body = response.read()
            made = drive_deciding(self._govern_body(body), self.decider.decide)
        except BaseException:
            self.decider.withdraw()
            raise
        self.decider.release()
        return response if made is body else replaced(response, content=made)

    async def aanswer(self, response: Any) -> Any:
        """Async version of ``answer``."""
        if not response.is_success:
            self._check_failure(response.status_code, await response.aread())
            return response
        if _is_stream(response):
            return stream_of(response, self._stream(), self.decider, asynchronous=True)
        try:
            body = await response.aread()
            made = await adrive_deciding(self._govern_body(body), self.decider.adecide)
        except BaseException:
            await self.decider.awithdraw()
            raise
        self.decider.release()
        return response if made is body else replaced(response, content=made)


def _content(request: Any) -> bytes:
    """Return the body of *request*, or empty bytes if the body is a stream, because JSON is never
    streamed.
    """
    try:
        content: bytes = request.content
    except RuntimeError:
        return b""
    return content


def _is_stream(response: Any) -> bool:
    kind = str(response.headers.get("content-type", ""))
    return kind.partition(";")[0].strip().lower() == "text/event-stream"
