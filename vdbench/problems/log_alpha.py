"""log α = log σ²/μ² of a posterior, whatever its coordinates: values, bounds, and counts in fixed bins."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vdbench.errors import CellError, InputError
from vdbench.problems.layers import Layer
from vdbench.problems.networks import image
from vdbench.problems.problem import Parameters, Problem

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


def image_map(problem: Problem, parameters: Parameters) -> Tensor | None:
    """Log α by pixel: means over the outputs, and channels, of a first dense layer that sees all of an image.

    What lies beyond `LOG_ALPHA_EDGES` counts as their end.

    Returns:
        (height, width); None where the first noisy layer does not see square images whole, or the noise has no α.
    """
    layer = problem.layers[0]
    try:
        shape = image(problem.data, 1)
    except InputError:
        return None
    whole = tuple(layer.weight_shape[1:]) == (math.prod(shape),)
    if not whole or shape[1] != shape[2] or problem.parameterization.law == "none":
        return None
    logs = log_alpha(problem, layer, parameters).expand(layer.weight_shape)
    bounded = logs.clamp(float(LOG_ALPHA_EDGES[0]), float(LOG_ALPHA_EDGES[-1]))
    return bounded.mean(0).reshape(shape).mean(0)


def clamp(
    problem: Problem,
    parameters: Parameters,
    leaves: Parameters,
    bounds: tuple[float | None, float | None],
) -> None:
    """Move the learned scale coordinates so that log α of every weight lies within bounds, in place.

    log α itself is clamped where it is a coordinate. Of (μ, log σ²), log σ² is raised to the lower bound, and |μ| to
    the upper one's: a mean on its way through 0 takes log α to infinity, and would take a log σ² that is lowered to the
    bound down with it, where the weight is then no longer noise. Moving the mean by less than σ·e^(−bound/2) is hardly
    seen. Coordinates that are held fixed stay as they are.

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
            elif variance in parameters and not problem.parameterization.correlated:
                if variance in leaves:
                    _clamp_pair(layer, leaves, low, high)
            else:
                raise CellError(
                    "bounds on log α need the coordinate log_alpha, or log_variance of the weights alone; layer "
                    f"'{layer.name}' has neither."
                )


def _clamp_pair(
    layer: Layer,
    leaves: Parameters,
    low: float | None,
    high: float | None,
) -> None:
    mean, value = leaves[f"{layer.name}.mean"], leaves[f"{layer.name}.log_variance"]
    if value.shape != mean.shape:
        raise CellError(
            f"bounds on log α need a log σ² for each weight; layer '{layer.name}' has {tuple(value.shape)}."
        )
    if low is not None:
        # log σ² = log α + log μ²
        level = mean.square().clamp_min(SMALLEST_SQUARE).log()
        torch.maximum(value, level + low, out=value)
    if high is not None:
        # a few roundings inside, where a prior's domain ends at the bound
        least = (0.5 * (value - high)).exp() * (1 + 8 * torch.finfo(value.dtype).eps)
        outside = mean.abs() < least
        mean.copy_(torch.where(outside, torch.where(mean < 0, -least, least), mean))


def counts(values: Tensor, edges: Edges) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How many values lie in each bin: below the first edge, between two, at or above the last; (len(edges) + 1,)."""
    inner = torch.from_numpy(edges).to(values.device, torch.float64)
    place = torch.bucketize(values.detach().double().flatten(), inner, right=True)
    return torch.bincount(place, minlength=len(edges) + 1).cpu().numpy()
