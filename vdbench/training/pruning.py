"""Sparsity: weights whose noise drowns them are set to 0 (Molchanov, Ashukha & Vetrov 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vdbench.problems.log_alpha import log_alpha
from vdbench.problems.problem import Parameters, Problem
from vdbench.training.evaluation import mean_weights

THRESHOLD = 3.0
"""log α from which on a weight is pruned; the equivalent dropout rate is above 0.95."""


@dataclass(frozen=True)
class Pruned:
    """A network whose noisiest weights are 0.

    Attributes:
        weights: The mean weights, 0 where pruned, by layer.
        pruned: How many are, by layer.
        sizes: How many weights there are, by layer.
    """

    weights: Mapping[str, Tensor]
    pruned: Mapping[str, int]
    sizes: Mapping[str, int]

    @property
    def shares(self) -> dict[str, float]:
        """Share of each layer's weights that is pruned, and ``all``'s, in percent."""
        found = {name: 100 * count / self.sizes[name] for name, count in self.pruned.items()}
        return {**found, "all": 100 * sum(self.pruned.values()) / sum(self.sizes.values())}

    @property
    def compression(self) -> float:
        """Noisy weights over those kept; inf where none is. Biases and other parameters are not counted."""
        every = sum(self.sizes.values())
        kept = every - sum(self.pruned.values())
        return every / kept if kept else float("inf")


def prune(problem: Problem, parameters: Parameters, threshold: float = THRESHOLD) -> Pruned:
    """Set the weights to 0 whose log α is at or above a threshold.

    A coordinate log α that several weights share prunes them together.

    Args:
        problem: Whose posterior.
        parameters: Where.
        threshold: Of log α.
    """
    weights, pruned, sizes = {}, {}, {}
    with torch.no_grad():
        means = mean_weights(problem, parameters)
        for layer in problem.layers:
            mean = means[layer.name]
            noisy = (log_alpha(problem, layer, parameters) >= threshold).expand_as(mean)
            weights[layer.name] = mean.masked_fill(noisy, 0)
            pruned[layer.name], sizes[layer.name] = int(noisy.sum()), mean.numel()
    return Pruned(weights, pruned, sizes)
