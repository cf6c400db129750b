"""Deterministic variational inference: means and full covariances are propagated, without sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from estimators.moment_matching import FARTHEST, Moments, relu, walk
from vdbench import (
    Batch,
    CellError,
    Estimator,
    Gradient,
    InputError,
    Layer,
    Noise,
    Parameters,
    Posterior,
    Problem,
    differentiate,
    need_posterior,
    register,
)
from vdbench.estimation.products import used_once
from vdbench.problems.layers import NoisyModule
from vdbench.problems.likelihoods import ExpectedJointly

LARGEST = 2**27
"""Numbers that the covariance of one layer may take, nodes of the integral included."""

NEARLY = 1 - 1e-9
"""The largest correlation whose integral is computed: at 1 the derivative of its upper end is infinite."""


class Joint(NamedTuple):
    """Mean (M, L) and covariance (M, L, L) of the units of a layer, and whether they are independent."""

    mean: Tensor
    covariance: Tensor
    independent: bool


@register(
    "deterministic-vi",
    objective="elbo",
    unbiased=False,
    laws=(),
    independent_examples=True,
    version="1",
)
@dataclass(frozen=True)
class DeterministicVi(Estimator):
    r"""No samples: means and the full covariance of the units of each layer are propagated.

    Formula: $E[b] = Wm$, $\mathrm{Cov}[b] = W C W^\top + \mathrm{diag}\big(\sigma^2(m^2 + \mathrm{diag}\,C)\big)$.

    The formula holds for a dense layer of independent normal weights with mean $W$ and standard deviation σ, whose
    inputs have mean $m$ and covariance $C$. All outputs depend on the same inputs, so they are correlated;
    ``moment-matching`` leaves that out. Let two pre-activations be jointly normal with means $\alpha s_x$ and
    $\beta s_y$, standard deviations $s_x$ and $s_y$, covariance $c$ and correlation ρ. After a ReLU, their covariance
    is $c\,\Phi(\alpha)\Phi(\beta) + s_xs_y\int_0^\rho(\rho - r)\,\varphi_2(\alpha, \beta; r)\,dr$, with $\varphi_2$ the
    density of two standard normal numbers of correlation $r$. This is Price's theorem, integrated twice. The integral
    is taken by a Gauss rule in $\arcsin r$.

    For a network without non-linearity, or with one hidden layer of ReLU, mean and covariance of the outputs are exact:
    given an example, the units of the first layer are independent and normal. With more hidden layers, pre-activations
    are taken to be jointly normal, which they are in the limit of many units. The last step is exact for a Gaussian
    likelihood. For a categorical one it is the second-order expansion of log-sum-exp about the mean, with the Hessian
    $\mathrm{diag}(p) - pp^\top$ and the full covariance.

    The result is the exact gradient of an approximate objective: it has no noise, but a bias that no number of draws
    removes. It has none with a Gaussian likelihood and at most one hidden layer, or no ReLU. With a softmax, the
    covariances matter while the expansion is good, that is, while the outputs vary little.

    Networks are chains (``nn.Sequential``) of dense layers, ReLU and modules that only reshape. The covariance of L
    units takes M·L² numbers, times ``nodes`` between two hidden layers.

    Claim: biased for the ELBO, except with a Gaussian likelihood and at most one hidden layer, or no ReLU.
    Cost: per layer of L outputs and K inputs, M·L·K·(K + L) products forward and 2 times as many backward; no noise.
    Source: Wu, Nowozin, Meeds, Turner, Hernández-Lobato & Gaunt 2019 (*Deterministic variational inference for robust
    Bayesian neural networks*); there the covariance of rectified units is an approximation in closed form.

    Attributes:
        nodes: Of the integral for the covariance of two rectified units.

    Example:
        >>> import vdbench
        >>> vdbench.get("deterministic-vi").declaration.laws
        ()
    """

    nodes: int = 12

    def __post_init__(self) -> None:
        """Refuse fewer than one node."""
        if not 1 <= self.nodes <= 100:
            raise InputError(
                f"deterministic-vi: nodes must be a number from 1 to 100, not {self.nodes}."
            )

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """The gradient of the approximate objective.

        Raises:
            CellError: The network is no chain of dense layers and ReLU, or too wide; the posterior is not one of
                independent normal weights; or the likelihood's expectation is not known.
        """
        need_posterior(self, problem)
        likelihood = problem.likelihood
        if not isinstance(likelihood, ExpectedJointly):
            raise CellError(
                f"estimator 'deterministic-vi' needs the expected log-likelihood under jointly normal outputs, which "
                f"{type(likelihood).__name__} of problem '{problem.name}' does not give; expected a likelihood with a "
                "method expected_jointly(mean, covariance, targets), such as Categorical or GaussianNoise."
            )
        self._need_dense(problem, len(batch.inputs))
        steps = list(walk(problem, "deterministic-vi", "nn.Linear"))

        def target(free: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            at = {**parameters, **free}
            out = propagate(problem, steps, at, batch.inputs, self.nodes)
            expected = likelihood.expected_jointly(out.mean, out.covariance, batch.targets)
            value = problem.scale(batch) * expected.sum()
            return value, value

        return Gradient(*differentiate(target, problem.free(parameters)))

    def _need_dense(self, problem: Problem, examples: int) -> None:
        for place, layer in enumerate(problem.layers):
            if type(layer) is not Layer or not used_once(problem, layer):
                raise CellError(
                    f"estimator 'deterministic-vi' propagates covariances through dense layers that each example meets "
                    f"once, and layer '{layer.name}' of problem '{problem.name}' is another; expected another "
                    "estimator, such as moment-matching."
                )
            outputs = layer.weight_shape[0]
            # the integral is taken between two hidden layers
            inner = 0 < place < len(problem.layers) - 1
            size = f"{examples} · {outputs}²" + (f" · {self.nodes}" if inner else "")
            if examples * outputs**2 * (self.nodes if inner else 1) > LARGEST:
                raise CellError(
                    f"estimator 'deterministic-vi' would hold {size} numbers for layer "
                    f"'{layer.name}' of problem '{problem.name}', more than {LARGEST}; expected a smaller minibatch or "
                    "layer, or fewer nodes."
                )


def propagate(
    problem: Problem, steps: list[nn.Module], parameters: Parameters, inputs: Tensor, nodes: int
) -> Joint:
    """Mean and covariance of the outputs.

    Args:
        problem: With its posterior.
        steps: The modules of the chain.
        parameters: Where.
        inputs: (M, …), reshaped by the network to (M, K) before its first layer.
        nodes: Of the integral.

    Raises:
        CellError: Units are unflattened.
    """
    flat, now = inputs, None
    for step in steps:
        if isinstance(step, NoisyModule):
            q = problem.posterior(step.layer, parameters)
            now = _first(step.layer, flat, q) if now is None else affine(step.layer, now, q)
            bias = parameters.get(f"{step.layer.name}.bias")
            if bias is not None:
                now = now._replace(mean=step.layer.add_bias(now.mean, bias))
        elif isinstance(step, nn.ReLU):
            flat, now = (step(flat), None) if now is None else (flat, rectified(now, nodes))
        elif now is None:
            flat = step(flat)
        elif isinstance(step, nn.Unflatten):
            raise CellError(
                f"estimator 'deterministic-vi' propagates covariances of units (M, L), and problem '{problem.name}' "
                "unflattens them after a layer; expected another network or estimator."
            )
    assert now is not None, "a problem has a noisy layer"
    return now


def _first(layer: Layer, x: Tensor, q: Posterior) -> Joint:
    """Of a layer whose inputs are known: its outputs are independent."""
    variance = layer.squared(x, q.variance)
    return Joint(layer.linear(x, q.mean), torch.diag_embed(variance), True)


def affine(layer: Layer, x: Joint, q: Posterior) -> Joint:
    """Through independent normal weights: W C Wᵀ, plus on the diagonal what the weights' own noise adds."""
    second = x.mean.square() + x.covariance.diagonal(dim1=1, dim2=2)
    own = torch.diag_embed(layer.linear(second, q.variance))
    shared = q.mean @ x.covariance @ q.mean.T
    return Joint(layer.linear(x.mean, q.mean), shared + own, False)


