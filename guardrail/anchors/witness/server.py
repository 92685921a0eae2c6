"""The witness server: receives heads and returns cosignatures over HTTP (c2sp.org/tlog-witness).

The size and the duration of a request, and the number of concurrent connections, are limited. ``GET
/latest?origin=`` returns the newest cosigned head, so that a ledger can be checked against it.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import http.server
import io
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from guardrail.anchors.witness.client import MAX_PROOF
from guardrail.anchors.witness.store import WitnessRuling, WitnessStore, WitnessVerdict
from guardrail.core.log.checkpoint import MAX_NOTE, Checkpoint, SignedNote, Verify
from guardrail.core.words import counted
from guardrail.errors import GuardrailError, NoteError
from guardrail.system.asgi_server import ServerTls
from guardrail.system.listener import ListenerRules, refusal_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["AddCheckpointRequest", "WitnessServer", "parse_request"]

_MAX_BODY = MAX_NOTE + 16 * 1024
_MAX_HEAD = 32 * 1024
REQUEST_S = 10.0
"""Seconds for one request, from its first byte to the last byte of the response. Also the limit for
an idle connection.
"""
CONNECTIONS = 64
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")
_SIZE_TYPE = "text/x.tlog.size"
_RULES = ListenerRules(max_body=_MAX_BODY, max_head=_MAX_HEAD)
"""The rules that every HTTP server follows, with the limits on size. Callers need no token, because
each head is signed by the key of its log.
"""


@dataclass(frozen=True, slots=True)
class AddCheckpointRequest:
    """A request to ``add-checkpoint``."""

    old: int
    proof: tuple[bytes, ...]
    note: SignedNote
    head: Checkpoint


def parse_request(body: bytes) -> AddCheckpointRequest:
    """Parse the body of ``add-checkpoint``. Raises ``NoteError``."""
    before, empty, note = body.partition(b"\n\n")
    if not empty:
        raise NoteError("no empty line before the checkpoint")
    try:
        first, *rest = before.decode("ascii").split("\n")
        proof = tuple(base64.b64decode(line, validate=True) for line in rest)
    except (UnicodeDecodeError, binascii.Error, ValueError):
        raise NoteError("the proof is not base64") from None
    match = _OLD.fullmatch(first)
    if match is None or len(proof) > MAX_PROOF or any(len(each) != 32 for each in proof):
        raise NoteError("the request must contain the old size and at most 63 hashes, one per line")
    signed = SignedNote.parse(note)
    head = Checkpoint.parse(signed.text)
    old = int(match[1])
    if old > head.size:
        raise NoteError("the old size is larger than the checkpoint's")
    return AddCheckpointRequest(old, proof, signed, head)


@dataclass(slots=True, eq=False)
class _OpenConnection:
    """A connection from a client."""

    sock: socket.socket
    busy: bool = False
    """True while the server is responding to a request."""


class WitnessServer(http.server.ThreadingHTTPServer):
    """Serves one witness until ``shutdown``. Passes one line to *log* for each rejected head and
    failed connection.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self,
        address: tuple[str, int],
        *,
        store: WitnessStore,
        cosign: Callable[[str, int], SignedNote],
        verify: Verify,
        tls: ServerTls | None = None,
        any_host: bool = False,
        log: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Listen on *address*.

        *cosign* signs the text of a head for a given time, in seconds since 1970.

        Unless *any_host* is True, only requests whose ``Host`` is a loopback address are served.
        Otherwise, a web page opened on this machine could resolve its own name to this server (DNS
        rebinding). Raises ``OSError``.
        """
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)
        self.store = store
        self.cosign = cosign
        self.verify_signature = verify
        self.tls = tls
        self.any_host = any_host
        self.log = log
        self.clock = clock
        self._open: list[_OpenConnection] = []
        """The open connections, oldest first."""
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """URL of this server for clients on this machine."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{'https' if self.tls else 'http'}://{host}:{self.server_address[1]}"

    @property
    def address(self) -> str:
        """The address that the server listens on."""
        return str(self.server_address[0])

    def server_bind(self) -> None:
        """Bind without the standard library's reverse DNS lookup, which can be slow."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in its own thread.

        If the limit is reached, close the oldest connection that has no request in progress.
        """
        with self._lock:
            room = len(self._open) < CONNECTIONS or self._make_room()
            if room:
                place = _OpenConnection(request)
                self._open.append(place)
        if not room:
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._forget_connection(place)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Perform the TLS handshake, call the standard library's method, and then release the
        connection's slot.
        """
        place = self._connection_of(request)
        try:
            if self.tls is not None:
                request.settimeout(REQUEST_S)
                request = self.tls.wrap_socket(
                    request, server_side=True, do_handshake_on_connect=False
                )
                place.sock = request
                request.do_handshake()
            super().process_request_thread(request, client_address)
        except (OSError, ValueError):
            self.shutdown_request(request)
        finally:
            self._forget_connection(place)

    @contextlib.contextmanager
    def answering(self, request: Any) -> Iterator[None]:
        """Protect the connection inside the block, which has received a complete request."""
        place = self._connection_of(request)
        place.busy = True
        try:
            yield
        finally:
            place.busy = False

    def _connection_of(self, request: Any) -> _OpenConnection:
        with self._lock:
            # A connection that has been closed is no longer in the list.
            return next(
                (each for each in self._open if each.sock is request), _OpenConnection(request)
            )

    def _make_room(self) -> bool:
        """Close the oldest connection that is waiting for its client. Return False if the server is
        responding on all connections. The caller holds the lock.
        """
        idle = next((each for each in self._open if not each.busy), None)
        if idle is None:
            return False
        self._open.remove(idle)
        with contextlib.suppress(OSError):
            # Its thread notices this. Under TLS, only that thread may use the connection's state.
            socket.socket.shutdown(idle.sock, socket.SHUT_RDWR)
        return True

    def _forget_connection(self, place: _OpenConnection) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._open.remove(place)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log one line about a failed request, without a traceback: clients disconnect at any time,
        and their input is not trusted.
        """
        self.log("a connection ended with an error")

    def judge(self, body: bytes) -> tuple[HTTPStatus, bytes, str]:
        """Return the response to one ``add-checkpoint`` request: status, body and content type."""
        try:
            request = parse_request(body)
        except NoteError as error:
            return _text_reply(HTTPStatus.BAD_REQUEST, error.message)
        origin = request.head.origin
        key = self.store.key_of(origin)
        if key is None:
            return _text_reply(HTTPStatus.NOT_FOUND, "this witness does not serve this log")
        if not request.note.signed_by(key, self.verify_signature):
            return _text_reply(HTTPStatus.FORBIDDEN, "no signature by the key of this log")
        # Other signatures are dropped, because they were not checked.
        signed = SignedNote(
            request.note.text,
            tuple(
                each
                for each in request.note.signatures
                if each.name == key.name and each.key_id == key.key_id
            ),
        )
        verdict = self.store.judge(
            request.old, request.proof, signed, int(self.clock()), self.cosign
        )
        return self._reply_to(verdict, request)

    def _reply_to(
        self, verdict: WitnessVerdict, request: AddCheckpointRequest
    ) -> tuple[HTTPStatus, bytes, str]:
        if verdict.ruling is WitnessRuling.COSIGNED:
            assert verdict.note is not None
            lines = "".join(f"{each}\n" for each in verdict.note.signatures)
            return HTTPStatus.OK, lines.encode(), "text/plain; charset=utf-8"
        if verdict.ruling is not WitnessRuling.WRONG_OLD_SIZE:
            self.log(
                f"REFUSED a signed head of {counted(request.head.size, 'record')} that does not "
                f"follow from the head of {verdict.size}: {verdict.ruling.value}; stored as "
                "evidence"
            )
        if verdict.ruling is WitnessRuling.BAD_PROOF:
            return _text_reply(HTTPStatus.UNPROCESSABLE_ENTITY, "the proof is not valid")
        return HTTPStatus.CONFLICT, f"{verdict.size}\n".encode(), _SIZE_TYPE


