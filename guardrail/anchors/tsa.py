"""Timestamping authority (RFC 3161) as an anchor: a third party signs a statement that a head
existed at a given time.

Needs the extra ``tsa``.

The authority neither stores nor compares heads: guardrail stores the tokens, and other anchors
detect forks. This anchor adds a clock that the ledger's owner does not control.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guardrail.anchors.anchor import AnchoredHead, Prove, check_follows
from guardrail.anchors.http import AnchorEndpoint
from guardrail.anchors.lock import try_lock
from guardrail.core.log.checkpoint import Checkpoint, SignedNote
from guardrail.errors import AnchorError, ConfigError
from guardrail.system.disk import why_not_written
from guardrail.system.durable import sync_directory
from guardrail.system.ownership import open_or_make

__all__ = ["TimestampAnchor", "check_token"]

_MAX_REPLY = 64 * 1024
_LINE_START = b'{"note":'
_TORN_AT_LEAST = 3
"""Minimum length of an incomplete line. A shorter one can't be distinguished from the lines of
other programs.
"""


class TimestampAnchor:
    """Requests timestamps for heads, and stores the valid tokens as lines in a file."""

    name = "tsa"

    def __init__(
        self,
        url: str,
        *,
        roots: Sequence[Any],
        tokens: Path,
        ca: Path | None = None,
        deadline: float = 10.0,
        ledger: Path | None = None,
    ) -> None:
        """*roots* are the authority's trusted root certificates (``guardrail.keys.anchor_keys``),
        *tokens* is the file that stores the tokens, and *ca* is a CA bundle for HTTPS. Raises
        ``ConfigError``.
        """
        _client()
        self._roots = list(roots)
        self._tokens = tokens
        self._ledger = ledger
        self._deadline = deadline
        self._server = AnchorEndpoint(url, what="the timestamping authority", setting="tsa", ca=ca)

    def publish(
        self, note: SignedNote, prove: Prove, known: Checkpoint | None = None
    ) -> AnchoredHead:
        """Request a timestamp for the text of *note*; the token is synced when this returns.

        See ``Anchor.publish``.
        """
        head = Checkpoint.parse(note.text)
        if known is not None:
            check_follows(known, head, prove)
        client = _client()
        text = note.text.encode()
        request = (
            client.TimestampRequestBuilder()
            .data(text)
            .hash_algorithm(client.HashAlgorithm.SHA256)
            .build()
        )
        reply = self._server.ask(
            "POST",
            "",
            body=request.as_bytes(),
            content_type="application/timestamp-query",
            end=time.monotonic() + self._deadline,
            limit=_MAX_REPLY,
        )
        if reply.status != 200 or reply.content_type != "application/timestamp-reply":
            code = "unreachable" if reply.status in (408, 429) or reply.status >= 500 else "refused"
            raise AnchorError(
                f"the timestamping authority's response is not a timestamp (status {reply.status})",
                code=f"anchor.{code}",
                hint="correct the URL in [anchors] tsa",
            )
        when = check_token(reply.body, text, self._roots, nonce=request.nonce)
        try:
            _append_token(self._tokens, note, when, reply.body, self._ledger)
        except OSError as error:
            raise AnchorError(
                f"the timestamp file can't be written ({why_not_written(error, self._tokens)})",
                hint="check [anchors] tsa_tokens",
            ) from None
        return AnchoredHead(self.name, head.size, when, note)

    def is_proved_by(self, note: SignedNote) -> bool:  # noqa: ARG002 - it does not sign notes
        """Return True: a timestamping authority does not sign notes, so there is no signature to
        check.
        """
        return True

    def latest(self, origin: str) -> SignedNote | None:  # noqa: ARG002 - an authority keeps nothing
        """Return None: a timestamping authority does not store heads."""
        return None

    def heads(self, origin: str) -> Sequence[SignedNote]:  # noqa: ARG002 - an authority keeps nothing
        """Return an empty list: a timestamping authority does not store heads."""
        return ()


def check_token(
    reply: bytes, text: bytes, roots: Sequence[Any], *, nonce: int | None = None
) -> float:
    """Return the time at which the authority stamped *text*, in seconds since 1970, according to
    its response (DER of ``TimeStampResp``).

    Raises ``AnchorError`` (``anchor.malformed``) if the response is invalid, does not cover *text*,
    has a different *nonce*, or was not signed by an authority that *roots* certify.
    """
    client = _client()
    try:
        response = client.decode_timestamp_response(_with_sorted_certificates(reply))
        refused = response.status not in (0, 1)
        if not refused:
            client.VerifierBuilder(roots=list(roots), nonce=nonce).build().verify_message(
                response, text
            )
            when: float = response.tst_info.gen_time.timestamp()
    except Exception:  # noqa: BLE001 - bad bytes make the libraries raise many exceptions
        raise AnchorError(
            "the timestamping authority's response is not a valid timestamp of this head",
            code="anchor.malformed",
            hint="check that [anchors] tsa_root contains the root certificate of this authority",
        ) from None
    if refused:
        raise AnchorError(
            "the timestamping authority rejected the request",
            code="anchor.refused",
            hint="ask the operator of the authority for the reason",
        )
    return when


def _with_sorted_certificates(reply: bytes) -> bytes:
    """Return the response *reply* with its certificates in the order that DER requires.

    OpenSSL sends the certificates in their configured order, which a strict parser rejects. No
    signature covers the order.
    """
    try:
        response = _content_range(reply, 0)
        token = _content_range(reply, _element_end(reply, response.start))
        content = _content_range(reply, _element_end(reply, token.start))
        signed = _content_range(reply, content.start)
        at = signed.start
        for _ in ("version", "digest algorithms", "what is signed"):
            at = _element_end(reply, at)
        if reply[at] != 0xA0:
            return reply
        found = _content_range(reply, at)
        at, each = found.start, []
        while at < found.stop:
            each.append(reply[at : _element_end(reply, at)])
            at = _element_end(reply, at)
    except IndexError:
        return reply
    if at != found.stop:
        return reply
    return reply[: found.start] + b"".join(sorted(each)) + reply[found.stop :]


def _content_range(data: bytes, at: int) -> range:
    """Return the range of the content of the DER element at *at*. Raises ``IndexError``."""
    length, start = data[at + 1], at + 2
    if length == 0x80:
        raise IndexError
    if length > 0x80:
        width = length - 0x80
        length = int.from_bytes(data[start : start + width], "big")
        start += width
    if start + length > len(data):
        raise IndexError
    return range(start, start + length)


def _element_end(data: bytes, at: int) -> int:
    return _content_range(data, at).stop


def _client() -> Any:
    try:
        import rfc3161_client
    except ImportError:
        raise ConfigError(
            "[anchors] tsa: the extra for timestamps is not installed",
            code="config.extra",
            hint="install guardrail with the 'tsa' extra (README.md)",
        ) from None
    return rfc3161_client


def _append_token(
    path: Path, note: SignedNote, when: float, token: bytes, ledger: Path | None = None
) -> None:
    line = json.dumps(
        {"note": str(note), "time": when, "token": base64.b64encode(token).decode()},
        sort_keys=True,
        separators=(",", ":"),
    )
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = open_or_make(path, ledger, flags=flags)
    with os.fdopen(descriptor, "ab", buffering=0) as out:
        _check_is_token_file(descriptor)
        if not try_lock(descriptor):
            raise OSError(errno.EBUSY, "another process has locked it")
        size = os.fstat(descriptor).st_size
        # A line that a crash left incomplete stays in the file. The next line must not be appended
        # to it.
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        whole = (b"\n" if torn else b"") + line.encode("ascii") + b"\n"
        if out.write(whole) != len(whole):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    if size == 0:
        sync_directory(path.parent)


def _check_is_token_file(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    begin = os.pread(descriptor, len(_LINE_START), 0)
    first = begin.split(b"\n")[0]
    if begin and not (len(first) >= _TORN_AT_LEAST and _LINE_START.startswith(first)):
        raise OSError(errno.EINVAL, "it contains a line that is not a timestamp token")
