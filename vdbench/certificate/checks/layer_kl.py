"""Of a third-party layer: is its own KL the exact one, and its gradient? A KL that is sampled is tested by its mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from vdbench.certificate.finding import Finding
from vdbench.certificate.planning import directions, enough, needed, weighted
from vdbench.certificate.protocol import Asked, Check, Pending
from vdbench.certificate.sampling import LEAST_LOOPED, Subject
from vdbench.certificate.third_party_kl import EQUAL, ROOM, Place, Value, errors, like
from vdbench.certificate.third_party_layers import each_layer, is_third_party
from vdbench.certificate.two_looks import Answer, Question, Sample
from vdbench.errors import CellError
from vdbench.estimation.third_party import Spec
from vdbench.problems.layers import Layer

NAME = "layer KL"

TRIES = 3
"""Draws whose KLs are equal where it is not sampled."""

CLOSE = 4.0
"""A mistake explains a sampled KL whose mean lies within so many standard errors of what it would be."""


def ask(subject: Subject) -> list[Asked]:
    """One finding for each kind of layer, or two to come where its KL is sampled."""
    most = LEAST_LOOPED * 16 if subject.draws is None else subject.draws
    return each_layer(NAME, subject, lambda spec, layer, seed: _kl(spec, layer, seed, most))


def _kl(spec: Spec, layer: Layer, seed: int, most: int) -> Asked:
    if spec.kl is None:
        return Finding(NAME, layer.name, None, note="registered without kl=")
    place = Place(spec, layer, seed)
    try:
        found = [place.draw("try", k) for k in range(TRIES)]
    except (CellError, RuntimeError, TypeError, AttributeError, IndexError, ValueError) as error:
        note = f"its KL fails with {type(error).__name__}: {str(error).splitlines()[0]}"
        return Finding(NAME, layer.name, False, note=note)
    room = EQUAL * abs(float(found[0][0]))
    sampled = any(abs(float(f[0] - found[0][0])) > room for f in found)
    return _by_its_mean(place, most) if sampled else _equal(place, found[0])


def _prior(spec: Spec) -> str:
    return "the prior" if spec.log_prior else f"N(0, {spec.prior_variance:g})"


def _equal(place: Place, found: Value) -> Finding:
    """The gradient of the layer's KL is the exact one; a constant in its value is named."""
    value, gradient = errors(found, place)
    good = gradient <= ROOM
    own = float(found[0])
    note = (
        f"relative error of KL(q ‖ {_prior(place.spec)}): value {value:.3g}, "
        f"gradient in mean and scale {gradient:.3g}"
    )
    suggests = ""
    if value > ROOM:
        known = "" if good else like(found, ROOM * abs(own), place)
        suggests = f"this value is {known}." if known else ""
        note += _constant(place, own) if good else ""
    return Finding(NAME, place.layer.name, good, gradient, limit=ROOM, note=note, suggests=suggests)


def _constant(place: Place, own: float) -> str:
    """What is to be said of a value that is off where its gradient is right."""
    each = (own - float(place.truth[0])) / place.q.mean.numel()
    return f"; the value has a constant too many, {each:.3g} a weight, which no gradient sees"


def _by_its_mean(place: Place, most: int) -> Pending:
    """Value and gradient of a sampled KL: their means over draws, in looks like all means of a certificate."""
    gap = float(place.draws(64, "bias")[0].mean()) - float(place.truth[0])
    # a layer may count its bias's KL or not: whichever the mean is nearer to
    bias = place.bias if abs(gap - place.bias) < abs(gap) else 0.0

    def raw(look: str, count: int) -> list[Sample]:
        return _samples(place, place.draws(count, look), bias)

    pilot = raw("pilot", LEAST_LOOPED)
    weights = directions(pilot)

    def some(look: str, count: int) -> list[Sample]:
        return weighted(raw(look, count), weights)

    wanted = min(most, max(LEAST_LOOPED, int(needed(weighted(pilot, weights)))))
    first = enough(some, wanted, lambda want: most, LEAST_LOOPED)
    question = Question(NAME, lambda look, times: some(look, times * len(first[0].rows)), first)
    return Pending(question, lambda found: _conclude(place, found))


def _conclude(place: Place, found: list[Answer]) -> list[Finding]:
    """A finding for the value and for each gradient; where the gradients are right, the value is not judged."""
    value, *gradients = (_finding(place, answer) for answer in found)
    if value.passed is False and all(g.passed for g in gradients):
        note = value.note + _constant(place, float(found[0].sample.mean[0]))
        value = replace(value, passed=None, limit=None, note=note)
    if value.passed is False:
        shape = place.layer.weight_shape
        own, mean, scale = (torch.from_numpy(a.sample.mean) for a in found)
        room = CLOSE * float(found[0].sample.error[0])
        known = like((own, mean.reshape(shape), scale.reshape(shape)), room, place)
        value = replace(value, suggests=f"this mean is {known}." if known else "")
    return [value, *gradients]


def _samples(place: Place, drawn: Value, bias: float) -> list[Sample]:
    """The value, and the gradients in mean and scale, beside the exact ones."""
    value, *gradients = place.truth
    found = []
    for k, (what, truth) in enumerate(zip(("mean", "scale"), gradients, strict=True), 1):
        rows = drawn[k].flatten(1).numpy()
        found.append((f"gradient in the {what}", rows, truth.flatten().numpy()))
    exact = np.array([float(value) + bias])
    rows = drawn[0].reshape(-1, 1).numpy()
    return [
        Sample(
            f"{place.layer.name}: {what}", rows, truth, [str(i) for i in range(len(truth))],
            float(np.abs(truth).max()),
        )
        for what, rows, truth in [("value", rows, exact), *found]
    ]  # fmt: skip


def _finding(place: Place, answer: Answer) -> Finding:
    sample = answer.sample
    relative = sample.relative(answer.rate)
    assert relative is not None  # no exact KL of these points is 0, nor its gradients
    figure, low, high = relative
    note = f"relative error of the mean of a sampled KL(q ‖ {_prior(place.spec)})"
    return Finding(
        NAME, sample.where, not answer.differs, figure, low, high, (high - low) / 2, answer.power, note,
        draws=answer.draws, carried=answer.carried,
    )  # fmt: skip


CHECK = Check(NAME, "the layer's KL and its gradient, or their means", ask, is_third_party)
