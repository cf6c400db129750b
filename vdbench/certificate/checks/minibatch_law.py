"""How the noise variance falls with the minibatch: as 1/M where the noise of examples is declared independent.

The minibatch is compared with itself repeated four times and a hundred times. Mean and data are the same, and the noise
variance of independent examples is exactly a quarter and a hundredth; what the examples share does not fall. Examples
may be independent in a small minibatch and not in a large one, where a table of noise is used again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from scipy.special import ndtri, stdtrit

from vdbench.certificate.finding import LEFT_OUT, Finding
from vdbench.certificate.planning import for_spread
from vdbench.certificate.protocol import Asked, Check, Pending, each_stage
from vdbench.certificate.reference_problems import Stage, kind
from vdbench.certificate.sampling import Subject
from vdbench.certificate.two_looks import POWER, Answer, Question, Sample
from vdbench.problems.problem import Batch

NAME = "minibatch law"

SUGGESTS = "examples share noise: declare independent_examples=False, or draw each example's own."

TIMES = (4, 100)
"""How often the minibatch is repeated."""

PILOT = 1024
"""Draws that decide how many are needed where the law is judged, and are reported where it is not."""

MOST = {4: 32768, 100: 4096}
"""Draws in a first look, at most, by the repetitions."""


def ask(subject: Subject) -> Iterable[Asked]:
    """The share of the noise variance that does not fall with M, in every layer and role of one stage."""
    if not subject.estimator.declaration.laws and subject.estimator.declaration.pure:
        return [Finding(NAME, "all", None, note="the estimator declares no noise")]
    if subject.closed:
        return [Finding(NAME, "all", None, note=LEFT_OUT)]
    return each_stage(NAME, [kind(subject.estimator).layer], subject, lambda at: _both(subject, at))


def _both(subject: Subject, at: Stage) -> list[Asked]:
    return [asked for times in TIMES for asked in _ask(subject, at, times)]


def _ask(subject: Subject, at: Stage, repeated: int) -> list[Asked]:
    declared = subject.estimator.declaration.independent_examples

    short = subject.on(at)
    pilot = _samples(subject, at, repeated, "pilot", min(PILOT, subject.looks(short)))
    wanted = for_spread(max((float(s.rows.std()) for s in pilot), default=0.0))
    count = min(MOST[repeated], subject.looks(short, wanted if declared else 0.0))

    def draw(look: str, times: int) -> list[Sample]:
        return _samples(subject, at, repeated, look, times * count)

    if declared:
        question = Question(NAME, draw, draw("first", 1))
        return [Pending(question, lambda found: [_finding(a) for a in found])]
    return [_reported(sample) for sample in pilot]


def _samples(subject: Subject, at: Stage, times: int, look: str, count: int) -> list[Sample]:
    """One column: times · (squared deviation of the long minibatch) − (that of the short), over the short's mean."""
    long = Batch(*(torch.cat([t] * times) for t in at.batch))
    spreads = []
    for length, stage in (("short", at), ("long", replace(at, batch=long))):
        drawn = subject.on(stage)
        rows = drawn.many(subject.key / NAME / times / length / look, count)
        spreads.append({n: ((r - r.mean(0)) ** 2).sum(1) for n, r in rows.items()})
    found = []
    for group in dict.fromkeys(at.problem.groups[n] for n in spreads[0]):
        names = [n for n in spreads[0] if at.problem.groups[n] == group]
        short, repeated = (sum(np.asarray(s[n]) for n in names) for s in spreads)
        assert isinstance(short, np.ndarray)
        assert isinstance(repeated, np.ndarray)
        if short.mean() > 0:
            share = (times * repeated - short) / short.mean() / (times - 1)
            where = f"{at.name} × {times}: layer {group.layer}, {group.role}"
            found.append(Sample(where, share[:, None], np.zeros(1)))
    return found


def _interval(sample: Sample, rate: float) -> tuple[float, float, float]:
    mean, error = float(sample.mean[0]), float(sample.error[0])
    half = -float(stdtrit(len(sample.rows) - 1, rate / 2)) * error
    return mean, mean - half, mean + half


def _finding(answer: Answer) -> Finding:
    sample = answer.sample
    figure, low, high = _interval(sample, answer.rate)
    limit = (high - low) / 2
    return Finding(
        NAME, sample.where, not answer.differs, figure, low, high, limit,
        limit + float(ndtri(POWER)) * float(sample.error[0]),
        "share of the noise variance that does not fall as 1/M; examples are declared independent",
        SUGGESTS if answer.differs else "", draws=answer.draws,
    )  # fmt: skip


def _reported(sample: Sample) -> Finding:
    figure, low, high = _interval(sample, 0.05)
    return Finding(
        NAME, sample.where, None, figure, low, high,
        note=f"{figure:.2g} of the noise variance does not fall as 1/M; not judged, since examples are not "
        "declared independent",
    )  # fmt: skip


CHECK = Check(NAME, "noise variance as 1/M, or its floor", ask)
