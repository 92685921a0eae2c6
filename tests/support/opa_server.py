"""Shared by the tests of the server engine: a real OPA, a server of bundles, keys, and a server
that lies.
"""

from __future__ import annotations

import hashlib
import http.server
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from guardrail.authoring.bundle import make_bundle
from guardrail.config import OpaSection
from guardrail.keys.bundle_key import bundle_signer
from guardrail.policy.opa.bundle import BundleSigner
from guardrail.policy.opa.engine import OpaEngine
from guardrail.policy.sources import installed_folder, load_policies
from guardrail.testing import allow
from tests.support.waiting import PATIENCE

STARTER = installed_folder() / "starter"


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Opa:
    """A real OPA server. Its log goes to a file: a pipe that nobody reads would block it."""

    def __init__(
        self, program: Path, folder: Path, address: str, *arguments: str, cwd: Path | None = None
    ) -> None:
        self.address = address
        self._cwd = cwd
        self.log = folder / "opa.log"
        self._command = [str(program), "run", "--server", "--addr", address, "--log-format", "json"]
        self._command += arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.address if "://" in self.address else f"http://{self.address}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self._cwd
            )

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def pause(self, *, go_on: bool = False) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT if go_on else signal.SIGSTOP)


@contextmanager
def served(program: Path, folder: Path, *arguments: str, address: str = "") -> Iterator[Opa]:
    """Run a real OPA on a free loopback port, and end it."""
    server = Opa(program, folder, address or f"127.0.0.1:{free_port()}", *arguments)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def section(url: str, **settings: Any) -> OpaSection:
    """Return settings for tests: a server is looked at often."""
    return OpaSection(
        url=url, **{"watch_interval_ms": 200, "start_limit_ms": int(PATIENCE * 1000)} | settings
    )


@contextmanager
def engine(url: str, policies: Sequence[Path] | Path = (), **settings: Any) -> Iterator[OpaEngine]:
    """Connect to the server at *url*, which must serve *policies*, and close."""
    paths = [policies] if isinstance(policies, Path) else list(policies)
    local = load_policies(paths) if paths else None
    connected = OpaEngine.connect(section(url, **settings), local=local)
    try:
        yield connected
    finally:
        connected.close()


def bundle_file(
    path: Path, policies: Sequence[Path], *, key: Path | None = None, key_id: str = ""
) -> tuple[Path, str]:
    """Write the bundle of *policies* to *path*; return the path and the revision."""
    signer = None if key is None else BundleSigner("RS256", bundle_signer(key, "RS256"), key_id)
    made = make_bundle(policies, signer=signer)
    path.write_bytes(made.content)
    return path, made.revision


# -- keys
# --------------------------------------------------------------------------------------------------


