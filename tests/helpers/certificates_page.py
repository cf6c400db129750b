"""The page of certificates: `vdbench check` of every registered estimator, and docs/results/certificates.md of them.

``python tests/helpers/certificates_page.py CHECKS.jsonl [PAGE.md]`` (``make certificates``) goes on where the file of
checks, one JSON line each, ends. A quarter of an hour on one idle core.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from vdbench.certificate import check
from vdbench.estimation.base import Estimator
from vdbench.estimation.options import get, label
from vdbench.estimation.registry import names

VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("antithetic", {"of": "local"}),
    ("latin-hypercube", {"of": "local"}),
    ("samples", {"of": "flipout", "samples": 4}),
    ("score", {"baseline": "leave-one-out", "samples": 4}),
    ("score", {"baseline": "optimal"}),
    ("score", {"baseline": "moving-average"}),
    ("control-variate", {"of": "score", "kind": "delta"}),
)
"""Estimators with other options than their defaults, after all that are registered."""

HEAD = """# Certificates of all estimators

Results of `vdbench check` for every registered estimator, at level small and seed 0, on one thread. Wrappers wrap naive
unless stated otherwise. `make certificates` makes the checks and writes this page.

**Power** is the smallest relative bias that would be found with a probability of 95 %, in the least sensitive layer and
role. Above 0.1 the verdict is INCONCLUSIVE, and **where** names that role; a bias that is declared is measured and not
judged ([below](#estimators-that-declare-a-bias)). **Draws** are the most on one problem. The [zoo](zoo.md) has what the
certificate finds in estimators that are known to be wrong, and how often it accuses right ones.

| estimator | verdict | findings | not applicable | power | where | draws, at most | draws that should settle it \
| processor time |
|---|---|---|---|---|---|---|---|---|
"""

BIASED = """
## Estimators that declare a bias

Relative bias along the exact gradient, in the projection that varies least
([guide](../guide.md#the-certificate-vdbench-check)), the largest of each problem. The interval is adjusted for all
comparisons of the certificate. Without noise the value is exact.

| estimator | problem | layer and role | bias |
|---|---|---|---|
"""


def subjects() -> list[Estimator]:
    """Every registered estimator by default, and the variants."""
    return [*(get(name) for name in names()), *(get(name, **given) for name, given in VARIANTS)]


def one(estimator: Estimator) -> dict[str, Any]:
    """Its certificate as plain data, with its label and processor time."""
    start = time.process_time()
    found = check(estimator).json()
    return {**found, "label": label(estimator), "processor": time.process_time() - start}


def page(checks: Iterable[dict[str, Any]]) -> str:
    """The whole page."""
    rows = list(checks)
    return HEAD + "".join(map(_row, rows)) + BIASED + "".join(map(_biases, rows))


def _row(c: dict[str, Any]) -> str:
    of = [f for f in c["findings"] if f["draws"]]
    cells = [
        c["label"], c["verdict"], len(c["findings"]), sum(f["passed"] is None for f in c["findings"]),
        _power(c), _where(c), f"{max((f['draws'] for f in of), default=0):,}",
        _settle(c), f"{c['processor']:.1f} s",
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |\n"


def _power(c: dict[str, Any]) -> str:
    if c["power"] is None:
        return "–"
    return "exact" if float(c["power"]) < 1e-6 else f"{float(c['power']):.2g}"


def _settle(c: dict[str, Any]) -> str:
    """The draws that should decide it, where draws would."""
    if c["draws"] is not None:
        return f"{c['draws']:,}"
    return "out of reach" if c["verdict"] == "INCONCLUSIVE" else "–"


def _where(c: dict[str, Any]) -> str:
    """The least sensitive place of a certificate that is not decided; what failed of one that did."""
    if c["verdict"] == "FAILED":
        return "; ".join(
            f"{f['test']}, {f['where']}" for f in c["findings"] if f["passed"] is False
        )
    known = [f for f in c["findings"] if f["test"] == "unbiased" and f["power"] is not None]
    if c["verdict"] == "PASSED" or not known:
        return "–"
    return str(max(known, key=lambda f: float(f["power"]))["where"])


def _biases(c: dict[str, Any]) -> str:
    """A line for each problem on which a bias was measured."""
    worst: dict[str, dict[str, Any]] = {}
    for f in c["findings"]:
        if (
            f["test"] == "unbiased"
            and f["note"].startswith("declared biased")
            and f["figure"] is not None
        ):
            at = f["where"].partition(":")[0]
            if at not in worst or abs(float(f["figure"])) > abs(float(worst[at]["figure"])):
                worst[at] = f
    return "".join(
        f"| {c['label']} | {at} | {f['where'].partition(': ')[2]} | {_bias(f)} |\n"
        for at, f in worst.items()
    )


def _bias(f: dict[str, Any]) -> str:
    low, high = f["low"], f["high"]
    if low is None or high is None:
        return f"{float(f['figure']):.3g}, where the exact gradient is 0"
    if float(high) - float(low) < 1e-9:
        return f"{float(f['figure']):.3g} (exact)"
    return f"{float(f['figure']):.3g} [{float(low):.3g}, {float(high):.3g}]"


def read(file: Path) -> dict[str, dict[str, Any]]:
    """Checks that were made, by label."""
    rows = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
    return {row["label"]: row for row in rows}


def main() -> None:
    """Check what was not checked, and write the page after each."""
    torch.set_num_threads(1)
    file, *more = map(Path, sys.argv[1:])
    out = more[0] if more else Path("docs/results/certificates.md")
    every = subjects()
    for estimator in every:
        done = read(file)
        if label(estimator) not in done:
            done[label(estimator)] = one(estimator)
            with file.open("a") as kept:
                kept.write(json.dumps(done[label(estimator)]) + "\n")
        out.write_text(page(done[label(e)] for e in every if label(e) in done))


if __name__ == "__main__":
    main()
