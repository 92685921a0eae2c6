"""``guardrail bench``: the cost of a governed call on this machine, in syncs of its disk.

A governed call waits for two syncs, because its decision is durable before the tool runs, and its
outcome is durable before the caller gets the result. A sync's time differs between disks by a
factor of a hundred; the ratio of a call to two syncs differs little.
"""
