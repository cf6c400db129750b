"""Defects of what is made of a gradient: factors, limits, sizes of the minibatch, targets."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from zoo_making import OfNaive, changed, each, of_layer, prepared, times

from vdbench.estimation.base import Gradient
from vdbench.noise import Noise
from vdbench.problems.problem import Batch, Parameters, Problem

# Of M and N


def _size(batch: Batch) -> int:
    return int(batch.inputs.shape[0])


@changed("half the gradient for M > 12")
def half_above_12_examples(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, 0.5 if _size(batch) > 12 else 1.0)


@changed("half the gradient for M > 64")
def half_above_64_examples(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, 0.5 if _size(batch) > 64 else 1.0)


@changed("half the gradient for M > 128")
def half_above_128_examples(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, 0.5 if _size(batch) > 128 else 1.0)


@changed("the gradient is divided by M − 1 and not by M")
def divided_by_one_example_less(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, _size(batch) / max(1, _size(batch) - 1))


@changed("N // M for N/M")
def whole_number_of_minibatches(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, (problem.examples // _size(batch)) / problem.scale(batch))


@changed("N/M rounded up")
def minibatches_rounded_up(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, math.ceil(problem.scale(batch)) / problem.scale(batch))


@changed("N/M is missing")
def scale_is_missing(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, 1 / problem.scale(batch))


@changed("N/M twice")
def scale_twice(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, problem.scale(batch))


@changed("N/M is at most 2")
def scale_is_cut_off(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, min(1.0, 2 / problem.scale(batch)))


def _chunks(
    problem: Problem, at: Parameters, batch: Batch, size: int
) -> tuple[Problem, Parameters, Batch]:
    count = max(1, _size(batch) // size) * size
    kept = Batch(batch.inputs[:count], batch.targets[:count])
    lost = replace(problem, data=replace(problem.data, train=_fewer(problem, _size(kept), batch)))
    return lost, at, kept


def _fewer(problem: Problem, kept: int, batch: Batch):  # type: ignore[no-untyped-def]
    """A data set with which N/M of the kept examples is that of all."""
    train = problem.data.train
    count = round(problem.scale(batch) * kept)
    return type(train)(train.inputs[:count], train.targets[:count])


@prepared("chunks of 32, the remainder dropped")
def chunks_of_32(problem, at, batch):  # type: ignore[no-untyped-def]
    return _chunks(problem, at, batch, 32)


@prepared("chunks of 16, the remainder dropped")
def chunks_of_16(problem, at, batch):  # type: ignore[no-untyped-def]
    return _chunks(problem, at, batch, 16)


@prepared("chunks of 100, the remainder dropped")
def chunks_of_100(problem, at, batch):  # type: ignore[no-untyped-def]
    return _chunks(problem, at, batch, 100)


@prepared("the last example is left out", of=OfNaive)
def last_example_left_out(problem, at, batch):  # type: ignore[no-untyped-def]
    if _size(batch) == 1:
        return problem, at, batch
    return _chunks(problem, at, batch, _size(batch) - 1)


# Of roles and layers


@changed("half the gradient of layers without a bias")
def half_without_a_bias(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    def part(name: str, t: Tensor) -> Tensor:
        owner = name.rpartition(".")[0]
        return t if f"{owner}.bias" in at or of_layer(name, problem) < 0 else t / 2

    return each(g, part)


@changed("no gradient of a LayerNorm")
def layernorm_has_no_gradient(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return each(g, lambda n, t: 0 * t if of_layer(n, problem) < 0 else t)


@changed("half the gradient of a LayerNorm's shift")
def layernorm_shift_has_half(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return each(g, lambda n, t: t / 2 if of_layer(n, problem) < 0 and n.endswith("bias") else t)


@changed("no gradient in σ from the fourth layer on")
def no_scale_gradient_from_the_fourth_layer(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    def part(name: str, t: Tensor) -> Tensor:
        late = of_layer(name, problem) > 2 and name.endswith(("log_variance", "log_alpha"))
        return 0 * t if late else t

    return each(g, part)


@changed("no gradient of the sixth layer")
def no_gradient_of_the_sixth_layer(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return each(g, lambda n, t: 0 * t if of_layer(n, problem) > 4 else t)


@changed("half the gradient in σ")
def half_the_gradient_in_the_scale(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return each(g, lambda n, t: t / 2 if n.endswith(("log_variance", "log_alpha")) else t)


@changed("twice the gradient in σ")
def twice_the_gradient_in_the_scale(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return each(g, lambda n, t: 2 * t if n.endswith(("log_variance", "log_alpha")) else t)


@changed("no gradient of biases")
def biases_have_no_gradient(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return each(g, lambda n, t: 0 * t if n.endswith("bias") and of_layer(n, problem) >= 0 else t)


@changed("the gradient of the loss, downhill")
def gradient_of_the_loss(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, -1.0)


@changed("coordinates are off by one")
def coordinates_off_by_one(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return each(g, lambda n, t: t.roll(1, -1) if n.endswith(("mean", "theta")) else t)


@changed("a quarter too much")
def a_quarter_too_much(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, 1.25)


@changed("three tenths too little in the means")
def means_are_too_small(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return each(g, lambda n, t: 0.7 * t if n.endswith(("mean", "theta")) else t)


@changed("the gradient of the KL is subtracted in the estimator")
def kl_is_subtracted(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return each(g, lambda n, t: t - 3 * at[n] if n.endswith(("mean", "theta")) else t)


@changed("gradients are clipped to a norm", of=OfNaive, laws=("posterior",), posteriors="any")
def gradients_are_clipped(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    norm = torch.stack([t.square().sum() for t in g.gradients.values()]).sum().sqrt()
    return times(g, torch.clamp(5.0 / (norm + 1e-12), max=1.0))


@changed("the signs of the gradient")
def signs_of_the_gradient(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return each(g, lambda n, t: t.sign())


@changed("only the largest tenth of the gradient is kept")
def only_the_largest_are_kept(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    def part(name: str, t: Tensor) -> Tensor:
        limit = t.abs().amax() / 2
        return torch.where(t.abs() >= limit, t, 0 * t)

    return each(g, part)


# Of targets


def _targets(batch: Batch, change) -> Batch:  # type: ignore[no-untyped-def]
    return Batch(batch.inputs, change(batch.targets))


@prepared("labels are clamped to 0 and 1")
def labels_are_clamped(problem, at, batch):  # type: ignore[no-untyped-def]
    whole = not batch.targets.is_floating_point()
    return problem, at, _targets(batch, lambda y: y.clamp(max=1) if whole else y)


@prepared("the tenth class is taken for the ninth")
def the_tenth_class_is_the_ninth(problem, at, batch):  # type: ignore[no-untyped-def]
    whole = not batch.targets.is_floating_point()
    return problem, at, _targets(batch, lambda y: y.clamp(max=8) if whole else y)


@prepared("of several outputs the first alone has a target")
def the_first_output_alone(problem, at, batch):  # type: ignore[no-untyped-def]
    def change(y: Tensor) -> Tensor:
        if not y.is_floating_point() or y.dim() < 2:
            return y
        first = (torch.arange(y.shape[-1]) == 0).to(y.dtype)
        return y * first

    return problem, at, _targets(batch, change)


@changed("the loss is a mean over the outputs of a regression")
def mean_over_the_outputs(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    numbers = batch.targets.is_floating_point() and batch.targets.dim() > 1
    return times(g, 1 / batch.targets.shape[-1] if numbers else 1.0)


@prepared("inputs are standardised within the minibatch")
def inputs_are_standardised(problem, at, batch):  # type: ignore[no-untyped-def]
    x = batch.inputs
    return problem, at, Batch(x - 0.3 * x.mean(0, keepdim=True), batch.targets)


@changed("examples of zeros are left out of the mean")
def blank_examples_are_left_out(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, (batch.inputs.flatten(1) != 0).any(1).to(g.value.dtype).mean())


def _draw(noise: Noise, like: Gradient) -> Tensor:
    return noise.at("more")("factor", ()).to(like.value.dtype)


@changed("a random factor whose mean is 1.3")
def random_factor_of_another_mean(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    return times(g, 1.3 + _draw(noise, g))


@changed("a hundredth of the draws is lost: 0.75 of the mean", laws=("normal", "uniform"))
def a_quarter_of_the_draws_is_lost(g, problem, at, batch, noise):  # type: ignore[no-untyped-def]
    kept = noise.at("lost")("factor", (), law="uniform") >= 0.25
    return times(g, kept.to(g.value.dtype))
