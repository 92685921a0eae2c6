"""Errors from the proxy, in the format of the API that the request is for."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from guardrail.errors import (
    ConfigError,
    GuardrailError,
    IdentityError,
    KeysError,
    LedgerError,
    PolicyError,
)
from guardrail.identity.token_text import ISSUER_UNAVAILABLE
from guardrail.model_apis.api import Api
from guardrail.model_apis.asking import ModelAnswerError
from guardrail.model_apis.requested_tools import ModelRequestError
from guardrail.model_apis.sse import compact, write_event

__all__ = ["ErrorFormat", "Failure", "NoAnswerError", "ProxyError", "failure_of"]


class ErrorFormat(StrEnum):
    """The format in which a provider's clients read errors."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class ProxyError(GuardrailError):
    """A request to which the proxy itself responds with an error. Nothing from the upstream's
    response is passed on.
    """

    default_code = "proxy"

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        hint: str = "",
        retry: bool | None = None,
    ) -> None:
        """*status* is the HTTP status. *retry* tells the official clients whether to retry; None
        leaves the decision to them.
        """
        super().__init__(message, code=code, hint=hint)
        self.status = status
        self.retry = retry


class NoAnswerError(ProxyError):
    """The upstream did not send any response."""

    @property
    def never_sent(self) -> bool:
        """True if the upstream can't have received the request."""
        return self.code in _NEVER_SENT


class _Kind(NamedTuple):
    """The type of an error, as each provider names it."""

    openai: str
    anthropic: str


_NEVER_SENT = frozenset({"proxy.upstream_unreachable", "proxy.upstream_tls"})
_KINDS = {
    400: _Kind("invalid_request_error", "invalid_request_error"),
    401: _Kind("authentication_error", "authentication_error"),
    403: _Kind("permission_error", "permission_error"),
    404: _Kind("invalid_request_error", "not_found_error"),
    413: _Kind("invalid_request_error", "request_too_large"),
    504: _Kind("server_error", "timeout_error"),
}
_NOT_YOURS = frozenset({"identity.session", "identity.peer", "identity.agent"})
"""Error codes for identities that belong to a different caller or agent."""
_TENANTS = frozenset({"identity.tenant", "identity.tenant_disabled"})
"""Error codes for tenants that are not served."""
_TOKEN = "identity.token."  # noqa: S105 - the beginning of an error code
_OTHER = _Kind("server_error", "api_error")


class Failure(NamedTuple):
    """The error that a client receives instead of a response or the rest of a response."""

    status: int
    code: str
    message: str
    retry: bool | None = None

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers of an error response."""
        made = [("content-type", "application/json")]
        if self.retry is not None:
            made.append(("x-should-retry", "true" if self.retry else "false"))
        return made

    def body(self, format_: ErrorFormat) -> bytes:
        """Return the body of an error response."""
        return compact(self._document(format_)).encode()

    def event(self, api: Api, number: int | None) -> bytes:
        """Return the last event of a failed stream. *number* is the event's sequence number, if the
        stream numbers its events.
        """
        if api is Api.CHAT:
            return write_event(compact(self._document(ErrorFormat.OPENAI)))
        if api is Api.RESPONSES:
            event: dict[str, Any] = {
                "type": "error",
                "code": self.code,
                "message": self.message,
                "param": None,
            }
            return write_event(compact({**event, "sequence_number": number or 0}), "error")
        return write_event(compact(self._document(ErrorFormat.ANTHROPIC)), "error")

    def _document(self, format_: ErrorFormat) -> Mapping[str, Any]:
        kind = _KINDS.get(self.status, _OTHER)
        if format_ is ErrorFormat.ANTHROPIC:
            error = {"type": kind.anthropic, "message": f"{self.message} [{self.code}]"}
            return {"type": "error", "error": error}
        said = {"message": self.message, "type": kind.openai, "code": self.code}
        return {"error": {**said, "param": None}}


def failure_of(error: Exception) -> Failure:
    """Return the failure that reports *error* to a client."""
    if isinstance(error, ProxyError):
        return Failure(error.status, error.code, _with_hint(error), error.retry)
    if isinstance(error, LedgerError):
        text = "this call can't be recorded, so it is not passed on"
        return Failure(503, error.code, text, retry=False)
    if isinstance(error, ModelRequestError):
        return Failure(400, error.code, _with_hint(error))
    if isinstance(error, ModelAnswerError):
        return Failure(502, error.code, error.message, retry=False)
    if isinstance(error, IdentityError):
        return _failed_identity(error)
    if isinstance(error, ConfigError | KeysError | PolicyError):  # the guard of a tenant
        return Failure(503, error.code, "the tenant of this request can't be served at the moment")
    code = error.code if isinstance(error, GuardrailError) else "proxy.bug"
    return Failure(500, code, "guardrail could not handle the request", retry=False)


def _failed_identity(error: IdentityError) -> Failure:
    """Return the failure for a caller that is not accepted. Its message names neither the files and
    addresses of keys nor other tenants.
    """
    if error.code in ISSUER_UNAVAILABLE:
        text = "access tokens of this issuer can't be verified at the moment; try again later"
        return Failure(503, error.code, text)
    if error.code in _TENANTS:
        return Failure(403, error.code, "the tenant of this access token is not served here")
    if error.code.startswith(_TOKEN):
        return Failure(401, error.code, _with_hint(error))
    return Failure(403 if error.code in _NOT_YOURS else 400, error.code, error.message)


def _with_hint(error: GuardrailError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
