"""A certificate of an estimator of masks sees keep probabilities from small to large."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

import vdbench
from vdbench.estimation import registry
from vdbench.noise import Noise
from vdbench.problems.problem import Batch, Parameters, Problem

ARM = type(vdbench.get("arm"))


@dataclass(frozen=True)
class Halved(ARM):  # type: ignore[misc,valid-type]
    """Half the gradient of the logits of masks that are rarely, or nearly always, kept."""

    def __call__(
        self,
        problem: Problem,
        parameters: Parameters,
        batch: Batch,
        noise: Noise,
        state: object = (),
    ) -> vdbench.Gradient:
        found = super().__call__(problem, parameters, batch, noise, state)
        wrong = {
            name: torch.where(self.where(parameters[name]), 0.5 * value, value)
            for name, value in found.gradients.items()
            if name.endswith("logit")
        }
        return vdbench.Gradient(found.value, {**found.gradients, **wrong})

    def where(self, logit: torch.Tensor) -> torch.Tensor:
        """The logits whose gradient is halved."""
        raise NotImplementedError


@dataclass(frozen=True)
class Rare(Halved):
    def where(self, logit: torch.Tensor) -> torch.Tensor:
        return logit < -1


@dataclass(frozen=True)
class Frequent(Halved):
    def where(self, logit: torch.Tensor) -> torch.Tensor:
        return logit > 2


@pytest.mark.parametrize("wrong", [Rare, Frequent])
def test_what_is_wrong_at_small_or_large_keep_probabilities_fails(
    wrong: type[Halved], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    declared = ARM.declared
    vdbench.register(
        wrong.__name__.lower(),
        objective=declared.objective,
        unbiased=True,
        laws=declared.laws,
        independent_examples=declared.independent_examples,
        posteriors=declared.posteriors,
        version="1",
    )(wrong)
    found = vdbench.check(vdbench.get(wrong.__name__.lower()), seed=0)
    assert found.verdict == "FAILED", found.summary()
    assert found.grade == "bias"
