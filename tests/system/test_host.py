"""The name of this machine."""

from __future__ import annotations

import socket

from guardrail.system.host import host_name


def test_the_name_is_the_one_that_the_machine_says() -> None:
    """It stands in records, in leases and in the names of logs."""
    assert host_name() == socket.gethostname() != ""
