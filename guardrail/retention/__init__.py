"""Retention of records: segments, archives, pruning and holds. Also finds due work, and records
kept too long or not long enough.
"""
