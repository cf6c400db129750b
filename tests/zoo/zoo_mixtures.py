"""Defects of mixtures per layer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from zoo_making import add, declared

from estimators.local import Local
from estimators.per_layer import PerLayer
from vdbench.noise import Noise
from vdbench.problems.layers import Layer
from vdbench.problems.posterior import Posterior
from vdbench.problems.problem import Problem


@dataclass(frozen=True)
class FirstLayerAtItsMean(PerLayer):
    """Its first layer has no noise, and it claims the ELBO."""

    declared = declared(
        "mixture-whose-first-layer-is-deterministic", laws=("posterior",), posteriors="any"
    )

    def preactivation(self, layer: Layer, x: Tensor, q: Posterior, noise: Noise) -> Tensor:
        """The mean weights in layer 0."""
        sampled = super().preactivation(layer, x, q, noise)
        return layer.linear(x, q.mean) + 0 * sampled if layer.name == "0" else sampled


@dataclass(frozen=True)
class LocalEverywhere(PerLayer):
    """Local in all layers, convolutions too, and it claims the ELBO there."""

    declared = declared(
        "mixture-with-local-at-a-convolution", laws=("posterior",), posteriors="any"
    )

    def objective_on(self, problem: Problem) -> str:
        """The ELBO, whatever the parts do."""
        return "elbo"


add("mixture-whose-first-layer-is-deterministic", FirstLayerAtItsMean(),
    "one layer of a mixture has no noise, claimed unbiased for the ELBO")  # fmt: skip
add("mixture-with-local-at-a-convolution", LocalEverywhere(default=Local()),
    "local at a convolution, claimed to keep the objective")  # fmt: skip