def rsa_key(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a signing key; return the files of its halves."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    write_private(private, key)
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


def write_private(path: Path, key: Any) -> None:
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    path.chmod(0o600)


@dataclass(frozen=True)
class Certificates:
    """A certificate authority, and a certificate of it for a server on loopback and for a
    client.
    """

    ca: Path
    cert: Path
    key: Path


def certificates(folder: Path) -> Certificates:
    """Make them; valid for an hour."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])

    def issue(subject: x509.Name, public: Any, *extensions: tuple[Any, bool]) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    import ipaddress

    folder.mkdir(exist_ok=True)
    made = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    made.ca.write_bytes(
        issue(
            ca_name, ca_key.public_key(), (x509.BasicConstraints(ca=True, path_length=None), True)
        )
    )
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    made.cert.write_bytes(issue(name, key.public_key(), (names, False)))
    write_private(made.key, key)
    return made


# -- a server of bundles
# ------------------------------------------------------------------------------------------------


class BundleServer:
    """Serves one bundle, which can be replaced at any time."""

    def __init__(self) -> None:
        self.content = b""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = outer.content
                tag = f'"{hashlib.sha256(content).hexdigest()}"'
                self.send_response(304 if self.headers.get("If-None-Match") == tag else 200)
                self.send_header("ETag", tag)
                if self.headers.get("If-None-Match") == tag:
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_header("Content-Type", "application/gzip")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def arguments(self, *, key: Path | None = None) -> list[str]:
        """Return OPA's arguments that make it load the bundle, every second."""
        values = [
            f"services.here.url=http://127.0.0.1:{self.port}",
            "bundles.guardrail.service=here",
            "bundles.guardrail.resource=bundle.tar.gz",
            "bundles.guardrail.polling.min_delay_seconds=1",
            "bundles.guardrail.polling.max_delay_seconds=1",
            "status.console=true",
        ]
        arguments = [part for value in values for part in ("--set", value)]
        if key is not None:
            arguments += ["--set", "bundles.guardrail.signing.keyid=main"]
            arguments += ["--set", "keys.main.algorithm=RS256"]
            arguments += ["--set-file", f"keys.main.key={key}"]
        return arguments

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


# -- a server that lies
# -------------------------------------------------------------------------------------------------

REVISION = "5" * 64
ECHO = "e" * 32
"""Stands in prepared replies for what the request carried: a fake server puts that there as it
sends.
"""
Behaviour = Callable[[socket.socket], None]


def answer(document: Any = None, **more: Any) -> dict[str, Any]:
    """Return the body of a good reply; *more* replaces keys."""
    return {
        "result": {"decision": allow() if document is None else document, "echo": ECHO},
        "provenance": {"version": "1.0.0", "bundles": {"b": {"revision": REVISION}}},
    } | more


def http_reply(body: bytes, *, status: str = "200 OK", headers: Sequence[str] = ()) -> bytes:
    """Return a whole HTTP reply."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers]
    if not any(
        line.lower().startswith(("content-length", "transfer-encoding")) for line in headers
    ):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Line:
    """The server's end of a connection, on which prepared replies become answers to the request
    that came last.
    """

    sock: socket.socket
    echo: bytes = b""

    def sendall(self, data: bytes) -> None:
        self.sock.sendall(data.replace(ECHO.encode(), self.echo))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


@dataclass
class FakeServer:
    """Answers looks at it as a good server does, and decisions in whatever way ``behave`` says."""

    behave: Behaviour | None = None
    """What to do with a request for a decision; None for a good answer."""
    tls: ssl.SSLContext | None = None
    greet: Behaviour | None = None
    """What to do with a new connection instead of reading a request."""
    well: bool = True
    """What the health check says."""
    asked: list[bytes] = field(default_factory=list)
    """Every request for a decision."""

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self.let_go = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.let_go.set()
        self._listener.close()
        for sock in self._open:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self.greet is not None:
                self.greet(sock)
                return
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
                self._open.append(sock)
            stream = sock.makefile("rb")
            line = Line(sock)
            while request := self._request(stream):
                line.echo = request.partition(b'"echo":"')[2][:32]
                asks = (b" /v1/data/guardrail/main/answer?", b" /v1/data/guardrail/main/listed?")
                decides = any(path in request.split(b"\r\n")[0] for path in asks)
                look = b'"someone"' in request
                if decides and not look:
                    self.asked.append(request)
                if decides and not look and self.behave is not None:
                    self.behave(line)  # type: ignore[arg-type]  # a socket that fills in the echo
                elif decides:
                    line.sendall(http_reply(orjson.dumps(answer())))
                elif b" /health" in request.split(b"\r\n")[0] and self.well:
                    sock.sendall(http_reply(b"{}"))
                else:
                    sock.sendall(http_reply(b"{}", status="500 Internal Server Error"))
        except (OSError, ValueError):
            pass
        finally:
            sock.close()

    @staticmethod
    def _request(stream: Any) -> bytes:
        head = b""
        length = 0
        while line := stream.readline():
            head += line
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
            if line == b"\r\n":
                break
        return head + (stream.read(length) if length else b"")


@contextmanager
def fake(**settings: Any) -> Iterator[FakeServer]:
    """Run a server that lies."""
    server = FakeServer(**settings)
    try:
        yield server
    finally:
        server.close()
