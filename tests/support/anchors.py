"""A log without a ledger, to anchor: leaves, heads, proofs; and servers that answer whatever a test
wants.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardrail.anchors.witness.server import WitnessServer
from guardrail.anchors.witness.store import WitnessStore
from guardrail.core.log.checkpoint import Checkpoint, NoteKey, SignedNote
from guardrail.core.log.merkle import consistency_proof, range_root
from guardrail.keys.anchor_keys import WitnessKey
from guardrail.keys.log_key import verify_signature

ORIGIN = "host/audit"

__all__ = ["ORIGIN", "Log", "answering", "reply", "serving", "verify_signature", "witness"]


class Log:
    """A log in memory."""

    def __init__(
        self, origin: str = ORIGIN, *, seed: bytes = b"k" * 32, leaves: list[bytes] | None = None
    ) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = NoteKey(origin, self.private.public_key().public_bytes_raw())
        self.leaves = list(leaves or [])

    def grow(self, count: int, salt: str = "") -> Log:
        """Add leaves; another *salt* gives another history."""
        start = len(self.leaves)
        texts = [f"{salt}{number}" for number in range(start, start + count)]
        # At once: a thread that looks meanwhile sees none of them or all.
        self.leaves += [hashlib.sha256(b"\0" + text.encode()).digest() for text in texts]
        return self

    def fork(self, size: int) -> Log:
        """Return a log with the same key and the same beginning."""
        made = Log(self.key.name, leaves=self.leaves[:size])
        made.private, made.key = self.private, self.key
        return made

    def node(self, level: int, index: int) -> bytes:
        """The root of a perfect subtree."""
        if level == 0:
            return self.leaves[index]
        left, right = self.node(level - 1, 2 * index), self.node(level - 1, 2 * index + 1)
        return hashlib.sha256(b"\1" + left + right).digest()

    def head(self, size: int | None = None) -> Checkpoint:
        """The checkpoint over the first *size* leaves."""
        size = len(self.leaves) if size is None else size
        return Checkpoint(self.key.name, size, range_root(0, size, self.node))

    def note(self, size: int | None = None) -> SignedNote:
        """The signed head over the first *size* leaves."""
        return SignedNote.sign(self.head(size).text, self.key, self.private.sign)

    def prove(self, first: int, size: int) -> list[bytes]:
        """The consistency proof."""
        return consistency_proof(first, size, self.node)


@contextlib.contextmanager
def witness(folder: Path, *logs: Log, name: str = "w.example/1") -> Iterator[WitnessServer]:
    """A witness that knows *logs*, serving on a free port of loopback."""
    key_folder = folder / "witness.keys"
    key = (
        WitnessKey.load(key_folder) if key_folder.exists() else WitnessKey.create(key_folder, name)
    )
    db = folder / "witness.db"
    store = WitnessStore.open(db, key.key) if db.exists() else WitnessStore.create(db, key.key)
    for log in logs:
        store.add(log.key)
    server = WitnessServer(
        ("127.0.0.1", 0), store=store, cosign=key.cosign, verify=verify_signature
    )
    server.key = key.key  # type: ignore[attr-defined]
    with serving(server):
        yield server
    store.close()


@contextlib.contextmanager
def serving(server: WitnessServer) -> Iterator[None]:
    """Serve in a thread."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server on loopback that gives each connection, its request read, to *answer*; yields its
    URL.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock, contextlib.suppress(OSError):
                sock.settimeout(10)
                _read_request(sock)
                answer(sock)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)


def _read_request(sock: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            return
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            while len(body) < int(value):
                body += sock.recv(65536)


def reply(status: str, body: bytes, kind: str = "text/plain") -> Callable[[socket.socket], None]:
    """An answer of this status and body."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return lambda sock: sock.sendall(head.encode() + body)
