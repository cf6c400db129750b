"""The long form of the gallery's test: ``make gallery`` writes docs/results/gallery.md, in about an hour on one core.

python tests/helpers/gallery_table.py            # all models
python tests/helpers/gallery_table.py lenet lora # some; the others' rows are kept
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gallery_check import (
    COORDINATES,
    OBJECTIVES,
    POWER,
    RANDOM,
    ROLES,
    Found,
    compare,
    directions,
    limit,
    place,
    valid,
)
from gallery_reference import MODELS, SIGMA
from gallery_twins import TWINS, differences, gaps
from scipy.special import ndtri

from estimators.measure_valued import MeasureValued
from vdbench.estimation.base import objective

RATE = 0.001
COMPARISONS = 25_000
"""More than the table makes: the limit of a single one follows from it, whichever models are run."""
LIMIT = limit(COMPARISONS, RATE)
PILOT = 2048

PAIRS = {
    "mlp": 10240,
    "lenet": 5120,
    "resnet": 512,
    "unet": 512,
    "text": 28672,
    "tagger": 9216,
    "transformer": 6144,
    "transformer-sequence-first": 1024,
    "last-layer": 8192,
    "lora": 36864,
    "heteroscedastic": 14336,
}
"""Of estimators that nothing but draws tells of, enough for 0.05 in the scales where that takes minutes; and of the
reference four times as many. Of sequence-first few: the draws are those of batch-first."""
OTHERS = 4
"""By how much fewer of those that are compared on the same noise too, and of score functions."""
MEASURE_VALUED = {
    "tagger": 6,
    "transformer": 24,
    "transformer-sequence-first": 6,
    "last-layer": 8192,
    "heteroscedastic": 512,
    "lora": 192,
}
"""Its pairs; 256 where it is not named."""

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "runs" / "gallery"
PAGE = ROOT / "docs" / "results" / "gallery.md"

INTRODUCTION = """\
`make gallery` writes this page. Ten models, written as their authors write them ([gallery](../gallery/README.md)), are
at reduced width and in float64. The mean gradient of every unbiased estimator is compared with that of a reference in
plain torch: W = μ + σε put into the user's own module, with autograd and a generator of its own. For the objective
`elbo-local-noise` the reference adds √(x²σ²)·ζ to the outputs of the user's own layers by hooks.

- One minibatch a model, σ = {sigma}. Draws are pairs ±ε, of estimators and reference alike.
- Tests are along {directions} random directions in the means, {more} in the scales and {directions} in parameters
  without noise; along the sum of every parameter and the direction of its gradient; along the mixture of these with the
  smallest error; in {coordinates} random weights of networks that measure-valued does not refuse; and of the
  log-likelihood itself.
- {tests} two-sided tests, with the standard errors of both sides. Over the whole page, right results are called wrong
  with probability {rate} at most: |z| must pass {limit}, the limit for {most} tests.
- *Detectable* is the smallest relative bias, the same in all entries of a role, that the most powerful single test
  finds with probability {power}: {limit} + {step} standard errors.
- naive, grouped, per-example, flipout, antithetic, control-variate, samples, sticking-the-landing and deterministic are
  also compared with the reference on the same noise, entry by entry: in `tests/gallery` at reduced width, here at full
  width. There no bias is left to detect, so that they have fewer draws here. (Equal to naive sampling on the same noise
  are samples, whose default is one, and control-variate, once ±ε are averaged.)"""


def measured(name: str) -> dict[str, Any]:
    """All estimators of one model."""
    at = place(name)
    estimators, without = valid(at)
    small = 4 if at.weights > 5000 else 1
    along = directions(at.pilot(PILOT // small), seed=5)
    start = time.perf_counter()
    truths = {of: at.truth(along, 4 * PAIRS[name], of) for of in OBJECTIVES}
    seconds = time.perf_counter() - start
    rows = []
    for estimator in estimators:
        pairs = PAIRS[name]
        if isinstance(estimator, MeasureValued):
            pairs = MEASURE_VALUED.get(name, 256)
        elif estimator.declaration.name in TWINS or not estimator.pathwise:
            pairs //= OTHERS
        truth = truths[objective(estimator, at.problem)]
        rows.append(row(compare(at, along, truth, estimator, pairs)))
        print(name, rows[-1], flush=True)
    return {
        "weights": at.weights,
        "whole": dict(at.problem.behaviour.whole),
        "examples": len(at.batch.inputs),
        "projections": len(along.names),
        "seconds": seconds,
        "rows": rows,
        "without": without,
    }


def full_width(name: str) -> dict[str, Any]:
    """Largest difference from the reference on the same noise, as a share of the parameter's largest entry."""
    at = place(name, "full")
    # with an ε for each of the examples ResNet-18 would take gigabytes
    which = ["naive"] if at.weights > 1_000_000 else list(TWINS)
    found = {}
    for estimator in which:
        assert not gaps(at, estimator)
        each = differences(at, estimator).values()
        found[estimator] = max(gap / size for gap, size in each if size > 0)
    return {"weights": at.weights, "differences": found}


