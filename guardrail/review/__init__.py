"""The reading side: what happened, who did it, why it was decided so. Reads records; runs and writes nothing (P9).

Nothing here imports ``guardrail.guard`` or an integration, so no tool can be reached from it. Every value that comes
out of a record is hostile text: it leaves this package as data, and reaches a terminal only through
``guardrail.review.terminal``.
"""
