"""``guardrail bench``: measures the cost of a governed call on this machine, in disk syncs.

A governed call waits for two syncs, because its decision is durable before the tool runs, and its
outcome is durable before the caller gets the result. The time of a sync differs between disks by a
factor of a hundred, but the ratio of a call to two syncs is nearly constant.
"""
