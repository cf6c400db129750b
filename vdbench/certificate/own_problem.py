"""A certificate on the user's own problem, at its own parameters and minibatch size.

Nothing is exact there. Each draw of the estimator is compared with one of a textbook sampler of its objective on the
same minibatch, which is drawn anew for every pair: their difference has mean 0 if the estimator is right. It is
projected, in each layer and role, on the gradient that a pilot found, weighted by the inverse of its variance, and
unweighted. A network may have any number of parameters, so that no gradient is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vdbench.certificate import independence
from vdbench.certificate.finding import Finding
from vdbench.certificate.planning import for_spread
from vdbench.certificate.protocol import Asked, Pending
from vdbench.certificate.stages.sampled import Textbook, known
from vdbench.certificate.two_looks import Answer, Question, Sample
from vdbench.errors import InputError
from vdbench.estimation.base import Estimator, independent_examples, objective
from vdbench.estimation.draws import gather, gradients, minibatch, trace
from vdbench.noise import Key
from vdbench.problems.problem import Batch, Group, Parameters, Problem

NAME = "unbiased"

PILOT = 256
"""Pairs of draws that find the directions and the number of draws."""

FEW = 4
"""Examples that are repeated to fill a minibatch, for the test of independence."""

LEAST, MOST, WEIGHTS = 64, 2048, 2**18
"""Pairs of draws for it: squares of few weights have heavy tails, those of many do not."""


def refuse(estimator: Estimator, problem: Problem, size: int) -> None:
    """See that there is something to compare with.

    Raises:
        InputError: The problem has a posterior whose law is learned, no textbook sampler of the objective exists, or
            the data set is smaller than the minibatch.
    """
    where = f"check: problem '{problem.name}'"
    if problem.parameterization.learned_law:
        raise InputError(
            f"{where} has the posterior '{problem.parameterization.name}', whose law is learned: no textbook sampler "
            "gives its gradient; expected another posterior, or a check without --problem."
        )
    own = objective(estimator, problem)
    if not known(own):
        raise InputError(f"{where}: no textbook sampler of the objective '{own}' exists.")
    if not 1 <= size <= problem.examples:
        raise InputError(
            f"{where}: batch size {size} is not between 1 and its {problem.examples} training examples."
        )


class Pairs:
    """Pairs of draws, of an estimator and of the textbook sampler, on a minibatch of their own."""

    def __init__(self, estimator: Estimator, problem: Problem, size: int, key: Key) -> None:
        """Trace and fit the estimator at the problem's parameters.

        Args:
            estimator: That is checked.
            problem: The user's.
            size: M.
            key: Address of all noise.
        """
        self.problem, self.size, self.key = problem, size, key
        self.parameters: Parameters = problem.initial(Key(("check", "parameters")))
        self.estimators = (estimator, Textbook(objective(estimator, problem)))
        first = self.batches(key / "trace", 1)
        one = Batch(*(t[0] for t in first))
        self.states = [
            e.fit(problem, self.parameters, key / "fit" / k) for k, e in enumerate(self.estimators)
        ]
        self.traces = [
            trace(e, problem, self.parameters, one, s)
            for e, s in zip(self.estimators, self.states, strict=True)
        ]
        self.groups = list(dict.fromkeys(problem.groups[n] for n in problem.free(self.parameters)))

    def batches(self, key: Key, count: int) -> Batch:
        """Minibatches, (count, M, …)."""
        found = [minibatch(self.problem, self.size, key / "minibatch" / k) for k in range(count)]
        return gather(self.problem, np.stack(found))

    def parts(self, look: str, count: int) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """Gradients of the two, part by part, each with a first dimension of draws."""
        step = min(max(1, min(t.together for t in self.traces)), 256)
        for start in range(0, count, step):
            key, size = self.key / look / start, min(step, count - start)
            batches = self.batches(key, size)
            drawn = [
                gradients(
                    e, self.problem, self.parameters, batches,
                    [key / ("estimator", "textbook")[k] / i for i in range(size)], t, s,
                ).gradients
                for k, (e, t, s) in enumerate(
                    zip(self.estimators, self.traces, self.states, strict=True)
                )
            ]  # fmt: skip
            yield drawn[0], drawn[1]


Directions = dict[str, tuple[Tensor, Tensor]]


def _directions(pairs: Pairs) -> Directions:
    """By parameter the textbook gradient over its variance, and that gradient itself, from a pilot."""
    total: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}
    for ours, theirs in pairs.parts("pilot", PILOT):
        for name, g in theirs.items():
            total[name] = total.get(name, 0) + g.double().sum(0)
            gap = (ours[name] - g).double()
            squares[name] = squares.get(name, 0) + gap.square().sum(0)
    found = {}
    for name, value in total.items():
        mean, variance = value / PILOT, squares[name] / PILOT
        floor = 1e-3 * float(variance.mean()) + 1e-30
        found[name] = (mean / (variance + floor), mean)
    return found


def _samples(pairs: Pairs, along: Directions, look: str, count: int) -> list[Sample]:
    """One sample for each layer and role: the difference along two directions, over the textbook gradient's length."""
    groups = pairs.problem.groups
    gaps: dict[Group, list[Tensor]] = {g: [] for g in pairs.groups}
    sizes = {g: torch.zeros(2, dtype=torch.float64) for g in pairs.groups}
    for ours, theirs in pairs.parts(look, count):
        rows = {g: torch.zeros(0) for g in pairs.groups}
        for name, pair in along.items():
            weights = torch.stack([w.flatten() for w in pair], 1)
            mine, other = (t[name].flatten(1).double() for t in (ours, theirs))
            group, part = groups[name], (mine - other) @ weights
            rows[group] = rows[group] + part if len(rows[group]) else part
            sizes[group] += (other @ weights).sum(0).cpu()
        for group, part in rows.items():
            gaps[group].append(part.cpu())
    found = []
    for group in pairs.groups:
        size = sizes[group].numpy() / count
        rows_of = torch.cat(gaps[group]).numpy() / np.where(size == 0, 1.0, size)
        ones = np.ones(2)
        where = f"{pairs.problem.name}: layer {group.layer}, {group.role}"
        best, plain = np.array([1.0, 0.0]), np.array([0.0, 1.0])
        found.append(
            Sample(where, 1 + rows_of, ones, ["weighted", "plain"], weights=best, plain=plain)
        )
    return found


