"""Stochastic variance reduced gradients: a gradient at an anchor as the control variate for choosing minibatches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from estimators.deterministic import Deterministic
from estimators.naive import Naive
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
    register,
)
from vdbench.estimation import anchor
from vdbench.estimation.anchor import Anchored
from vdbench.estimation.base import Declaration, average
from vdbench.noise import SYMMETRIC, Injected, Kept, Recorder, Request


@register("svrg", version="1")
@dataclass(frozen=True)
class Svrg(Anchored):
    r"""Another estimator, less a gradient of its minibatch at an anchor, plus that gradient of all examples.

    Formula: $g_B(\phi, \varepsilon) - c_B + c_N$, $c_B$ a gradient of the minibatch at the anchor $\tilde\phi$, $c_N$
    the same of the whole training split, computed once.

    The mean of $c_B$ over minibatches is $c_N$ exactly, whatever $c_B$ is, so the mean stays what it was on average
    over minibatches. Given a minibatch it is another. The noise part of the variance is unchanged. The data part is
    $\mathrm{Var}_B(E_\varepsilon[g_B(\phi, \varepsilon)] - c_B)$: the smaller, the nearer the anchor and the better
    $c_B$ approximates the mean gradient of the minibatch.

    - ``mean``: the gradient at the anchor's mean weights, $\nabla_{\tilde\phi} L_B(\tilde\mu)$. In the scales it is 0,
      so that their data part stays. For a quadratic loss nothing is left of the data part in μ at the anchor.
    - ``fixed``: the mean of the gradients at ``pairs`` pairs $\pm\varepsilon_k$ of weight samples at the anchor, drawn
      once and kept. The same samples are in $c_B$ and in $c_N$, so that no bias comes of their being few. For a
      quadratic loss, its gradient in $\sigma_i$ is $\frac1K\sum_k\varepsilon_{ki}\sum_jH_{ij}\sigma_j\varepsilon_{kj}$,
      that is $\sigma_iH_{ii}$ and an error whose variance falls as one over the pairs.
    - ``stored``: $c_B = g_B(\tilde\phi, \varepsilon)$, with the noise of the draw, and for $c_N$ the average of
      ``draws`` gradients of the whole training split with noise of their own. At the anchor nothing is left of the
      variance, noise and data alike. But $c_N$ is random, and its error $c_N - E[g_N(\tilde\phi)]$, of variance up to
      $\mathrm{Var}[g_N]/S$, is a bias of all gradients until the next anchor. Declared biased.

    With the noise of the draw in $c_N$ as well, nothing would be biased, and every draw would take a pass over the
    data.

    Claim: as the wrapped estimator, on average over minibatches; with ``stored``, biased given the anchor.
    Cost: the wrapped estimator's, plus 1 gradient of the minibatch (``mean``), 2 a pair (``fixed``) or the wrapped
    estimator's again (``stored``); 1, 2 a pair or S passes over the data for an anchor.
    Source: Johnson & Zhang 2013 (SVRG, without noise). New here: fixed weight samples as the control.

    Attributes:
        of: The wrapped estimator.
        control: ``mean``, ``fixed`` or ``stored``.
        pairs: Pairs of weight samples of ``fixed``.
        draws: S of ``stored``.
        epochs: Epochs of a training after which the anchor is made anew.
        distance: How far the anchor's means lie from the parameters it is made at, in standard deviations of the
            weights: for measuring what an anchor is worth that the parameters have left. 0 in a training.

    Example:
        >>> import vdbench
        >>> vdbench.get("svrg", of="local").declaration.unbiased_given_minibatch
        False
    """

    of: Estimator = field(default_factory=Naive)
    control: Literal["mean", "fixed", "stored"] = "mean"
    pairs: int = 4
    draws: int = 16

    def __post_init__(self) -> None:
        """Refuse no pairs and no draws, and noise that cannot be shared."""
        super().__post_init__()
        for option in ("pairs", "draws"):
            if getattr(self, option) < 1:
                raise InputError(
                    f"{self.named}: {option} must be at least 1, not {getattr(self, option)}."
                )
        if self.control == "stored" and not self.of.declaration.pure:
            raise InputError(
                f"{self.named}: estimator '{self.of.declaration.name}' draws its own noise, which cannot be used again "
                "at the anchor; expected control 'mean' or 'fixed', or another estimator."
            )

    @property
    def declaration(self) -> Declaration:
        """Biased given its state where that has a random mean."""
        made = super().declaration
        return replace(made, unbiased=False) if self.control == "stored" else made

    @property
    def passes_together(self) -> int:
        """Those of the inner estimator, and of the control."""
        more = self.of.passes_together if self.control == "stored" else 1
        return self.of.passes_together + more

    def __call__(
        self, problem: Problem, parameters: Parameters, batch: Batch, noise: Noise, state: Any = ()
    ) -> Gradient:
        """Draw, and control the choice of the minibatch.

        Raises:
            CellError: There is no state.
        """
        self.need_state(state)
        kept = Kept(noise.source)
        gradient = self.of(problem, parameters, batch, Noise(kept, noise.path), state["of"])
        if self.control == "stored":
            again = Noise(Injected(kept.answers), noise.path)
            control = self.of(problem, state["anchor"], batch, again, state["of"])
        else:
            control = self._at_anchor(problem, state["anchor"], batch, state["samples"])
        return anchor.controlled(gradient, control.gradients, state["whole"])

    def _at_anchor(
        self, problem: Problem, at: Parameters, batch: Batch, samples: Mapping[str, Tensor]
    ) -> Gradient:
        """The gradient of a minibatch at the anchor, without noise of the draw."""
        if self.control == "mean":
            return Deterministic()(problem, at, batch, Noise(Injected({})))
        signs = [(k, sign) for k in range(self.pairs) for sign in (1, -1)]
        return average(
            Naive()(problem, at, batch, Noise(_Fixed(samples, k, sign))) for k, sign in signs
        )

    def fit(self, problem: Problem, parameters: Parameters, key: Key) -> Any:
        """The anchor, the control's gradient of all examples there, weight samples, and the inner estimator's state.

        Raises:
            CellError: ``fixed`` is asked for, and the weights' noise has no pairs.
        """
        state: dict[str, Any] = {
            "anchor": self.anchor(problem, parameters, key),
            "of": self.of.fit(problem, parameters, key),
            "passes": {"mean": 1, "fixed": 2 * self.pairs, "stored": self.draws}[self.control],
            "samples": {},
        }
        if self.control == "fixed":
            state["samples"] = self._samples(problem, state["anchor"], key / "samples")
        if self.control != "stored":
            at, samples = state["anchor"], state["samples"]
            whole = anchor.of_all(
                problem, lambda b: self._at_anchor(problem, at, b, samples).gradients
            )
            return {**state, "whole": whole}
        drawn = [self._whole(problem, state, key / "stored" / s) for s in range(self.draws)]
        whole = {name: torch.stack([d[name] for d in drawn]).mean(0) for name in drawn[0]}
        return {**state, "whole": whole}

    def _whole(self, problem: Problem, state: Mapping[str, Any], key: Key) -> dict[str, Tensor]:
        """One draw of the wrapped estimator on all examples at the anchor, each part of them with its own noise."""
        count = iter(range(problem.examples))

        def draw(batch: Batch) -> dict[str, Tensor]:
            noise = anchor.kept_noise(problem, key / next(count))
            return self.of(problem, state["anchor"], batch, noise, state["of"]).gradients

        return anchor.of_all(problem, draw)

    def _samples(self, problem: Problem, at: Parameters, key: Key) -> dict[str, Tensor]:
        """The noise of the pairs by address, each (pairs, …)."""
        batch = next(anchor.parts(problem))
        found: dict[str, list[Tensor]] = {}
        for k in range(self.pairs):
            recorder = Recorder(anchor.kept_noise(problem, key / k).source)
            Naive()(problem, at, Batch(batch.inputs[:1], batch.targets[:1]), Noise(recorder))
            for request in recorder.requests:
                if request.law not in SYMMETRIC:
                    raise CellError(
                        f"{self.named}: control 'fixed' takes pairs ±ε of weight samples, and the posterior "
                        f"'{problem.parameterization.name}' of problem '{problem.name}' has {request.law} noise; "
                        "expected control 'mean'."
                    )
                found.setdefault(_address(request), []).append(recorder.source(request))
        return {name: torch.stack(values) for name, values in found.items()}


@dataclass(frozen=True)
class _Fixed:
    """Hands out the noise of one weight sample of a pair."""

    samples: Mapping[str, Tensor]
    number: int
    sign: int

    def __call__(self, request: Request) -> Tensor:
        """Look the request up."""
        return self.sign * self.samples[_address(request)][self.number]


def _address(request: Request) -> str:
    return "/".join(map(str, (*request.path, request.law)))
