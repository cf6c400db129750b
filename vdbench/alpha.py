"""log α = log σ²/μ² of a posterior, whatever its coordinates: values, bounds, and counts in fixed bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vdbench.errors import CellError
from vdbench.layers import Layer
from vdbench.problem import Parameters, Problem

SMALLEST_SQUARE = 1e-16
"""Means below 1e-8 count as 1e-8 where log σ² is kept within bounds of log α, so that σ stays above 0."""

Edges = np.ndarray[Any, np.dtype[np.float64]]

LOG_ALPHA_EDGES: Edges = np.arange(-12.0, 12.5, 0.5)
"""Inner edges of the histogram of log α; all beyond counts in the first and last bin."""

LOG_SIGMA_EDGES: Edges = np.arange(-16.0, 4.25, 0.5)
"""Inner edges of the histogram of log σ."""


def log_alpha(problem: Problem, layer: Layer, parameters: Parameters) -> Tensor:
    """Values of log α in one layer: as the coordinate has it, else of each weight; +inf where a mean is 0."""
    q = problem.posterior(layer, parameters)
    return q.log_ratio() if q.log_alpha is None else q.log_alpha


def clamp(
    problem: Problem,
    parameters: Parameters,
    leaves: Parameters,
    bounds: tuple[float | None, float | None],
) -> None:
    """Move the learned scale coordinates so that log α of every weight lies within bounds, in place.

    log α itself is clamped where it is a coordinate, else log σ², given the mean. Coordinates that are held fixed
    stay as they are.

    Args:
        problem: Whose posterior.
        parameters: All of them.
        leaves: Those that are trained.
        bounds: Lowest and highest log α, None for none.

    Raises:
        CellError: The posterior has neither coordinate.
    """
    if problem.parameterization.law == "none":
        return  # no noise, no α
    low, high = bounds
    with torch.no_grad():
        for layer in problem.layers:
            alpha = f"{layer.name}.log_alpha"
            variance = f"{layer.name}.log_variance"
            if alpha in parameters:
                if alpha in leaves:
                    leaves[alpha].clamp_(low, high)
            elif variance in parameters:
                if variance in leaves:
                    _clamp_variance(problem, layer, parameters, leaves[variance], low, high)
            else:
                raise CellError(
                    f"bounds on log α need the coordinate log_alpha or log_variance; layer '{layer.name}' has neither."
                )


def _clamp_variance(
    problem: Problem,
    layer: Layer,
    parameters: Parameters,
    value: Tensor,
    low: float | None,
    high: float | None,
) -> None:
    mean = problem.posterior(layer, parameters).mean
    # log σ² = log α + log μ²
    level = mean.square().clamp_min(SMALLEST_SQUARE).log()
    if value.shape != level.shape:
        raise CellError(
            f"bounds on log α need a log σ² for each weight; layer '{layer.name}' has {tuple(value.shape)}."
        )
    if low is not None:
        torch.maximum(value, level + low, out=value)
    if high is not None:
        torch.minimum(value, level + high, out=value)


def counts(values: Tensor, edges: Edges) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How many values lie in each bin: below the first edge, between two, at or above the last; (len(edges) + 1,)."""
    inner = torch.from_numpy(edges).to(values.device, torch.float64)
    place = torch.bucketize(values.detach().double().flatten(), inner, right=True)
    return torch.bincount(place, minlength=len(edges) + 1).cpu().numpy()
