"""The law of the pre-activations of one dense layer, where an estimator exposes them: mean, variance, covariances."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from vdbench.certificate.finding import LEFT_OUT, Finding
from vdbench.certificate.planning import enough
from vdbench.certificate.protocol import Asked, Check, Pending, at_once, each_stage
from vdbench.certificate.reference_problems import Stage, kind, served
from vdbench.certificate.sampling import Draws, Subject, block
from vdbench.certificate.two_looks import Answer, Question, Rows, Sample
from vdbench.estimation.base import Estimator
from vdbench.estimation.pathwise import Pathwise
from vdbench.noise import Injected, Noise, Recorder, stream
from vdbench.problems.structure import Correlated, Uncorrelated

NAME = "pre-activations"

SUGGESTS = {
    "mean": "the pre-activations are not centred on xμ: is the mean's part counted twice, or given signs?",
    "variance": (
        "their variance is not Σ x²σ²: σ for σ², σ² squared, the sum over another axis, or the square of a product for "
        "the product of squares?"
    ),
    "covariance of outputs": (
        "outputs of one example do not vary together as their weights do: is one random number used for several "
        "outputs, or a shared one drawn anew?"
    ),
    "fourth moment": (
        "their fourth moment is not that of the posterior's noise: is normal noise drawn whatever its law?"
    ),
    "covariance of examples": (
        "examples vary together although the estimator declares independent_examples: is one random number used "
        "for the whole minibatch?"
    ),
}


def ask(subject: Subject) -> Iterable[Asked]:
    """Samples of one layer's pre-activations; nothing where the estimator has none of its own."""
    why = _nothing(subject.estimator)
    if why:
        return [Finding(NAME, "one dense layer", None, note=why)]
    of = kind(subject.estimator)
    if not subject.closed:
        return each_stage(NAME, [of.layer, *of.laws], subject, lambda at: _ask(subject, at))
    # it has failed: one problem is cheap, and where the law is wrong beyond doubt, that names the mistake
    one = each_stage(NAME, [of.layer], subject, lambda at: _ask(subject, at))
    asked = [found for item in one for found in at_once(subject, of.layer, item)]
    return [*asked, *(Finding(NAME, name, None, note=LEFT_OUT) for name in of.laws)]


def _nothing(estimator: Estimator) -> str:
    if not isinstance(estimator, Pathwise):
        return "the estimator exposes no pre-activations"
    if not estimator.declaration.pure:
        return "the estimator draws noise of its own, which cannot be given to one layer alone"
    if not estimator.declaration.laws:
        return "the estimator declares no noise"
    return "" if estimator.declaration.unbiased else "the estimator is declared biased"


def _ask(subject: Subject, at: Stage) -> list[Asked]:
    drawn = subject.on(at)

    def some(look: str, count: int) -> list[Sample]:
        return _samples(subject, drawn, look, count)

    most = subject.bound(drawn)
    first = enough(some, subject.looks(drawn), lambda want: most, subject.unit(drawn))
    question = Question(NAME, lambda look, times: some(look, times * len(first[0].rows)), first)
    return [Pending(question, lambda found: [_finding(a) for a in found])]


def _samples(subject: Subject, drawn: Draws, look: str, count: int) -> list[Sample]:
    at = drawn.stage
    layer = at.problem.layers[0]
    mean, covariance = _law(drawn)
    rows = _rows(subject, drawn, look, count) - mean  # (n, M, J)
    n, examples, outputs = rows.shape
    variance = np.einsum("mjj->mj", covariance)
    scale = float(variance.mean())
    where = f"{at.name}: layer {layer.name}, "
    found = [
        _sample(where + "mean", (rows + mean).reshape(n, -1), mean.ravel(), scale**0.5),
        _sample(where + "variance", rows.reshape(n, -1) ** 2, variance.ravel(), scale),
    ]
    pairs = list(combinations(range(outputs), 2))
    if pairs:
        products = [rows[:, :, j] * rows[:, :, k] for j, k in pairs]
        truth = [covariance[:, j, k] for j, k in pairs]
        found.append(
            _sample(
                where + "covariance of outputs",
                np.concatenate(products, 1),
                np.concatenate(truth),
                scale,
            )
        )
    fourth = _fourth(drawn)
    if fourth is not None:
        found.append(
            _sample(
                where + "fourth moment",
                rows.reshape(n, -1) ** 4 / scale,
                fourth.ravel() / scale,
                scale,
            )
        )
    if subject.estimator.declaration.independent_examples:
        both = [(a, b) for a, b in combinations(range(examples), 2)]
        squares = rows**2 - variance
        linear = [rows[:, a] * rows[:, b] for a, b in both]
        square = [squares[:, a] * squares[:, b] / scale for a, b in both]
        values = np.concatenate([*linear, *square], 1)
        found.append(
            _sample(where + "covariance of examples", values, np.zeros(values.shape[1]), scale)
        )
    return found


