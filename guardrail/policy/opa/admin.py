"""Administers an OPA server: health, status, configuration, policies, data.

Only this module imports the OPA client.

The client creates the URLs and parses the responses, but every byte goes through guardrail's own
transport, which replaces the client's. The deadline therefore covers the complete request;
redirects, retries, proxies and netrc are not used; and Unix sockets, client certificates and token
files work as they do for decisions.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from opa_client.errors import DeletePolicyError, PolicyNotFoundError, RegoParseError
from opa_client.opa import OpaClient
from requests.adapters import BaseAdapter

from guardrail.core.types import Json
from guardrail.errors import PolicyError
from guardrail.policy.opa.target import OpaTarget
from guardrail.policy.opa.transport import OpaConnection, OpaTransport
from guardrail.system.http import HttpReply

__all__ = ["BundleState", "OpaAdmin"]

_MAX_REPLY = 64 << 20
"""Maximum size of a response from the administration API in bytes. The syntax trees of all policies
can be large.
"""
_HEALTH = {"bundles": "true", "plugins": "true"}


@contextlib.contextmanager
def _converting_errors() -> Iterator[None]:
    """Convert the client's exceptions into ``PolicyError``, so that none of them leaves this
    module.
    """
    try:
        yield
    except (
        requests.RequestException,
        PolicyNotFoundError,
        RegoParseError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ):
        raise _not_opa() from None


@dataclass(frozen=True, slots=True)
class BundleState:
    """The status of one bundle, as reported by OPA."""

    name: str
    revision: str | None
    """The active revision."""
    activated: str | None
    """Time of the last successful activation, in OPA's format."""
    problem: str | None
    """Code of the error that prevented the activation of the latest bundle. The previous bundle
    stays active.
    """


class OpaAdmin:
    """The administration API of one server. Used by one thread at a time."""

    def __init__(
        self, target: OpaTarget, *, timeout: float = 5.0, transport: OpaTransport | None = None
    ) -> None:
        """*timeout* is the time limit in seconds for each complete request."""
        # Responses from this API do not identify their requests, so each request gets its own
        # connection.
        self._connection = OpaConnection(target, keep=False)
        self._adapter = _Adapter(transport or self._connection, timeout)
        # The client only needs a host and a port to create URLs.
        self._client = OpaClient(host="opa", port=1, retries=0, timeout=timeout)
        session = self._client._session
        session.trust_env = False
        session.max_redirects = 0
        session.proxies.clear()
        for prefix in list(session.adapters):
            session.mount(prefix, self._adapter)

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._client.close_connection()
        self._connection.close()

    @_converting_errors()
    def healthy(self) -> bool:
        """Return True if every bundle has been activated at least once and every plugin is healthy.

        Raises ``PolicyError``.
        """
        return bool(self._client.check_health(_HEALTH))

    @_converting_errors()
    def bundles(self) -> tuple[BundleState, ...] | None:
        """Return the status of the server's bundles, or None if the server does not report it."""
        try:
            status = self._result_object(self._client.get_status())
        except PolicyError as error:
            if error.detail.startswith("status_") or error.detail == "unauthorized":
                return None
            raise
        states = []
        for name, about in sorted(_dict(status.get("bundles")).items()):
            state = _dict(about)
            states.append(
                BundleState(
                    name=name,
                    revision=_text(state.get("active_revision")),
                    activated=_text(state.get("last_successful_activation")),
                    problem=_text(state.get("code")),
                )
            )
        return tuple(states)

    @_converting_errors()
    def bundle_names(self) -> tuple[str, ...]:
        """Return the names of the bundles that are active or configured on the server."""
        configured = _dict(self._result_object(self._client.get_config()).get("bundles"))
        # A bundle that was loaded from a file does not appear in the configuration, but the
        # provenance in every response lists it.
        url = f"{self._client.root_url}/data/guardrail/nothing?provenance=true"
        active = _dict(_dict(self._client._session.get(url).json()).get("provenance"))
        return tuple(sorted({*configured, *_dict(active.get("bundles"))}))

    @_converting_errors()
    def policies(self) -> tuple[str, ...]:
        """Return the ids of all policies on the server."""
        found = self._client.get_policies_list()
        return tuple(sorted(str(item) for item in found))

    @_converting_errors()
    def modules(self) -> dict[str, Mapping[str, Any]]:
        """Return OPA's syntax trees for all policies, keyed by id."""
        # One request gets all trees, so that they are consistent. The client has no method that
        # returns trees.
        response = self._client._session.get(f"{self._client.root_url}/policies")
        trees: dict[str, Mapping[str, Any]] = {
            str(item["id"]): _dict(item["ast"]) for item in response.json().get("result", [])
        }
        if not all(trees.values()):
            raise _not_opa()
        return trees

    @_converting_errors()
    def put_policy(self, policy: str, text: str) -> str | None:
        """Store a module. Return OPA's error code if OPA rejects the module, otherwise None."""
        try:
            # The client's compatibility mode is off, because it would rewrite a rejected policy and
            # upload the result.
            self._client.update_policy_from_string(text, quote(policy), rego_compat=False)
        except RegoParseError as error:
            return str(getattr(error, "code", "") or "refused")
        return None

    @_converting_errors()
    def delete_policy(self, policy: str) -> str | None:
        """Remove a module. Return OPA's error code if other modules need it, otherwise None."""
        try:
            self._client.delete_policy(quote(policy))
        except DeletePolicyError as error:
            return str(getattr(error, "expression", "") or "refused")
        return None

    @_converting_errors()
    def put_data(self, path: Sequence[str], value: dict[str, Json]) -> None:
        """Replace the value at *path* in the data document."""
        self._client.update_or_create_data(value, "/".join(quote(part, safe="") for part in path))

    @staticmethod
    def _result_object(document: object) -> Mapping[str, Any]:
        if not isinstance(document, dict) or not isinstance(document.get("result"), dict):
            raise _not_opa()
        return _dict(document["result"])


