"""Verify a ledger or an export: what is proved, what is not, and the first record that is not as it must be."""

from __future__ import annotations

from guardrail.review.verify.export import verify_export
from guardrail.review.verify.ledger import verify_ledger
from guardrail.review.verify.outside import load_heads, load_key
from guardrail.review.verify.reading import readable
from guardrail.review.verify.report import (
    HeadError,
    OutsideHead,
    Progress,
    VerifyReport,
    VerifyState,
)

__all__ = [
    "HeadError",
    "OutsideHead",
    "Progress",
    "VerifyReport",
    "VerifyState",
    "load_heads",
    "load_key",
    "readable",
    "verify_export",
    "verify_ledger",
]
