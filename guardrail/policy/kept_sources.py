"""Converts between loaded policies and the files in which they are kept next to the ledger."""

from __future__ import annotations

import hashlib

from guardrail.errors import Finding, PolicyLoadError
from guardrail.policy.source_bytes import from_bytes, to_bytes
from guardrail.policy.sources import INSTALLED, ModuleSource, PolicySet

__all__ = ["NO_DATA", "data_bytes", "module_bytes", "restore"]

NO_DATA = b"{}"
"""The data document of policies without data."""


def module_bytes(policies: PolicySet) -> bytes:
    """Return the modules of *policies* as bytes whose SHA-256 is ``policies.digest``. Tests are not
    included.
    """
    return to_bytes((source.key, source.text) for source in policies.modules)


def data_bytes(policies: PolicySet) -> bytes:
    """Return the data of *policies* as bytes whose SHA-256 is ``policies.data_digest``."""
    return policies.data.encode("utf-8", "surrogatepass")


def restore(modules: bytes, data: bytes) -> PolicySet:
    """Return the policies from which *modules* and *data* were made.

    Each module's name is its key, and there are no tests. Raises ``PolicyLoadError`` if the bytes
    are not in this format.
    """
    try:
        parts = from_bytes(modules)
        text = data.decode("utf-8", "surrogatepass")
    except ValueError as error:
        finding = Finding("-", 0, "kept", f"it is not a stored policy file: {error}")
        raise PolicyLoadError([finding]) from None
    return PolicySet(
        modules=tuple(
            ModuleSource(name=key, key=key, text=text, installed=key.startswith(INSTALLED))
            for key, text in parts
        ),
        tests=(),
        data=text,
        digest=hashlib.sha256(modules).hexdigest(),
        data_digest=hashlib.sha256(data).hexdigest(),
    )
