"""Retention of records: segments, archives, pruning and holds. Also finds work that is due, and
records that were kept too long or deleted too early.
"""