def ask(estimator: Estimator, problem: Problem, size: int, key: Key, most: int) -> list[Asked]:
    """A question for every layer and role, and whether examples are independent where that is declared."""
    pairs = Pairs(estimator, problem, size, key / NAME)
    along = _directions(pairs)
    pilot = _samples(pairs, along, "count", PILOT)
    spread = max(float(s.rows[:, 0].std()) for s in pilot)
    wanted = for_spread(spread)
    count = most if not math.isfinite(wanted) else min(most, max(PILOT, math.ceil(wanted)))

    def draw(look: str, times: int) -> list[Sample]:
        return _samples(pairs, along, look, times * count)

    question = Question(NAME, draw, draw("first", 1))
    against = pairs.estimators[1].declaration.objective
    asked: list[Asked] = [Pending(question, lambda found: [_finding(a, against) for a in found])]
    if independent_examples(estimator, problem) and size > 1:
        asked += _independence(pairs, key)
    return asked


def _finding(answer: Answer, against: str) -> Finding:
    relative = answer.sample.relative(answer.rate)
    assert relative is not None
    figure, low, high = relative
    return Finding(
        NAME, answer.sample.where, not answer.differs, figure, low, high, (high - low) / 2, answer.power,
        f"relative bias along the textbook gradient of '{against}', on minibatches of your data",
        "compare with the textbook sampler on this problem, draw by draw." if answer.differs else "",
        against, answer.draws, answer.carried,
    )  # fmt: skip


def _independence(pairs: Pairs, key: Key) -> list[Asked]:
    few = min(FEW, max(1, pairs.size // 2))
    batch = Batch(*(t[0] for t in Pairs.batches(_sized(pairs, few), key / "few", 1)))
    weights = sum(v.numel() for v in pairs.problem.free(pairs.parameters).values())
    count = max(LEAST, min(MOST, WEIGHTS // weights))
    asked: list[Asked] = []
    for times in independence.repetitions(few, pairs.size):

        def draw(look: str, more: int, times: int = times) -> list[Sample]:
            return independence.samples(
                pairs.estimators[0], pairs.problem, pairs.parameters, batch, times,
                key / "independence" / times / look, pairs.states[0], more * count,
            )  # fmt: skip

        question = Question("minibatch law", draw, draw("first", 1))
        asked.append(Pending(question, lambda found: [_share(pairs, a) for a in found]))
    return asked


def _sized(pairs: Pairs, size: int) -> Pairs:
    other = object.__new__(Pairs)
    other.__dict__.update(pairs.__dict__ | {"size": size})
    return other


def _share(pairs: Pairs, answer: Answer) -> Finding:
    mean, error = float(answer.sample.mean[0]), float(answer.sample.error[0])
    return Finding(
        "minibatch law", f"{pairs.problem.name}: {answer.sample.where}", not answer.differs, mean,
        mean - 4 * error, mean + 4 * error,
        note="share of the noise variance that does not fall as 1/M; examples are declared independent",
        suggests="examples share noise: declare independent_examples=False, or draw each example's own."
        if answer.differs else "", draws=answer.draws,
    )  # fmt: skip
