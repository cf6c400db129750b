"""Moment matching: propagate the mean and variance of every activation, without sampling."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vdbench import (
    Batch,
    CellError,
    Estimator,
    Gradient,
    Layer,
    Noise,
    Parameters,
    Posterior,
    Problem,
    differentiate,
    register,
)
from vdbench.problems.layers import NoisyModule
from vdbench.problems.likelihoods import Expected
from vdbench.problems.places import Fold
from vdbench.problems.structure import Correlated

RESHAPES = (nn.Flatten, nn.Unflatten, nn.Identity)
"""Modules that move numbers and change none."""

FARTHEST = 40.0
"""Standard deviations beyond which a normal tail and its density are 0 to the last digit, in float64 too."""


class Moments(NamedTuple):
    """Mean and variance of each of some numbers, of one shape."""

    mean: Tensor
    variance: Tensor


@register(
    "moment-matching",
    objective="elbo",
    unbiased=False,
    laws=(),
    independent_examples=True,
    version="1",
    posteriors="any",
)
@dataclass(frozen=True)
class MomentMatching(Estimator):
    r"""No samples: means and variances are propagated through the network, as if all units were independent and normal.

    Formula: $\gamma = m\,E[W]$, $\delta = (m^2 + v)\,\mathrm{Var}[W] + v\,E[W]^2$.

    The formula holds for a layer whose inputs have mean $m$ and variance $v$. ReLU uses the exact moments of
    $\max(0, b)$, and the output $E[\log p(y \mid b)]$, both under $b \sim N(\gamma, \delta)$.

    The moments of a layer are exact if its inputs are independent. Two assumptions fail. Hidden units share the noise
    of earlier layers and are correlated (as are all outputs of a layer whose outputs share noise). And a
    pre-activation that sums rectified units is normal only in the limit of many units. The last step is exact for a
    Gaussian likelihood. For a categorical one it is the second-order expansion of log-sum-exp about $\gamma$,
    $\operatorname{lse}(\gamma) + \frac12\sum_k p_k(1 - p_k)\,\delta_k$ (Braun & McAuliffe 2010), which is too large
    for large $\delta$.

    The result is the exact gradient of an approximate objective. It has no noise, but a bias that no number of draws
    removes. A single dense layer with a Gaussian likelihood and independent weights has no bias.

    Networks are chains (``nn.Sequential``) of dense and convolutional layers, ReLU and modules that only reshape.
    Max-pooling and other non-linearities are refused, because their moments are different.

    Claim: biased for the ELBO, except for one layer with a Gaussian likelihood.
    Cost: 3 products forward and 6 backward per layer, 2 and 4 for the first layer; no noise.
    Source: Wang & Manning 2013, the deterministic form; ReLU moments as in Frey & Hinton 1999.

    Example:
        >>> import vdbench
        >>> vdbench.get("moment-matching").declaration.unbiased
        False
    """

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """The gradient of the approximate objective.

        Raises:
            CellError: The network is no chain of modules whose moments are known, or the likelihood's expectation is
                not.
        """
        likelihood = problem.likelihood
        if not isinstance(likelihood, Expected):
            raise CellError(
                f"estimator 'moment-matching' needs the expected log-likelihood under normal outputs, which "
                f"{type(likelihood).__name__} of problem '{problem.name}' does not give; expected a likelihood with a "
                "method expected(mean, variance, targets), such as Categorical or GaussianNoise."
            )
        if problem.whole or problem.reused or not all(f.plain for f in _folds(problem)):
            raise CellError(
                f"estimator 'moment-matching' propagates mean and variance through a chain of layers, each called once "
                f"on examples, and problem '{problem.name}' is no such chain; expected another estimator."
            )
        steps = list(walk(problem))

        def target(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            at = {**parameters, **free}
            out = propagate(problem, steps, at, batch.inputs)
            value = problem.scale(batch) * likelihood.expected(*out, batch.targets).sum()
            return value, value

        return Gradient(*differentiate(target, problem.free(parameters)))


def _folds(problem: Problem) -> list[Fold]:
    return [fold for folds in problem.behaviour.folds.values() for fold in folds]


def walk(
    problem: Problem, asking: str = "moment-matching", layers: str = "nn.Linear, nn.Conv2d"
) -> Iterator[nn.Module]:
    """The modules of a chain, in order.

    Args:
        problem: With the network.
        asking: The estimator's name, for messages.
        layers: The kinds of layers that it takes, for messages.

    Raises:
        CellError: It is no chain, or has a module whose moments are not known.
    """

    def within(path: str, module: nn.Module) -> Iterator[nn.Module]:
        if type(module) is nn.Sequential and not _hooked(module):
            for name, part in module.named_children():
                yield from within(f"{path}.{name}" if path else name, part)
        elif _known(module) or _inactive(module):
            yield module
        else:
            where = f"module '{path}'" if path else "the network"
            raise CellError(
                f"estimator '{asking}' propagates mean and variance through nn.Sequential of {layers}, "
                f"nn.ReLU, nn.Flatten, nn.Unflatten and nn.Identity, and {where} of problem "
                f"'{problem.name}' is a {type(module).__name__}; expected another network or estimator."
            )

    return within("", problem.module)


def _known(module: nn.Module) -> bool:
    """Whether it is one of those whose moments are known, and nothing more: no subclass, no hooks."""
    return type(module) in (NoisyModule, nn.ReLU, *RESHAPES) and not _hooked(module)


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _inactive(module: nn.Module) -> bool:
    """Whether it is dropout that is switched off."""
    return isinstance(module, nn.modules.dropout._DropoutNd) and not (
        module.training and module.p > 0
    )


def propagate(
    problem: Problem, steps: list[nn.Module], parameters: Parameters, inputs: Tensor
) -> Moments:
    """Mean and variance of the outputs, each (M, …)."""
    now = Moments(inputs, torch.zeros_like(inputs))
    for step in steps:
        if isinstance(step, NoisyModule):
            q = problem.posterior(step.layer, parameters)
            now = affine(step.layer, now, q)
            bias = parameters.get(f"{step.layer.name}.bias")
            if bias is not None:
                now = now._replace(mean=step.layer.add_bias(now.mean, bias))
        elif isinstance(step, nn.ReLU):
            now = relu(now)
        else:
            now = Moments(step(now.mean), step(now.variance))
    return now


def affine(layer: Layer, x: Moments, q: Posterior) -> Moments:
    """Moments of pre-activations: γ = m E[W], δ = (m² + v) Var[W] + v E[W]², both maps linear in the weights."""
    if isinstance(q.structure, Correlated):
        along = q.spread(layer, x.mean)  # Σ Cov(w_k, w_l) m_k m_l
        variance = along + layer.linear(x.variance, q.variance + q.mean.square())
        return Moments(layer.linear(x.mean, q.mean), variance)
    second = x.mean.square() + x.variance
    variance = layer.linear(second, q.variance) + layer.linear(x.variance, q.mean.square())
    return Moments(layer.linear(x.mean, q.mean), variance)


def relu(b: Moments) -> Moments:
    """Moments of max(0, b), b ~ N(m, v), exactly; those of max(0, m) where v is 0.

    With s = √v, t = m/s, Φ and φ the normal distribution and density:

    - mean: s(tΦ + φ);
    - variance: v(Φ + t²Φ(1 − Φ) + tφ(1 − 2Φ) − φ²), which has no difference of large numbers, as E[h²] − E[h]² has
      where t is large.

    Frey & Hinton 1999.

    Example:
        >>> h = relu(Moments(torch.zeros(1), torch.ones(1)))
        >>> [round(float(x), 4) for x in h]
        [0.3989, 0.3408]
    """
    random = b.variance > 0
    s = torch.where(random, b.variance, 1.0).sqrt()
    t = (b.mean / s).clamp(-FARTHEST, FARTHEST)
    # erfc keeps the digits of a far tail, which 1 + erf would lose
    below, above = (0.5 * torch.special.erfc(x / math.sqrt(2)) for x in (-t, t))
    density = torch.exp(-0.5 * t.square()) / math.sqrt(2 * math.pi)
    mean = b.mean * below + s * density
    share = below + t.square() * below * above + t * density * (above - below) - density.square()
    return Moments(
        torch.where(random, mean, b.mean.relu()),
        torch.where(random, b.variance * share.clamp(min=0), 0.0),
    )