def _sample(where: str, rows: Rows, truth: Rows, scale: float) -> Sample:
    return Sample(where, rows, truth, [str(i) for i in range(len(truth))], scale)


def _law(drawn: Draws) -> tuple[Rows, Rows]:
    """Mean (M, J) and covariance (M, J, J) of each example's pre-activations."""
    at = drawn.stage
    layer, x = at.problem.layers[0], at.batch.inputs
    q = at.problem.posterior(layer, at.parameters)
    mean = layer.linear(x, q.mean)
    if q.sharing == "inputs" and served(drawn.estimator, at) == "elbo":
        covariance = torch.einsum("mi,ji,ki->mjk", x.square(), q.scale, q.scale)
    elif isinstance(q.structure, Correlated) and served(drawn.estimator, at) == "elbo":
        outputs, inputs = q.mean.shape
        whole = q.structure.covariance().reshape(outputs, inputs, outputs, inputs)
        covariance = torch.einsum("mi,jikl,ml->mjk", x, whole, x)
    else:
        covariance = torch.diag_embed(q.spread(layer, x))
    return mean.cpu().numpy(), covariance.cpu().numpy()


def _fourth(drawn: Draws) -> Rows | None:
    """Fourth central moment (M, J) of each example's pre-activations, of noise that is not normal; else None.

    Of Σ a_i z_i it is Σ a_i⁴ E[z_i⁴] + 3 Σ_{i≠j} a_i² a_j² E[z_i² z_j²].
    """
    at = drawn.stage
    layer, x = at.problem.layers[0], at.batch.inputs
    q = at.problem.posterior(layer, at.parameters)
    if not isinstance(q.structure, Uncorrelated) or served(drawn.estimator, at) != "elbo":
        return None
    own, others = q.structure.fourth(q.mean.numel())
    each = layer.linear(x.square().square(), q.variance.square())
    all_pairs = layer.squared(x, q.variance).square()
    found: Rows = (own * each + 3 * others * (all_pairs - each)).detach().cpu().numpy()
    return found


def _rows(subject: Subject, drawn: Draws, look: str, count: int) -> Rows:
    at, estimator = drawn.stage, drawn.estimator
    assert isinstance(estimator, Pathwise)
    layer, x = at.problem.layers[0], at.batch.inputs
    q = at.problem.posterior(layer, at.parameters)
    key = subject.key / NAME / look
    recorder = Recorder(stream(key, x.device, x.dtype).source)
    estimator.preactivation(layer, x, q, Noise(recorder))
    requests = list(recorder.requests)
    noise = block(requests, key / "block", count, x)

    def one(*values: Tensor) -> Tensor:
        given = dict(zip(requests, values, strict=True))
        return estimator.preactivation(layer, x, q, Noise(Injected(given)))

    found = vmap(one)(*noise.values()).detach().cpu().numpy()
    return np.asarray(found, dtype=np.float64)


def _finding(answer: Answer) -> Finding:
    sample = answer.sample
    what = sample.where.rpartition(", ")[2]
    relative = sample.relative(answer.rate)
    gap = np.abs(sample.mean - sample.truth).max() / sample.scale
    figure, low, high = relative or (float(gap), None, None)
    limit = None if relative is None else (relative[2] - relative[1]) / 2
    kind_of = "relative deviation" if relative else "largest, over the mean variance"
    return Finding(
        NAME, sample.where, not answer.differs, figure, low, high, limit, answer.power,
        f"{what}, {kind_of}; furthest by {gap:.2g} of its scale",
        SUGGESTS[what] if answer.differs else "", draws=answer.draws, carried=answer.carried,
    )  # fmt: skip


CHECK = Check(NAME, "mean, variance and covariances of a layer", ask)