def row(found: Found) -> dict[str, Any]:
    return {
        "estimator": found.estimator,
        "objective": found.objective,
        "pairs": found.got.n,
        **{kind: found.detectable(kind, LIMIT) for kind in (*ROLES, "other")},
        "largest": float(np.nanmax(np.abs(found.z))),
        "wrong": found.wrong(LIMIT),
        "seconds": found.seconds,
    }


def page(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The table, and what it rests on."""
    reduced = [r["reduced"] for r in results.values()]
    count = sum(r["projections"] * len(r["rows"]) for r in reduced)
    assert count <= COMPARISONS
    lines = [
        "# Gallery: mean gradients beside an independent reference",
        "",
        *INTRODUCTION.format(
            directions=RANDOM,
            more=2 * RANDOM,
            coordinates=COORDINATES,
            sigma=SIGMA,
            tests=f"{count:,}",
            rate=RATE,
            limit=f"{LIMIT:.2f}",
            most=f"{COMPARISONS:,}",
            power=POWER,
            step=f"{ndtri(POWER):.3f}",
        ).splitlines(),
        "",
    ]
    for name, both in results.items():
        found, full = both["reduced"], both["full"]["differences"]
        whole = f"; sampled whole: {', '.join(found['whole'])}" if found["whole"] else ""
        lines += [
            f"## {name}",
            "",
            f"{found['weights']:,} noisy weights, M = {found['examples']}{whole}.",
            "",
            "| estimator | objective | pairs | detectable: means | scales | no noise | max \\|z\\| | verdict | s |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for r in found["rows"]:
            verdict = "**differs**" if r["wrong"] else "agrees"
            shares = " | ".join(share(r[kind]) for kind in (*ROLES, "other"))
            lines.append(
                f"| {r['estimator']} | {r['objective']} | {r['pairs']:,} | {shares} | {r['largest']:.1f} | {verdict} | "
                f"{r['seconds']:.0f} |"
            )
        lines.append("")
        lines += [f"- {line}" for r in found["rows"] for line in r["wrong"]]
        by: dict[str, list[str]] = {}
        for estimator, why in found["without"].items():
            by.setdefault(why, []).append(estimator)
        said = [f"{', '.join(who)}: {why.rstrip('.')}" for why, who in by.items()]
        lines += ["Not compared: " + "; ".join(said) + ".", ""]
        lines += [
            f"At full width ({both['full']['weights']:,} noisy weights), on the same noise: {', '.join(full)} differ "
            f"from the reference by {max(full.values()):.1g} of the largest entry at most.",
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def share(x: float) -> str:
    """A relative bias; nothing can be said where it is above 1."""
    if math.isnan(x):
        return "–"
    return "none (> 1)" if x > 1 else f"{x:.2g}"


def kept(name: str) -> dict[str, dict[str, Any]]:
    """What was found before, at both widths."""
    files = {kind: KEPT / f"{name}-{kind}.json" for kind in ("reduced", "full")}
    return {k: json.loads(f.read_text(encoding="utf-8")) for k, f in files.items() if f.exists()}


def main() -> int:
    torch.set_num_threads(1)
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or list(MODELS):
        for kind, measure in (("reduced", measured), ("full", full_width)):
            text = json.dumps(measure(name), indent=1)
            (KEPT / f"{name}-{kind}.json").write_text(text, encoding="utf-8")
    results = {name: found for name in MODELS if len(found := kept(name)) == 2}
    PAGE.write_text(page(results), encoding="utf-8", newline="\n")
    return int(any(r["wrong"] for both in results.values() for r in both["reduced"]["rows"]))


if __name__ == "__main__":
    sys.exit(main())
