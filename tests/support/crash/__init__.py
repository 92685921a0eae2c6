"""A ledger in a crash: recorded sequences, the disks that a power loss leaves, injected faults, and
the judge.
"""
