"""What verified tokens cost: python -m tests.bench.bench_identity

Sessions of an asserted caller and of a token alternate, so that a busy machine hits both. The unit
of the ratios is the processor's own RSA verification of one signature, measured in the same run: a
new token can't cost less.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from guardrail import Guard
from guardrail.config import Settings
from guardrail.identity.tokens import TokenVerifier
from guardrail.testing import StaticPolicy, allow, memory_guard
from tests.support.benchmarks import QUICK, judge
from tests.support.tokens import NOW, jwk, key_set, private_key, settings_for, token

ROUNDS = 3 if QUICK else 15
CALLS = 50 if QUICK else 500
TOKENS = 20 if QUICK else 100


def microseconds(run: Callable[[], object], number: int) -> float:
    """Return the mean time of *run*."""
    return timeit.timeit(run, number=number) / number * 1e6


def raw_verification() -> float:
    """Return the time of one RSA verification, without anything around it."""
    key = private_key("RS256")
    signature = key.sign(b"x" * 400, padding.PKCS1v15(), SHA256())
    public = key.public_key()

    def check() -> None:
        public.verify(signature, b"x" * 400, padding.PKCS1v15(), SHA256())

    return min(microseconds(check, 100) for _ in range(ROUNDS))


def caller_time(guard: Guard, **who: str) -> float:
    """Return the time in which a call opens its session and finds its caller, as in a web
    application. The other steps of a call do not depend on how the caller was identified.
    """

    def find() -> None:
        with guard.session(**who):  # type: ignore[arg-type]
            assert guard.calls.callers.find(None).refusal() == ""

    return microseconds(find, CALLS)


def added(guard: Guard) -> float:
    """Return the median time that a cached token adds to a call."""
    text = token(algorithm="RS256", exp=NOW + 1_000_000)
    times = []
    for _ in range(ROUNDS):
        asserted = caller_time(guard, principal="alice@example.com")
        times.append(caller_time(guard, token=text) - asserted)
    return statistics.median(times)


def new_tokens(settings: Settings, algorithm: str) -> float:
    """Return the median time of the verification of a token that was never seen."""
    texts = [token(kid=algorithm, algorithm=algorithm, jti=str(n)) for n in range(TOKENS)]
    taken = []
    for _ in range(ROUNDS):
        verifier = TokenVerifier(settings, lambda: float(NOW))
        verifier.verify(texts[0], wait=0)
        began = time.perf_counter()
        for text in texts[1:]:
            verifier.verify(text, wait=0)
        taken.append((time.perf_counter() - began) / (TOKENS - 1) * 1e6)
    return statistics.median(taken)


def main() -> None:
    """Print one line per figure."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jwks.json"
        names = ("RS256", "ES256", "EdDSA")
        path.write_text(key_set(jwk(algorithm="RS256"), *(jwk(n, algorithm=n) for n in names)))
        settings = settings_for(path, require="asserted")
        unit = raw_verification()
        print(f"one RSA verification {unit:.1f} us")
        guard, _ = memory_guard(StaticPolicy(allow()), settings=settings)
        cached = added(guard)
        print(judge("added to a call by a cached token", cached, most=15, unit="us"))
        print(judge("  relative to one RSA verification", cached / unit, unit="x"))
        for name in names:
            taken = new_tokens(settings, name)
            print(judge(f"a new token, {name}", taken, most=300, unit="us"))
            print(judge("  relative to one RSA verification", taken / unit, unit="x"))


if __name__ == "__main__":
    main()
