"""The user at the other end of a loopback connection: as the kernel says, or nobody."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from guardrail.system.socket_owner import socket_user
from tests.support.other_users import needs_root
from tests.support.waiting import PATIENCE

CONNECT = """
import encodings.idna, os, socket, sys
if sys.argv[2] != "-":
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print(flush=True)
input()
"""


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_the_user_of_a_connection_is_found(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as server:
        try:
            server.bind((host, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        server.listen()
        at = server.getsockname()[:2]
        with socket.create_connection(at) as client:
            assert socket_user(client.getsockname()[:2], at) == os.getuid()
            client.shutdown(socket.SHUT_WR)
            assert socket_user(client.getsockname()[:2], at) == os.getuid()
            assert socket_user(at, at) is None


def test_ipv4_inside_ipv6_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        at = server.getsockname()
        with socket.socket(socket.AF_INET6) as client:
            try:
                client.connect(("::ffff:127.0.0.1", at[1]))
            except OSError:
                pytest.skip("this machine has no IPv6")
            assert socket_user(("127.0.0.1", client.getsockname()[1]), at) == os.getuid()


def test_a_socket_that_its_process_has_closed_belongs_to_nobody() -> None:
    """The kernel shows it as one of user 0, which it is not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        at = server.getsockname()
        client = socket.create_connection(at)
        here = client.getsockname()
        accepted, _ = server.accept()
        client.close()
        with accepted:
            assert socket_user(here, at) is None


@needs_root
@pytest.mark.parametrize("user", [12345, 0])
def test_another_user_is_told_from_this_one(user: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        at = server.getsockname()
        command = [sys.executable, "-c", CONNECT, str(at[1]), str(user)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "\n"
            accepted, client = server.accept()
            with accepted:
                assert socket_user(client, at) == user
            program.communicate("\n")


LINE = "   0: 0100007F:0001 0100007F:0002 {state} 0:0 00:0 0 {user} 0 {inode} 1 x 20 4 30 10 -1\n"


@pytest.mark.parametrize(
    ("state", "user", "inode", "found"),
    [
        ("01", "1000", "7", 1000),
        ("01", "0", "7", 0),
        ("01", "0", "0", None),
        ("06", "0", "7", None),
        ("02", "1000", "7", None),
        ("0A", "1000", "7", None),
        ("01", "x", "7", None),
    ],
)
def test_a_row_counts_only_if_a_process_holds_the_socket(
    tmp_path: Path, state: str, user: str, inode: str, found: int | None
) -> None:
    (tmp_path / "tcp").write_text("head\n" + LINE.format(state=state, user=user, inode=inode))
    ends = ("127.0.0.1", 1), ("127.0.0.1", 2)
    assert socket_user(*ends, tables=tmp_path) == found
    assert socket_user(*reversed(ends), tables=tmp_path) is None


def test_without_the_kernels_table_nobody_is_known(tmp_path: Path) -> None:
    assert socket_user(("127.0.0.1", 1), ("127.0.0.1", 2), tables=tmp_path) is None
