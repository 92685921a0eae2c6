"""The errors that a lane's requests fail with."""

from __future__ import annotations

from guardrail.errors import PolicyError
from guardrail.policy.embedded.process import WorkerDeath

__all__ = ["closed_error", "dead_error", "full_error", "late_error"]


def closed_error() -> PolicyError:
    """Return the error for a request to a closed engine."""
    return PolicyError("the policy engine is closed", cause="unreachable", detail="closed")


def full_error() -> PolicyError:
    """Return the error for a principal whose queue is full."""
    return PolicyError(
        "too many calls are waiting for the policy", cause="timeout", detail="queue_full"
    )


def late_error() -> PolicyError:
    """Return the error for a request that was not answered before its deadline."""
    return PolicyError(
        "the policy did not decide before the deadline", cause="timeout", detail="deadline"
    )


def dead_error(death: WorkerDeath) -> PolicyError:
    """Return the error for the request that a worker was evaluating when it died."""
    if death.cause == "timeout":
        return PolicyError(
            "the policy took too long to decide this call", cause="timeout", detail=death.detail
        )
    return PolicyError(
        "the policy worker died while deciding this call", cause="crashed", detail=death.detail
    )
