"""Is the noise of different examples independent, at the sizes of the minibatch in use?

A few examples are repeated until they fill a minibatch. Data and mean stay the same, and where the noise of examples is
independent the noise variance of the gradient falls exactly as the number of repetitions rises. A table of noise that
is used again, or one number for several examples, keeps it higher.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from vdbench.certificate.two_looks import Sample
from vdbench.estimation.base import Estimator
from vdbench.estimation.draws import gradients, trace
from vdbench.noise import Key
from vdbench.problems.problem import Batch, Group, Parameters, Problem

Rows = NDArray[np.float64]


def repetitions(few: int, examples: int) -> tuple[int, ...]:
    """How often a few examples are repeated: to about the minibatch's size, and to the size between the two."""
    most = max(1, examples // few)
    return tuple(sorted({t for t in (round(math.sqrt(most)), most) if t > 1}))


def samples(
    estimator: Estimator,
    problem: Problem,
    parameters: Parameters,
    batch: Batch,
    times: int,
    key: Key,
    state: object,
    pairs: int,
) -> list[Sample]:
    """For each layer and role the share of the noise variance that does not fall with the minibatch, a row a pair.

    Args:
        estimator: Whose noise is measured.
        problem: Where.
        parameters: At which parameters.
        batch: A few examples.
        times: How often they are repeated.
        key: Address of the noise.
        state: What the estimator was fitted to.
        pairs: Pairs of draws at each of the two sizes.
    """
    long = Batch(*(torch.cat([t] * times) for t in batch))
    where = (estimator, problem, parameters)
    short_rows = _noise(*where, batch, key / "few", state, pairs)
    long_rows = _noise(*where, long, key / "many", state, pairs)
    found = []
    for group, short in short_rows.items():
        size = float(short.mean())
        if size > 0:
            share = (times * long_rows[group] - short) / size
            name = f"layer {group.layer}, {group.role}, M = {len(long.inputs)}"
            found.append(Sample(name, share[:, None], np.zeros(1)))
    return found


def _noise(
    estimator: Estimator,
    problem: Problem,
    parameters: Parameters,
    batch: Batch,
    key: Key,
    state: object,
    pairs: int,
) -> dict[Group, Rows]:
    """Half the squared difference of two draws, summed over each layer and role; (pairs,) each."""
    traced = trace(estimator, problem, parameters, batch, state)
    step = max(2, min(2 * pairs, traced.together - traced.together % 2))
    total: dict[Group, list[Rows]] = {}
    for start in range(0, 2 * pairs, step):
        keys = [key / k for k in range(start, min(start + step, 2 * pairs))]
        batches = Batch(*(t.expand(len(keys), *t.shape) for t in batch))
        drawn = gradients(estimator, problem, parameters, batches, keys, traced, state).gradients
        part: dict[Group, Rows] = {}
        for name, g in drawn.items():
            half = (g[0::2] - g[1::2]).double().square().flatten(1).sum(1) / 2
            group = problem.groups[name]
            part[group] = part.get(group, 0) + half.cpu().numpy()
        for group, rows in part.items():
            total.setdefault(group, []).append(rows)
    return {group: np.concatenate(rows) for group, rows in total.items()}


def differing(found: Sequence[Sample], rate: float) -> Sample | None:
    """The sample whose noise differs most from what independence gives, at a family-wise rate; None where none does."""
    low = [s for s in found if float(s.p[0]) < rate / max(1, len(found))]
    return min(low, key=lambda s: float(s.p[0]), default=None)
