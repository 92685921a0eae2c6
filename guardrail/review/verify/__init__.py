"""Verifies a ledger or an export, and reports what is proved, the limits of the proof, and the
first bad record.
"""

from __future__ import annotations

from guardrail.review.verify.copy import signers_in, verify_copy
from guardrail.review.verify.export import verify_export
from guardrail.review.verify.judge import taken_over
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
from guardrail.review.verify.segment import SegmentRecords, read_segment_records, verify_segment

__all__ = [
    "HeadError",
    "OutsideHead",
    "Progress",
    "SegmentRecords",
    "VerifyReport",
    "VerifyState",
    "load_heads",
    "load_key",
    "read_segment_records",
    "readable",
    "signers_in",
    "taken_over",
    "verify_copy",
    "verify_export",
    "verify_ledger",
    "verify_segment",
]
