"""The reading side: shows each call, its caller, and the reason for its decision. It reads records;
it runs and writes nothing (P9).

Nothing here imports ``guardrail.guard`` or an integration, so no tool can be reached from it. Every
value that comes out of a record is hostile text: it leaves this package as data, and reaches a
terminal only through ``guardrail.review.terminal``.
"""
