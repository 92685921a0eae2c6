"""Retention of records: segments, archives, pruning and holds; finds due work, and records kept too
long or too short.
"""
