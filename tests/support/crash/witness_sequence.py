"""A witness at work, to be recorded: a program for disks.py. What it cosigned is said once that
could have left.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardrail.anchors.witness.store import WitnessRuling, WitnessStore
from guardrail.keys.anchor_keys import WitnessKey
from tests.support.anchors import Log

KEY = WitnessKey("w.example/1", Ed25519PrivateKey.from_private_bytes(b"w" * 32))
HEADS = 24
LOG = Log().grow(HEADS)


def cosign(store: WitnessStore, log: Log, old: int, size: int) -> bool:
    """Ask for one head; tell whether it was cosigned."""
    proof = log.prove(old, size) if 0 < old < size else []
    verdict = store.judge(old, proof, log.note(size), 1_700_000_000 + size, KEY.cosign)
    return verdict.ruling is WitnessRuling.COSIGNED


def main() -> None:
    """Make a witness, or let one cosign a head after the other."""
    what, db, recording = sys.argv[1:]
    with os.fdopen(os.open(recording, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab", 0) as log:
        if what == "make":
            with WitnessStore.create(Path(db), KEY.key) as store:
                store.add(LOG.key)
            return
        with WitnessStore.open(Path(db), KEY.key) as store:
            if os.environ.get("GR_SYNCHRONOUS") == "NORMAL":
                store._connection.execute("PRAGMA synchronous = NORMAL")
            for size in range(1, HEADS + 1):
                assert cosign(store, LOG, size - 1, size)
                log.write(b"A" + struct.pack("<QQII", 0, size, 0, 0))


if __name__ == "__main__":
    main()
