"""Whether the outputs of a network are what its likelihood takes, and whether a likelihood can be one at all.

Outputs that are probabilities where logits are expected, or logits where their logarithms are, give finite numbers and
a wrong objective. Likelihoods of the user's own are asked by their behaviour: what they do not change with, what their
gradient is, and where they grow.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vdbench.errors import InputError
from vdbench.problems.likelihoods import (
    Bernoulli,
    Categorical,
    CategoricalByPlace,
    Checks,
    Heteroscedastic,
    Likelihood,
    Poisson,
)
from vdbench.problems.probe import LARGE, Asked, PassFailed, examples, moved_network
from vdbench.problems.probe_likelihood import Computed, towards
from vdbench.problems.problem import Batch, Problem

STRONG = (1.0, 10.0)
"""How far weights are moved, in units of 1/√fan-in, to see whether outputs ever leave a range."""

FAR = (10.0, 1000.0)
"""The same, to see whether a log-likelihood grows without bound."""

ATTEMPTS = 3
"""At how many weights for each of these."""


def refuse_transformed(
    problem: Problem, computed: Computed, network: nn.Module, asked: Asked, outputs: Tensor
) -> None:
    """Refuse outputs that are probabilities or rates, of a likelihood that takes their logits or logarithms.

    Probabilities of classes add up to 1. Others are seen by their range: the outputs stay in it however far the weights
    are moved.

    Args:
        problem: For its name and data.
        computed: The likelihood; one of the user's own is taken for the known one that it behaves like.
        network: The user's, of which copies are moved.
        asked: The same at its own weights.
        outputs: Of a few examples, (M, …).

    Raises:
        InputError: They are.
    """
    likelihood = _like(problem, computed, outputs)
    called = type(likelihood).__name__ if isinstance(computed.of, Checks) else "the likelihood"
    if isinstance(likelihood, Categorical | CategoricalByPlace):
        _refuse_probabilities(problem.name, likelihood, called, outputs)
        return
    part, above, what = slice(None), float("inf"), ""
    if isinstance(likelihood, Bernoulli):
        above, what = (
            1.0,
            f"between 0 and 1 at all weights tried, and {called} takes logits; leave out the sigmoid",
        )
    elif isinstance(likelihood, Poisson):
        what = f"never negative at any weights tried, and {called} takes log rates; leave out the softplus or exp"
    elif isinstance(likelihood, Heteroscedastic):
        part = slice(outputs.shape[1] // 2, None)
        what = (
            f"never negative at any weights tried in the second half, and {called} takes log variances there; "
            "leave out the softplus or exp"
        )
    if (
        what
        and _within(_part(outputs, part), above)
        and _stays(problem, network, asked, part, above)
    ):
        raise InputError(
            f"problem '{problem.name}': the outputs of the module are {what}, or give a likelihood of your own."
        )


def _refuse_probabilities(
    name: str, likelihood: Categorical | CategoricalByPlace, called: str, outputs: Tensor
) -> None:
    """Refuse outputs that add up to 1 over the classes."""
    axis = likelihood.axis if isinstance(likelihood, CategoricalByPlace) else 1
    total = outputs.double().sum(axis)
    if outputs.shape[axis] > 1 and bool((outputs >= 0).all() and ((total - 1).abs() < 1e-5).all()):
        raise InputError(
            f"problem '{name}': the outputs of the module are probabilities (they add up to 1), and {called} takes "
            "logits; leave out the softmax, or give a likelihood of probabilities."
        )


def _stays(problem: Problem, network: nn.Module, asked: Asked, part: slice, above: float) -> bool:
    """Whether outputs stay between 0 and a bound however far the weights are moved, and differ between examples.

    One number for all examples may be a variance that is learned or known.
    """
    inputs = examples(problem, LARGE).inputs
    kind, varies = asked.precision, False
    for amount in STRONG:
        for attempt in range(2):
            moved = Asked(problem.name, moved_network(network, amount, kind, attempt), kind)
            try:
                out = _part(moved.outputs(inputs), part)
            except PassFailed:
                continue
            if not _within(out, above):
                return False
            varies |= bool((out != out[:1]).any())
    return varies


def _part(outputs: Tensor, part: slice) -> Tensor:
    return outputs[:, part] if outputs.dim() > 1 else outputs


def _within(outputs: Tensor, above: float) -> bool:
    found = torch.nan_to_num(outputs.double())
    return bool(((found >= 0) & (found <= above)).all())


def _like(problem: Problem, computed: Computed, outputs: Tensor) -> Likelihood | None:
    """The known likelihood that one behaves like; None for none.

    One of classes does not change when the logits of an example are shifted together. Any other has the gradient of a
    known one, multiplied by a number of each example's, such as the weight of its class.
    """
    if isinstance(computed.of, Checks):
        return computed.of
    targets = examples(problem, len(outputs)).targets
    outputs = outputs.double()
    try:
        value = computed.value(outputs, targets)
        for axis in (1, -1) if outputs.dim() > 1 and outputs.shape[1] > 1 else ():
            shift = torch.linspace(1, 3, outputs.select(axis, 0).numel(), dtype=torch.float64)
            shifted = outputs + shift.reshape(outputs.select(axis, 0).shape).unsqueeze(axis)
            if torch.allclose(computed.value(shifted, targets), value, rtol=1e-4, atol=1e-5):
                return Categorical() if outputs.dim() == 2 else CategoricalByPlace(axis)
    except Exception:
        return None
    for known in (Bernoulli(), Poisson(), Heteroscedastic()):
        try:
            known.check_targets(targets, tuple(outputs.shape))
            if _proportional(computed, Computed(known, torch.float64), outputs, targets):
                return known
        except Exception:  # the targets or outputs are not such as this one takes
            continue
    return None


def _proportional(own: Computed, known: Computed, outputs: Tensor, targets: Tensor) -> bool:
    """Whether two gradients are the same up to a positive number of each example's, the same at other outputs."""
    ratios = []
    for move in (0.0, 0.7, -0.4):
        pair = []
        for of in (own, known):
            at = (outputs + move).requires_grad_()
            pair.append(torch.autograd.grad(of.value(at, targets).sum(), at)[0].flatten(1))
        mine, its = pair
        ratio = (mine * its).sum(1, keepdim=True) / its.square().sum(1, keepdim=True).clamp(1e-30)
        if bool((ratio <= 0).any()) or not torch.allclose(mine, ratio * its, rtol=1e-4, atol=1e-7):
            return False
        ratios.append(ratio)
    return all(torch.allclose(ratios[0], other, rtol=1e-4) for other in ratios[1:])