class _Adapter(BaseAdapter):
    """Sends the client's requests over guardrail's transport."""

    def __init__(self, transport: OpaTransport, timeout: float) -> None:
        super().__init__()
        self._transport = transport
        self._timeout = timeout

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        parts = urlsplit(request.url or "")
        # The client appends a slash to some paths, for which OPA returns a redirect.
        path = parts.path.rstrip("/") + (f"?{parts.query}" if parts.query else "")
        body = request.body or b""
        reply = self._transport.ask(
            request.method or "GET",
            path,
            body.encode() if isinstance(body, str) else bytes(body),
            time.monotonic() + self._timeout,
            _MAX_REPLY,
        )
        _check_reply(reply, path)
        response = requests.Response()
        response.status_code, response.reason = reply.status, reply.reason
        response.url, response.request = request.url or "", request
        response.headers["Content-Type"] = reply.headers.get("content-type", "")
        response.encoding = "utf-8"
        response._content = reply.body
        return response

    def close(self) -> None:
        """Do nothing: connections are not kept open."""


def _check_reply(reply: HttpReply, path: str) -> None:
    """Raise ``PolicyError`` for redirects and unexpected responses, which the client would
    otherwise follow or report in its own way.
    """
    if reply.status in {401, 403}:
        raise PolicyError(
            "the OPA server rejected this guard's credentials",
            cause="error",
            detail="unauthorized",
            hint="set [opa] token_file, or cert and key",
        )
    if 300 <= reply.status < 400:
        raise PolicyError(
            "the OPA server returned a redirect", cause="malformed", detail="redirect"
        )
    # OPA returns status 500 for a failed health check and 400 for a rejected policy. Any other
    # status is an error.
    if reply.status not in {200, 204, 400} and not path.startswith("/health"):
        raise PolicyError(
            f"the OPA server returned status {reply.status}",
            cause="error",
            detail=f"status_{reply.status}",
        )
    if reply.status == 200 and not reply.body.lstrip().startswith(b"{"):
        raise _not_opa()


def _not_opa() -> PolicyError:
    return PolicyError(
        "the server at this address is not an OPA server",
        cause="malformed",
        detail="not_opa",
        hint="correct [opa] url",
    )


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
