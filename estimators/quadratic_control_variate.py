"""A quadratic model of the log-likelihood in the weights, fitted on pilot draws, as a control variate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vdbench import (
    Batch,
    CellError,
    Estimator,
    Gradient,
    InputError,
    Key,
    Noise,
    Parameters,
    Problem,
    differentiate,
    need_posterior,
    register,
)
from vdbench.estimation import anchor, curvature, least_squares, perturbation
from vdbench.estimation.draws import gather, minibatch

EXAMPLES = 256
"""Examples of a pilot minibatch, or all there are."""

RIDGE = 1e-9
"""Keeps the least squares of parts that are 0 solvable."""

Named = dict[str, Tensor]


@register(
    "quadratic-control-variate",
    objective="elbo",
    unbiased=True,
    laws=("normal",),
    independent_examples=False,
    version="1",
)
@dataclass(frozen=True)
class QuadraticControlVariate(Estimator):
    r"""Naive sampling less the gradient of a quadratic model of the cost, whose mean is known.

    Formula: $g - \sum_{k=1}^2a_k(\nabla_\phi f_k(W) - E[\nabla_\phi f_k(W)])$, $f_1 = b\cdot\delta$, $f_2 =
    \frac12\delta^TUTU^T\delta$, $\delta = W - \mu = \sigma\varepsilon$.

    The model's slope $b$ has one number a weight, its curvature $UTU^T$ rank $r$. With $s = UTU^T\delta$ the parts are
    $s$ in μ, and in σ $\varepsilon b$ and $\varepsilon s - \sigma\,\mathrm{diag}(UTU^T)$. Each has mean 0 under q at
    all parameters, whatever $b$, $U$ and $T$ are. For a bias $v$ the model has the term $v\cdot VU^T\delta$, with the
    part $VU^T\delta$. Model and weights are fitted on pilot draws, so the mean stays what it was.

    Of all linear functions of the noise, $E[H(W)]\sigma\varepsilon$ is nearest to $\nabla L(W)$ (Stein), and an SVD
    cuts it to rank $r$ with the least loss. Gradients alone are enough for both. At a pair $W = \mu\pm\delta_p$, half
    the difference is $o_p = H\delta_p$ up to third derivatives, and half the sum is the slope. So the pairs are a
    random sketch of the curvature: $U = [o_1\dots o_P]Q\Lambda^{-1/2}$, with the $r$ largest eigenvalues Λ of the
    products $o_p^T\sigma^2o_q$ and their eigenvectors Q. On new pairs, $T$, symmetric, and $V$ are least squares of
    $U^T\sigma^2o_p$ and of a bias's $o_p$ on $U^T\delta_p$. The weights $a$, one for each part and parameter, are least
    squares on a third set. For a quadratic loss whose $\sigma H\sigma$ has at most rank $r$, no noise is left where the
    minibatch is the whole data set.

    A minibatch has a slope and a curvature of its own, and the model has their means over the data: the smaller the
    minibatch, the less it removes. ``control-variate`` uses those of the minibatch, for two passes more a draw. In a
    training the model moves with μ, and is fitted anew after ``epochs`` epochs.

    Claim: unbiased for the ELBO of any layer kind; independent normal weights.
    Cost: that of ``naive``, and 4·r products a weight for all examples together; K·L noise. A fit takes 6·P gradients
    of 256 examples, and holds P of them.
    Source: Geffner & Domke 2020 (*Approximation based variance reduction for reparameterization gradients*), whose
    model is fitted by gradient steps on the variance; Miller, Foti, D'Amour & Adams 2017. New here: the fit, a
    randomised low-rank approximation (Halko, Martinsson & Tropp 2011, section 5.5) whose sketch is the weights' noise.

    Attributes:
        rank: r.
        pilot: P, pairs of pilot draws for each of the three steps of a fit; at least the rank.
        epochs: Epochs of a training after which the model is fitted anew.

    Example:
        >>> import vdbench
        >>> vdbench.get("quadratic-control-variate", rank=4)
        QuadraticControlVariate(rank=4, pilot=32, epochs=1)
    """

    rank: int = 8
    pilot: int = 32
    epochs: int = 1

    def __post_init__(self) -> None:
        """Refuse no rank, too few pilot draws and no epochs."""
        for option, least in (("rank", 1), ("pilot", self.rank), ("epochs", 1)):
            if getattr(self, option) < least:
                raise InputError(
                    f"quadratic-control-variate: {option} must be at least {least}, not {getattr(self, option)}."
                )

    @property
    def refit_epochs(self) -> int:
        """The option ``epochs``."""
        return self.epochs

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """One weight sample, and the model's parts at it.

        Raises:
            CellError: There is no state, or the posterior is not normal and independent.
        """
        need_posterior(self, problem)
        if not state:
            raise CellError(
                "estimator 'quadratic-control-variate': it has a model and was given none; expected "
                "state=estimator.fit(problem, parameters, key)."
            )
        drawn = self._parts(problem, parameters, batch, noise, state)
        return least_squares.less(drawn, state["weights"])

    def _parts(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, model: Any
    ) -> least_squares.Drawn:
        """Naive sampling's gradient, and the parts of the model's at the same weights, less their means."""
        z = perturbation.drawn(problem, parameters, noise)
        where = perturbation.detached(perturbation.place(problem, parameters, z))
        slope, value = curvature.cost_gradient(problem, parameters, batch)(where)
        gradient = perturbation.chained(problem, parameters, z, slope, value)
        along = _along(model["basis"], _steps(problem, parameters, z))
        bent = {a: torch.tensordot(model["curve"] @ along, u, 1) for a, u in model["basis"].items()}
        bent |= {name: torch.tensordot(along, v, 1) for name, v in model["rest"].items()}

        def straight(at: Parameters) -> Iterator[Tensor]:
            there = perturbation.place(problem, at, z)
            for layer in problem.layers:
                mean = layer.used(problem.posterior(layer, at).mean)
                yield model["slope"][layer.name] * (there[layer.name] - mean)

        def curved(at: Parameters) -> Iterator[Tensor]:
            there = perturbation.place(problem, at, z)
            yield from (slope * there[name] for name, slope in bent.items())
            for layer in problem.layers:
                scale = layer.used(problem.posterior(layer, at).scale)
                yield -model["diagonal"][layer.name] * scale.detach() * scale

        return gradient, [_gradient(problem, parameters, f) for f in (straight, curved)]

    def fit(self, problem: Problem, parameters: Parameters, key: Key) -> Any:
        """The model, and the weights of its two parts, each step on pilot draws of its own.

        Raises:
            CellError: The posterior is not normal and independent, or a pilot gradient is not finite.
        """
        need_posterior(self, problem)
        places = range(self.pilot)
        model = _basis(problem, parameters, [key / "basis" / k for k in places], self.rank)
        model |= _curve(problem, parameters, [key / "curve" / k for k in places], model["basis"])

        def pairs() -> Iterator[tuple[least_squares.Drawn, least_squares.Drawn]]:
            for place in (key / "weights" / k for k in places):
                batch = _batch(problem, place)
                noises = [anchor.kept_noise(problem, place / half) for half in range(2)]
                one, two = (self._parts(problem, parameters, batch, n, model) for n in noises)
                yield one, two

        return {**model, "weights": least_squares.weights(pairs(), RIDGE)}


def _gradient(
    problem: Problem, parameters: Parameters, terms: Callable[[Parameters], Iterator[Tensor]]
) -> Named:
    """The gradient in the parameters of the sum of all terms."""

    def target(free: Named) -> tuple[Tensor, Tensor]:
        total = torch.stack([term.sum() for term in terms({**parameters, **free})]).sum()
        return total, total

    return differentiate(target, problem.free(parameters))[1]


def _scales(problem: Problem, parameters: Parameters) -> Named:
    """σ of every layer."""
    return {a.name: problem.posterior(a, parameters).scale.detach() for a in problem.layers}


def _steps(problem: Problem, parameters: Parameters, z: Mapping[str, Tensor]) -> Named:
    """W − μ of every layer."""
    scale = _scales(problem, parameters)
    return {a.name: a.used(scale[a.name] * z[a.name]) for a in problem.layers}


def _along(basis: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Tensor:
    """Uᵀ times numbers of all weights, (r,)."""
    return torch.stack([u.flatten(1) @ values[a].flatten() for a, u in basis.items()]).sum(0)


def _batch(problem: Problem, key: Key) -> Batch:
    """A pilot minibatch."""
    size = min(EXAMPLES, problem.examples)
    return gather(problem, minibatch(problem, size, key / "minibatch"))


def _pair(problem: Problem, parameters: Parameters, key: Key) -> tuple[Named, Named, Named]:
    """Of a pair μ ± δ on one minibatch: δ, half the sum of the cost's gradients in the place, half their difference."""
    z = perturbation.drawn(problem, parameters, anchor.kept_noise(problem, key))
    slope_of = curvature.cost_gradient(problem, parameters, _batch(problem, key))
    both = []
    for sign in (1, -1):
        signed = {name: sign * value for name, value in z.items()}
        where = perturbation.detached(perturbation.place(problem, parameters, signed))
        both.append(slope_of(where)[0])
    even = {name: (value + both[1][name]) / 2 for name, value in both[0].items()}
    odd = {name: (value - both[1][name]) / 2 for name, value in both[0].items()}
    used = {layer.name: layer.used(odd[layer.name]) for layer in problem.layers}
    return _steps(problem, parameters, z), even, {**odd, **used}