def refuse_no_likelihood(
    problem: Problem, computed: Computed, network: nn.Module, asked: Asked, batch: Batch
) -> None:
    """Refuse a function of the user's that is no log-likelihood: a probability, or one that grows without bound.

    A log-probability is at most 0. A log-density is bounded but for a variance that goes to 0 where the outputs are the
    targets. Raw logits in the place of log-probabilities grow as the weights do, and so does a loss. A function that
    does not depend on the targets may be any cost.

    Args:
        problem: For its name and data.
        computed: The likelihood.
        network: The user's, of which copies are moved far.
        asked: The same, moved a little.
        batch: A few examples.

    Raises:
        InputError: It is such a function.
    """
    if isinstance(computed.of, Checks):
        return
    outputs, targets = asked.outputs(batch.inputs).double(), batch.targets
    try:
        value = computed.value(outputs, targets)
        if torch.equal(value, computed.value(outputs, _other_targets(problem, targets))):
            return
    except Exception:
        return  # it accepts no targets but those given
    step = towards(outputs, targets)
    of_classes = step is not None and step.shape != targets.shape
    discrete = of_classes or bool(((targets == 0) | (targets == 1)).all())
    if step is not None and discrete and _is_probability(computed, outputs, targets, step):
        raise InputError(
            f"problem '{problem.name}': the likelihood is the probability of the target, from 0 to 1, and not its "
            "logarithm; expected a log-likelihood of each example, such as with log_softmax."
        )
    reached = [_best(problem, computed, network, asked, batch, amount) for amount in FAR]
    start = float(value.max())
    if of_classes and max(start, *reached) > 1e-6 and not _shifts(computed, outputs, targets):
        raise InputError(
            f"problem '{problem.name}': the likelihood of a class is positive at outputs that the network gives, and a "
            "log-probability is at most 0: the outputs are logits or probabilities, and log_softmax is missing."
        )
    near, far = reached
    if far > start + 10 and (far == float("inf") or far - start > 30 * (near - start)):
        raise InputError(
            f"problem '{problem.name}': the likelihood grows without bound as the outputs grow, as a loss does; "
            "expected a log-likelihood of each example, such as minus the loss."
        )


def _other_targets(problem: Problem, targets: Tensor) -> Tensor:
    """Targets of other examples; where those tried are all alike, of one that is not."""
    rolled = targets.roll(1, 0)
    if not torch.equal(rolled, targets):
        return rolled
    every = problem.data.train.targets.cpu()
    others = (every != every[:1]).reshape(len(every), -1).any(1).nonzero()
    return targets if not len(others) else every[others[0]].to(targets).expand_as(targets)


def _best(
    problem: Problem,
    computed: Computed,
    network: nn.Module,
    asked: Asked,
    batch: Batch,
    amount: float,
) -> float:
    """The largest value of an example, at several weights that are moved so far."""
    found = [-float("inf")]
    for attempt in range(ATTEMPTS):
        moved = Asked(
            problem.name,
            moved_network(network, amount, asked.precision, attempt),
            asked.precision,
        )
        try:
            out = moved.outputs(batch.inputs).double()
            value = computed.value(out, batch.targets)
        except Exception:  # no outputs that it accepts
            continue
        if not bool(torch.isfinite(out).all()):
            continue
        found += value[~value.isnan()].tolist()
    return max(found)


def _shifts(computed: Computed, outputs: Tensor, targets: Tensor) -> bool:
    """Whether a value stays where all outputs of an example are shifted together, as softmax does."""
    try:
        shifted = computed.value(outputs + 3.0, targets)
    except Exception:
        return False
    return torch.allclose(shifted, computed.value(outputs, targets), rtol=1e-4, atol=1e-5)


def _is_probability(computed: Computed, outputs: Tensor, targets: Tensor, step: Tensor) -> bool:
    try:
        with_it = computed.value(outputs + 1e4 * step, targets)
        without = computed.value(outputs - 1e4 * step, targets)
    except Exception:
        return False
    # of several places they may be added up
    places = with_it.round().clamp(min=1)
    return bool(((with_it - places).abs() < 1e-3).all() and (without.abs() < 1e-3).all())