def rectified(b: Joint, nodes: int) -> Joint:
    """Mean and covariance of max(0, b), b jointly normal.

    Args:
        b: Before the ReLU; a unit without variance has no covariance either.
        nodes: Of the integral over the correlation.
    """
    variance = b.covariance.diagonal(dim1=1, dim2=2)
    own = relu(Moments(b.mean, variance))
    diagonal = torch.diag_embed(own.variance)
    if b.independent:
        return Joint(own.mean, diagonal, True)
    s = torch.where(variance > 0, variance, 1.0).sqrt()
    t = (b.mean / s).clamp(-FARTHEST, FARTHEST)
    apart = 1 - torch.eye(t.shape[1], dtype=t.dtype, device=t.device)
    scale = s[:, :, None] * s[:, None, :]
    rho = (apart * b.covariance / scale).clamp(-NEARLY, NEARLY)
    below = 0.5 * torch.special.erfc(-t / math.sqrt(2))
    plain = b.covariance * below[:, :, None] * below[:, None, :]
    bent = scale * _integral(t[:, :, None], t[:, None, :], rho, nodes)
    return Joint(own.mean, apart * (plain + bent) + diagonal, False)


def _integral(a: Tensor, b: Tensor, rho: Tensor, nodes: int) -> Tensor:
    """∫₀^ρ (ρ − r) φ₂(a, b; r) dr with r = sin θ, which takes √(1 − r²) out of the density's denominator."""
    end = torch.asin(rho)
    total = torch.zeros_like(rho)
    for x, weight in zip(*np.polynomial.legendre.leggauss(nodes), strict=True):
        angle = end * float((1 + x) / 2)
        sine = torch.sin(angle)
        form = (a.square() - 2 * a * b * sine + b.square()) / (2 * torch.cos(angle).square())
        total = total + float(weight / 2) * (rho - sine) * torch.exp(-form)
    return total * end / (2 * math.pi)