def _basis(
    problem: Problem, parameters: Parameters, keys: Sequence[Key], rank: int
) -> dict[str, Any]:
    """The slope b, and the columns of U with σ²-weighted products 1, by layer."""
    slope: Named = {}
    odds: dict[str, list[Tensor]] = {}
    scale = _scales(problem, parameters)
    for key in keys:
        _, even, odd = _pair(problem, parameters, key)
        for name in scale:
            slope[name] = slope.get(name, 0.0) + even[name] / len(keys)
            odds.setdefault(name, []).append(odd[name])
    stacked = {name: torch.stack(values) for name, values in odds.items()}
    weighted = [(value * scale[name]).flatten(1) for name, value in stacked.items()]
    gram = torch.stack([(w @ w.T).double() for w in weighted]).sum(0)
    if not bool(gram.isfinite().all()):
        raise CellError(
            f"estimator 'quadratic-control-variate': a pilot gradient on problem '{problem.name}' is not finite; "
            "expected parameters at which the log-likelihood's gradient is."
        )
    sizes, directions = (part.flip(-1)[..., :rank] for part in torch.linalg.eigh(gram))
    floor = torch.finfo(problem.dtype).eps * len(keys) * sizes[0]
    inverse = torch.where(sizes > floor, sizes.clamp(min=floor.clamp(min=1e-300)).rsqrt(), 0.0)
    mixed = (directions * inverse).T.to(problem.dtype)  # (r, P)
    return {
        "slope": slope,
        "basis": {name: torch.tensordot(mixed, value, 1) for name, value in stacked.items()},
    }


def _curve(
    problem: Problem, parameters: Parameters, keys: Sequence[Key], basis: Named
) -> dict[str, Any]:
    """T, (r, r), the diagonal of UTUᵀ by layer, and V of what has no noise, by name."""
    scale = _scales(problem, parameters)
    squares: Any = 0.0
    products: Any = 0.0
    rest: Named = {}
    for key in keys:
        delta, _, odd = _pair(problem, parameters, key)
        x = _along(basis, delta).double()
        y = _along(basis, {name: scale[name].square() * odd[name] for name in scale}).double()
        squares, products = squares + torch.outer(x, x), products + torch.outer(y, x)
        for name in (n for n in odd if n not in scale):
            rest[name] = rest.get(name, 0.0) + x.reshape(-1, *(1,) * odd[name].dim()) * odd[name]
    inverse = torch.linalg.pinv(squares, hermitian=True)
    curve = products @ inverse
    curve = ((curve + curve.T) / 2).to(problem.dtype)
    return {
        "curve": curve,
        "diagonal": {n: (torch.tensordot(curve, u, 1) * u).sum(0) for n, u in basis.items()},
        "rest": {n: torch.tensordot(inverse, v, 1).to(problem.dtype) for n, v in rest.items()},
    }
