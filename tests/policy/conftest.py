"""Settings for tests that use the engine inside the test process."""

from __future__ import annotations

import os

# Read by the engine when it first raises: a stack trace costs 150 ms.
os.environ.setdefault("RUST_BACKTRACE", "0")
