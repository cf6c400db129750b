"""What a wrong mean points to: the known mistakes, each as the mean that it would have."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vdbench.certificate.exact_gradients import OBJECTIVES
from vdbench.certificate.sampling import Draws
from vdbench.certificate.two_looks import Rows, Sample

CLOSE = 4.0
"""A mistake explains a mean whose every coordinate lies within so many standard errors of what it would be."""


def suggest(drawn: Draws, objective: str, sample: Sample) -> str:
    """The mistake whose mean lies nearest, if one explains all coordinates; else what the numbers say."""
    if not np.isfinite(sample.mean).all():
        return "draws are not finite: see the findings of 'finite'."
    explained = [
        (_distance(sample, mean), text)
        for mean, text in mistakes(drawn, objective, sample)
        if _distance(sample, sample.truth) > 2 * _distance(sample, mean)
    ]
    near = sorted((found for found in explained if found[0] <= CLOSE), key=lambda found: found[0])
    if near:
        best, text = near[0]
        # what has the very same mean is no rival: the first named is the likelier mistake
        rivals = [other for far, other in near if far > best + 1e-9]
        return f"{text} With these draws it may as well be: {rivals[0]}" if rivals else text
    relative = sample.relative(0.01)
    if relative is not None:
        factor = 1 + relative[0]
        return (
            f"along the exact gradient the mean is {factor:.3g} times as long, and no known mistake explains every "
            "coordinate: compare the estimator's formula term by term, the path through the scale first."
        )
    return "the mean is not 0 where the exact gradient is 0: is a detach() missing?"


def mistakes(drawn: Draws, objective: str, sample: Sample) -> Iterator[tuple[Rows, str]]:
    """Means that known mistakes would have, and how each is named."""
    t, batch = sample.truth, drawn.stage
    scale = batch.problem.scale(batch.batch)
    yield (
        0 * t,
        (
            "the mean is 0: nothing of the objective reaches these parameters; was the sampling path forgotten "
            "(noise or weights detached from the scale)?"
        ),
    )
    yield -t, "the mean has the opposite sign: it is the gradient of the loss, downhill."
    yield t / scale, f"the mean is 1/{scale:g} of the gradient: the scale N/M is missing."
    yield (
        t * scale,
        f"the mean is {scale:g} times the gradient: a factor too many, such as N/M twice.",
    )
    count = drawn.estimator.draws_per_gradient
    if count > 1:
        yield (
            t * (count - 1) / count,
            (
                f"the mean is (S−1)/S of the gradient with S = {count}: a baseline contains the very cost that it is "
                "subtracted from."
            ),
        )
        yield (
            t * count,
            f"the mean is S = {count} times the gradient: samples are added and not averaged.",
        )
    yield 2 * t, "the mean is twice the gradient: σ² for σ, or a ½ forgotten."
    yield t / 2, "the mean is half the gradient: log σ for log σ², or a ½ too many."
    yield from _shifts(sample)
    yield from _others(drawn, objective, sample)


def _shifts(sample: Sample) -> Iterator[tuple[Rows, str]]:
    for by in (1, -1):
        if len(sample.truth) > 1:
            yield (
                np.roll(sample.truth, by),
                "the coordinates are shifted by one: an index is off by one.",
            )
    if len(sample.truth) > 1:
        yield sample.truth[::-1], "the coordinates are in reverse order: an axis is flipped."


def _others(drawn: Draws, objective: str, sample: Sample) -> Iterator[tuple[Rows, str]]:
    """The gradients of the other objective classes."""
    for other in OBJECTIVES:
        truth = drawn.stage.truth(other)
        if other == objective or truth is None:
            continue
        names = dict.fromkeys(name.rpartition("[")[0] for name in sample.names)
        mean = np.concatenate([truth[name].flatten().cpu().numpy() for name in names])
        yield (
            mean,
            (
                f"the mean is the gradient of another objective, '{other}': "
                f"declare that objective, or fix the cause ({_why(other)})."
            ),
        )


def _why(objective: str) -> str:
    return {
        "elbo": "noise is that of common weights",
        "elbo-local-noise": "every location of an example has its own noise, where all should share that of one weight",
        "elbo-gaussian-preactivations": "pre-activations are drawn independently of one another",
        "mean-weights": "the noise takes no part in the gradient",
    }.get(objective, "see its definition")


def _distance(sample: Sample, mean: Rows) -> float:
    """The largest deviation from a mean, in standard errors."""
    gap, error = np.abs(sample.mean - mean), np.maximum(sample.error, 1e-9 * sample.scale)
    return float((gap / error).max())
