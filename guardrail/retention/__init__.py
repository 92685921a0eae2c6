"""Retention of records: segments, archives, pruning and holds. Also finds due work, and records
that were stored too long or deleted too early.
"""
