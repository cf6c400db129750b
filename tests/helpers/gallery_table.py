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
from vdbench.estimation.registry import names

RATE = 0.002
COMPARISONS = 50_000
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
`make gallery` writes this page. {networks} networks, written as their authors write them
([gallery](../gallery/README.md)), are at reduced width and in float64; with one that is written in two ways these are
{models} models, a section each. Of {registered} registered estimators, the mean gradients of {compared} are compared
on at least one of them with those of a reference in plain torch: W = μ + σε put into the user's own module, with
autograd and a generator of its own. For the objective `elbo-local-noise` the reference adds √(x²σ²)·ζ to the outputs of
the user's layers by hooks. Every section names the estimators that are not compared there, and why.

{counts}

- One minibatch a model, σ = {sigma}. Draws are pairs ±ε, of estimators and reference alike.
- Tests are along {directions} random directions in the means, {more} in the scales and {directions} in parameters
  without noise; along the sum of every parameter and the direction of its gradient; along the mixture of these with the
  smallest error; in {coordinates} random weights of networks that measure-valued does not refuse; and of the
  log-likelihood itself.
- {tests} two-sided tests, with the standard errors of both sides. Over the whole page, right results are called wrong
  with probability {rate} at most: |z| must pass {limit}, the limit for {most} tests.
- *Detectable* is the smallest relative bias, the same in all entries of a role, that the most powerful single test
  finds with probability {power}: {limit} + {step} standard errors. *{blind}*: nothing differs, but in a role that is
  named even a gradient of 0 would have been found with a smaller probability.
- {twins} are also compared with the reference on the same noise, entry by entry: in `tests/gallery` at reduced width;
  at full width those that each section names. There no bias is left to detect, so that they have fewer draws here.
  (Equal to naive sampling on the same noise are samples, whose default is one, and control-variate, once ±ε are
  averaged.)"""
AGREES, BLIND, DIFFERS = "agrees", "agrees, but no bias up to 100 % could be seen", "**differs**"
"""Verdicts on an estimator on a model."""
LARGEST = 1_000_000
"""Noisy weights with which there is no room for an ε for each of the examples: ResNet-18 would take gigabytes."""
SHOWN = {"mean": "means", "log_variance": "scales", "other": "no noise"}
"""Headings of the columns of roles."""


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
    which = ["naive"] if at.weights > LARGEST else list(TWINS)
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
    reduced = [both["reduced"] for both in results.values()]
    rows = [r for found in reduced for r in found["rows"]]
    count = sum(found["projections"] * len(found["rows"]) for found in reduced)
    assert count <= COMPARISONS
    lines = [
        "# Gallery: mean gradients beside an independent reference",
        "",
        *INTRODUCTION.format(
            networks=len({MODELS[name].file for name in results}),
            models=len(results),
            registered=len(names()),
            compared=len({base(r) for r in rows} & set(names())),
            counts=counted(rows),
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
            blind=BLIND,
            twins=listed(list(TWINS)),
        ).splitlines(),
        "",
    ]
    for name, both in results.items():
        lines += section(name, both["reduced"], both["full"])
    return "\n".join(lines).rstrip() + "\n"


def section(name: str, found: dict[str, Any], full: dict[str, Any]) -> list[str]:
    """One model: its table, who is not in it, and the comparison at full width."""
    whole = f"; sampled whole: {', '.join(found['whole'])}" if found["whole"] else ""
    columns = " | ".join(SHOWN.values())
    lines = [
        f"## {name}",
        "",
        f"{found['weights']:,} noisy weights, M = {found['examples']}{whole}.",
        "",
        f"| estimator | objective | pairs | detectable: {columns} | max \\|z\\| | verdict | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in found["rows"]:
        shares = " | ".join(share(r[kind]) for kind in SHOWN)
        lines.append(
            f"| {r['estimator']} | {r['objective']} | {r['pairs']:,} | {shares} | {r['largest']:.1f} | {verdict(r)} | "
            f"{r['seconds']:.0f} |"
        )
    lines.append("")
    lines += [f"- {line}" for r in found["rows"] for line in r["wrong"]]
    same = list(full["differences"])
    rest = [twin for twin in TWINS if twin not in same]
    why = " (noise for each example would take gigabytes)" if full["weights"] > LARGEST else ""
    left = f" Not compared in this way: {', '.join(rest)}{why}." if rest else ""
    return [
        *lines,
        f"Not compared: {not_compared(found)}.",
        "",
        f"At full width ({full['weights']:,} noisy weights), on the same noise: {listed(same)} "
        f"{'differs' if len(same) == 1 else 'differ'} from the reference by {max(full['differences'].values()):.1g} of "
        f"the largest entry at most.{left}",
        "",
    ]


def not_compared(found: dict[str, Any]) -> str:
    """Every registered estimator without a row, by the reason."""
    tried = {base(r) for r in found["rows"]}
    by: dict[str, list[str]] = {}
    for estimator in sorted((set(names()) | set(found["without"])) - tried):
        why = found["without"].get(estimator, "no draws were made for this page")
        by.setdefault(why.rstrip("."), []).append(estimator)
    return "; ".join(f"{', '.join(who)}: {why}" for why, who in by.items())


def unseen(r: dict[str, Any]) -> list[str]:
    """Roles in which no bias up to 100 % would have been found."""
    return [said for kind, said in SHOWN.items() if r[kind] > 1]


def verdict(r: dict[str, Any]) -> str:
    """What the tests say of one row."""
    if r["wrong"]:
        return DIFFERS
    return f"{BLIND}: {', '.join(unseen(r))}" if unseen(r) else AGREES


def counted(rows: list[dict[str, Any]]) -> str:
    """How many rows have each verdict."""
    wrong = sum(bool(r["wrong"]) for r in rows)
    blind = sum(not r["wrong"] and bool(unseen(r)) for r in rows)
    return (
        f"Of {len(rows)} comparisons of an estimator on a model, {wrong} differ and {len(rows) - wrong} do not. Of "
        f"these, {blind} agree without power in one of the roles: no bias up to 100 % could be seen there."
    )


def base(r: dict[str, Any]) -> str:
    """The registered name of a row's estimator."""
    return str(r["estimator"]).partition("(")[0]


def listed(them: list[str]) -> str:
    """Names as words."""
    return them[0] if len(them) == 1 else f"{', '.join(them[:-1])} and {them[-1]}"


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
