"""What a wrong mean points to: the known mistakes, each as the mean that it would have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from vdbench.certificate.exact_gradients import OBJECTIVES
from vdbench.certificate.finding import LEFT_OUT, OPEN, RAISES, Finding
from vdbench.certificate.sampling import Draws
from vdbench.certificate.two_looks import Rows, Sample

CLOSE = 4.0
"""A mistake explains a mean whose every coordinate lies within so many standard errors of what it would be."""


UNKNOWN = "no known mistake explains every coordinate"
"""Said of a wrong mean that nothing here accounts for."""


def diagnose(findings: Sequence[Finding], where: Mapping[str, set[str]]) -> str:
    """What the failures come from, most likely: one sentence, and where it shows.

    Args:
        findings: Of a certificate.
        where: Parts of features by problem, from `vdbench.certificate.stages.features`.
    """
    failed = [f for f in findings if f.passed is False]
    for cause in CAUSES:
        found = cause(failed)
        if found:
            return found
    biased = [f for f in failed if f.test == "unbiased" and f.grade == "bias"]
    if biased:
        said = _commonest(biased)
        law = next((f for f in failed if f.test == "pre-activations" and f.suggests), None)
        if UNKNOWN in said and law is not None:  # the law that is drawn says more
            said = f"of the pre-activations of one dense layer: {law.suggests}"
        return f"{said}{_only(findings, biased, where)}"
    return _commonest(failed) if failed else ""


def _generators(failed: Sequence[Finding]) -> str:
    for f in failed:
        if f.test == "repeatable" and f.where == "global generators":
            return (
                f"{f.note}, which it does not declare: take every number from the noise that is given (no "
                "torch.randn_like, no numpy), or declare pure=False. What else failed may follow from that."
            )
    return ""


TYPES = re.compile(r"same dtype|Float|Double|float32|float64|\bfloat !=|double")
"""What an error says that comes of two floating-point types."""


def _types(failed: Sequence[Finding]) -> str:
    raised = [f for f in failed if f.note.startswith(RAISES)]
    if raised and all(TYPES.search(f.note) for f in raised) and len(raised) > 1:
        return (
            f"it does not work in float64 ({raised[0].note}): it makes constants of float32; make them of the type of "
            "its inputs (dtype=x.dtype). Nothing that raised could be compared."
        )
    return ""


def _of_test(test: str, part: str = "") -> Cause:
    def cause(failed: Sequence[Finding]) -> str:
        found = next((f for f in failed if f.test == test and part in f.where), None)
        return f"{found.note}: {found.suggests}" if found and found.suggests else ""

    return cause


def _dependence(failed: Sequence[Finding]) -> str:
    if any(f.test == "unbiased" and f.grade == "bias" for f in failed):
        return ""
    for f in failed:
        if f.test == "minibatch law" or f.where.endswith("covariance of examples"):
            return (
                "the noise of different examples is not independent, although independent_examples=True is declared: "
                "declare False, or draw each example's own."
            )
    return ""


Cause = Callable[[Sequence[Finding]], str]

CAUSES: tuple[Cause, ...] = (
    _generators, _types, _of_test("contract"), _of_test("layer mapping"), _dependence,
)  # fmt: skip
"""Causes that explain more than one finding, the likeliest first; what none of them explains is a biased mean."""


def _commonest(failed: Sequence[Finding]) -> str:
    """The suggestion that most of them make; their notes where there is none."""
    counts = Counter(f.suggests for f in failed if f.suggests)
    if counts:
        return counts.most_common(1)[0][0]
    return failed[0].note


def _only(
    findings: Sequence[Finding], biased: Sequence[Finding], where: Mapping[str, set[str]]
) -> str:
    """What all problems have on which the mean is wrong, and none on which it is right."""
    wrong = {f.where.partition(":")[0] for f in biased}
    wrong |= {f.where.partition(":")[0] for f in findings if f.note.startswith(OPEN)}
    right = {f.where.partition(":")[0] for f in findings if f.test == "unbiased" and f.passed}
    if any(f.note == LEFT_OUT for f in findings):
        passed = f", and not on {', '.join(sorted(right - wrong))}" if right - wrong else ""
        return f" It fails on {', '.join(sorted(wrong))}{passed}; further problems were left out."
    wrong_parts = [where[name] for name in wrong if name in where]
    right_parts = [where[name] for name in right - wrong if name in where]
    if not wrong_parts or not right_parts:
        return ""
    common = set.intersection(*wrong_parts).difference(*right_parts)
    if common:
        return f" All problems on which it fails, and no other, have {'; '.join(sorted(common))}."
    return f" It fails on {', '.join(sorted(wrong))}."


def suggest(drawn: Draws, objective: str, sample: Sample, rate: float = 0.01) -> str:
    """The mistake whose mean lies nearest, if one explains all coordinates; else what the numbers say.

    Args:
        drawn: What was drawn.
        objective: What it was compared with.
        sample: The draws of the last look.
        rate: At which the interval along the gradient errs; a mistake lies within it, or is not named.
    """
    if not np.isfinite(sample.mean).all():
        return "draws are not finite: see the findings of 'finite'."
    explained = [
        (_distance(sample, mean), text)
        for mean, text in mistakes(drawn, objective, sample)
        if _distance(sample, sample.truth) > 2 * _distance(sample, mean)
        and _within(sample, mean, rate)
    ]
    near = sorted((found for found in explained if found[0] <= CLOSE), key=lambda found: found[0])
    if near:
        best, text = near[0]
        # what has the very same mean is no rival: the first named is the likelier mistake
        rivals = [other for far, other in near if far > best + 1e-9]
        return f"{text} With these draws it may as well be: {rivals[0]}" if rivals else text
    relative = sample.relative(rate)
    if relative is not None:
        factor = 1 + relative[0]
        return (
            f"along the exact gradient the mean is {factor:.3g} times as long, and {UNKNOWN}: compare "
            "the estimator's formula term by term, the path through the scale first."
        )
    return "the mean is not 0 where the exact gradient is 0: is a detach() missing?"


def mistakes(drawn: Draws, objective: str, sample: Sample) -> Iterator[tuple[Rows, str]]:
    """Means that known mistakes would have, and how each is named."""
    t, batch = sample.truth, drawn.stage
    scale = batch.problem.examples / batch.size
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


def _within(sample: Sample, mean: Rows, rate: float) -> bool:
    """Whether a mean lies in the interval that is shown, along the gradient."""
    shown, weights = sample.relative(rate), sample.weights
    if shown is None:
        return True
    along = sample.truth if weights is None else weights
    at = float((mean - sample.truth) @ along) / float(sample.truth @ along)
    return shown[1] - 1e-9 <= at <= shown[2] + 1e-9


def _distance(sample: Sample, mean: Rows) -> float:
    """The largest deviation from a mean, in standard errors."""
    gap, error = np.abs(sample.mean - mean), np.maximum(sample.error, 1e-9 * sample.scale)
    return float((gap / error).max())
