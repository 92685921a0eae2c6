"""The reading side: shows each call, its caller, and the reason for its decision. It only reads
records: it does not run tools and does not write (P9).

No module in this package imports ``guardrail.guard`` or an integration, so no tool can be reached
from it. Every value in a record is hostile text. Such text leaves this package as data, and reaches
a terminal only through ``guardrail.review.terminal``.
"""
