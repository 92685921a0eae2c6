"""The crash tests drive the same processes as the tests of the ledger."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "ledger"))
