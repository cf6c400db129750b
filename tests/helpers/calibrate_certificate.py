"""How often a certificate accuses a correct estimator: many small checks in one process, each with its own seed.

``python tests/estimators/calibrate_certificate.py [RUNS] [FIRST_SEED]`` checks correct estimators in turn, RUNS in all,
and prints how many were accused of what. Of 1,000 checks at most 5 may accuse: with a rate of 0.001, 6 or more have a
probability of 0.0006. The nominal rate is 8e-6 (`vdbench.certificate.two_looks`). The zoo has more, odd ones too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from vdbench.certificate import Certificate, check
from vdbench.estimation.options import get

CORRECT = [
    get("naive"),
    get("local"),
    get("flipout"),
    get("per-example"),
    get("grouped"),
    get("score"),
    get("score", samples=4, baseline="leave-one-out"),
    get("antithetic", of="local"),
]
"""Pathwise and score functions, light tails and heavy ones."""


def runs(count: int, first: int = 0, draws: int | None = None) -> Iterator[Certificate]:
    """Small checks of correct estimators, in turn, at seeds of their own."""
    for k in range(first, first + count):
        yield check(CORRECT[k % len(CORRECT)], seed=k, draws=draws)


def main() -> None:
    """Count the accusations, and print them as they come."""
    count, first = (int(x) for x in [*sys.argv[1:], "1000", "0"][:2])
    accused, start = 0, time.process_time()
    for k, found in enumerate(runs(count, first), 1):
        accused += found.verdict == "FAILED"
        for finding in found.failed:
            print(f"seed {first + k - 1}: {found.subject}: {finding}", flush=True)
        if k % 20 == 0 or k == count:
            spent = time.process_time() - start
            print(f"{accused} of {k} accused, {spent:.0f} s of processor time", flush=True)


if __name__ == "__main__":
    main()
