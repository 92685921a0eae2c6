"""The promise tests borrow the faulty disk of the tests of the ledger."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "ledger"))