def _text_reply(status: HTTPStatus, words: str) -> tuple[HTTPStatus, bytes, str]:
    return status, f"{words}\n".encode(), "text/plain; charset=utf-8"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: WitnessServer
    protocol_version = "HTTP/1.1"
    server_version = "guardrail-witness"
    sys_version = ""

    def setup(self) -> None:
        self.connection = self.request
        self._timed = _TimedReader(self.connection, 0.0, 0)
        self._allow()
        self.rfile = io.BufferedReader(self._timed)
        self.wfile = _TimedWriter(self._timed, self.connection)

    def _allow(self) -> None:
        self._timed.end = time.monotonic() + REQUEST_S
        self._timed.budget = _MAX_BODY + _MAX_HEAD

    def handle_one_request(self) -> None:
        self._allow()
        try:
            super().handle_one_request()
        except (OSError, OverflowError):
            # The client is too slow, has sent too much or is gone, so it receives no response.
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the method overridden
        """Log nothing, because one line per request would hide the important ones."""

    def do_POST(self) -> None:
        if not self._is_accepted():
            return
        if urlsplit(self.path).path != "/add-checkpoint":
            self._reply(*_text_reply(HTTPStatus.NOT_FOUND, "POST /add-checkpoint"), close=True)
            return
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or "Transfer-Encoding" in self.headers:
            self._reply(
                *_text_reply(
                    HTTPStatus.LENGTH_REQUIRED, "send the length of the body in Content-Length"
                ),
                close=True,
            )
            return
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            self.close_connection = True
            return
        self._reply_with(lambda: self.server.judge(body))

    def do_GET(self) -> None:
        if not self._is_accepted():
            return
        parts = urlsplit(self.path)
        origins = parse_qs(parts.query).get("origin", [])
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            # The body would be parsed as the next request.
            self._reply(*_text_reply(HTTPStatus.BAD_REQUEST, "GET has no body"), close=True)
            return
        if parts.path != "/latest" or len(origins) != 1:
            self._reply(*_text_reply(HTTPStatus.NOT_FOUND, "GET /latest?origin=NAME"))
            return
        self._reply_with(lambda: self._latest(origins[0]))

    def _latest(self, origin: str) -> tuple[HTTPStatus, bytes, str]:
        note = self.server.store.latest(origin)
        if note is None:
            return _text_reply(
                HTTPStatus.NOT_FOUND, "this witness has not cosigned a head of this log"
            )
        return HTTPStatus.OK, note.encode(), "text/plain; charset=utf-8"

    def _reply_with(self, answer: Callable[[], tuple[HTTPStatus, bytes, str]]) -> None:
        with self.server.answering(self.request):
            try:
                made = answer()
            except GuardrailError as error:
                self.server.log(error.message)
                made = _text_reply(HTTPStatus.SERVICE_UNAVAILABLE, "try again later")
            self._reply(*made)

    def _is_accepted(self) -> bool:
        headers = [
            (name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in self.headers.items()
        ]
        rules = replace(_RULES, any_host=self.server.any_host)
        refusal = refusal_of(self.path.encode("latin-1", "replace"), headers, rules)
        if refusal is None:
            return True
        self._reply(*_text_reply(HTTPStatus(refusal.status), refusal.message), close=True)
        return False

    def _reply(self, status: HTTPStatus, body: bytes, kind: str, *, close: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if close:
            self.send_header("Connection", "close")  # this also sets close_connection
        self.end_headers()
        self.wfile.write(body)


class _TimedReader(io.RawIOBase):
    """Reads from a socket until a deadline (``time.monotonic``), up to a number of bytes."""

    def __init__(self, sock: socket.socket, end: float, budget: int) -> None:
        self._sock = sock
        self.end = end
        self.budget = budget

    def readable(self) -> bool:
        """Return True, as ``io.BufferedReader`` requires."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read as ``io.RawIOBase`` does. Raises ``TimeoutError`` after the deadline, and
        ``OverflowError`` above the byte limit.
        """
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        count = self._sock.recv_into(buffer)
        self.budget -= count
        if self.budget < 0:
            raise OverflowError
        return count


class _TimedWriter(io.BufferedIOBase):
    """Writes a response within the remaining time of its request."""

    def __init__(self, timed: _TimedReader, sock: socket.socket) -> None:
        self._timed = timed
        self._sock = sock

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        left = self._timed.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        self._sock.sendall(data)
        return memoryview(data).nbytes
